"""Blooms of lamps that move, and the pools of light that headlamps throw on the road.

Knows pixels and places; nothing of cars.
"""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.simulation.paint import Figure, Glow, Stage

__all__ = ["Lights"]


class Lights:
    """Adds light to RGB images, saturating as a sensor does."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        away = np.hypot(*np.mgrid[-64:65, -64:65]) / 64.0
        # A hard core, and scatter in the lens that falls with about the square of the distance.
        bloom = 1.15 * np.exp(-((away / 0.09) ** 2)) + 0.012 / (away**2 + 0.02)
        self._bloom = (np.clip(bloom, 0, 1) * np.clip(1.25 * (1 - away), 0, 1)).astype(np.float32)
        along = (np.arange(96, dtype=np.float32)[:, None] + 4.0) / 100.0
        across = np.linspace(-1.0, 1.0, 64, dtype=np.float32)[None]
        wide = 0.35 + 0.5 * along
        pool = (
            np.exp(-((across / wide) ** 2) * 2.2) * (1.0 - along) ** 1.4 * np.clip(along * 9, 0, 1)
        )
        self._pool = pool * np.clip(5.0 * (1.0 - np.abs(across)), 0.0, 1.0)

    def bloom(self, image: np.ndarray, figure: Figure) -> None:
        """Add the blooms of a figure to an RGB uint8 image in place; paint nearer things after."""
        for glow in figure.glows:
            _add(image, self._bloom, glow, 1.0)

    def scatter(self, image: np.ndarray, figure: Figure) -> None:
        """Add what the lens scatters over nearer things too, of lamps that are not hidden."""
        for glow in figure.glows:
            u, v = round(glow.center[0]), round(glow.center[1])
            inside = 0 <= v < image.shape[0] and 0 <= u < image.shape[1]
            if inside and image[v, u].max() > 200:
                _add(image, self._bloom, glow, 0.3)

    def pool(self, image: np.ndarray, x: float, z: float, ahead: float) -> None:
        """Light the road before headlamps at (x, z) [m] that point along `ahead` (1 or -1)."""
        reach, wide = 17.0, 3.0
        near, far = sorted((z, z + ahead * reach))
        cut = max(near, 2.2)
        if far - cut < 0.5 or far > 110.0:
            return
        corners = np.array(
            [[x - wide, 0, cut], [x + wide, 0, cut], [x + wide, 0, far], [x - wide, 0, far]]
        )
        rows = np.abs(corners[:, 2] - z) / reach * 95.0
        source = np.stack([np.array([0, 63, 63, 0]), rows], axis=1).astype(np.float32)
        pixels = self._stage.camera.project(corners)
        h, w = image.shape[:2]
        low = np.maximum(np.floor(pixels.min(axis=0)), 0).astype(int)
        high = np.minimum(np.ceil(pixels.max(axis=0)) + 1, (w, h)).astype(int)
        if (high <= low).any():
            return
        matrix = cv2.getPerspectiveTransform(source, (pixels - low).astype(np.float32))
        size = (int(high[0] - low[0]), int(high[1] - low[1]))
        pool = cv2.warpPerspective(self._pool, matrix, size, flags=cv2.INTER_LINEAR)
        light = cv2.merge([cv2.convertScaleAbs(pool, alpha=level) for level in (92.0, 88.0, 74.0)])
        roi = image[low[1] : high[1], low[0] : high[0]]
        cv2.add(roi, light, dst=roi)


def _add(image: np.ndarray, bloom: np.ndarray, glow: Glow, strength: float) -> None:
    h, w = image.shape[:2]
    half = int(np.ceil(glow.radius))
    u, v = round(glow.center[0]), round(glow.center[1])
    x0, x1 = max(u - half, 0), min(u + half + 1, w)
    y0, y1 = max(v - half, 0), min(v + half + 1, h)
    if half < 1 or x0 >= x1 or y0 >= y1:
        return
    size = 2 * half + 1
    sprite = cv2.resize(bloom, (size, size), interpolation=cv2.INTER_LINEAR)
    part = sprite[y0 - v + half : y1 - v + half, x0 - u + half : x1 - u + half]
    light = cv2.merge([cv2.convertScaleAbs(part, alpha=strength * level) for level in glow.rgb])
    cv2.add(image[y0:y1, x0:x1], light, dst=image[y0:y1, x0:x1])
