"""What colcon and pip install: built for real into a temporary folder, then looked at from outside.

Knows the layout of the source tree and of a ROS install tree, and nothing of what the code does.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ssvif_core import __version__

REPOSITORY = Path(__file__).resolve().parent.parent
NEEDS_COLCON = "needs colcon (extra dev: pip install '.[dev]')"
NEEDS_INDEX = "needs ament_index_python (of an installed ROS, or pip install '.[ros]')"
COLCON = "import sys; from colcon_core.command import main; sys.exit(main())"
FIND_SHARE = (
    "from ament_index_python.packages import get_package_share_directory as share;"
    "print(share('ssvif_ros'))"
)
LOAD_SCRIPTS = (
    "from importlib.metadata import distribution;"
    "[e.load() for e in distribution('ssvif_ros').entry_points if e.group == 'console_scripts']"
)


def shared_sources() -> dict[str, Path]:
    """Path below share/ssvif_ros -> file of the source tree, written down apart from setup.py."""
    files = [*(REPOSITORY / "launch").rglob("*"), *(REPOSITORY / "config").rglob("*")]
    sources = {str(file.relative_to(REPOSITORY)): file for file in files if file.is_file()}
    for file in (REPOSITORY / "ssvif_core" / "models").iterdir():
        if file.suffix in (".onnx", ".json"):
            sources[f"models/{file.name}"] = file
    sources["package.xml"] = REPOSITORY / "package.xml"
    return {name: file for name, file in sources.items() if "__pycache__" not in name}


def environment(**changes: str) -> dict[str, str]:
    """This process's environment for a child, without the marks of the ROS wheels' own start."""
    started = ("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "LD_LIBRARY_PATH")
    of_wheels = "_ROS_WHEELS_BOOTSTRAP_COMPLETE" in os.environ
    kept = {k: v for k, v in os.environ.items() if not (of_wheels and k in started)}
    return {**kept, **changes}


def python(*arguments: str, cwd: Path, **changes: str) -> str:
    """Run this interpreter in a child; returns its output, fails with all that it said."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(**changes),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(folder: Path, *options: str) -> Path:
    """`colcon build` into `folder`; returns the package's install prefix."""
    pytest.importorskip("colcon_core", reason=NEEDS_COLCON)
    places = ("--build-base", "build", "--install-base", "install")
    source = ("--base-paths", str(REPOSITORY), "--packages-select", "ssvif_ros")
    python("-c", COLCON, "--log-base", "log", "build", *places, *source, *options, cwd=folder)
    return folder / "install" / "ssvif_ros"


def share_of(prefix: Path) -> Path:
    """The share folder that the ament index gives for the package, asked in a fresh process."""
    pytest.importorskip("ament_index_python", reason=NEEDS_INDEX)
    before = os.environ.get("AMENT_PREFIX_PATH", sys.prefix)
    search = os.pathsep.join((str(prefix), before))
    return Path(python("-c", FIND_SHARE, cwd=prefix, AMENT_PREFIX_PATH=search).strip())


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("colcon"))


def test_colcon_takes_the_package_for_an_ament_python_package(tmp_path: Path) -> None:
    # A package.xml that catkin_pkg rejects would turn it into a plain `(python)` without a word.
    pytest.importorskip("colcon_core", reason=NEEDS_COLCON)
    listed = python(
        "-c", COLCON, "--log-base", "log", "list", "--base-paths", str(REPOSITORY), cwd=tmp_path
    )
    assert [line.split("\t")[::2] for line in listed.splitlines()] == [
        ["ssvif_ros", "(ros.ament_python)"]
    ]


def imported(file: Path) -> Iterator[str]:
    """Top-level names of what a source file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def test_package_xml_names_every_ros_package_that_is_imported() -> None:
    files = [*(REPOSITORY / "ssvif_ros").glob("*.py"), *(REPOSITORY / "launch").glob("*.py")]
    names = {name for file in files for name in imported(file)} - sys.stdlib_module_names
    # python3-... in package.xml, or of NVIDIA
    of_pip = {"cv2", "numpy", "rich", "typer", "yaml", "onnxruntime", "pynvml"}
    depends = ElementTree.parse(REPOSITORY / "package.xml").findall("exec_depend")
    declared = {element.text for element in depends}
    assert names - of_pip - {"ssvif_core", "ssvif_ros"} - declared == set()
    assert {"rclpy", "launch_ros", "tf2_msgs"} <= names


def test_every_launch_config_and_model_file_is_found_through_the_ament_index(
    installed: Path,
) -> None:
    share = share_of(installed)
    assert share == installed / "share" / "ssvif_ros"
    for name, source in shared_sources().items():
        assert (share / name).is_file(), f"{name} is not installed"
        assert (share / name).read_bytes() == source.read_bytes(), f"{name} differs"


def test_the_nodes_are_where_ros2_run_looks_for_them(installed: Path) -> None:
    for node in ("fusion_node", "simulated_cameras"):
        assert os.access(installed / "lib" / "ssvif_ros" / node, os.X_OK), node


@pytest.mark.parametrize("options", [(), ("--symlink-install",)])
def test_the_command_line_is_on_the_path_that_setup_bash_sets(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    """And what ROS runs is not: `calibrate` could be anybody's."""
    setup = build(tmp_path, *options).parent / "local_setup.bash"
    script = f"source {setup} && command -v ssvif && ssvif --version; command -v calibrate"
    found = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=environment(PATH="/usr/bin:/bin"),
    )
    path, version = found.stdout.splitlines()
    assert path == str(setup.parent / "ssvif_ros" / "bin" / "ssvif"), found.stderr
    assert __version__ in version


def test_every_module_and_model_is_installed_with_its_python_package(installed: Path) -> None:
    (site_packages,) = installed.glob("lib/python3.*/site-packages")
    for package in ("ssvif_core", "ssvif_ros"):
        for source in (REPOSITORY / package).rglob("*"):
            if source.suffix in (".py", ".onnx", ".json"):
                assert (site_packages / source.relative_to(REPOSITORY)).is_file(), source


def test_each_script_names_a_function_that_exists(installed: Path) -> None:
    pytest.importorskip("rclpy", reason="needs rclpy, which both nodes import")
    (site_packages,) = installed.glob("lib/python3.*/site-packages")
    python("-c", LOAD_SCRIPTS, cwd=installed, PYTHONPATH=str(site_packages))


def test_a_symlink_install_follows_edits_of_the_sources(tmp_path: Path) -> None:
    share = share_of(build(tmp_path, "--symlink-install"))
    for name, source in shared_sources().items():
        assert (share / name).resolve() == source, f"{name} is no link to its source"


def test_the_wheel_carries_the_same_files_and_puts_its_scripts_into_bin(tmp_path: Path) -> None:
    # pip builds inside the source folder, so it gets a copy of what it needs.
    copy = tmp_path / "source"
    copy.mkdir()
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "package.xml", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy)
    for name in ("ssvif_core", "ssvif_ros", "launch", "config", "resource"):
        shutil.copytree(REPOSITORY / name, copy / name)
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path))
    python("-m", "pip", "wheel", "--quiet", *options, str(copy), cwd=tmp_path)

    (path,) = tmp_path.glob("ssvif_ros-*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        data = next(name.split("/")[0] for name in names if ".data/" in name)
        for name, source in shared_sources().items():
            assert wheel.read(f"{data}/data/share/ssvif_ros/{name}") == source.read_bytes()
        assert f"{data}/data/share/ament_index/resource_index/packages/ssvif_ros" in names
        scripts = wheel.read(data.replace(".data", ".dist-info") + "/entry_points.txt").decode()
    assert "ssvif = ssvif_core.cli:main" in scripts
    assert not [name for name in names if "/lib/ssvif_ros/" in name or "/bin/" in name]
