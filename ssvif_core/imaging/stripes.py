"""Row and column stripes of a thermal core: offsets that stay, estimated while frames go by.

Each column (row) of an uncooled sensor is read by an amplifier of its own, so that its offset shows
as a stripe. As in Tendero, Landeau and Gilles, "Non-uniformity correction of infrared images by
midway equalization" (IPOL 2012), neighbouring columns are taken to see the same scene on the whole.
Here only their offset is matched, by a robust mean over the rows of the difference to the next
column. What is slow across the columns, or too large for a stripe, is the scene's and stays. Knows
arrays, no cameras or messages.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

__all__ = ["STRIPES", "Stripes"]

STRIPES = ("none", "columns", "rows", "both")

#: Frames between two looks.
LOOK_EVERY = 8
#: Of the lines across the stripes, every 8th is looked at, each time others.
LINE_STEP = 8
#: An offset above so many standard deviations of the noise is no stripe: 0.5 K of an uncooled core.
LARGEST = 10.0
#: Columns beside such a one that are left alone too, for a lens blurs the edges of things.
BESIDE = 2
#: Noise that whole numbers have at least.
ROUNDING = 0.3
#: Deviations beyond which the biweight leaves a value out: 95 % efficient (Mosteller and Tukey).
BIWEIGHT = 4.685
#: Columns over which what is slow is left in the picture (standard deviation of a Gaussian).
SLOW_COLUMNS = 16.0
#: Looks over which the offsets are averaged: 17 s at 30 Hz. Until then all looks count alike.
LOOKS_AVERAGED = 64
#: A look counts if the pixels have changed on average by so many deviations of the noise since the
#: one before that did: what stands in front of a camera that stands is not taken for a stripe.
MOVED = 2.0


class Stripes:
    """Removes the stripes of one camera. Not thread safe.

    Attributes:
        mode: one of `STRIPES`; may be changed between frames.
    """

    def __init__(self, mode: str = "none") -> None:
        self.mode = mode
        self._met: tuple[object, ...] = ()
        self._frames = self._looks = 0
        self._noise = 0.0
        self._seen = np.zeros((0, 0), np.float32)
        self._offsets: dict[int, np.ndarray] = {}
        self._planes: tuple[np.ndarray, np.ndarray] | None = None

    def offsets(self, axis: int) -> np.ndarray:
        """Offsets that are taken off now, of rows (axis 0) or columns (1); empty if none are."""
        return self._offsets.get(axis, np.zeros(0))

    def apply(self, thermal: np.ndarray) -> np.ndarray:
        """Take the stripes off, and now and then look at them again.

        Args:
            thermal: (H, W) uint8, uint16, or float32 without NaN and infinity.

        Returns:
            The frame itself in mode "none"; else a new one of its dtype. Counts saturate.
        """
        if self.mode == "none":
            return thermal
        met = (self.mode, thermal.shape, thermal.dtype)
        if met != self._met:
            self._met, self._frames, self._looks, self._offsets = met, 0, 0, {}
        if self._frames % LOOK_EVERY == 0:
            seen = thermal[::LINE_STEP, ::LINE_STEP].astype(np.float32)
            if not self._looks or np.abs(seen - self._seen).mean() > MOVED * self._noise:
                self._seen = seen
                self._look(thermal)
        self._frames += 1
        assert self._planes is not None
        above, below = self._planes
        return cv2.add(cv2.subtract(thermal, above), below)

    def _look(self, thermal: np.ndarray) -> None:
        axes = {"columns": (1,), "rows": (0,), "both": (0, 1)}[self.mode]
        part = 1.0 / min(self._looks + 1, LOOKS_AVERAGED)
        total = np.zeros(thermal.shape, np.float32)
        for axis in axes:
            lines = thermal if axis == 1 else thermal.T
            # All lines in the first look, which has nothing to be averaged with.
            some = self._looks > 0 and len(lines) > 8 * LINE_STEP
            lines = lines[self._looks % LINE_STEP :: LINE_STEP] if some else lines
            rounding = 0.0 if thermal.dtype == np.float32 else ROUNDING
            found, self._noise = _offsets(np.ascontiguousarray(lines, np.float32), rounding)
            before = self._offsets.get(axis, found)
            offsets = before + part * (found - before)
            self._offsets[axis] = offsets
            total += offsets if axis == 1 else offsets[:, None]
        self._looks += 1
        if thermal.dtype != np.float32:
            total = np.rint(total)
        # Two unsigned planes, for a saturating sum at the ends of the range.
        self._planes = (
            np.maximum(total, 0).astype(thermal.dtype),
            np.maximum(-total, 0).astype(thermal.dtype),
        )


def _offsets(lines: np.ndarray, least_noise: float) -> tuple[np.ndarray, float]:
    """Offset of every column of (N, W) float32 lines that run across the stripes, and the noise."""
    steps = np.diff(lines, axis=1)
    middle, spread = _location(steps)
    profile = np.concatenate(([0.0], np.cumsum(middle, dtype=np.float64))).astype(np.float32)
    noise = max(least_noise, float(np.median(spread)) / math.sqrt(2.0))
    is_stripe = np.ones_like(profile)
    # What is slow is the scene's, and so is what is large, which must not bend the slow curve.
    for _ in range(3):
        part = np.maximum(_slow(is_stripe), 1e-3)
        offsets = profile - _slow(profile * is_stripe) / part
        large = (np.abs(offsets) > LARGEST * noise).astype(np.uint8)
        near = cv2.dilate(large[None], np.ones((1, 2 * BESIDE + 1), np.uint8))[0]
        is_stripe = 1.0 - near.astype(np.float32)
    return offsets * is_stripe, noise


def _slow(profile: np.ndarray) -> np.ndarray:
    border = cv2.BORDER_REFLECT
    return cv2.GaussianBlur(profile[None], (0, 0), SLOW_COLUMNS, borderType=border)[0]


def _location(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where most of each column lies, and its deviation: Tukey's biweight, from the median on.

    Things that cover less than half of a column do not move it, as they would move the median.
    """
    center = np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(values - center), axis=0) + 1e-6
    for _ in range(2):
        weight = np.maximum(0.0, 1.0 - ((values - center) / (BIWEIGHT * spread)) ** 2) ** 2
        center = (weight * values).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-6)
    return center, spread
