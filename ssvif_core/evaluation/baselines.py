"""Fusion without learning: what a learned method has to be held against.

Each takes visible (H, W, 3) uint8 RGB or (H, W) uint8 and thermal (H, W) uint8, fuses luminance,
and gives an image like visible; the chroma of a colour image is kept: visible + (Y_f - Y).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.fusion_metrics import luminance

__all__ = ["BASELINES", "average", "guided_filter", "laplacian_max_base", "pixel_max"]

LEVELS = 4
#: Li et al. 2013, table I: radius and epsilon for the base and for the detail layer, in [0, 1].
GUIDED_BASE, GUIDED_DETAIL = (45, 0.3), (7, 1e-6)


def average(visible: np.ndarray, thermal: np.ndarray) -> np.ndarray:
    """(Y + T) / 2."""
    return _with_luminance(visible, (luminance(visible) + _checked(visible, thermal)) / 2)


def pixel_max(visible: np.ndarray, thermal: np.ndarray) -> np.ndarray:
    """max(Y, T)."""
    return _with_luminance(visible, np.maximum(luminance(visible), _checked(visible, thermal)))


def laplacian_max_base(visible: np.ndarray, thermal: np.ndarray) -> np.ndarray:
    """Laplacian pyramid (Burt & Adelson 1983): the stronger detail, the brighter base."""
    pyramids = [
        _laplacian_pyramid(image.astype(np.float32))
        for image in (luminance(visible), _checked(visible, thermal))
    ]
    fused = np.maximum(pyramids[0][-1], pyramids[1][-1])
    for y, t in zip(pyramids[0][-2::-1], pyramids[1][-2::-1], strict=True):
        fused = cv2.pyrUp(fused, dstsize=y.shape[::-1]) + np.where(np.abs(y) >= np.abs(t), y, t)
    return _with_luminance(visible, fused)


def guided_filter(visible: np.ndarray, thermal: np.ndarray) -> np.ndarray:
    """Guided filter fusion (Li, Kang & Hu, IEEE TIP 2013): two scales, weights from saliency."""
    sources = [luminance(visible) / 255, _checked(visible, thermal) / 255]
    saliency = [
        cv2.GaussianBlur(np.abs(cv2.Laplacian(image, -1)), (11, 11), 5.0) for image in sources
    ]
    wins = (saliency[0] >= saliency[1]).astype(np.float64)
    fused = np.zeros_like(wins)
    bases = [cv2.blur(image, (31, 31)) for image in sources]
    details = [image - base for image, base in zip(sources, bases, strict=True)]
    for layers, (radius, epsilon) in ((bases, GUIDED_BASE), (details, GUIDED_DETAIL)):
        weights = [
            np.clip(_guided(image, mask, radius, epsilon), 0, 1)
            for image, mask in zip(sources, (wins, 1 - wins), strict=True)
        ]
        total = weights[0] + weights[1] + 1e-12
        fused += (weights[0] * layers[0] + weights[1] * layers[1]) / total
    return _with_luminance(visible, fused * 255)


BASELINES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "average": average,
    "max": pixel_max,
    "laplacian": laplacian_max_base,
    "guided filter": guided_filter,
}


def _checked(visible: np.ndarray, thermal: np.ndarray) -> np.ndarray:
    if visible.shape[:2] != thermal.shape:
        raise SsvifError(f"Sizes differ: visible {visible.shape[:2]}, thermal {thermal.shape}.")
    return luminance(thermal)


def _with_luminance(visible: np.ndarray, fused: np.ndarray) -> np.ndarray:
    if visible.ndim == 2:
        return np.clip(np.rint(fused), 0, 255).astype(np.uint8)
    change = fused - luminance(visible)
    return np.clip(np.rint(visible + change[..., None]), 0, 255).astype(np.uint8)


def _laplacian_pyramid(image: np.ndarray) -> list[np.ndarray]:
    """Details from fine to coarse, then the base."""
    levels = []
    for _ in range(LEVELS):
        smaller = cv2.pyrDown(image)
        levels.append(image - cv2.pyrUp(smaller, dstsize=image.shape[::-1]))
        image = smaller
    return [*levels, image]


def _guided(guide: np.ndarray, mask: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Guided filter (He, Sun & Tang 2013): `mask` smoothed along the edges of `guide`."""
    size = (2 * radius + 1, 2 * radius + 1)
    mean_g, mean_m = cv2.blur(guide, size), cv2.blur(mask, size)
    variance = cv2.blur(guide * guide, size) - mean_g**2
    slope = (cv2.blur(guide * mask, size) - mean_g * mean_m) / (variance + epsilon)
    offset = mean_m - slope * mean_g
    return cv2.blur(slope, size) * guide + cv2.blur(offset, size)
