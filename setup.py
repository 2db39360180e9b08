"""Installs both Python packages, for pip and colcon alike.

`pip install .` gives the `ssvif` command and, in bin, the two ROS executables; `colcon build` puts
the same scripts into lib/ssvif_ros, and launch, config and model files under share/ssvif_ros. Files
are found by globs, so that none is forgotten.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from setuptools import find_packages, setup

NAME = "ssvif_ros"
ROOT = Path(__file__).resolve().parent

# No upper bound is beyond what the tests have run with; constraints.txt has the exact versions. The
# lower ones are Ubuntu 24.04's, so that an extra that is installed there by pip leaves them alone.
RUNTIME = [
    "numpy>=1.26,<2.5",
    "onnxruntime>=1.20,<1.33",
    "opencv-python-headless>=4.6,<5",  # 5 renumbers the type constants
    "PyYAML>=6.0,<7",
    "rich>=13.7,<16",
    "typer>=0.9,<0.30",
]

# H.264 for `ssvif fuse`, `ssvif replay` and the demo. 17.1 is the last one for Python 3.10, 18.1
# for 3.11. The wheels hold FFmpeg with x264, which is under the GPL; a robot's node needs no video.
VIDEO = ["av>=17.1,<19.1"]

BAGS = ["rosbags>=0.11.9,<0.12"]
REPLAY = [*BAGS, *VIDEO, 'pyarrow>=26,<27; python_version >= "3.11"']

RERUN = ['rerun-sdk>=0.41,<0.42; python_version >= "3.11"']

# `ssvif replay --cluster`: the scheduler's client, and what `dask worker` needs.
CLUSTER = ["distributed>=2026.8,<2026.9"]

# Of the CUDA 12 of a desktop. JetPack 6 refuses the CUDA runtime that newer ones bring; other
# Jetsons: docs/engines.md.
CUDA = [
    'cuda-python>=12.9,<13; platform_machine != "aarch64"',
    'cuda-python==12.6.2.post1; platform_machine == "aarch64" and python_version < "3.12"',
    'cuda-python>=13.0,<13.1; platform_machine == "aarch64" and python_version >= "3.12"',
]

OPENVINO = ["openvino>=2026.4,<2026.5"]

TENSORRT_CHECK = [
    "tensorrt-rtx-cu12-libs==1.7.1.116",
    "tensorrt-rtx-cu12-bindings==1.7.1.116",
]

TEST = [
    *REPLAY,
    *CLUSTER,
    "hypothesis>=6.168,<6.171",
    "pillow>=12.3,<14",
    "pytest>=9.2,<9.3",
    "pytest-timeout>=2.4,<2.5",
    "scikit-image>=0.25,<0.27",
]

EXTRAS = {
    # ROS 2 kilted as wheels (x86-64 Linux), for machines without an installed ROS.
    "ros": [
        "ros-kilted-rclpy==9.1.2",
        "ros-kilted-rmw-fastrtps-cpp==9.3.3",
        "ros-kilted-sensor-msgs==5.5.1",
        "ros-kilted-std-srvs==5.5.1",
        "ros-kilted-diagnostic-msgs==5.5.1",
        "ros-kilted-lifecycle-msgs==2.3.0",
        *VIDEO,  # the demo's
        "PyYAML>=6.0,<7",  # rclpy imports it, but its wheel does not say so
    ],
    "video": VIDEO,
    # Recordings without an installed ROS.
    "bags": BAGS,
    # ... with what `ssvif replay` writes besides: videos that browsers play, and frames.parquet.
    "replay": REPLAY,
    # ... and run.rrd, for the rerun viewer (`ssvif replay --rerun`).
    "rerun": RERUN,
    "cluster": [*REPLAY, *CLUSTER],
    "train": [
        *BAGS,
        "matplotlib>=3.10,<3.12",
        "onnx>=1.23,<1.24",
        "pillow>=12.3,<14",
        "pydantic>=2.14,<2.15",
        "scipy>=1.15,<1.18",
        "tensorboard>=2.21,<2.22",
        "torch>=2.13,<2.14",
    ],
    # Engines beside ONNX Runtime. TensorRT itself comes with JetPack or from NVIDIA, and
    # cuda-python must not be newer than the CUDA of the driver (docs/engines.md).
    "cuda": CUDA,
    "openvino": OPENVINO,
    # Parses and builds engines without a GPU, to check what the real TensorRT is given.
    "tensorrt-check": TENSORRT_CHECK,
    # colcon runs pytest only for a package whose extra "test" (by this name) asks for it.
    "test": TEST,
    "dev": [
        *TEST,
        "colcon-common-extensions>=0.3,<0.4",
        "mypy>=2.4,<2.5",
        "pytest-xdist>=3.8,<3.9",
        "ruff>=0.17.6,<0.18",
        "setuptools<80",  # 80 removed the commands that colcon builds ament_python packages with
        "types-PyYAML>=6.0.12",
    ],
}


def version() -> str:
    """The version in `ssvif_core/__init__.py`, read without importing it."""
    for line in (ROOT / "ssvif_core" / "__init__.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__"):
            return line.split('"')[1]
    raise RuntimeError("ssvif_core/__init__.py has no line `__version__ = ...`; put it back")


def shared_files() -> list[tuple[str, list[str]]]:
    """`data_files`: (folder below the install prefix, files relative to this one)."""
    share = Path("share") / NAME
    folders: dict[str, list[str]] = defaultdict(list)
    folders["share/ament_index/resource_index/packages"].append(f"resource/{NAME}")
    folders[str(share)].append("package.xml")
    for pattern in (
        "launch/*.launch.*",
        "config/**/*",
        "ssvif_core/models/*.onnx",
        "ssvif_core/models/*.json",
    ):
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file() and "__pycache__" not in path.parts:
                relative = path.relative_to(ROOT)
                below = relative.parent
                if below.parts[0] == "ssvif_core":
                    below = below.relative_to("ssvif_core")
                folders[str(share / below)].append(str(relative))
    return sorted(folders.items())


# pip copies data files once even for an editable install, where they would grow stale. Without
# them the code falls back on the source tree, which is what `pip install -e` is for. colcon's
# --symlink-install takes another road and links each file.
EDITABLE = "editable_wheel" in sys.argv
# pip makes bin/ssvif of the entry point; colcon, which puts the entry points into lib/ssvif_ros,
# runs other commands of setuptools.
PIP = EDITABLE or "bdist_wheel" in sys.argv or "dist_info" in sys.argv
COMMAND = [] if PIP else [("bin", ["resource/bin/ssvif"])]

setup(
    name=NAME,
    version=version(),
    description="Real-time fusion and segmentation of visible and thermal cameras for ROS 2",
    author="ssvif_ros maintainers",
    maintainer="ssvif_ros maintainers",
    maintainer_email="maintainers@ssvif-ros.example",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["ssvif_core", "ssvif_core.*", "ssvif_ros", "ssvif_ros.*"]),
    package_data={
        "ssvif_core": [
            "models/*.onnx",
            "models/*.json",
            "py.typed",
            "replay/*.html",
            "replay/*.css",
            "replay/*.js",
        ]
    },
    data_files=[] if EDITABLE else [*shared_files(), *COMMAND],
    zip_safe=False,
    install_requires=RUNTIME,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            "calibrate = ssvif_ros.calibrate:main",
            "fusion_node = ssvif_ros.fusion_node:main",
            "simulated_cameras = ssvif_ros.simulated_cameras:main",
            "ssvif = ssvif_core.cli:main",
        ],
    },
)
