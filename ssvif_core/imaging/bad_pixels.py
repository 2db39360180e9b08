"""Dead, hot and stuck pixels: found while frames go by, and replaced by their neighbours.

A bad pixel is told from a small hot thing by three signs. It differs from its neighbours by far
more than noise; it does so in the same place, frame after frame; and it is sharper than any lens
can draw: a point that is seen through a lens lights its neighbours too (with a spot as small as
0.4 pixels by an eighth of its own height), a defect does not. Only single pixels are taken, so that
thin wires and edges never are. Knows arrays, no cameras or messages.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.scene_limits import middle

__all__ = ["BadPixels", "fill_not_finite"]

#: Every second frame is looked at, in one of so many bands of rows, in turn. A look takes a
#: hundredth of what the engine takes on a CPU, and a defect stays.
EVERY, BANDS = 2, 16
#: Rows around a band that are looked at with it.
MARGIN = 2
#: Looks with the three signs, less those without, that make a pixel bad: 8.5 s at 30 Hz. One that
#: falls to 0 again is good again.
LOOKS_NEEDED = 8
#: A deviation is one from so many standard deviations of the noise on.
NOISE_FACTOR = 8.0
#: Least deviation in the frame's numbers; float frames are temperatures.
LEAST_DEVIATION = {np.dtype(np.uint8): 4.0, np.dtype(np.uint16): 8.0, np.dtype(np.float32): 0.1}
#: And it is so many times what any of the 24 pixels around deviates: in leaves nothing stands out.
TEXTURE_FACTOR = 2.0
#: A lens gives the four next pixels at least this part of a point's height, on average.
LENS_SPREAD = 0.08
#: More than this part of all pixels is no defect of a sensor but a picture that was not understood.
#: A few are none in a picture that is small.
MOST, FEW = 0.01, 4
#: Nor is it worth looking closer where so much of the picture is texture.
MOST_FAR = 0.2
#: More holes than this are filled with one value, for looking around each of them takes long.
MOST_HOLES = 0.05
#: Beyond it a float32 cannot tell two neighbouring numbers apart: no camera measures there, and
#: what drivers write for "no value" (FLT_MAX, 1e17) lies there.
LARGEST = 2.0**24
#: Rows and columns to the neighbours: the 8 of a 3 x 3, the 24 of a 5 x 5; and which of the 24 are
#: the four next ones.
AROUND = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x])
AROUND_5 = np.array([(y, x) for y in range(-2, 3) for x in range(-2, 3) if y or x])
NEXT = np.abs(AROUND_5).sum(axis=1) == 1


class BadPixels:
    """Finds and replaces bad pixels of one camera. Not thread safe."""

    def __init__(self) -> None:
        self._frames = 0
        self._dtype = np.dtype(np.uint16)
        self._scores = np.zeros((0, 0), np.int8)
        self._bad = np.zeros((0, 0), bool)
        self._where = np.zeros((0, 2), np.intp)
        self._repair: _Repair | None = None
        self._unseen: np.ndarray | None = None

    @property
    def count(self) -> int:
        """Pixels that are replaced now."""
        return len(self._where)

    @property
    def positions(self) -> np.ndarray:
        """(N, 2) int rows and columns of the pixels that are replaced now."""
        return self._where

    def apply(self, thermal: np.ndarray) -> np.ndarray:
        """Replace what the frames before have shown to be bad.

        Args:
            thermal: (H, W) uint8, uint16, or float32 without NaN and infinity. It must not change
                until `look` or the next call, which looks at it.

        Returns:
            The frame itself where it has no bad pixel, else a copy in which each has the median of
            its good neighbours.
        """
        self.look()
        if (thermal.shape, thermal.dtype) != (self._scores.shape, self._dtype):
            self._scores, self._bad = (
                np.zeros(thermal.shape, np.int8),
                np.zeros(thermal.shape, bool),
            )
            self._dtype, self._frames = thermal.dtype, 0
            self._where, self._repair = self._where[:0], None
        self._unseen = thermal
        return thermal if self._repair is None else self._repair.apply(thermal)

    def look(self) -> None:
        """Look for bad pixels in the last frame, unless that was done.

        The next `apply` does it otherwise: call this where nobody waits for the frame any more.
        """
        thermal, self._unseen = self._unseen, None
        if thermal is None:
            return
        looks, rest = divmod(self._frames, EVERY)
        self._frames += 1
        if rest == 0:
            self._look(thermal, looks % BANDS)

    def _look(self, thermal: np.ndarray, band: int) -> None:
        height = len(thermal)
        first, last = height * band // BANDS, height * (band + 1) // BANDS
        begin, end = max(0, first - MARGIN), min(height, last + MARGIN)
        if last == first or min(end - begin, thermal.shape[1]) < 2 * MARGIN + 1:
            return
        suspects = _suspects(thermal[begin:end])[first - begin : last - begin]
        scores, bad = self._scores[first:last], self._bad[first:last]
        if not scores.any() and not suspects.any():  # as in most frames: nothing to keep
            return
        np.clip(scores + (2 * suspects.astype(np.int8) - 1), 0, 2 * LOOKS_NEEDED, out=scores)
        now = (scores >= LOOKS_NEEDED) | (bad & (scores > 0))
        if not np.array_equal(now, bad):
            bad[:] = now
            self._where = np.argwhere(self._bad)
            self._repair = _Repair(self._where, thermal.shape) if len(self._where) else None


def _suspects(thermal: np.ndarray) -> np.ndarray:
    """(H, W) bool: single pixels that no lens could have drawn, in this frame alone."""
    apart = cv2.absdiff(thermal, cv2.medianBlur(thermal, 3))
    noise = 1.4826 * middle(apart[::2, ::4])
    far = apart > max(NOISE_FACTOR * noise, LEAST_DEVIATION[thermal.dtype])
    suspects = np.zeros(thermal.shape, bool)
    if not 0 < np.count_nonzero(far) <= MOST_FAR * thermal.size:
        return suspects
    crowd = cv2.boxFilter(
        far.view(np.uint8), -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    # Several times as fast as np.nonzero and np.median, which this costs most of its time in.
    rows, columns = np.divmod(np.flatnonzero(far & (crowd == 1)), thermal.shape[1])
    values = thermal.astype(np.float32)
    around = _neighbours(values, rows, columns)
    background = np.sort(around, axis=1)[:, 11:13].mean(axis=1)  # the median of 24
    height = values[rows, columns] - background
    texture = np.abs(around - background[:, None]).max(axis=1)
    spread = (around[:, NEXT].mean(axis=1) - background) * np.sign(height)
    height = np.abs(height)
    bad = (height > TEXTURE_FACTOR * texture) & (spread < LENS_SPREAD * height)
    if np.count_nonzero(bad) <= max(FEW, MOST * thermal.size):
        suspects[rows[bad], columns[bad]] = True
    return suspects


def _neighbours(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(N, 24) values of the 5 x 5 around each place; mirrored at the border."""
    height, width = values.shape
    y = _mirrored(rows[:, None] + AROUND_5[:, 0], height)
    x = _mirrored(columns[:, None] + AROUND_5[:, 1], width)
    return values[y, x]


def _mirrored(index: np.ndarray, size: int) -> np.ndarray:
    return size - 1 - np.abs(size - 1 - np.abs(index))


class _Repair:
    """Where the good neighbours of some places are: worked out once, used for every frame.

    Args:
        where: (N, 2) rows and columns.
        shape: of the frames.
    """

    def __init__(self, where: np.ndarray, shape: tuple[int, ...]) -> None:
        height, width = shape
        near = where[:, None] + AROUND
        outside = ((near < 0) | (near >= (height, width))).any(axis=2)
        near = np.clip(near, 0, (height - 1, width - 1))
        bad = np.zeros(shape, bool)
        bad[tuple(where.T)] = True
        skip = outside | bad[near[..., 0], near[..., 1]]
        good = (~skip).sum(axis=1)
        known = good > 0
        self._places = where[known, 0] * width + where[known, 1]
        self._near = (near[known, :, 0] * width + near[known, :, 1]).astype(np.intp)
        self._skip, good = skip[known], good[known]
        rows = np.arange(len(good))
        self._lower, self._upper = (rows, (good - 1) // 2), (rows, good // 2)

    def apply(self, thermal: np.ndarray) -> np.ndarray:
        """A copy in which each place has the median of its good neighbours, if it has any."""
        values = thermal.take(self._near).astype(np.float32)
        values[self._skip] = np.inf  # sorted to the end, where no median is
        values.sort(axis=1)
        medians = (values[self._lower] + values[self._upper]) / 2
        result = thermal.copy()
        exact = thermal.dtype == np.float32
        result.reshape(-1)[self._places] = medians if exact else np.rint(medians)
        return result


def fill_not_finite(temperatures: np.ndarray) -> np.ndarray:
    """Float frames without NaN, infinity and numbers beyond `LARGEST`, as FLT_MAX.

    They stand for pixels that a driver knows to be bad.

    Args:
        temperatures: (H, W) float32.

    Returns:
        The frame itself where all pixels are finite; else a copy in which the others have the
        median of their finite neighbours, and, where there is none, of the whole frame.

    Raises:
        SsvifError: no pixel is finite.
    """
    if math.isfinite(cv2.sumElems(temperatures)[0]):
        low, high, _, _ = cv2.minMaxLoc(temperatures)
        if max(-low, high) <= LARGEST:
            return temperatures
    finite = np.abs(temperatures) <= LARGEST
    if not finite.any():
        raise SsvifError(
            "No pixel of the thermal image is a finite number that a camera can measure: look at "
            "its driver."
        )
    filled = np.where(finite, temperatures, np.median(temperatures[finite]))
    holes = np.argwhere(~finite)
    if len(holes) <= MOST_HOLES * temperatures.size:
        return _Repair(holes, filled.shape).apply(filled)
    return filled
