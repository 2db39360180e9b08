"""`ssvif doctor`: what is installed, what works, what is missing and how to get it."""

import contextlib
import importlib
import importlib.metadata
import os
import platform
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ssvif_core import __version__
from ssvif_core.deploy.engine_cache import EngineCache
from ssvif_core.deploy.engine_entry import PROVIDER_SUFFIX, SUFFIX
from ssvif_core.errors import SsvifError
from ssvif_core.inference.engine import ENGINES, EngineOptions
from ssvif_core.memory import huge_pages
from ssvif_core.models import open_model, shipped_models

__all__ = ["doctor"]


#: Packages that say or do more when they are imported than is wanted (OpenVINO reports to its
#: makers, cuda-python warns of its own version), and the distributions that hold them. Others put
#: modules in `cuda` as well, such as cuda-pathfinder, which comes with torch and calls no CUDA.
NOT_IMPORTED = {"openvino": ["openvino"], "cuda": ["cuda-python", "cuda-bindings"]}


NO_HUGE_PAGES = (
    "this kernel gives nobody huge pages (docs/engines.md says what they are worth): "
    "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"
)


@dataclass(frozen=True)
class Part:
    """An importable package, what it is for, and how to get it."""

    module: str
    purpose: str
    remedy: str


PARTS = [
    Part("numpy", "runtime", "pip install ."),
    Part("cv2", "runtime", "pip install .   (robot: apt install python3-opencv)"),
    Part("onnxruntime", "engine on any CPU", "pip install ."),
    Part(
        "tensorrt", "engine on NVIDIA GPUs", "comes with JetPack, or from NVIDIA: docs/engines.md"
    ),
    Part("cuda", "engine on NVIDIA GPUs", "pip install cuda-python, of the CUDA that is installed"),
    Part("openvino", "engine on x86 CPUs (optional)", "pip install openvino"),
    Part("rclpy", "live node", "pip install '.[ros]'   (robot: a ROS 2 installation)"),
    Part("sensor_msgs", "live node", "pip install '.[ros]'   (robot: a ROS 2 installation)"),
    Part("message_filters", "live node (optional)", "apt install ros-$ROS_DISTRO-message-filters"),
    Part("cv_bridge", "unusual encodings (optional)", "apt install ros-$ROS_DISTRO-cv-bridge"),
    Part("tf2_msgs", "pose of /tf_static (optional)", "apt install ros-$ROS_DISTRO-tf2-msgs"),
    Part("vision_msgs", "label info (optional)", "apt install ros-$ROS_DISTRO-vision-msgs"),
    Part("launch_ros", "ros2 launch", "apt install ros-$ROS_DISTRO-launch-ros"),
    Part("torch", "training, export", "pip install '.[train]'"),
    Part("onnx", "export", "pip install '.[train]'"),
    Part("matplotlib", "reports of training runs", "pip install '.[train]'"),
    Part("PIL", "folders of pairs", "pip install '.[train]'"),
    Part("rosbags", "recordings", "pip install rosbags"),
    Part("av", "videos that browsers play (optional)", "pip install av"),
]


def doctor() -> None:
    """Say what is installed, which engines run, and how to get what is missing.

    Exit status 1 if no engine can run a shipped model.
    """
    console = Console()
    console.print(
        f"ssvif {__version__}, Python {platform.python_version()}, {platform.machine()}, "
        f"{os.cpu_count()} cores, ROS_DISTRO={os.environ.get('ROS_DISTRO', 'not set')}"
    )
    table = Table("package", "for", "state", title="Packages", title_justify="left")
    remedies: dict[str, list[str]] = {}
    for part in PARTS:
        version, problem = _version(part.module)
        state = (
            f"[green]{version}[/]"
            if version
            else f"[yellow]{'broken' if problem else 'missing'}[/]"
        )
        table.add_row(part.module, part.purpose, state)
        if problem:
            remedies.setdefault(problem, []).append(part.module)
        elif not version:
            remedies.setdefault(part.remedy, []).append(part.module)
    console.print(table)
    for remedy, modules in remedies.items():  # below the table, where no column breaks a command
        console.print(f"{', '.join(modules)}: {escape(remedy)}", highlight=False, soft_wrap=True)
    overlaid = _overlaid("onnxruntime")
    if overlaid:
        console.print(f"onnxruntime: {overlaid}", highlight=False, soft_wrap=True)
    working = _check_engines(console)
    if huge_pages() == "never":
        console.print(f"memory: {NO_HUGE_PAGES}", highlight=False, soft_wrap=True)
    if not working:
        raise SsvifError("No engine can run a shipped model: install one from the table above.")


def _version(module: str) -> tuple[str, str]:
    """Version of a package, "" if it is missing; and what is wrong with it if it is broken."""
    for name in NOT_IMPORTED.get(module, ()):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name), ""
    if module in NOT_IMPORTED:
        return "", ""
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        return "", "" if error.name == module else f"broken: {error}"
    except Exception as error:  # a broken package can raise anything
        advice = "; it is of another numpy: pip install 'numpy<2'" if "numpy" in str(error) else ""
        return "", f"broken: {error}{advice}"
    return str(getattr(loaded, "__version__", None) or _distribution_version(module)), ""


def _distribution_version(module: str) -> str:
    names = importlib.metadata.packages_distributions().get(module, [])
    return importlib.metadata.version(names[0]) if names else "installed"


def _overlaid(module: str) -> str:
    """What to do where several distributions have put their files of a module over each other."""
    names = sorted(set(importlib.metadata.packages_distributions().get(module, [])))
    if len(names) < 2:
        return ""
    return (
        f"{' and '.join(names)} lie over each other, and parts of either may be missing: pip "
        f"uninstall {' '.join(names)}, then install one of them (docs/engines.md)"
    )


def _check_engines(console: Console) -> bool:
    """Run each engine on each shipped model with one small frame."""
    table = Table("engine", "state", title="Engines, fastest first", title_justify="left")
    reasons: dict[str, str] = {}
    working = False
    for name in ENGINES:
        try:
            devices = {_try(name, model) for model in shipped_models()}
        except SsvifError as error:
            table.add_row(name, "[yellow]not here[/]")
            reasons[name] = str(error)
            continue
        except Exception as error:  # of a package that does not fit the machine or the others
            table.add_row(name, "[red]broken[/]")
            reasons[name] = repr(error)
            continue
        working = True
        table.add_row(name, f"[green]works[/] ({'; '.join(sorted(devices))})")
    console.print(table)
    for name, reason in reasons.items():  # below the table as well
        console.print(f"{name}: {escape(reason)}", highlight=False, soft_wrap=True)
    return working


def _try(engine_name: str, model: str) -> str:
    """What the engine says of itself after a frame. Raises SsvifError where it does not work."""
    *others, last = _options(engine_name, model)
    for options in others:  # built for several sizes, perhaps by a TensorRT of before
        with contextlib.suppress(SsvifError):
            return _run(engine_name, model, options)
    return _run(engine_name, model, last)


def _run(engine_name: str, model: str, options: EngineOptions) -> str:
    engine = ENGINES[engine_name](open_model(model), options)
    engine.warm_up(options.height, options.width)
    about = engine.describe()
    engine.close()
    return f"{about['device']}, {about['precision']}, version {about['version']}"


def _options(engine_name: str, model: str) -> list[EngineOptions]:
    """A small frame; for an engine that has to be built, all that it was built for, if it was."""
    if "tensorrt" not in engine_name:
        return [EngineOptions(threads=1, height=48, width=64)]
    suffix = SUFFIX if engine_name == "tensorrt" else PROVIDER_SUFFIX
    built = []
    for entry in EngineCache().built_for(open_model(model), suffix):
        width, height = map(int, entry.key["size"].split("x"))
        same = {name: entry.key[name] for name in ("precision", "dla_core")}
        built.append(EngineOptions(threads=1, height=height, width=width, **same))
    return built or [EngineOptions(threads=1)]
