"""Two views of one batch: the feature-level branch sees all of it, the pixel-level branch a window.

If both branches saw the same pixels at the same places, they could agree on the place instead of
on what is there: zero padding tells a network where the border is (docs/method.md). So the pixel
branch gets a smaller, shifted and sometimes mirrored window of the fused image, and what lies
within `BORDER` of any border is not compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ssvif_core.data.pairs import UNKNOWN

__all__ = ["BORDER", "STRIDE", "Window", "draw_window", "without_border"]

#: Pixels between two logits of either branch.
STRIDE = 4
#: Pixels at each border that are not compared.
BORDER = 16
#: Part of the rows and columns that a window covers.
COVER = 0.8
#: Windows lie on the coarsest grid of the network, so that both branches sample the same places.
GRID = 16


@dataclass(frozen=True)
class Window:
    """Rows and columns of a batch, in pixels, and whether the view is mirrored."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool

    def of(self, x: Tensor, stride: int = 1) -> Tensor:
        """The view of (..., H / stride, W / stride): images, labels or logits."""
        top, left, height, width = (
            n // stride for n in (self.top, self.left, self.height, self.width)
        )
        part = x[..., top : top + height, left : left + width]
        return part.flip(-1) if self.mirrored else part


def draw_window(height: int, width: int, seed: int, step: int) -> Window:
    """The window of one step: a function of seed and step, like the batch itself."""
    rng = np.random.default_rng([seed, step, 1])
    rows, columns = (max(GRID, int(n * COVER) // GRID * GRID) for n in (height, width))
    top = int(rng.integers(0, (height - rows) // GRID + 1)) * GRID
    left = int(rng.integers(0, (width - columns) // GRID + 1)) * GRID
    return Window(top, left, rows, columns, mirrored=bool(rng.random() < 0.5))


def without_border(labels: Tensor, stride: int = STRIDE) -> Tensor:
    """A copy of (B, h, w) labels, unknown within `BORDER` pixels of the border."""
    kept = labels.new_full(labels.shape, UNKNOWN)
    n = BORDER // stride
    inside = (slice(None), slice(n, -n), slice(n, -n))
    kept[inside] = labels[inside]
    return kept
