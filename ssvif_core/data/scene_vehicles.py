"""Cars and bicycles of the drawn scenes: small polygon models with paint, glass, lamps and heat.

Models stand at the origin, X right, Y up, Z ahead [m]. A moving car is warm at the hood, grille,
tyres, exhaust and on the ground under it; glass mirrors the cold sky.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ssvif_core.data.scene_paint import Figure, Glow, Materials, Stage, capsules, fixed_point
from ssvif_core.data.scene_people import Person, Place, pedalling
from ssvif_core.data.scene_physics import Weather

__all__ = ["CAR_SHAPES", "Bicycle", "Car", "Cyclist"]

Track = Callable[[float], Place]


@dataclass(frozen=True)
class CarShape:
    """Side profile of a car [m]: half length, roof, belt and hood heights, and where along Z."""

    half_length: float
    half_width: float
    roof: float
    belt: float
    hood: float
    cowl_z: float
    roof_front_z: float
    roof_rear_z: float
    tail_z: float


CAR_SHAPES: dict[str, CarShape] = {
    "hatchback": CarShape(2.05, 0.87, 1.48, 0.96, 0.80, 1.05, 0.35, -1.45, -1.95),
    "sedan": CarShape(2.35, 0.90, 1.44, 0.95, 0.79, 1.0, 0.25, -1.0, -1.75),
    "suv": CarShape(2.3, 0.94, 1.70, 1.08, 0.97, 1.05, 0.5, -1.75, -2.15),
    "van": CarShape(2.45, 0.96, 1.95, 1.12, 0.98, 1.75, 1.0, -2.25, -2.4),
}
_PAINTS = ((0.62, 0.62, 0.62), (0.03, 0.03, 0.035), (0.34, 0.35, 0.37), (0.3, 0.02, 0.02),
           (0.03, 0.07, 0.2), (0.75, 0.74, 0.7), (0.12, 0.13, 0.14), (0.33, 0.28, 0.2))  # fmt: skip

#: Degrees over air at rest and added when driven, and emissivity (glass and chrome mirror the sky).
_HEAT = {
    "paint": (1.5, 1.0, 0.92), "hood": (1.5, 12.0, 0.93), "warm": (2.0, 20.0, 0.94),
    "glass": (0.5, 2.5, 0.82), "dark": (1.0, 4.0, 0.95), "tyre": (1.0, 14.0, 0.96),
    "rim": (0.5, 22.0, 0.7), "grille": (1.0, 30.0, 0.95), "head": (1.0, 14.0, 0.88),
    "tail": (1.0, 5.0, 0.9), "plate": (0.5, 1.0, 0.85), "exhaust": (0.0, 75.0, 0.95),
    "under": (1.0, 9.0, 0.96), "line": (1.0, 2.0, 0.95),
}  # fmt: skip
_COLOR = {"glass": (0.045, 0.055, 0.06), "dark": (0.025, 0.025, 0.025), "tyre": (0.018,) * 3,
          "rim": (0.32, 0.32, 0.33), "grille": (0.03, 0.03, 0.03), "head": (0.75, 0.76, 0.78),
          "tail": (0.35, 0.015, 0.015), "plate": (0.7, 0.7, 0.62), "exhaust": (0.06,) * 3,
          "under": (0.012,) * 3}  # fmt: skip


def _quad(z0: float, y0: float, w0: float, z1: float, y1: float, w1: float) -> list:
    """A face across the car from (z0, y0) to (z1, y1), `w` wide to each side."""
    return [(-w0, y0, z0), (w0, y0, z0), (w1, y1, z1), (-w1, y1, z1)]


def _between(corners: list, u0: float, u1: float, v0: float, v1: float) -> list:
    """Part of a four-cornered face: u along its first edge, v away from it, 0 to 1."""
    a, b, c, d = np.array(corners)

    def at(u: float, v: float) -> tuple:
        return tuple((a * (1 - u) + b * u) * (1 - v) + (d * (1 - u) + c * u) * v)

    return [at(u0, v0), at(u1, v0), at(u1, v1), at(u0, v1)]


def _disc(x: float, y: float, z: float, radius: float) -> list:
    turn = np.linspace(0.0, 2.0 * np.pi, 17)[:-1]
    return [(x, y + radius * math.sin(a), z + radius * math.cos(a)) for a in turn]


def _car_faces(s: CarShape) -> list[tuple[str, list]]:
    """(material, corners) of each face, in the order of painting."""
    front, rear, w, low = s.half_length, -s.half_length, s.half_width, 0.27
    top, roof_w, nose_y = 0.955 * w, 0.74 * w, s.hood - 0.14
    wheel, axle_f, axle_r = 0.33 if s.roof < 1.6 else 0.37, front - 0.82, rear + 0.8
    faces: list[tuple[str, list]] = [
        ("under", [(-w, 0.02, rear), (w, 0.02, rear), (w, 0.02, front), (-w, 0.02, front)])
    ]
    for x in (-w + 0.12, w - 0.12):  # tyres seen from ahead and behind
        for z, out in ((axle_f + wheel * 0.8, 0.0), (axle_r - wheel * 0.8, 0.0)):
            faces.append(("tyre", [(x - 0.11, out, z), (x + 0.11, out, z), (x + 0.11, 0.4, z),
                                   (x - 0.11, 0.4, z)]))  # fmt: skip
    glass_rear = _quad(s.tail_z, s.belt, top, s.roof_rear_z, s.roof, roof_w)
    glass_front = _quad(s.cowl_z, s.belt - 0.01, top, s.roof_front_z, s.roof - 0.02, roof_w)
    trunk = _quad(rear + 0.03, s.belt - 0.04, top, s.tail_z, s.belt, top)
    hood = _quad(front - 0.13, s.hood, 0.9 * w, s.cowl_z, s.belt - 0.01, top)
    tail = _quad(rear, low + 0.15, w, rear + 0.03, s.belt - 0.04, top)
    nose = _quad(front, low + 0.12, 0.97 * w, front - 0.03, nose_y, 0.95 * w)
    lip = _quad(front - 0.03, nose_y, 0.95 * w, front - 0.13, s.hood, 0.9 * w)
    for side in (-1.0, 1.0):
        x, xt, xr = side * w, side * top, side * roof_w
        faces.append(("paint", [(x, low, rear + 0.1), (x, s.belt * 0.6, rear),
                                (xt, s.belt - 0.03, rear + 0.04), (xt, s.belt, s.tail_z),
                                (xt, s.belt, s.cowl_z), (side * 0.9 * w, s.hood, front - 0.13),
                                (x, nose_y, front - 0.02), (x, low, front - 0.05)]))  # fmt: skip
        faces.append(("dark", [(x, low - 0.03, rear + 0.3), (x, low + 0.06, rear + 0.3),
                               (x, low + 0.06, front - 0.3), (x, low - 0.03, front - 0.3)]))  # fmt: skip
    faces += [("hood", hood), ("warm", _between(hood, 0.22, 0.78, 0.15, 0.8)), ("paint", lip),
              ("paint", nose), ("paint", trunk), ("paint", tail)]  # fmt: skip
    faces += [
        ("dark", _between(nose, 0.02, 0.98, 0.0, 0.25)),
        ("grille", _between(nose, 0.26, 0.74, 0.42, 0.86)),
        ("plate", _between(nose, 0.4, 0.6, 0.2, 0.4)),
        ("head", _between(nose, 0.02, 0.22, 0.6, 0.95)),
        ("head", _between(nose, 0.78, 0.98, 0.6, 0.95)),
        ("dark", _between(tail, 0.02, 0.98, 0.0, 0.22)),
        ("plate", _between(tail, 0.38, 0.62, 0.38, 0.58)),
        ("tail", _between(tail, 0.02, 0.19, 0.58, 0.92)),
        ("tail", _between(tail, 0.81, 0.98, 0.58, 0.92)),
        ("exhaust", [(0.42, 0.22, rear), (0.58, 0.22, rear), (0.58, 0.34, rear), (0.42, 0.34, rear)]),
    ]  # fmt: skip
    for side in (-1.0, 1.0):
        xt, xr = side * top, side * roof_w
        faces.append(("paint", [(xt, s.belt, s.tail_z), (xt, s.belt, s.cowl_z),
                                (xr, s.roof - 0.02, s.roof_front_z), (xr, s.roof, s.roof_rear_z)]))  # fmt: skip
    faces += [
        ("paint", glass_front), ("glass", _between(glass_front, 0.06, 0.94, 0.06, 0.9)),
        ("paint", glass_rear), ("glass", _between(glass_rear, 0.1, 0.9, 0.12, 0.86)),
        ("paint", _quad(s.roof_front_z, s.roof - 0.02, roof_w, s.roof_rear_z, s.roof, roof_w)),
    ]  # fmt: skip
    for side in (-1.0, 1.0):
        faces += _car_side(s, side, top, roof_w, wheel, (axle_f, axle_r))
    return faces


def _car_side(
    s: CarShape, side: float, top: float, roof_w: float, wheel: float, axles: tuple[float, float]
) -> list[tuple[str, list]]:
    """Windows, doors and wheels of one side."""
    xt, xr, x = side * (top + 0.004), side * (roof_w + 0.004), side * (s.half_width + 0.005)
    frame = [(xt, s.belt, s.tail_z), (xt, s.belt, s.cowl_z),
             (xr, s.roof - 0.02, s.roof_front_z), (xr, s.roof, s.roof_rear_z)]  # fmt: skip
    pillar = 0.55
    faces = [
        ("glass", _between(frame, 0.1, pillar - 0.015, 0.08, 0.86)),
        ("glass", _between(frame, pillar + 0.015, 0.93, 0.08, 0.86)),
        ("line", [(x, 0.36, 0.02), (x, 0.36, -0.0), (x, s.belt, -0.0), (x, s.belt, 0.02)]),
        ("dark", [(x * 1.12, s.belt, s.cowl_z - 0.3), (x * 1.12, s.belt + 0.14, s.cowl_z - 0.3),
                  (x * 1.12, s.belt + 0.14, s.cowl_z - 0.12), (x * 1.12, s.belt, s.cowl_z - 0.1)]),
    ]  # fmt: skip
    for z in axles:
        faces += [
            ("dark", _disc(x, wheel + 0.02, z, wheel + 0.055)),
            ("tyre", _disc(x * 1.005, wheel, z, wheel)),
            ("rim", _disc(x * 1.01, wheel, z, 0.62 * wheel)),
            ("dark", _disc(x * 1.012, wheel, z, 0.16 * wheel)),
        ]
    return faces


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
        faces = _car_faces(self._shape)
        made_of = [name for name, _ in faces]
        self._vertices = np.array([corner for _, corners in faces for corner in corners])
        sizes = np.array([len(corners) for _, corners in faces])
        self._ends = np.cumsum(sizes)
        self._starts = self._ends - sizes
        self._next = np.arange(self._ends[-1]) + 1
        self._next[self._ends - 1] = self._starts
        self._normals = np.array([_outward(np.array(c), self._shape) for _, c in faces])
        paint = np.array(_PAINTS[random.integers(len(_PAINTS))])
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
            weather.apparent_counts(celsius, emissivity), np.full(len(faces), 1, np.uint8),
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


def _outward(corners: np.ndarray, s: CarShape) -> np.ndarray:
    """Unit normal of a face that points away from the middle of the car."""
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[1])
    normal = normal / max(float(np.linalg.norm(normal)), 1e-9)
    away = corners.mean(axis=0) - (0.0, 0.75 * s.belt, 0.0)
    return normal if normal @ away >= 0 else -normal


class Bicycle:
    """A bicycle; its label covers the wheels as discs, as people draw it by hand."""

    def __init__(self, weather: Weather, random: np.random.Generator, track: Track) -> None:
        self._track = track
        color = np.array(_PAINTS[random.integers(len(_PAINTS))])
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
        celsius = weather.air_c + np.array([2.5, 2.5, *([0.5] * 6), 1.5, 6.0])
        self._materials = Materials(
            reflectance, np.zeros_like(reflectance),
            weather.apparent_counts(celsius, 0.9), np.full(len(celsius), 3, np.uint8),
        )  # fmt: skip
        self._wheels = np.array([_disc(0.0, 0.34, z, 0.33) for z in (-0.52, 0.53)])

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
