"""The two ends of a scene's range of counts, followed over time without flicker.

What is low-passed is the linear map from counts to grey levels, not the two counts: then every
count's grey level goes its way with the time constant, and a very hot thing, which makes the range
ten times as large, moves the levels of the rest no faster than a warm one.

A low pass alone is wrong for one thing that every uncooled core does: after its shutter has closed
(flat-field correction) all counts are higher or lower by the same amount, and for a time constant
the picture would be too bright or too dark. Such a step shows in the distribution, whose quantiles
all move by the same amount between two frames, as they seldom do when a camera turns; and in the
pixels, most of which move by it too, as they do not when an object enters. The limits are then
moved with it, at once.
"""

from __future__ import annotations

import numpy as np

__all__ = ["SceneLimits", "in_order", "middle", "quantiles"]

#: Quantiles that are watched for a common step [%].
WATCHED = np.arange(5.0, 100.0, 10.0)
#: A step is followed from this part of the range on: about 2.5 grey levels.
SMALLEST_STEP = 0.01
#: This part of the quantiles must have moved alike, and they may differ by this part of the step.
AGREEING, TOLERANCE = 0.8, 0.25
#: The middle one of all pixels' own changes may differ from the step by this part of it.
PIXEL_TOLERANCE = 0.5


def in_order(values: np.ndarray) -> np.ndarray:
    """All values of an array of any shape, (N,) ascending."""
    # A stable sort is a radix sort for 8 and 16 bit, which is fast; for floats it is slow.
    return np.sort(values, axis=None, kind=None if values.dtype.kind == "f" else "stable")


def middle(values: np.ndarray) -> float:
    """The median, as `np.median` gives it. That takes several times as long for a small array."""
    ordered = in_order(values)
    return (float(ordered[(len(ordered) - 1) // 2]) + float(ordered[len(ordered) // 2])) / 2


def quantiles(ordered: np.ndarray, percents: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """Percentiles of sorted values, linear between neighbours as `np.percentile` gives them.

    Args:
        ordered: (N,) ascending, N >= 1.
        percents: 0..100.

    Returns:
        float64, as many as `percents`.
    """
    place = np.asarray(percents, np.float64) / 100.0 * (len(ordered) - 1)
    below = place.astype(np.intp)
    above = np.minimum(below + 1, len(ordered) - 1)
    low, high = ordered[below].astype(np.float64), ordered[above].astype(np.float64)
    return low + (place - below) * (high - low)


class SceneLimits:
    """Low-passed percentiles of the frames so far.

    Attributes:
        steps: how many common steps were followed.
    """

    def __init__(self) -> None:
        self.steps = 0
        self._slope: float | None = None
        self._offset = 0.0
        self._watched = np.zeros(0)
        self._sample = np.zeros(0)

    @property
    def ends(self) -> tuple[float, float] | None:
        """The lower and the upper limit; None before the first frame."""
        if self._slope is None:
            return None
        return self._offset / self._slope, (1.0 + self._offset) / self._slope

    def reset(self) -> None:
        """Forget the frames so far; the next one sets the limits."""
        self._slope = None

    def follow(
        self,
        sample: np.ndarray,
        percents: tuple[float, float],
        min_span: float,
        part: float,
    ) -> float:
        """Take a frame.

        Args:
            sample: counts of some of its pixels, of any shape; the same pixels in every frame.
            percents: percentiles that are the limits.
            min_span: smallest distance between them; a narrower scene lies in their middle.
            part: of the way to this frame's percentiles, 0..1.

        Returns:
            The common step that was followed before that, in counts; mostly 0.
        """
        ordered = in_order(sample)
        watched = quantiles(ordered, WATCHED)
        low, high = quantiles(ordered, percents)
        low, high = _widened(float(low), float(high), min_span)
        # A level, 0 to 1, is slope x count - offset.
        slope, offset = 1.0 / (high - low), low / (high - low)
        step = 0.0
        if self._slope is None:
            self._slope, self._offset = slope, offset
        else:
            step = _common_step(watched - self._watched, 1.0 / self._slope)
            step = step if step and self._pixels_agree(sample, step) else 0.0
            self.steps += step != 0
            self._offset += self._slope * step
            self._slope += part * (slope - self._slope)
            self._offset += part * (offset - self._offset)
        self._watched, self._sample = watched, sample.copy()  # the caller may reuse its frame
        return step

    def _pixels_agree(self, sample: np.ndarray, step: float) -> bool:
        if sample.shape != self._sample.shape:
            return False
        moved = np.median(sample.astype(np.float32) - self._sample)
        return bool(abs(moved - step) <= PIXEL_TOLERANCE * abs(step))


def _widened(low: float, high: float, min_span: float) -> tuple[float, float]:
    missing = min_span - (high - low)
    return (low - missing / 2, high + missing / 2) if missing > 0 else (low, high)


def _common_step(moved: np.ndarray, span: float) -> float:
    """By how much all quantiles moved, or 0 where they did not move alike."""
    step = middle(moved)
    if abs(step) < SMALLEST_STEP * span:
        return 0.0
    agree = np.count_nonzero(np.abs(moved - step) <= TOLERANCE * abs(step))
    return step if agree >= AGREEING * len(moved) else 0.0
