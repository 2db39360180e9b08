"""Frames that a camera stamped and nobody received: gaps between stamps. Knows stamps only.

A camera's stamps are a grid: one period apart, whatever the transport does to the frames. A frame
that is lost on the way leaves a gap of two periods. So a loss is seen without being told the rate.
A rate that changes (exposure in the dark halves it) is told from losses by runs: those come mixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["StampGaps", "stamp_gaps"]

#: Fewer intervals than this say nothing.
INTERVALS_NEEDED = 10
#: After a pause longer than this the camera is another one: what was before says nothing.
PAUSE_NS = 5_000_000_000
#: A gap of more than both is no loss but silence (its driver was started again), which is noticed
#: as such: `ssvif_core.presence`.
SILENCE_NS, SILENCE_PERIODS = 500_000_000, 10
#: Intervals in a row that differ by less than this share, each from the next, are a run; its median
#: is a period of the camera. Jitter breaks runs, and losses do: five alike are hardly ever lost.
STEADY, STEADY_RUN = 0.25, 5
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
        stamps_ns: of one camera; only what follows the last step back, pause or change of rate is
            looked at.

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
    # Short intervals are of one period even where most frames are lost.
    silence = max(SILENCE_NS, SILENCE_PERIODS * int(np.percentile(intervals, 10)))
    intervals = _of_one_rate(intervals[intervals <= silence])
    if len(intervals) < INTERVALS_NEEDED:
        return None
    # The mean of all, each divided by its multiple, takes the jitter out. Twice: the first guess
    # may be short.
    period = float(np.percentile(intervals, 10))
    for _ in range(2):
        multiples = np.maximum(np.rint(intervals / period), 1)
        period = float(intervals.sum() / multiples.sum())
    if np.abs(intervals / period - multiples).mean() > IRREGULAR:
        return None
    stamped = int(multiples.sum())
    lost = stamped - len(intervals)
    return StampGaps(period * 1e-9, lost, lost / stamped)


def _of_one_rate(intervals: np.ndarray) -> np.ndarray:
    """What follows the last change of the camera's rate; all of it where there is none."""
    apart = np.abs(np.diff(intervals)) > STEADY * np.minimum(intervals[1:], intervals[:-1])
    runs = np.split(np.arange(len(intervals)), np.flatnonzero(apart) + 1)
    runs = [run for run in runs if len(run) >= STEADY_RUN]
    if not runs:
        return intervals
    periods = np.array([np.median(intervals[run]) for run in runs])
    others = np.flatnonzero(np.abs(periods / periods[-1] - 1) > STEADY)
    return intervals[runs[others[-1] + 1][0] :] if others.size else intervals
