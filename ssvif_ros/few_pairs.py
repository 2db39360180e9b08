"""What to do where both cameras send and few frames pair: by the policy, from the newest stamps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssvif_ros.parameters import Settings

__all__ = ["few_pairs"]

#: Stamps that are further apart [s] are of two clocks, whatever the policy allows.
TWO_CLOCKS_S = 1.0


def few_pairs(settings: Settings, visible_ns: Sequence[int], thermal_ns: Sequence[int]) -> str:
    """A sentence for /diagnostics.

    Args:
        settings: of the node.
        visible_ns: stamps of the newest visible frames, in the order of arrival; at least one.
        thermal_ns: likewise.
    """
    policy, slop_s, age_s = settings.sync__policy, settings.slop, settings.max_thermal_age
    allowed_s = {"exact": 0.0, "hold": age_s}.get(policy, slop_s)
    offset_s = settings.thermal_offset
    newest_s = (thermal_ns[-1] - visible_ns[-1]) * 1e-9 + offset_s
    if abs(newest_s) > max(TWO_CLOCKS_S, allowed_s):
        return (
            f"Few frames pair: the newest stamps are {newest_s:.1f} s apart (thermal minus "
            "visible). Synchronise the cameras' clocks, or set thermal_offset."
        )
    if policy == "exact":
        apart_ms = _apart_ns(visible_ns, thermal_ns, round(offset_s * 1e9)) * 1e-6
        return (
            f"Few frames pair: sync.policy is exact, and stamps differ by {apart_ms:.3g} ms (of a "
            "thermal frame and the nearest visible one): set sync.policy to nearest, or have one "
            "trigger stamp both cameras."
        )
    if policy == "hold":
        return (
            f"Few visible frames find a thermal frame within max_thermal_age ({age_s} s): raise it "
            "to more than a thermal frame period and the transport, or set thermal_offset if one "
            "camera stamps late."
        )
    return (
        f"Few frames pair within slop ({slop_s} s): raise slop, or set thermal_offset if one "
        "camera stamps late."
    )


def _apart_ns(visible_ns: Sequence[int], thermal_ns: Sequence[int], offset_ns: int) -> int:
    """Median distance of a thermal frame to the nearest visible one."""
    visible, thermal = np.array(visible_ns, np.int64), np.array(thermal_ns, np.int64) + offset_ns
    return int(np.median(np.abs(thermal[:, None] - visible).min(axis=1)))
