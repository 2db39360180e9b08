"""What the node's parameters may be: one list for the node, which declares it, and for replay.

Names are those of the fields of both: a dot in a parameter's name is `__`. Parameters that only the
node has say it where they are declared (`ssvif_ros/parameters.py`).
"""

from __future__ import annotations

from numbers import Real
from typing import Any

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.camera_model import REGISTRATION_MODES
from ssvif_core.imaging.stripes import STRIPES
from ssvif_core.imaging.temperature import UNITS
from ssvif_core.imaging.thermal_cleaning import BAD_PIXEL_MODES
from ssvif_core.imaging.thermal_gain import GAIN_MODES
from ssvif_core.inference.engine import ENGINES
from ssvif_core.inference.options import MOST_THREADS
from ssvif_core.models import PRECISIONS
from ssvif_core.sync_policies import SYNC_POLICIES

__all__ = ["LIMITS", "NODE_ALONE", "check_parameter", "crossed_limits", "ros_name"]

#: What goes out while one camera is missing.
ON_MISSING = ("fuse_single", "passthrough", "stop")

#: Name of a field -> `choices`, or `low` and `high`, both allowed.
LIMITS: dict[str, dict[str, Any]] = {
    "engine": {"choices": ("auto", *ENGINES)},
    "precision": {"choices": ("auto", *PRECISIONS)},
    "threads": {"low": 0, "high": MOST_THREADS},
    "tensorrt__workspace_mib": {"low": 0, "high": 1048576},
    "tensorrt__dla_core": {"low": -1, "high": 7},
    "sync__policy": {"choices": tuple(SYNC_POLICIES)},
    "queue_size": {"low": 1, "high": 1000},
    "slop": {"low": 0.0, "high": 10.0},
    "max_wait": {"low": 0.0, "high": 10.0},
    "thermal_offset": {"low": -10.0, "high": 10.0},
    "max_thermal_age": {"low": 0.0, "high": 10.0},
    "on_missing": {"choices": ON_MISSING},
    "missing_after": {"low": 0.05, "high": 60.0},
    "frozen_after": {"low": 0.0, "high": 3600.0},
    "gain__mode": {"choices": GAIN_MODES},
    "gain__low": {"low": -300.0, "high": 65535.0},
    "gain__high": {"low": -300.0, "high": 65535.0},
    "gain__unit": {"choices": UNITS},
    "gain__kelvin_per_count": {"low": 1e-5, "high": 100.0},
    "gain__celsius_at_zero": {"low": -1000.0, "high": 1000.0},
    "gain__low_percentile": {"low": 0.0, "high": 49.0},
    "gain__high_percentile": {"low": 51.0, "high": 100.0},
    "gain__plateau": {"low": 0.0, "high": 100.0},
    "gain__time_constant": {"low": 0.0, "high": 600.0},
    "thermal__bad_pixels": {"choices": BAD_PIXEL_MODES},
    "thermal__stripes": {"choices": STRIPES},
    "registration__mode": {"choices": REGISTRATION_MODES},
    "registration__depth": {"low": 0.1, "high": 10000.0},
    "overlay_alpha": {"low": 0.0, "high": 1.0},
}

#: Parameters that only the node has: what topics, files and a running engine are asked for.
NODE_ALONE = (
    "warm_up_width", "warm_up_height", "tensorrt__build_on_start", "visible_transport",
    "thermal_transport", "output_encoding", "output_scale", "compressed__jpeg_quality",
    "warn_after", "expected_rate__visible", "expected_rate__thermal", "snapshot_folder",
)  # fmt: skip


def check_parameter(field_name: str, value: Any) -> None:
    """Refuse what the node would refuse. Raises SsvifError that says what is allowed."""
    limits = LIMITS.get(field_name, {})
    choices, low, high = (limits.get(key) for key in ("choices", "low", "high"))
    if choices and value not in choices:
        raise SsvifError(f"{ros_name(field_name)} is '{value}': use one of {list(choices)}.")
    if low is not None and not (isinstance(value, Real) and low <= value <= high):
        raise SsvifError(f"{ros_name(field_name)} is {value}: use {low:g} to {high:g}.")


def crossed_limits(mode: str, low: float, high: float) -> str:
    """Why no frame can be fused with these limits of the gain; "" if that is not so."""
    if mode != "fixed" or low < high:
        return ""
    return f"gain.mode fixed needs gain.low below gain.high, not {low:g} and {high:g}"


def ros_name(field_name: str) -> str:
    """`gain__mode` -> `gain.mode`."""
    return field_name.replace("__", ".")
