"""A bank of smoke that rolls over a drawn street: thick for light, nearly clear for heat.

Beer-Lambert with an optical depth that two layers of noise carry along. Smoke particles are much
smaller than 8 to 14 um, so thermal radiation meets about a thirtieth of the visible optical depth.
Knows nothing of what is behind it.
"""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.simulation.maps import fractal
from ssvif_core.simulation.paint import Camera

__all__ = ["Smoke"]

_HEAT_PART = 1.0 / 30.0


class Smoke:
    """Smoke before everything that moves.

    Args:
        camera: the size of the pictures; the smoke is computed at a quarter of it.
        random: its shape.
        warm_level: level of the 8-bit heat plane that the smoke itself has.
    """

    def __init__(self, camera: Camera, random: np.random.Generator, warm_level: float) -> None:
        self._size = (camera.width, camera.height)
        h, w = max(2, -(-camera.height // 4)), max(2, -(-camera.width // 4))
        self._low = (w, h)
        self._warm = warm_level
        slow, fast = fractal(random, 128, 256, 1.55), fractal(random, 128, 256, 1.35)
        wide = (2 * w, h)  # two lengths side by side, so that any shift is one crop
        self._slow, self._fast = (
            np.tile(cv2.resize(layer, wide, interpolation=cv2.INTER_CUBIC), (1, 2))
            for layer in (slow, fast)
        )
        y = (np.arange(h, dtype=np.float32)[:, None] + 0.5) / h
        x = (np.arange(w, dtype=np.float32)[None] + 0.5) / w
        # Thick from over people's heads to the near road, thinning to the sky and the camera.
        self._rise, self._height = y, np.float32(0.30) - 0.05 * np.sin(5.0 * x)
        self._foot = 1.0 - 0.88 * np.clip((y - 0.8) / 0.2, 0.0, 1.0)

    def _shift(self, layer: np.ndarray, way: float) -> np.ndarray:
        """The layer moved left by `way` low-resolution pixels, between pixels too."""
        w, h = self._low
        whole = int(np.floor(way))
        part, start = way - whole, whole % (2 * w)
        a, b = layer[:, start : start + w], layer[:, start + 1 : start + w + 1]
        return cv2.addWeighted(a, 1.0 - part, b, part, 0.0)

    def _optical_depth(self, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        w = self._low[0]
        slow = self._shift(self._slow, 0.05 * w * time_s)
        fast = self._shift(self._fast, 0.11 * w * time_s)
        edge = (self._rise - self._height) * 9.0 + 0.9 * slow + 0.45 * fast
        bank = 1.0 / (1.0 + np.exp(-1.6 * edge))
        return 9.0 * bank * self._foot * np.clip(1.0 + 0.1 * slow, 0.85, 1.3), slow + 0.6 * fast

    def over_visible(self, image: np.ndarray, time_s: float) -> None:
        """Veil an RGB uint8 image (H, W, 3) in place."""
        depth, bulge = self._optical_depth(time_s)
        left = np.exp(-depth)
        tone = np.clip(176.0 + 9.0 * bulge - 26.0 * self._rise, 60.0, 245.0)
        own = ((1.0 - left) * tone)[..., None] * np.array([1.0, 0.995, 0.98])
        through = cv2.resize(np.rint(255.0 * left).astype(np.uint8), self._size)
        added = cv2.resize(np.rint(own).astype(np.uint8), self._size)
        cv2.multiply(image, cv2.merge([through] * 3), dst=image, scale=1.0 / 255.0)
        cv2.add(image, added, dst=image)

    def over_heat(self, levels: np.ndarray, time_s: float) -> None:
        """Veil an 8-bit heat plane (H, W) in place."""
        depth, _ = self._optical_depth(time_s)
        left = np.exp(-_HEAT_PART * depth)
        through = cv2.resize(np.rint(255.0 * left).astype(np.uint8), self._size)
        added = cv2.resize(np.rint((1.0 - left) * self._warm).astype(np.uint8), self._size)
        cv2.multiply(levels, through, dst=levels, scale=1.0 / 255.0)
        cv2.add(levels, added, dst=levels)
