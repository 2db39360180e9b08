"""Frames that a camera stamped and nobody received: gaps between stamps. Knows stamps only.

A camera's stamps are a grid: one period apart, whatever the transport does to the frames. A frame
that is lost on the way leaves a gap of two periods. So a loss is seen without being told the rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["StampGaps", "stamp_gaps"]

#: Fewer intervals than this say nothing.
INTERVALS_NEEDED = 10
#: A pause longer than this is no loss: the camera was off.
PAUSE_NS = 5_000_000_000
#: Greatest mean distance of the intervals from whole multiples of the period, in periods. Above
#: it the stamps are no grid (a camera in free exposure, stamps of arrival) and tell nothing.
IRREGULAR = 0.15


@dataclass(frozen=True)
class StampGaps:
    """What the gaps say.

    Attributes:
        period_s: of the camera, not of what arrived.
        lost: frames that are missing between the first stamp and the last.
        lost_share: of all frames that the camera stamped in that time, 0..1.
    """

    period_s: float
    lost: int
    lost_share: float


def stamp_gaps(stamps_ns: Sequence[int]) -> StampGaps | None:
    """Look for missing frames among stamps in the order of arrival.

    Args:
        stamps_ns: of one camera; only what follows the last step back or pause is looked
            at.

    Returns:
        None where there are too few stamps, or they lie on no grid.
    """
    intervals = np.diff(np.asarray(stamps_ns, np.int64))
    breaks = np.flatnonzero((intervals < 0) | (intervals > PAUSE_NS))
    if breaks.size:
        intervals = intervals[breaks[-1] + 1 :]
    intervals = intervals[intervals > 0]
    if len(intervals) < INTERVALS_NEEDED:
        return None
    # Short intervals are of one period even where most frames are lost; the mean of all, each
    # divided by its multiple, then takes the jitter out. Twice: the first guess may be short.
    period = float(np.percentile(intervals, 10))
    for _ in range(2):
        multiples = np.maximum(np.rint(intervals / period), 1)
        period = float(intervals.sum() / multiples.sum())
    if np.abs(intervals / period - multiples).mean() > IRREGULAR:
        return None
    stamped = int(multiples.sum())
    lost = stamped - len(intervals)
    return StampGaps(period * 1e-9, lost, lost / stamped)
