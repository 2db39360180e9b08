"""Row and column stripes of a thermal core: offsets that stay, estimated while frames go by.

Each column (row) of an uncooled sensor is read by an amplifier of its own, so that its offset shows
as a stripe. As in Tendero, Landeau and Gilles, "Non-uniformity correction of infrared images by
midway equalization" (IPOL 2012), neighbouring columns are taken to see the same scene on the whole.
Here only their offset is matched, by the median over the rows of the difference to the next column;
a difference that is too large for a stripe is a thing in the scene and is left alone, and what is
slow across the columns stays, for it is the scene's. Knows arrays, no cameras or messages.
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
#: A step between neighbours above so many standard deviations of the noise is no stripe: 0.5 K.
STEP_LIMIT = 10.0
#: Columns over which what is slow is left in the picture (standard deviation of a Gaussian).
SLOW_COLUMNS = 24.0
#: Looks over which the offsets are averaged: 17 s at 30 Hz. Until then all looks count alike.
LOOKS_AVERAGED = 64


class Stripes:
    """Removes the stripes of one camera. Not thread safe.

    Attributes:
        mode: one of `STRIPES`; may be changed between frames.
    """

    def __init__(self, mode: str = "none") -> None:
        self.mode = mode
        self._met: tuple[object, ...] = ()
        self._frames = 0
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
            self._met, self._frames, self._offsets = met, 0, {}
        if self._frames % LOOK_EVERY == 0:
            self._look(thermal, self._frames // LOOK_EVERY)
        self._frames += 1
        assert self._planes is not None
        above, below = self._planes
        return cv2.add(cv2.subtract(thermal, above), below)

    def _look(self, thermal: np.ndarray, look: int) -> None:
        axes = {"columns": (1,), "rows": (0,), "both": (0, 1)}[self.mode]
        part = 1.0 / min(look + 1, LOOKS_AVERAGED)
        total = np.zeros(thermal.shape, np.float32)
        for axis in axes:
            lines = thermal if axis == 1 else thermal.T
            # All lines in the first look, which has nothing to be averaged with.
            lines = lines[look % LINE_STEP :: LINE_STEP] if look and len(lines) > 64 else lines
            found = _offsets(np.ascontiguousarray(lines, np.float32))
            before = self._offsets.get(axis, found)
            offsets = before + part * (found - before)
            self._offsets[axis] = offsets
            total += offsets if axis == 1 else offsets[:, None]
        if thermal.dtype != np.float32:
            total = np.rint(total)
        # Two unsigned planes, for a saturating sum at the ends of the range.
        self._planes = (
            np.maximum(total, 0).astype(thermal.dtype),
            np.maximum(-total, 0).astype(thermal.dtype),
        )


def _offsets(lines: np.ndarray) -> np.ndarray:
    """Offset of every column of (N, W) float32 lines that run across the stripes."""
    steps = lines[:, 1:] - lines[:, :-1]
    middle = np.median(steps, axis=0)
    noise = 1.4826 * float(np.median(np.abs(steps - middle))) / math.sqrt(2.0)
    middle[np.abs(middle) > STEP_LIMIT * noise] = 0.0
    profile = np.concatenate(([0.0], np.cumsum(middle, dtype=np.float64)))
    slow = cv2.GaussianBlur(
        profile[None].astype(np.float32), (0, 0), SLOW_COLUMNS, borderType=cv2.BORDER_REFLECT
    )[0]
    return profile - slow
