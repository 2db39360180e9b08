"""What a count is worth: the linear scale of a radiometric camera. Knows numbers, no images."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ABSOLUTE_ZERO_C", "UNITS", "TemperatureScale"]

UNITS = ("counts", "celsius")
ABSOLUTE_ZERO_C = -273.15


@dataclass
class TemperatureScale:
    """Temperature in degrees Celsius = `celsius_at_zero` + `kelvin_per_count` x count.

    The defaults are centikelvin: FLIR's TLinear at its high resolution (Lepton, Boson, Tau) and
    what most radiometric drivers publish as mono16. Others: TLinear at its low resolution 0.1;
    Optris 0.1 and -100 (optris_drivers: (count - 1000) / 10); images of float temperatures 1 and
    -273.15 (Kelvin), or 1 and 0 (Celsius).
    """

    kelvin_per_count: float = 0.01
    celsius_at_zero: float = ABSOLUTE_ZERO_C

    def celsius(self, count: float) -> float:
        """Temperature [C] of a count."""
        return self.celsius_at_zero + self.kelvin_per_count * count

    def count(self, celsius: float) -> float:
        """The count, whole or not, of a temperature [C]."""
        return (celsius - self.celsius_at_zero) / self.kelvin_per_count
