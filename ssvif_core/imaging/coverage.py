"""What happens where the thermal camera does not look: what the engine sees there, and the seam.

Measured on 46 real street pairs with the thermal frame cut to its central 70 %, see
docs/registration.md.
"""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["FeatheredEdge", "MirroredBorder"]

Size = tuple[int, int]

#: Width of the border that fades out, as part of the thermal image's width.
BORDER = 1 / 7
#: Width of the band in which fused becomes visible, as part of the visible image's width.
FEATHER = 1 / 10
#: Height of the rows of tiles in which the band is blended.
TILE = 32


class MirroredBorder:
    """Continues a thermal image beyond its edge: mirrored, and faded to its mean.

    Black would be an edge that no camera saw, and the network answers it: people near it are lost,
    and the dark mean makes it doubt the rest. The mean keeps the level, and the mirror the texture.

    Args:
        size: (width, height) of the thermal images.

    Attributes:
        width: of the border in pixels. Its outermost pixels have the mean.
    """

    def __init__(self, size: Size) -> None:
        self.width = n = max(0, min(round(size[0] * BORDER), size[0] - 1, size[1] - 1))
        axes = [np.arange(-n, length + n) for length in size]
        beyond = [
            np.maximum(0, np.maximum(-axis, axis - (length - 1)))
            for axis, length in zip(axes, size, strict=True)
        ]
        keep = 1 - np.hypot(*np.meshgrid(*beyond)) / max(n, 1)
        weight = np.round(255 * np.clip(keep, 0, 1)).astype(np.uint8)
        self._padded = np.empty(weight.shape, np.uint8)
        self._strips = [
            (self._padded[rows, columns], np.ascontiguousarray(weight[rows, columns]))
            for rows, columns in _frame(n)
        ]
        self._rest = [255 - weight for _, weight in self._strips]

    def apply(self, thermal: np.ndarray) -> np.ndarray:
        """The image with its border, (h + 2 n, w + 2 n) uint8; a buffer that is used again."""
        n = self.width
        if not n:
            return thermal
        mean = cv2.mean(thermal)[0]
        cv2.copyMakeBorder(thermal, n, n, n, n, cv2.BORDER_REFLECT_101, dst=self._padded)
        for (strip, weight), rest in zip(self._strips, self._rest, strict=True):
            faded = cv2.multiply(strip, weight, scale=1 / 255)
            strip[...] = cv2.add(faded, cv2.convertScaleAbs(rest, alpha=mean / 255))
        return self._padded


def _frame(n: int) -> list[tuple[slice, slice]]:
    """The four strips of a border of width n."""
    if not n:
        return []
    inner, everything = slice(n, -n), slice(None)
    first, last = slice(None, n), slice(-n, None)
    return [(first, everything), (last, everything), (inner, first), (inner, last)]


class FeatheredEdge:
    """Lets the fused image become the visible one towards the edge of what thermal covers.

    Args:
        covered: (H, W) bool; not everywhere true. The band lies inside of it: outside, the result
            is the visible image, bit for bit.
    """

    def __init__(self, covered: np.ndarray) -> None:
        width = max(4.0, FEATHER * covered.shape[1])
        inside = np.ascontiguousarray(covered, np.uint8)
        distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        ramp = np.clip(distance / width, 0, 1)
        self.weight = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)  # smoothstep
        self._outside = np.where(self.weight > 0, 0, 255).astype(np.uint8)
        self._tiles = [
            (rows, columns, np.ascontiguousarray(w), np.ascontiguousarray(1 - w))
            for rows, columns in _tiles((self.weight > 0) & (self.weight < 1))
            for w in [self.weight[rows, columns]]
        ]
        self._blended = np.empty((*covered.shape, 3), np.uint8)

    def blend(self, fused: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """Fused inside, visible outside, (H, W, 3) uint8; a buffer that is used again.

        Only the tiles of the band are computed, the rest is copied.
        """
        out = self._blended
        np.copyto(out, fused)
        cv2.copyTo(visible, self._outside, out)
        for rows, columns, inner, outer in self._tiles:
            out[rows, columns] = cv2.blendLinear(
                fused[rows, columns], visible[rows, columns], inner, outer
            )
        return out


def _tiles(band: np.ndarray) -> list[tuple[slice, slice]]:
    """Rectangles that hold all true pixels: in each row of tiles, the runs of columns."""
    tiles = []
    for top in range(0, band.shape[0], TILE):
        rows = slice(top, min(top + TILE, band.shape[0]))
        used = np.diff(band[rows].any(axis=0).astype(np.int8), prepend=0, append=0)
        starts, ends = np.flatnonzero(used > 0), np.flatnonzero(used < 0)
        tiles += [(rows, slice(int(a), int(b))) for a, b in zip(starts, ends, strict=True)]
    return tiles
