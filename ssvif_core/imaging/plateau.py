"""Plateau equalisation: grey levels go to the counts that a scene has, but not without bound.

Vickers, "Plateau equalization algorithm for real-time display of high-quality infrared imagery",
Optical Engineering 35(7), 1996: histogram equalisation in which no bin counts for more than a
plateau, so that a large even area does not take all levels. Two bounds are added that thermal cores
have for the same reasons (FLIR Tau 2 AGC, 102-PS242-100-01; Lepton, 500-0659-00-09): a part of the
levels stays linear in the counts, so that a hot thing remains far above a cold one and gaps do not
close, and the slope is limited, so that noise is not blown up.
"""

from __future__ import annotations

import numpy as np

__all__ = ["PlateauCurve", "equalised"]

#: Part of the grey levels that is spread evenly over the range.
LINEAR_PART = 0.3
#: Of 16-bit counts this many low bits share a bin: finer than what noise leaves apart.
BIN_BITS = 2
#: Bins that the range between the limits is divided into, wherever they are: when a limit moves a
#: little, so does the curve.
RANGE_BINS = 256
LEVELS = 255.0


def equalised(histogram: np.ndarray, plateau: float, max_step: float) -> np.ndarray:
    """Grey levels at the edges of the bins of a histogram.

    Args:
        histogram: (N,) pixels in each bin of the range, N >= 1.
        plateau: most that a bin counts, in units of the mean bin; 0 is linear, a large value is
            ordinary equalisation.
        max_step: most levels that a bin may get.

    Returns:
        (N + 1,) float64, never falling. From 0 to 255, or a part of it around the middle where
        `max_step` left levels over.
    """
    count, total = len(histogram), float(histogram.sum())
    clipped = np.minimum(histogram, plateau * total / count)
    kept = float(clipped.sum())
    share = np.full(count, 1.0 / count)
    if kept > 0:
        share = LINEAR_PART * share + (1.0 - LINEAR_PART) * clipped / kept
    steps = np.minimum(LEVELS * share, max_step)
    levels = np.concatenate(([0.0], np.cumsum(steps)))
    return levels + max(0.0, LEVELS - levels[-1]) / 2


class PlateauCurve:
    """Curve from counts to grey levels; remembers the histogram of the frames before.

    Args:
        size: how many counts there are: 256 or 65536.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._bits = BIN_BITS if size > 256 else 0
        self._edges = np.arange((size >> self._bits) + 1, dtype=np.float64) * (1 << self._bits)
        self._histogram: np.ndarray | None = None

    def follow(self, sample: np.ndarray, part: float, step: float) -> None:
        """Take a frame.

        Args:
            sample: (N,) unsigned counts of some of its pixels.
            part: of the way to this frame's histogram, 0..1.
            step: by which all counts moved since the frame before, see `SceneLimits.follow`.
        """
        found = np.bincount(sample >> self._bits, minlength=self.size >> self._bits)
        before = self._histogram
        if before is None:
            self._histogram = found.astype(np.float64)
            return
        if step:
            before = _shifted(before, round(step / (1 << self._bits)))
        self._histogram = before + part * (found - before)

    def table(self, low: float, high: float, plateau: float, max_slope: float) -> np.ndarray:
        """Grey level of every count.

        Args:
            low: count at the lower end of the range that is equalised.
            high: at the upper one, above `low`. Beyond the two the levels go on to 0 and 255 with
                the largest slope.
            plateau: see `equalised`.
            max_slope: most levels for one count.

        Returns:
            (size,) uint8, never falling.
        """
        assert self._histogram is not None
        edges = np.linspace(low, high, RANGE_BINS + 1)
        below = np.concatenate(([0.0], np.cumsum(self._histogram)))
        histogram = np.diff(np.interp(edges, self._edges, below))
        levels = equalised(histogram, plateau, max_slope * (edges[1] - edges[0]))
        begin = low - levels[0] / max_slope
        end = high + (LEVELS - levels[-1]) / max_slope
        first, last = (int(np.clip(x, 0, self.size)) for x in (np.floor(begin), np.ceil(end) + 1))
        # Where the levels end at 0 and 255, `begin` and `end` are `low` and `high`: no step there.
        places = np.concatenate(([begin], edges, [end]))
        heights = np.concatenate(([0.0], levels, [LEVELS]))
        table = np.zeros(self.size, np.uint8)
        table[first:last] = np.rint(np.interp(np.arange(first, last), places, heights))
        table[last:] = 255
        return table


def _shifted(histogram: np.ndarray, bins: int) -> np.ndarray:
    moved = np.zeros_like(histogram)
    if bins >= 0:
        moved[bins:] = histogram[: len(histogram) - bins]
    else:
        moved[:bins] = histogram[-bins:]
    return moved
