"""Light and heat of the drawn scenes: band radiance, raw counts, weather, exposure.

Knows physics only: nothing of shapes, cameras or pixels' places. Thermal counts follow in-band
radiance (Planck, 8 to 14 um), as those of an uncooled core without gain control do; visible light
is linear reflectance x illumination until `expose` turns it into 8 bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

__all__ = [
    "COUNTS_PER_RADIANCE",
    "SCENE_KINDS",
    "SceneKind",
    "WEATHER",
    "Weather",
    "band_radiance",
    "celsius_from_counts",
    "counts_from_celsius",
    "expose",
]

SceneKind = Literal["day", "night", "glare", "smoke"]
SCENE_KINDS: tuple[SceneKind, ...] = get_args(SceneKind)

#: Counts for 1 W/(m2 sr) in the band: about 83 counts/K at 20 C, so that a noise of 50 mK, usual
#: for an uncooled core, is 4 counts.
COUNTS_PER_RADIANCE = 100.0
#: Planck's law in wavelength, 2 h c^2 [W m2/sr] and h c / k [m K] (CODATA 2018).
_C1, _C2 = 1.191042972e-16, 1.438776877e-2
#: Extinction of clear air at 8 to 14 um [1/m]: about 0.86 over 100 m.
AIR_EXTINCTION_PER_M = 0.0015

Color = tuple[float, float, float]


def _planck_table() -> tuple[np.ndarray, np.ndarray]:
    celsius = np.arange(-90.0, 401.0, 0.5)
    wavelength = np.linspace(8e-6, 14e-6, 241)
    exponent = _C2 / (wavelength * (celsius[:, None] + 273.15))
    spectrum = _C1 / wavelength**5 / np.expm1(exponent)
    step = wavelength[1] - wavelength[0]
    return celsius, (spectrum[:, 1:] + spectrum[:, :-1]).sum(axis=1) * step / 2.0


_CELSIUS, _RADIANCE = _planck_table()


def band_radiance(celsius: np.ndarray | float) -> np.ndarray:
    """Radiance of a black body between 8 and 14 um [W/(m2 sr)], for -90 to 400 C."""
    return np.interp(celsius, _CELSIUS, _RADIANCE)


def counts_from_celsius(celsius: np.ndarray | float) -> np.ndarray:
    """Raw counts (float) of a black body that fills a pixel, without noise or air."""
    return COUNTS_PER_RADIANCE * band_radiance(celsius)


def celsius_from_counts(counts: np.ndarray | float) -> np.ndarray:
    """Brightness temperature [C] of raw counts: the inverse of `counts_from_celsius`."""
    return np.interp(np.asarray(counts) / COUNTS_PER_RADIANCE, _RADIANCE, _CELSIUS)


@dataclass(frozen=True)
class Weather:
    """Light and temperatures of one kind of scene.

    Directions are X right, Y up, Z forward; light is linear RGB relative to a white surface that
    `exposure` 1 turns into a bright grey. `sun_to` points to the sun.
    """

    air_c: float
    sky_c: float
    road_c: float
    wall_c: float
    leaf_c: float
    sun_heating_k: float  # how much warmer a painted surface in the sun is
    sun_to: Color
    sun: Color
    ambient: Color
    sky_top: Color
    sky_horizon: Color
    exposure: float
    haze_per_m: float
    noise_levels: float  # standard deviation of the visible camera's noise
    dark: bool = False  # street lamps, windows and headlights are lit
    shadow: float = 0.7  # part of the ambient light that is left under an object

    def apparent_counts(
        self, celsius: np.ndarray | float, emissivity: np.ndarray | float
    ) -> np.ndarray:
        """Counts of a surface that emits and mirrors its surroundings, before the air."""
        around = 0.5 * (band_radiance(self.sky_c) + band_radiance(self.air_c))
        emitted = np.asarray(emissivity) * band_radiance(celsius)
        return COUNTS_PER_RADIANCE * (emitted + (1.0 - np.asarray(emissivity)) * around)

    def through_air(self, counts: np.ndarray, depth_m: np.ndarray | float) -> np.ndarray:
        """Beer-Lambert: air absorbs what comes through it and emits at its own temperature."""
        left = np.exp(-AIR_EXTINCTION_PER_M * np.asarray(depth_m))
        return counts * left + counts_from_celsius(self.air_c) * (1.0 - left)


def _towards(azimuth_deg: float, elevation_deg: float) -> Color:
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    flat = math.cos(elevation)
    return (flat * math.sin(azimuth), math.sin(elevation), flat * math.cos(azimuth))


WEATHER: dict[str, Weather] = {
    "day": Weather(
        air_c=17.0, sky_c=-9.0, road_c=21.0, wall_c=19.5, leaf_c=16.0, sun_heating_k=5.0,
        sun_to=_towards(-128.0, 46.0), sun=(2.1, 1.95, 1.7), ambient=(0.62, 0.7, 0.82),
        sky_top=(0.42, 0.72, 1.35), sky_horizon=(1.5, 1.6, 1.75),
        exposure=0.95, haze_per_m=0.003, noise_levels=1.6, shadow=0.62,
    ),
    "night": Weather(
        air_c=9.0, sky_c=-15.0, road_c=11.5, wall_c=11.0, leaf_c=8.0, sun_heating_k=-1.5,
        sun_to=_towards(0.0, 60.0), sun=(0.0, 0.0, 0.0), ambient=(0.007, 0.008, 0.010),
        sky_top=(0.003, 0.004, 0.007), sky_horizon=(0.02, 0.019, 0.018),
        exposure=0.8, haze_per_m=0.002, noise_levels=5.5, dark=True, shadow=0.5,
    ),
    "glare": Weather(
        air_c=15.0, sky_c=-10.0, road_c=17.0, wall_c=16.5, leaf_c=14.0, sun_heating_k=3.0,
        sun_to=_towards(-2.5, 8.5), sun=(2.6, 1.9, 1.1), ambient=(0.34, 0.33, 0.36),
        sky_top=(0.5, 0.66, 0.95), sky_horizon=(2.6, 2.0, 1.3),
        exposure=0.85, haze_per_m=0.006, noise_levels=1.8, shadow=0.6,
    ),
    "smoke": Weather(
        air_c=14.0, sky_c=0.0, road_c=15.5, wall_c=15.0, leaf_c=13.5, sun_heating_k=1.0,
        sun_to=_towards(0.0, 80.0), sun=(0.0, 0.0, 0.0), ambient=(1.0, 1.02, 1.05),
        sky_top=(1.3, 1.33, 1.38), sky_horizon=(1.45, 1.46, 1.48),
        exposure=0.9, haze_per_m=0.006, noise_levels=1.8, shadow=0.5,
    ),
}  # fmt: skip


def expose(light: np.ndarray, exposure: float) -> np.ndarray:
    """8-bit levels (float, 0 to 255) of linear light: soft shoulder, then display gamma 2.2."""
    return 255.0 * (1.0 - np.exp(-exposure * np.maximum(light, 0.0))) ** (1.0 / 2.2)
