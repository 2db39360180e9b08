"""Raw thermal counts to 8 bit, without flicker. Knows arrays and stamps, no cameras or messages.

Stretching every frame between its own minimum and maximum makes the whole image jump when one hot
object enters (optris_drivers#43) and hands the range to dead pixels. Here the two ends are
percentiles, and they follow the scene with a time constant.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.bad_pixels import fill_not_finite
from ssvif_core.imaging.plateau import PlateauCurve
from ssvif_core.imaging.scene_limits import SceneLimits
from ssvif_core.imaging.temperature import UNITS, TemperatureScale

__all__ = ["GAIN_MODES", "THERMAL_DTYPES", "ThermalGain"]

GAIN_MODES = ("auto", "none", "fixed", "percentile", "plateau")
THERMAL_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))

#: Every 4th pixel in both directions: 19,200 of 640x480 give percentiles to about 0.1 of a percent.
SAMPLE_STEP = 4
#: Smallest range that is stretched to 8 bits. An uncooled core's noise is about 4 counts (50 mK); a
#: scene without contrast shall stay gray instead of showing it.
MIN_SPAN_COUNTS = {np.dtype(np.uint16): 64.0, np.dtype(np.uint8): 16.0}
#: The same where the scale is known: 64 counts of centikelvin.
MIN_SPAN_K = 0.64
#: Mode "plateau" may make the picture this many times steeper than the smallest range does: 2
#: levels a count where noise is 4 counts.
PLATEAU_SLOPE = 0.5
#: Float temperatures become counts for mode "plateau": -300 to 1010 in steps that are finer than
#: noise, Celsius and Kelvin alike.
FLOAT_ZERO, FLOAT_STEP = -300.0, 0.02
#: A pause longer than this, or a step back in time, starts the gain afresh.
MAX_PAUSE_S = 5.0


@dataclass
class ThermalGain:
    """Maps thermal frames to 8 bit; remembers the limits of the frames before.

    Attributes:
        mode: "none" passes 8-bit frames through; "fixed" maps `low`..`high`; "percentile" maps the
            two percentiles, smoothed over time; "plateau" equalises between them, see
            `ssvif_core.imaging.plateau`; "auto" is "none" for 8-bit frames, which a camera has
            gained already, and "percentile" for all others.
        low: what becomes 0 in mode "fixed", in `unit`.
        high: what becomes 255 in mode "fixed", in `unit`.
        unit: "counts", the numbers in the frame; "celsius", by `scale`.
        scale: what a count is worth. Used where `unit` is "celsius".
        low_percentile: 0..100.
        high_percentile: 0..100. Not 100: dead and specular pixels are left out.
        plateau: of mode "plateau": most that one shade of the scene counts, in units of the mean;
            0 is linear, a large value is ordinary histogram equalisation.
        time_constant_s: time in which grey levels go 63 % of the way to those of a new scene; 0
            follows at once.

    All may be changed between frames. Not thread safe, but for `configure`.
    """

    mode: str = "auto"
    low: float = 0.0
    high: float = 65535.0
    unit: str = "counts"
    scale: TemperatureScale = field(default_factory=TemperatureScale)
    low_percentile: float = 1.0
    high_percentile: float = 99.5
    plateau: float = 1.0
    time_constant_s: float = 1.0
    _changes: deque[dict[str, Any]] = field(default_factory=deque, init=False, repr=False)
    _limits: tuple[float, float] | None = field(default=None, init=False, repr=False)
    _scene: SceneLimits = field(default_factory=SceneLimits, init=False, repr=False)
    _curve: PlateauCurve | None = field(default=None, init=False, repr=False)
    _stamp_s: float | None = field(default=None, init=False, repr=False)
    _met: tuple[str, np.dtype] | None = field(default=None, init=False, repr=False)

    @property
    def limits(self) -> tuple[float, float] | None:
        """Counts that became 0 and 255 in the last frame; None where nothing was mapped.

        In mode "plateau", the ends of the range that is equalised.
        """
        return self._limits

    def configure(self, **changes: Any) -> None:
        """Change attributes at the next frame, all of them together; from any thread."""
        self._changes.append(changes)

    def describe(self) -> dict[str, object]:
        """What the gain does now, by the keys of /diagnostics."""
        values: dict[str, object] = {"gain_mode": self._met[0] if self._met else self.mode}
        if self._limits is None:
            return values
        values["gain_low"], values["gain_high"] = self._limits
        if self.unit == "celsius":
            values["gain_low_celsius"] = self.scale.celsius(self._limits[0])
            values["gain_high_celsius"] = self.scale.celsius(self._limits[1])
        return {**values, "gain_offset_steps": self._scene.steps}

    def apply(self, thermal: np.ndarray, stamp_s: float | None = None) -> np.ndarray:
        """Map one frame.

        Args:
            thermal: (H, W) uint8, uint16 or float32. Of floats, NaN and infinity are filled as
                `fill_not_finite` does.
            stamp_s: its time in seconds. Without one, the limits follow at once.

        Returns:
            (H, W) uint8: 0 at and below the lower limit, 255 at and above the upper one. The frame
            itself where nothing is to be done. A frame without contrast becomes mid-gray.

        Raises:
            SsvifError: the frame is none or empty, the mode or unit is unknown or cannot take this
                dtype or its values, `low` is not below `high`, a percentile is none, or no pixel is
                finite.
        """
        if thermal.ndim != 2 or thermal.size == 0:
            raise SsvifError(
                f"A thermal frame is (H, W) and not empty, this one is {thermal.shape}."
            )
        while self._changes:
            for name, value in self._changes.popleft().items():
                setattr(self, name, value)
        mode = self._mode_for(thermal.dtype)
        if (mode, thermal.dtype) != self._met:
            self._met = (mode, thermal.dtype)
            self._scene.reset()
        if mode == "none":
            self._limits = None
            return thermal
        if thermal.dtype == np.float32:
            thermal = fill_not_finite(thermal)
        if mode == "fixed":
            self._limits = self._fixed()
            return _stretch(thermal, *self._limits)
        part = self._part(stamp_s)
        if mode == "plateau":
            return self._equalise(thermal, part)
        self._follow(thermal, part, self._min_span(thermal.dtype))
        return _stretch(thermal, *self._limits)  # type: ignore[misc]

    def _mode_for(self, dtype: np.dtype) -> str:
        if self.mode not in GAIN_MODES:
            raise SsvifError(f"Unknown thermal gain '{self.mode}': use one of {list(GAIN_MODES)}.")
        if self.unit not in UNITS:
            raise SsvifError(f"Unknown unit '{self.unit}' of the gain: use one of {list(UNITS)}.")
        if dtype not in THERMAL_DTYPES:
            raise SsvifError(
                f"Thermal pixels are {dtype}: convert them to uint8 or uint16 counts, or to "
                "float32 temperatures."
            )
        if self.mode == "auto":
            return "none" if dtype == np.uint8 else "percentile"
        if self.mode == "none" and dtype != np.uint8:
            raise SsvifError(
                "Thermal gain 'none' is for 8-bit frames: use auto, percentile or plateau."
            )
        return self.mode

    def _fixed(self) -> tuple[float, float]:
        if not self.low < self.high:
            raise SsvifError(f"Thermal gain: low {self.low} must be below high {self.high}.")
        if self.unit == "celsius":
            return self.scale.count(self.low), self.scale.count(self.high)
        return self.low, self.high

    def _min_span(self, dtype: np.dtype) -> float:
        if self.unit == "celsius" and dtype != np.uint8:
            return MIN_SPAN_K / self.scale.kelvin_per_count
        return MIN_SPAN_COUNTS.get(dtype, MIN_SPAN_K)  # floats: temperatures

    def _part(self, stamp_s: float | None) -> float:
        """Of the way to this frame's scene: a first-order low pass, exact for any interval."""
        last, self._stamp_s = self._stamp_s, stamp_s
        elapsed = stamp_s - last if stamp_s is not None and last is not None else -1.0
        if not 0 <= elapsed <= MAX_PAUSE_S:
            self._scene.reset()
            return 1.0
        if self.time_constant_s <= 0:
            return 1.0
        return 1.0 - math.exp(-elapsed / self.time_constant_s)

    def _follow(self, thermal: np.ndarray, part: float, min_span: float) -> float:
        sample = thermal[::SAMPLE_STEP, ::SAMPLE_STEP]
        percents = (self.low_percentile, self.high_percentile)
        if not 0 <= percents[0] <= percents[1] <= 100:
            raise SsvifError(
                f"Thermal gain: the percentiles are {percents[0]:g} and {percents[1]:g}; they must "
                "be in order, and from 0 to 100."
            )
        step = self._scene.follow(sample, percents, min_span, part)
        self._limits = self._scene.ends
        return step

    def _equalise(self, thermal: np.ndarray, part: float) -> np.ndarray:
        min_span, afresh = self._min_span(thermal.dtype), self._scene.ends is None
        floating = thermal.dtype == np.float32
        if floating:
            _check_temperatures(thermal[::SAMPLE_STEP, ::SAMPLE_STEP])
            thermal = _float_counts(thermal)
            min_span /= FLOAT_STEP
        step = self._follow(thermal, part, min_span)
        size = np.iinfo(thermal.dtype).max + 1
        if afresh or self._curve is None or self._curve.size != size:
            self._curve = PlateauCurve(size)
        self._curve.follow(thermal[::SAMPLE_STEP, ::SAMPLE_STEP].ravel(), part, step)
        low, high = self._scene.ends  # type: ignore[misc]
        if floating:
            self._limits = (FLOAT_ZERO + low * FLOAT_STEP, FLOAT_ZERO + high * FLOAT_STEP)
        slope = PLATEAU_SLOPE * 255.0 / min_span
        return np.take(self._curve.table(low, high, self.plateau, slope), thermal)


def _check_temperatures(sample: np.ndarray) -> None:
    """Most pixels beyond the range of `_float_counts` would become one grey level."""
    low, high = FLOAT_ZERO, FLOAT_ZERO + 65535 * FLOAT_STEP
    if np.count_nonzero((sample < low) | (sample > high)) > sample.size / 2:
        raise SsvifError(
            f"Thermal gain 'plateau' takes float and signed pixels as temperatures from {low:g} to "
            f"{high:g}, and most of this frame's are beyond (median {np.median(sample):g}): use "
            "percentile or fixed, or have the driver send mono16."
        )


def _float_counts(temperatures: np.ndarray) -> np.ndarray:
    scaled = (temperatures - np.float32(FLOAT_ZERO)) * np.float32(1.0 / FLOAT_STEP)
    return np.rint(np.clip(scaled, 0, 65535, out=scaled), out=scaled).astype(np.uint16)


def _stretch(thermal: np.ndarray, low: float, high: float) -> np.ndarray:
    """Linear map of low..high to 0..255; two saturating passes, 0.3 ms for 640x512.

    Two more where what lies below a limit between two counts would not be black.
    """
    scale = 255.0 / (high - low)
    if thermal.dtype == np.float32:
        # Cut before it is scaled: convertScaleAbs takes absolute values, and overflows beyond int.
        cut = cv2.min(cv2.max(thermal, low), high)  # type: ignore[call-overload]
        return cv2.convertScaleAbs(cut, alpha=scale, beta=-low * scale)
    first = max(0, math.ceil(low))
    beta = (first - low) * scale  # the level of `first`
    below = first - 1 if first and beta > 0.5 else first
    # The subtraction saturates at 0, so that convertScaleAbs never sees a negative value.
    above = cv2.subtract(thermal, (float(below), 0.0, 0.0, 0.0))  # type: ignore[call-overload]
    if below == first:
        return cv2.convertScaleAbs(above, alpha=scale, beta=beta)
    levels = cv2.convertScaleAbs(above, alpha=scale, beta=beta - scale)
    return cv2.subtract(levels, cv2.compare(above, 0, cv2.CMP_EQ))  # type: ignore[call-overload]
