"""Raw thermal counts to 8 bit, without flicker. Knows arrays and stamps, no cameras or messages.

Stretching every frame between its own minimum and maximum makes the whole image jump when one hot
object enters (optris_drivers#43) and hands the range to dead pixels. Here the two ends are
percentiles, and they follow the scene with a time constant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from ssvif_core.errors import SsvifError

__all__ = ["GAIN_MODES", "ThermalGain"]

GAIN_MODES = ("auto", "none", "fixed", "percentile")

#: Every 4th pixel in both directions: 19,200 of 640x480 give percentiles to about 0.1 of a percent.
SAMPLE_STEP = 4
#: Smallest range that is stretched to 8 bits. An uncooled core's noise is about 4 counts; a scene
#: without contrast shall stay gray instead of showing it.
MIN_SPAN_COUNTS = {np.dtype(np.uint16): 64.0, np.dtype(np.uint8): 16.0}
#: A pause longer than this, or a step back in time, starts the gain afresh.
MAX_PAUSE_S = 5.0


@dataclass
class ThermalGain:
    """Maps thermal frames to 8 bit; remembers the limits of the frames before.

    Attributes:
        mode: "none" passes 8-bit frames through; "fixed" maps `low`..`high`; "percentile" maps the
            two percentiles, smoothed over time; "auto" is "none" for 8-bit frames, which a camera
            has gained already, and "percentile" for 16-bit ones.
        low: count that becomes 0 in mode "fixed".
        high: count that becomes 255 in mode "fixed".
        low_percentile: 0..100.
        high_percentile: 0..100. Not 100: dead and specular pixels are left out.
        time_constant_s: time in which the limits go 63 % of the way to a new scene's; 0 follows at
            once.

    All may be changed between frames. Not thread safe.
    """

    mode: str = "auto"
    low: float = 0.0
    high: float = 65535.0
    low_percentile: float = 1.0
    high_percentile: float = 99.5
    time_constant_s: float = 1.0
    _limits: tuple[float, float] | None = field(default=None, init=False, repr=False)
    _stamp_s: float | None = field(default=None, init=False, repr=False)

    @property
    def limits(self) -> tuple[float, float] | None:
        """Counts that became 0 and 255 in the last frame; None where nothing was mapped."""
        return self._limits

    def apply(self, thermal: np.ndarray, stamp_s: float | None = None) -> np.ndarray:
        """Map one frame.

        Args:
            thermal: (H, W) uint8 or uint16.
            stamp_s: its time in seconds. Without one, the limits follow at once.

        Returns:
            (H, W) uint8: 0 at and below the lower limit, 255 at and above the upper one. The frame
            itself where nothing is to be done. A frame without contrast becomes mid-gray.

        Raises:
            SsvifError: the mode is unknown or cannot take this dtype, or `low` is not below `high`.
        """
        mode = self._mode_for(thermal.dtype)
        if mode == "none":
            self._limits = None
            return thermal
        if mode == "fixed":
            if not self.low < self.high:
                raise SsvifError(f"Thermal gain: low {self.low} must be below high {self.high}.")
            self._limits = (self.low, self.high)
        else:
            self._limits = self._follow(self._percentiles(thermal), stamp_s)
        return _stretch(thermal, *self._limits)

    def _mode_for(self, dtype: np.dtype) -> str:
        if self.mode not in GAIN_MODES:
            raise SsvifError(f"Unknown thermal gain '{self.mode}': use one of {list(GAIN_MODES)}.")
        if dtype not in MIN_SPAN_COUNTS:
            raise SsvifError(f"Thermal pixels are {dtype}: convert them to uint8 or uint16 counts.")
        if self.mode == "auto":
            return "none" if dtype == np.uint8 else "percentile"
        if self.mode == "none" and dtype != np.uint8:
            raise SsvifError("Thermal gain 'none' is for 8-bit frames: use percentile or fixed.")
        return self.mode

    def _percentiles(self, thermal: np.ndarray) -> tuple[float, float]:
        sample = thermal[::SAMPLE_STEP, ::SAMPLE_STEP]
        low, high = map(float, np.percentile(sample, (self.low_percentile, self.high_percentile)))
        missing = MIN_SPAN_COUNTS[thermal.dtype] - (high - low)
        return (low - missing / 2, high + missing / 2) if missing > 0 else (low, high)

    def _follow(self, wanted: tuple[float, float], stamp_s: float | None) -> tuple[float, float]:
        """First-order low pass, exact for any frame interval."""
        before, last = self._limits, self._stamp_s
        self._stamp_s = stamp_s
        if before is None or last is None or stamp_s is None or self.time_constant_s <= 0:
            return wanted
        elapsed = stamp_s - last
        if not 0 <= elapsed <= MAX_PAUSE_S:
            return wanted
        part = 1 - math.exp(-elapsed / self.time_constant_s)
        return tuple(b + part * (w - b) for b, w in zip(before, wanted, strict=True))  # type: ignore[return-value]


def _stretch(thermal: np.ndarray, low: float, high: float) -> np.ndarray:
    """Linear map of low..high to 0..255; two saturating passes, 0.3 ms for 640x512."""
    scale = 255.0 / (high - low)
    first = math.ceil(low)
    # The subtraction saturates at 0, so that convertScaleAbs never sees a negative value.
    above = cv2.subtract(thermal, (float(first), 0.0, 0.0, 0.0))  # type: ignore[call-overload]
    return cv2.convertScaleAbs(above, alpha=scale, beta=(first - low) * scale)
