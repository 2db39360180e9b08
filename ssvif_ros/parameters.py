"""Every parameter of the fusion node, declared once: default, description, range, live or not.

What replay knows as well may be what `ssvif_core/parameter_limits.py` says, for both.
A field of `Settings` is a parameter; its ROS name is the field's name with `__` read as a dot.
Live parameters apply to the next frame. The others shape what `configure` builds, so they can be
set in any state before it; another value is refused after it, with the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from ssvif_core.imaging.temperature import ABSOLUTE_ZERO_C
from ssvif_core.parameter_limits import LIMITS, crossed_limits, ros_name

__all__ = ["ParameterServer", "Settings", "ros_name"]


def _parameter(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    about = {
        "description": description, "low": low, "high": high, "choices": choices, "live": live
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True)
class Settings:
    """Values of all parameters at one moment. Times are in seconds."""

    model: str = _parameter("base", "Shipped model (base, tiny) or path of an ONNX file.")
    engine: str = _parameter(
        "auto", "Inference engine; auto takes the fastest that works and needs no building. A new "
        "one is loaded in the background and takes over between two frames.",
        **LIMITS["engine"], live=True,
    )  # fmt: skip
    precision: str = _parameter(
        "auto", "Precision of the model's file; auto: fp16 on a GPU where there is one, else fp32.",
        **LIMITS["precision"], live=True,
    )  # fmt: skip
    threads: int = _parameter(
        2, "CPU threads of the engine; 0: one for each core that the node may use (`cpus:=`).",
        **LIMITS["threads"],
    )  # fmt: skip
    warm_up_width: int = _parameter(
        640, "Expected width of the visible image: configure prepares the engine for it, so that "
        "the first frame does not wait. Other sizes work and are prepared when they come.",
        low=16, high=16384,
    )  # fmt: skip
    warm_up_height: int = _parameter(480, "Expected height, as above.", low=16, high=16384)
    tensorrt__build_on_start: bool = _parameter(
        False, "Where no TensorRT engine was built yet: build one in the background while "
        "onnxruntime runs, and switch over when it is there.",
    )  # fmt: skip
    tensorrt__workspace_mib: int = _parameter(
        0, "Limit of TensorRT's scratch memory while it builds [MiB]; 0: its own choice.",
        **LIMITS["tensorrt__workspace_mib"],
    )  # fmt: skip
    tensorrt__dla_core: int = _parameter(
        -1, "Core of the deep learning accelerator (Jetson Orin); -1: the GPU.",
        **LIMITS["tensorrt__dla_core"],
    )  # fmt: skip
    tensorrt__cache: str = _parameter(
        "", "Folder of built engines; empty: $SSVIF_ENGINES or ~/.cache/ssvif/engines."
    )
    visible_transport: str = _parameter(
        "raw", "How the visible camera sends: raw, or compressed (JPEG or PNG, on the topic "
        "`<visible/image_raw>/compressed`, as image_transport names it).",
        choices=("raw", "compressed"),
    )  # fmt: skip
    thermal_transport: str = _parameter(
        "raw", "The same for the thermal camera; 16 bits survive as PNG, not as JPEG.",
        choices=("raw", "compressed"),
    )  # fmt: skip
    sync__policy: str = _parameter(
        "nearest", "How frames are paired: nearest (one to one, nearest stamps), exact (equal "
        "stamps), hold (every visible frame at once, with the thermal frame that is there).",
        **LIMITS["sync__policy"],
    )  # fmt: skip
    queue_size: int = _parameter(
        15, "Frames of each camera that wait for a partner at most.", **LIMITS["queue_size"]
    )
    slop: float = _parameter(
        0.05, "Largest time between the two frames of a pair [s].", **LIMITS["slop"], live=True
    )
    max_wait: float = _parameter(
        0.1, "How long a pair is held back at most for a better match [s].",
        **LIMITS["max_wait"], live=True,
    )  # fmt: skip
    thermal_offset: float = _parameter(
        0.0, "Added to thermal stamps before they are compared [s]: negative if the thermal "
        "camera stamps its frames late.", **LIMITS["thermal_offset"], live=True,
    )  # fmt: skip
    max_thermal_age: float = _parameter(
        0.3, "Policy hold: largest time between the two frames of a pair [s].",
        **LIMITS["max_thermal_age"], live=True,
    )  # fmt: skip
    on_missing: str = _parameter(
        "fuse_single", "What to publish while one camera is missing: fuse_single (the network with "
        "a black image in its place), passthrough (the other camera's image, no masks), stop.",
        **LIMITS["on_missing"], live=True,
    )  # fmt: skip
    missing_after: float = _parameter(
        0.5, "A camera that is silent for this long while the other one sends is missing [s]; give "
        "slow cameras at least three frame periods.", **LIMITS["missing_after"], live=True,
    )  # fmt: skip
    frozen_after: float = _parameter(
        1.0, "A camera that repeats one picture for this long while the other one's changes is "
        "taken as missing [s]; 0: never.", **LIMITS["frozen_after"], live=True,
    )  # fmt: skip
    gain__mode: str = _parameter(
        "auto", "Thermal gain: auto (8 bit: none, else percentile), percentile, plateau, fixed, "
        "none.", **LIMITS["gain__mode"], live=True,
    )  # fmt: skip
    gain__low: float = _parameter(
        0.0, "What becomes black in mode fixed, in gain.unit.",
        **LIMITS["gain__low"], live=True,
    )  # fmt: skip
    gain__high: float = _parameter(
        65535.0, "What becomes white in mode fixed, in gain.unit.",
        **LIMITS["gain__high"], live=True,
    )  # fmt: skip
    gain__unit: str = _parameter(
        "counts", "Of gain.low and gain.high: counts (the numbers in the image) or celsius, where "
        "C = gain.celsius_at_zero + gain.kelvin_per_count x count.",
        **LIMITS["gain__unit"], live=True,
    )  # fmt: skip
    gain__kelvin_per_count: float = _parameter(
        0.01, "Of a radiometric camera (unit celsius): 0.01 for centikelvin (TLinear high "
        "resolution), 0.1 for TLinear low resolution and Optris, 1 for 32FC1 temperatures.",
        **LIMITS["gain__kelvin_per_count"], live=True,
    )  # fmt: skip
    gain__celsius_at_zero: float = _parameter(
        ABSOLUTE_ZERO_C, "Temperature of count 0 (unit celsius): -273.15 for scales in Kelvin, "
        "-100 for Optris, 0 for 32FC1 in Celsius.", **LIMITS["gain__celsius_at_zero"], live=True,
    )  # fmt: skip
    gain__low_percentile: float = _parameter(
        1.0, "Percentile that becomes black (modes percentile and plateau).",
        **LIMITS["gain__low_percentile"], live=True,
    )  # fmt: skip
    gain__high_percentile: float = _parameter(
        99.5, "Percentile that becomes white (modes percentile and plateau).",
        **LIMITS["gain__high_percentile"], live=True,
    )  # fmt: skip
    gain__plateau: float = _parameter(
        1.0, "Mode plateau: most that one shade of the scene counts, in units of the mean; 0 is "
        "linear, 10 is nearly histogram equalisation.", **LIMITS["gain__plateau"], live=True,
    )  # fmt: skip
    gain__time_constant: float = _parameter(
        1.0, "Time in which the gain follows the scene [s]; 0 follows at once and flickers.",
        **LIMITS["gain__time_constant"], live=True,
    )  # fmt: skip
    thermal__bad_pixels: str = _parameter(
        "auto", "Dead and hot pixels of the thermal camera: auto finds and replaces them; none.",
        **LIMITS["thermal__bad_pixels"], live=True,
    )  # fmt: skip
    thermal__stripes: str = _parameter(
        "none", "Stripes of the thermal sensor that stay where they are, taken off before the "
        "gain: none, columns, rows, both.", **LIMITS["thermal__stripes"], live=True,
    )  # fmt: skip
    output_encoding: str = _parameter(
        "rgb8", "Encoding of ~/fused (and ~/overlay, which stays in colour): rgb8, bgr8, mono8.",
        choices=("rgb8", "bgr8", "mono8"), live=True,
    )  # fmt: skip
    output_scale: float = _parameter(
        1.0, "Size of the published images in parts of the visible camera's; camera_info follows.",
        low=0.1, high=1.0, live=True,
    )  # fmt: skip
    compressed__jpeg_quality: int = _parameter(
        90, "JPEG quality of ~/fused/compressed and ~/overlay/compressed; ~/labels/compressed is "
        "PNG, without loss.", low=1, high=100, live=True,
    )  # fmt: skip
    registration__mode: str = _parameter(
        "auto", "How thermal comes onto the visible grid: file, camera_info (intrinsics of both, "
        "pose and depth), none (same field of view); auto: file or camera_info if the parameters "
        "below say so, else none.", **LIMITS["registration__mode"],
    )  # fmt: skip
    registration__file: str = _parameter("", "File of `ssvif calibrate` (mode file).")
    registration__extrinsics: str = _parameter(
        "", "Pose of the thermal camera in the visible one's optical frame, 'x y z roll pitch yaw' "
        "or 'x y z qx qy qz qw' [m, rad] (mode camera_info); empty: from /tf_static.",
    )  # fmt: skip
    registration__depth: float = _parameter(
        10.0, "Distance at which the two images match [m] (mode camera_info).",
        **LIMITS["registration__depth"], live=True,
    )  # fmt: skip
    overlay_alpha: float = _parameter(
        0.45, "Opacity of the masks on ~/overlay.", **LIMITS["overlay_alpha"], live=True
    )
    warn_after: float = _parameter(
        5.0, "A camera that is silent, or a /clock that stands still, for this long is warned "
        "about, again and again [s].", low=0.1, high=3600.0, live=True,
    )  # fmt: skip
    expected_rate__visible: float = _parameter(
        0.0, "Rate of the visible camera [Hz]: a shortfall is warned about; 0: any rate. Frames "
        "that are lost on the way are noticed without it, by gaps between stamps.",
        low=0.0, high=1000.0, live=True,
    )  # fmt: skip
    expected_rate__thermal: float = _parameter(
        0.0, "Rate of the thermal camera [Hz], as above.", low=0.0, high=1000.0, live=True
    )
    snapshot_folder: str = _parameter(
        "", "Folder that ~/snapshot writes to; empty: ssvif_snapshots in $ROS_HOME or ~/.ros.",
        live=True,
    )  # fmt: skip


_FIELDS = {ros_name(field.name): field for field in dataclasses.fields(Settings)}


class ParameterServer:
    """Declares all parameters on a node and keeps `settings` in step with them.

    Args:
        node: to declare on.
        is_configured: whether parameters that are not live are in use now.
        on_change: called after live parameters changed, with the new settings.

    Raises:
        rclpy.exceptions.InvalidParameterValueException: a value given at start is not allowed;
            its message says why.
    """

    def __init__(
        self,
        node: Node,
        is_configured: Callable[[], bool],
        on_change: Callable[[Settings], None],
    ) -> None:
        self._is_configured, self._on_change = is_configured, on_change
        self.settings = Settings()
        node.add_on_set_parameters_callback(self._check)
        declared = node.declare_parameters(
            "", [(name, field.default, _descriptor(field)) for name, field in _FIELDS.items()]
        )
        self.settings = self._with(declared)
        if hasattr(node, "add_post_set_parameters_callback"):
            node.add_post_set_parameters_callback(self._apply)
        else:  # humble knows only the callback that checks
            node.add_on_set_parameters_callback(self._apply_checked)
        if reason := _crossed_limits(self.settings):  # each was declared alone
            raise InvalidParameterValueException("gain.low", self.settings.gain__low, reason)

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            field = _FIELDS.get(parameter.name)
            if field is None:
                continue
            choices = field.metadata["choices"]
            if choices and parameter.value not in choices:
                reason = f"{parameter.name} is '{parameter.value}': use one of {list(choices)}"
                return SetParametersResult(successful=False, reason=reason)
            new = parameter.value != getattr(self.settings, field.name)
            if new and not field.metadata["live"] and self._is_configured():
                reason = f"{parameter.name} applies at configure: clean the node up, set it, and "
                return SetParametersResult(successful=False, reason=reason + "configure again")
        reason = _crossed_limits(self._with(parameters))
        return SetParametersResult(successful=not reason, reason=reason)

    def _apply_checked(self, parameters: list[Parameter]) -> SetParametersResult:
        result = self._check(parameters)
        if result.successful:
            self._apply(parameters)
        return result

    def _apply(self, parameters: list[Parameter]) -> None:
        if any(parameter.name in _FIELDS for parameter in parameters):
            self.settings = self._with(parameters)
            self._on_change(self.settings)

    def _with(self, parameters: list[Parameter]) -> Settings:
        """The settings with these values."""
        changes = {_FIELDS[p.name].name: p.value for p in parameters if p.name in _FIELDS}
        return dataclasses.replace(self.settings, **changes)


def _crossed_limits(settings: Settings) -> str:
    s = settings
    why = crossed_limits(s.gain__mode, s.gain__low, s.gain__high)
    both = "set the other limit first, or both at once (set_parameters_atomically)"
    return why and f"{why}: {both}"


def _descriptor(field: dataclasses.Field[Any]) -> ParameterDescriptor:
    about = field.metadata
    descriptor = ParameterDescriptor(description=about["description"])
    if about["choices"]:
        descriptor.additional_constraints = "one of " + ", ".join(about["choices"])
    if about["low"] is not None and isinstance(field.default, float):
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(about["low"]), to_value=float(about["high"]))
        ]
    elif about["low"] is not None:
        descriptor.integer_range = [
            IntegerRange(from_value=int(about["low"]), to_value=int(about["high"]), step=1)
        ]
    return descriptor
