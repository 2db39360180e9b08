"""Bicycles of the drawn scenes, parked or ridden: wheels, tubes, and a rider who pedals.

Stands at the origin, X right, Y up, Z ahead [m]. Knows nothing of where it rides.
"""

from __future__ import annotations

import math

import numpy as np

from ssvif_core.simulation.car_model import disc
from ssvif_core.simulation.cars import PAINTS, Track
from ssvif_core.simulation.paint import Figure, Materials, Stage, capsules, fixed_point
from ssvif_core.simulation.people import Person
from ssvif_core.simulation.physics import Weather
from ssvif_core.simulation.skeleton import pedalling

__all__ = ["Bicycle", "Cyclist"]


class Bicycle:
    """A bicycle; its label covers the wheels as discs, as people draw it by hand."""

    def __init__(self, weather: Weather, random: np.random.Generator, track: Track) -> None:
        self._track = track
        color = np.array(PAINTS[random.integers(len(PAINTS))])
        self._tubes = np.array([
            ((0, 0.30, -0.02), (0, 0.86, -0.2)), ((0, 0.30, -0.02), (0, 0.84, 0.38)),
            ((0, 0.82, -0.18), (0, 0.86, 0.37)), ((0, 0.34, -0.52), (0, 0.82, -0.18)),
            ((0, 0.34, -0.52), (0, 0.30, -0.02)), ((0, 0.34, 0.53), (0, 0.98, 0.36)),
            ((-0.26, 1.03, 0.4), (0.26, 1.03, 0.4)), ((0, 0.93, -0.33), (0, 0.93, -0.1)),
        ])  # fmt: skip
        radii = np.array([0.02, 0.022, 0.02, 0.014, 0.014, 0.018, 0.016, 0.045])
        self._radii = radii
        dark = np.full(3, 0.02)
        reflectance = np.array([dark, dark, *([color] * 6), dark, dark])
        celsius = weather.air_c + np.array([2.5, 2.5, *([0.5] * 6), 1.5, 0.5])
        self._materials = Materials(
            reflectance, np.zeros_like(reflectance),
            weather.apparent_counts(celsius, 0.9), np.full(len(celsius), 3, np.uint8),
        )  # fmt: skip
        self._wheels = np.array([disc(0.0, 0.34, z, 0.33) for z in (-0.52, 0.53)])

    def figure(self, time_s: float, stage: Stage) -> Figure | None:
        """The bicycle at a time, or None out of sight."""
        x, z, heading, _ = self._track(time_s)
        if not 1.2 < z < 120.0 or abs(x) > 0.56 * z + 1.5:
            return None
        turn = np.array([[math.cos(heading), 0.0, -math.sin(heading)], [0.0, 1.0, 0.0],
                         [math.sin(heading), 0.0, math.cos(heading)]])  # fmt: skip
        wheels = stage.camera.project(self._wheels @ turn + (x, 0.0, z))
        tubes = self._tubes @ turn + (x, 0.0, z)
        ends = stage.camera.project(tubes)
        scale = stage.camera.focal / z
        radii = np.maximum(self._radii * scale, 0.45)
        frame = fixed_point(capsules(ends[:, 0], ends[:, 1], radii, radii))
        ambient, direct = stage.light_at(x, 0.7, z)
        rim = max(1, round(0.05 * scale))
        return Figure(
            outlines=[*fixed_point(wheels), *frame],
            widths=[rim, rim] + [0] * len(frame),
            light=np.tile(ambient + 0.4 * direct, (len(frame) + 2, 1)),
            materials=self._materials,
            depth_m=z + 0.05,
            shadows=stage.shadows_of(tubes.reshape(-1, 3), 0.1),
        )


class Cyclist:
    """A bicycle and its rider, at one place."""

    def __init__(self, weather: Weather, random: np.random.Generator, track: Track) -> None:
        self.bicycle = Bicycle(weather, random, track)
        self.rider = Person(weather, random, pedalling, track)
