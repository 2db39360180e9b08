"""Why two cameras' frames make no pair, from their stamps, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["why_no_pair"]


def why_no_pair(
    times: Mapping[str, Sequence[tuple[int, int]]], slop_s: float, offset_s: float
) -> str:
    """A sentence of what was found, and what would help.

    Args:
        times: "visible" and "thermal" -> header stamp and time of receipt of each frame that can be
            read, in nanoseconds.
        slop_s: greatest time between the frames of a pair, in seconds.
        offset_s: what was added to thermal stamps, in seconds.
    """
    arrays = {camera: np.array(rows, np.int64).reshape(-1, 2) for camera, rows in times.items()}
    stamped = {camera: rows[rows[:, 0] > 0] for camera, rows in arrays.items()}
    empty = [camera for camera, rows in arrays.items() if not len(rows)]
    if empty:
        return f"there is no {' and no '.join(empty)} frame that can be read"
    bare = [f"{len(arrays[c])} {c}" for c, rows in stamped.items() if not len(rows)]
    if bare:
        return (
            f"none of the {' and '.join(bare)} frames has a stamp: let the driver set "
            "header.stamp, and record again"
        )
    return _apart(stamped["visible"], stamped["thermal"], slop_s, offset_s)


def _apart(visible: np.ndarray, thermal: np.ndarray, slop_s: float, offset_s: float) -> str:
    felt = np.sort(thermal[:, 0] + round(offset_s * 1e9))
    seen = visible[:, 0]
    after = np.searchsorted(felt, seen).clip(0, len(felt) - 1)
    nearest = (
        np.minimum(abs(felt[after] - seen), abs(felt[(after - 1).clip(0)] - seen)).min() * 1e-9
    )
    said = f"the nearest stamps of the two cameras are {nearest:.3f} s apart (slop {slop_s:g} s)"
    if nearest <= slop_s:
        return f"{said}, but stamps are out of order: look at them with `ssvif replay`"
    lags = [float(np.median(rows[:, 1] - rows[:, 0])) for rows in (visible, thermal)]
    wanted_s = (lags[1] - lags[0]) * 1e-9
    if abs(wanted_s - offset_s) <= slop_s:
        return f"{said}: record both at the same time, or allow a greater slop"
    return (
        f"{said}: by the times of receipt the clocks differ, and {wanted_s:+.2f} s are to be added "
        "to thermal stamps (`ssvif calibrate --offset`, to which --time adds the rest; offset_s in "
        "a training file)"
    )
