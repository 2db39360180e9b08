"""Masks drawn on an image: a tint inside, a line around."""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.imaging.palettes import colorize_labels

__all__ = ["draw_overlay"]

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def draw_overlay(
    image: np.ndarray, labels: np.ndarray, palette: np.ndarray, alpha: float = 0.45
) -> np.ndarray:
    """Tint every class but 0 and draw the border of each mask opaque.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8; 0 (background) stays as it is.
        palette: (256, 3) uint8 RGB.
        alpha: opacity of the tint, 0..1.

    Returns:
        A new (H, W, 3) uint8 RGB image.
    """
    colors = colorize_labels(labels, palette)
    tinted = cv2.addWeighted(image, 1.0 - alpha, colors, alpha, 0.0)
    result = image.copy()
    cv2.copyTo(tinted, labels, result)  # the mask is whatever is not 0
    border = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, _CROSS)
    cv2.copyTo(colors, cv2.min(border, labels), result)
    return result
