"""The node's parameters that decide what replay gives, from the node's own YAML file.

Names, defaults and meaning are those of the node (`ros2 param describe /fusion NAME`); a test keeps
the defaults in step. `build` is the one place where they become a pairing and a pipeline.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.registration import Alignment, Registration
from ssvif_core.imaging.temperature import TemperatureScale
from ssvif_core.imaging.thermal_cleaning import ThermalCleaning
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.engine import Engine, EngineOptions, create_engine
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.models import Model, open_model
from ssvif_core.pairing_base import Pairing
from ssvif_core.parameter_limits import NODE_ALONE, check_parameter, crossed_limits, ros_name
from ssvif_core.presence import Presence
from ssvif_core.replay.registration import PoseBetween, alignment_of
from ssvif_core.sync_policies import make_pairing

__all__ = ["NodeSettings", "Parts", "build", "engine_for", "read_settings"]

log = logging.getLogger("ssvif.replay")

#: Name of the node, in whatever namespace.
NODE = "fusion"
#: What any node may have.
ANY_NODE = ("use_sim_time", "qos_overrides", "start_type_description_service")


class _AsRos(yaml.SafeLoader):
    """Also takes 5e-2 and 1.0e3 for numbers, as ROS does (YAML 1.2); YAML 1.1 wants 1.0e+3."""


_AsRos.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    [*"-+.0123456789"],
)


@dataclass(frozen=True)
class NodeSettings:
    """Values of the parameters; a dot in a parameter's name is `__` here. Times are in seconds.

    Raises:
        SsvifError: a value that the node would refuse.
    """

    model: str = "base"
    engine: str = "auto"
    precision: str = "auto"
    threads: int = 2
    tensorrt__workspace_mib: int = 0
    tensorrt__dla_core: int = -1
    tensorrt__cache: str = ""
    sync__policy: str = "nearest"
    queue_size: int = 15
    slop: float = 0.05
    max_wait: float = 0.1
    thermal_offset: float = 0.0
    max_thermal_age: float = 0.3
    on_missing: str = "fuse_single"
    missing_after: float = 0.5
    frozen_after: float = 1.0
    gain__mode: str = "auto"
    gain__low: float = 0.0
    gain__high: float = 65535.0
    gain__unit: str = "counts"
    gain__kelvin_per_count: float = 0.01
    gain__celsius_at_zero: float = -273.15
    gain__low_percentile: float = 1.0
    gain__high_percentile: float = 99.5
    gain__plateau: float = 1.0
    gain__time_constant: float = 1.0
    thermal__bad_pixels: str = "auto"
    thermal__stripes: str = "none"
    registration__mode: str = "auto"
    registration__file: str = ""
    registration__extrinsics: str = ""
    registration__depth: float = 10.0
    overlay_alpha: float = 0.45

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            check_parameter(name, value)
        if why := crossed_limits(self.gain__mode, self.gain__low, self.gain__high):
            raise SsvifError(f"{why}: correct one of them.")

    def parameters(self) -> dict[str, Any]:
        """By the node's names."""
        return {ros_name(key): value for key, value in vars(self).items()}


@dataclass(frozen=True)
class Parts:
    """What frames go through, made from settings.

    Attributes:
        pairing: which frames belong together.
        presence: which cameras live.
        pipeline: owns the engine: close it.
        model: with its card.
        why: which engine, and why that one.
        alignment: what registers thermal, or None.
        registration: the same in words, or why there is none.
    """

    pairing: Pairing[Any, Any]
    presence: Presence
    pipeline: Pipeline
    model: Model
    why: str
    alignment: Alignment | None
    registration: str


def build(
    settings: NodeSettings,
    size: tuple[int, int],
    infos: dict[str, Any],
    pose_between: PoseBetween | None = None,
) -> Parts:
    """Pairing and pipeline as the node would make them.

    Args:
        settings: the node's parameters.
        size: (height, width) of the visible frames.
        infos: "visible" and "thermal" -> CameraInfo, as far as there are any.
        pose_between: looks up poses between two frames, as `Recording.pose`.

    Raises:
        SsvifError: the model, the engine or the registration cannot be had.
    """
    s = settings
    pairing = make_pairing(
        s.sync__policy,
        slop_s=s.slop,
        queue_size=s.queue_size,
        max_wait_s=s.max_wait,
        max_thermal_age_s=s.max_thermal_age,
        thermal_offset_s=s.thermal_offset,
    )
    pairing.singles = s.on_missing != "stop"
    presence = Presence(s.missing_after, s.frozen_after)
    gain = ThermalGain(
        mode=s.gain__mode,
        low=s.gain__low,
        high=s.gain__high,
        unit=s.gain__unit,
        scale=TemperatureScale(s.gain__kelvin_per_count, s.gain__celsius_at_zero),
        low_percentile=s.gain__low_percentile,
        high_percentile=s.gain__high_percentile,
        plateau=s.gain__plateau,
        time_constant_s=s.gain__time_constant,
    )
    alignment, registered = alignment_of(
        s.registration__mode,
        s.registration__file,
        s.registration__extrinsics,
        s.registration__depth,
        infos,
        pose_between,
    )
    registration = None if alignment is None else Registration(alignment)
    model = open_model(s.model)
    engine, why = engine_for(model, s, size)
    cleaning = ThermalCleaning(s.thermal__bad_pixels, s.thermal__stripes)
    pipeline = Pipeline(engine, gain, registration, cleaning)
    return Parts(pairing, presence, pipeline, model, why, alignment, registered)


def engine_for(model: Model, settings: NodeSettings, size: tuple[int, int]) -> tuple[Engine, str]:
    """A warm engine as the settings say, and why that one.

    Args:
        model: opened; `settings.model` does not matter.
        settings: the node's parameters.
        size: (height, width) of the frames.

    Raises:
        SsvifError: the engine cannot be had.
    """
    s = settings
    options = EngineOptions(
        threads=s.threads,
        precision=s.precision,
        height=size[0],
        width=size[1],
        workspace_mib=s.tensorrt__workspace_mib,
        dla_core=s.tensorrt__dla_core,
        cache=Path(s.tensorrt__cache) if s.tensorrt__cache else None,
    )
    engine, why = create_engine(model, s.engine, options)
    engine.warm_up(*size)
    return engine, why


def read_settings(
    path: Path | None, overrides: dict[str, Any] | None = None, node: str | None = None
) -> NodeSettings:
    """Settings from a parameter file of the node.

    Args:
        path: YAML with sections such as `/**` or `/fusion`, and `ros__parameters` in them; later
            and more particular sections win, as in ROS. None: the defaults.
        overrides: values by field name that win over the file; None values are left out.
        node: the node's name with its namespace, as /front/fusion; None: the only `fusion` that the
            file names, if any.

    Raises:
        SsvifError: the file cannot be read, is of several nodes, or a value has the wrong type or
            is one that the node would refuse, with the name of it; a node is named and no file.
    """
    if node is not None and path is None:
        raise SsvifError(f"--node {node} says whose parameters --params holds: give that file too.")
    values = {} if path is None else _from_file(path, node)
    if path is not None:
        _warn_of_unknown(path, values)
    values |= {key: value for key, value in (overrides or {}).items() if value is not None}
    typed = {}
    for field in dataclasses.fields(NodeSettings):
        if field.name in values:
            typed[field.name] = _typed(field, values[field.name])
    return NodeSettings(**typed)


def _from_file(path: Path, node: str | None) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _AsRos)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SsvifError(f"Cannot read the parameters {path}: {error}") from error
    sections = {str(k): v for k, v in content.items()} if isinstance(content, dict) else {}
    matched = [section for section in sections if _reaches(section, node)]
    particular = [section for section in matched if "*" not in section]
    if len({_full(section) for section in particular}) > 1:
        raise SsvifError(
            f"{path} has parameters of several nodes: {', '.join(particular)}. Say which one with "
            f"--node {_full(particular[0])}."
        )
    found: dict[str, Any] = {}
    for section in sorted(matched, key=lambda name: "*" not in name):  # stable: /** first
        part = sections[section]
        parameters = part.get("ros__parameters") if isinstance(part, dict) else None
        if isinstance(parameters, dict):
            found |= _flat(parameters)
    if not found:
        raise SsvifError(
            f"{path} has no parameters for a node named {node or NODE}: expected a section `/**` "
            f"or `{_full(node or NODE)}` with `ros__parameters`, as in config/fusion.yaml."
        )
    return found


def _warn_of_unknown(path: Path, names: Iterable[str]) -> None:
    """Say which names the node does not have: it takes the defaults then, and says nothing."""
    known = [ros_name(field.name) for field in dataclasses.fields(NodeSettings)]
    known += map(ros_name, NODE_ALONE)
    for name in map(ros_name, names):
        if name not in known and name.split(".")[0] not in ANY_NODE:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else "it is left out."
            log.warning("%s: the node has no parameter %s: %s", path, name, hint)


def _reaches(section: str, node: str | None) -> bool:
    """Whether a section is of a node: `*` is one name, and `**` any number of them."""
    if node is None:
        return section.rsplit("/", 1)[-1] in ("**", "*", NODE)
    pattern = re.escape(_full(section)).replace(r"/\*\*", "(/[^/]+)*").replace(r"\*", "[^/]+")
    return re.fullmatch(pattern, _full(node)) is not None


def _full(name: str) -> str:
    return "/" + name.lstrip("/")


def _flat(parameters: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested and dotted names -> names of fields."""
    flat: dict[str, Any] = {}
    for key, value in parameters.items():
        name = prefix + str(key).replace(".", "__")
        flat |= _flat(value, f"{name}__") if isinstance(value, dict) else {name: value}
    return flat


def _typed(field: dataclasses.Field[Any], value: Any) -> Any:
    kind: Any = type(field.default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        raise SsvifError(  # ROS 2 has other types for 1 and 1.0, and no conversion
            f"The parameter {ros_name(field.name)} is {value}: write {float(value)}, for ROS "
            "refuses a whole number where a floating-point one is declared."
        )
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise SsvifError(
            f"The parameter {ros_name(field.name)} is {value!r}: give a value of type "
            f"{kind.__name__}, such as {field.default!r}."
        )
    return value
