"""Cars of the drawn scenes, driven or parked: paint, glass, lamps and heat on a polygon model.

A driven car is warm at the hood, grille, tyres, exhaust and on the ground under it; glass mirrors
the cold sky. Knows nothing of where it drives.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ssvif_core.simulation.car_model import CAR_SHAPES, car_faces, outward
from ssvif_core.simulation.paint import Figure, Glow, Materials, Stage, fixed_point
from ssvif_core.simulation.people import Place
from ssvif_core.simulation.physics import Weather

__all__ = ["PAINTS", "Car", "Track"]

Track = Callable[[float], Place]

PAINTS = ((0.62, 0.62, 0.62), (0.03, 0.03, 0.035), (0.34, 0.35, 0.37), (0.3, 0.02, 0.02),
           (0.03, 0.07, 0.2), (0.75, 0.74, 0.7), (0.12, 0.13, 0.14), (0.33, 0.28, 0.2))  # fmt: skip

#: Degrees over air at rest and added when driven, and emissivity (glass and chrome mirror the sky).
_HEAT = {
    "paint": (1.5, 1.0, 0.92), "hood": (1.5, 12.0, 0.93), "warm": (2.0, 16.0, 0.94),
    "glass": (0.5, 2.5, 0.82), "dark": (1.0, 4.0, 0.95), "tyre": (1.0, 8.0, 0.96),
    "rim": (0.5, 13.0, 0.75), "grille": (1.0, 18.0, 0.95), "head": (1.0, 14.0, 0.88),
    "tail": (1.0, 5.0, 0.9), "plate": (0.5, 1.0, 0.85), "exhaust": (0.0, 45.0, 0.95),
    "under": (1.0, 5.0, 0.96), "line": (1.0, 2.0, 0.95),
}  # fmt: skip
_COLOR = {"glass": (0.045, 0.055, 0.06), "dark": (0.025, 0.025, 0.025), "tyre": (0.018,) * 3,
          "rim": (0.32, 0.32, 0.33), "grille": (0.03, 0.03, 0.03), "head": (0.75, 0.76, 0.78),
          "tail": (0.35, 0.015, 0.015), "plate": (0.7, 0.7, 0.62), "exhaust": (0.06,) * 3,
          "under": (0.012,) * 3}  # fmt: skip


class Car:
    """A car, driven or parked.

    Args:
        shape: key of `CAR_SHAPES`.
        weather: of the scene; a dark one switches the lamps of a driven car on.
        random: chooses the paint.
        track: place at a time [s].
        driven: warm, with lamps.
        dipped: strength of the headlamps; a glaring car has more.
    """

    def __init__(
        self, shape: str, weather: Weather, random: np.random.Generator, track: Track, *,
        driven: bool = True, dipped: float = 1.0,
    ) -> None:  # fmt: skip
        self._track, self._shape = track, CAR_SHAPES[shape]
        faces = car_faces(self._shape)
        made_of = [name for name, _ in faces]
        self._vertices = np.array([corner for _, corners in faces for corner in corners])
        sizes = np.array([len(corners) for _, corners in faces])
        self._ends = np.cumsum(sizes)
        self._starts = self._ends - sizes
        self._next = np.arange(self._ends[-1]) + 1
        self._next[self._ends - 1] = self._starts
        self._normals = np.array([outward(np.array(c), self._shape) for _, c in faces])
        paint = np.array(PAINTS[random.integers(len(PAINTS))])
        colors = {**_COLOR, "paint": paint, "hood": paint, "warm": paint, "line": paint * 0.35}
        rest, extra, emissivity = np.array([_HEAT[name] for name in made_of]).T
        recently = 1.0 if driven else float(random.choice([0.0, 0.0, 0.35]))
        celsius = weather.air_c + rest + extra * recently
        heated = np.isin(made_of, ["paint", "hood", "warm", "dark"])
        celsius += weather.sun_heating_k * heated * (0.5 + 0.5 * (self._normals[:, 1] > 0.6))
        celsius += random.normal(0.0, 0.4, len(celsius))
        self._lit = driven and (weather.dark or dipped > 1.0)
        self._dipped = dipped
        emission = np.zeros((len(faces), 3))
        if self._lit:
            emission[[n == "head" for n in made_of]] = (6.0, 5.8, 5.2)
            emission[[n == "tail" for n in made_of]] = (0.9, 0.03, 0.02)
        self._materials = Materials(
            np.array([colors[name] for name in made_of]), emission,
            weather.apparent_counts(celsius, emissivity),
            (np.array(made_of) != "under").astype(np.uint8),
        )  # fmt: skip
        self._gloss = np.isin(made_of, ["glass", "hood", "warm"]) * 0.10
        self.driven = driven

    def place(self, time_s: float) -> Place:
        """X, Z, heading, way at a time."""
        return self._track(time_s)

    def figure(self, time_s: float, stage: Stage) -> Figure | None:
        """The car at a time, or None out of sight."""
        x, z, heading, _ = self._track(time_s)
        if not -2.0 < z < 140.0 or abs(x) > 0.62 * max(z, 0.0) + 3.5:
            return None
        turn = np.array([[math.cos(heading), 0.0, -math.sin(heading)], [0.0, 1.0, 0.0],
                         [math.sin(heading), 0.0, math.cos(heading)]])  # fmt: skip
        world = self._vertices @ turn + (x, 0.0, z)
        pixels = stage.camera.project(world)
        after = pixels[self._next]
        area = np.add.reduceat(
            pixels[:, 0] * after[:, 1] - after[:, 0] * pixels[:, 1], self._starts
        )
        normals = self._normals @ turn
        centers = world[self._starts]
        looks = ((stage.camera.height_m * np.array((0, 1, 0)) - centers) * normals).sum(axis=1)
        seen = np.flatnonzero((looks > 0) & (np.abs(area) > 1.0))
        seen = np.concatenate([[0], seen]) if 0 not in seen else seen
        fixed = fixed_point(pixels)
        m = self._materials
        return Figure(
            outlines=[fixed[self._starts[k] : self._ends[k]] for k in seen],
            widths=[0] * len(seen),
            light=self._light(stage, x, z, normals)[seen],
            materials=Materials(m.reflectance[seen] + self._gloss[seen, None], m.emission[seen],
                                m.counts[seen], m.labels[seen]),
            depth_m=max(z, 1.0),
            shadows=stage.shadows_of(world[self._starts[5:]], 0.15),
            glows=self._glows(stage, x, z, heading) if self._lit else [],
        )  # fmt: skip

    def _light(self, stage: Stage, x: float, z: float, normals: np.ndarray) -> np.ndarray:
        ambient, direct = stage.light_at(x, 1.0, z)
        sun = np.maximum(normals @ np.array(stage.weather.sun_to), 0.0)
        around = 0.62 + 0.38 * normals[:, 1]
        return around[:, None] * ambient + sun[:, None] * direct

    def _glows(self, stage: Stage, x: float, z: float, heading: float) -> list[Glow]:
        """Blooms of the lamps that face the camera."""
        towards = math.cos(heading) < 0  # seen from ahead
        s = self._shape
        end = z + (s.half_length if not towards else s.half_length) * (-1.0)
        if end < 2.0:
            return []
        lamps = np.array([(x + side * 0.8 * s.half_width, 0.68 * s.belt, end) for side in (-1, 1)])
        pixels = stage.camera.project(lamps)
        focal = stage.camera.focal
        if towards:
            radius = self._dipped * focal * (0.05 + 0.9 / end)
            rgb = (235.0, 228.0, 205.0)
        else:
            radius, rgb = focal * (0.012 + 0.22 / end), (150.0, 14.0, 8.0)
        return [Glow((float(u), float(v)), radius, rgb) for u, v in pixels]
