"""Halos: shading beside an edge, in a place that both cameras see as smooth.

A dark rim along a roof before the sky lies well inside the range of both cameras where the sky is
white in one and black in the other, and it is too smooth to count as noise, so neither `overshoot`
nor `flat_artefacts` sees it. What gives it away is that the fused image slopes where neither
camera does.
"""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["NEAR", "SLOPE_REACH", "SMOOTH", "STRONG", "halo_steepness"]

#: Pixels on either side between which a slope is taken: long against noise, short against a halo.
SLOPE_REACH = 2
#: Slopes, in grey levels a pixel: a smooth place has less, a strong edge more (12 is what a step of
#: about 50 levels has).
SMOOTH, STRONG = 2.0, 12.0
#: Where to look, in pixels from an edge: blur of the edge itself ends, halos end.
CLEAR, NEAR = 3, 16
#: Binomial low-pass, deviation of one pixel.
_BINOMIAL = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


def halo_steepness(fused: np.ndarray, visible: np.ndarray, thermal: np.ndarray) -> float:
    """By how much the fused image slopes more than both sources, beside strong edges.

    With g(X) the length of X's slope (5 x 5 binomial low-pass, then differences over 4 pixels),
    s = max(g(Y), g(T)), and max_r the maximum in a square of 2r + 1 pixels:

        beside = max_3(s) < 2 and max_16(s) >= 12
        H      = mean over beside of max(0, g(F) - s)

    A copy, a weighted mean and pixel max give 0. Gains that are the same in the whole image add
    their share of what slope the sources have there, which is below 2.

    Args:
        fused, visible, thermal: (H, W) float luminance of one shape, 0..255.

    Returns:
        H >= 0, in grey levels a pixel; NaN where nothing lies beside a strong edge.
    """
    slope = np.maximum(_slope(visible), _slope(thermal))
    beside = (_highest(slope, CLEAR) < SMOOTH) & (_highest(slope, NEAR) >= STRONG)
    if not beside.any():
        return float("nan")
    return float(np.maximum(_slope(fused) - slope, 0)[beside].mean())


def _slope(image: np.ndarray) -> np.ndarray:
    smooth = cv2.sepFilter2D(image, -1, _BINOMIAL, _BINOMIAL, borderType=cv2.BORDER_REPLICATE)
    r = SLOPE_REACH
    x = cv2.copyMakeBorder(smooth, r, r, r, r, cv2.BORDER_REPLICATE)
    across = x[r:-r, 2 * r :] - x[r:-r, : -2 * r]
    down = x[2 * r :, r:-r] - x[: -2 * r, r:-r]
    return np.hypot(across, down) / (2 * r)


def _highest(slope: np.ndarray, radius: int) -> np.ndarray:
    return cv2.dilate(slope, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8))
