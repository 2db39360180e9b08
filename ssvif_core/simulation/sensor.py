"""Lens and sensor of the two drawn cameras: blur, temporal noise, fixed pattern, raw counts.

Noise is cut from a bank that is made once, at an offset that the time decides: the same moment has
the same noise, and a frame costs one addition. Knows nothing of what is in the picture.
"""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.simulation.paint import HeatScale
from ssvif_core.simulation.physics import Weather

__all__ = ["Sensors"]

#: The bank is this much larger than a frame, in pixels each way: 9216 different frames of noise.
_BANK = 96
#: Standard deviations: temporal noise (about 50 mK) and column and pixel offsets that stay.
_NETD_COUNTS, _PATTERN_COUNTS = 4.0, 2.5
#: Noise is stored unsigned; these are its zeros. Visible noise is far smaller than its zero.
_GREY_ZERO, _COUNTS_ZERO = 32, 64


class Sensors:
    """Both cameras' sensors.

    Args:
        weather: sets the visible camera's noise (its gain follows the light).
        scale: of the 8-bit heat plane.
        random: the noise.
        still: (H, W) float counts of everything that stays.
        still_levels: (H, W) uint8, the same on the heat plane.
    """

    def __init__(
        self, weather: Weather, scale: HeatScale, random: np.random.Generator,
        still: np.ndarray, still_levels: np.ndarray,
    ) -> None:  # fmt: skip
        h, w = still.shape
        self._shape, self._step = (h, w), np.uint16(scale.step)
        bank = (h + _BANK, w + _BANK)
        grain = random.normal(0.0, weather.noise_levels, (*bank, 3)).astype(np.float32)
        # Demosaicing smooths noise over neighbours; the factor keeps its strength.
        grain = 1.6 * cv2.GaussianBlur(grain, (3, 3), 0.6)
        self._grain = np.rint(np.clip(grain + _GREY_ZERO, 0, 255)).astype(np.uint8)
        self._grey_zero = np.full((h, w, 3), _GREY_ZERO, np.uint8)
        hiss = random.normal(_COUNTS_ZERO, _NETD_COUNTS, bank)
        self._hiss = np.rint(np.maximum(hiss, 0.0)).astype(np.uint16)
        pattern = random.normal(0.0, _PATTERN_COUNTS, (h, w)) + random.normal(0, _PATTERN_COUNTS, w)
        lost = (still - scale.counts(still_levels)).astype(np.float32)
        lost = cv2.GaussianBlur(lost, (3, 3), 0.7)
        self._rest = np.rint(scale.base + lost + pattern - _COUNTS_ZERO).astype(np.uint16)

    def visible(self, rgb: np.ndarray, time_s: float) -> None:
        """Blur an RGB uint8 image (H, W, 3) a little and add noise, in place."""
        cv2.GaussianBlur(rgb, (3, 3), 0.6, dst=rgb)
        cv2.add(rgb, self._cut(self._grain, time_s, 1), dst=rgb)
        cv2.subtract(rgb, self._grey_zero, dst=rgb)

    def thermal(self, heat: np.ndarray, time_s: float) -> np.ndarray:
        """Counts uint16 (H, W) of an 8-bit heat plane, which is blurred in place.

        Where nothing moves, what the plane lost of the still background is added back.
        """
        cv2.GaussianBlur(heat, (3, 3), 0.7, dst=heat)
        counts = np.multiply(heat, self._step, dtype=np.uint16)
        cv2.add(counts, self._rest, dst=counts)
        cv2.add(counts, self._cut(self._hiss, time_s, 2), dst=counts)
        return counts

    def _cut(self, bank: np.ndarray, time_s: float, salt: int) -> np.ndarray:
        """A frame of noise; the microsecond decides which (SplitMix64's finalizer)."""
        h, w = self._shape
        mixed = (round(time_s * 1e6) * 0x9E3779B97F4A7C15 + salt) & (2**64 - 1)
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        y, x = (mixed >> 40) % _BANK, (mixed >> 20) % _BANK
        return bank[y : y + h, x : x + w]
