"""Cars of the drawn scenes as polygons: side profiles, faces and what each is made of.

Models stand at the origin, X right, Y up, Z ahead [m]. Knows nothing of light, heat or drawing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["CAR_SHAPES", "CarShape", "car_faces", "disc", "outward"]


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

    @property
    def belt_width(self) -> float:
        """Half width at the belt line [m]."""
        return 0.955 * self.half_width

    @property
    def roof_width(self) -> float:
        """Half width at the roof [m]."""
        return 0.74 * self.half_width

    @property
    def wheel_radius(self) -> float:
        """Of the tyre [m]."""
        return 0.33 if self.roof < 1.6 else 0.37

    @property
    def axles(self) -> tuple[float, float]:
        """Z of the front and rear axle [m]."""
        return self.half_length - 0.82, 0.8 - self.half_length


#: Lower edge of the painted body over the ground [m].
_LOW = 0.27

CAR_SHAPES: dict[str, CarShape] = {
    "hatchback": CarShape(2.05, 0.87, 1.48, 0.96, 0.80, 1.05, 0.35, -1.45, -1.95),
    "sedan": CarShape(2.35, 0.90, 1.44, 0.95, 0.79, 1.0, 0.25, -1.0, -1.75),
    "suv": CarShape(2.3, 0.94, 1.70, 1.08, 0.97, 1.05, 0.5, -1.75, -2.15),
    "van": CarShape(2.45, 0.96, 1.95, 1.12, 0.98, 1.75, 1.0, -2.25, -2.4),
}


def _quad(z0: float, y0: float, w0: float, z1: float, y1: float, w1: float, x: float = 0.0) -> list:
    """A face across the car from (z0, y0) to (z1, y1), `w` wide to each side of `x`."""
    return [(x - w0, y0, z0), (x + w0, y0, z0), (x + w1, y1, z1), (x - w1, y1, z1)]


def _between(corners: list, u0: float, u1: float, v0: float, v1: float) -> list:
    """Part of a four-cornered face: u along its first edge, v away from it, 0 to 1."""
    a, b, c, d = np.array(corners)

    def at(u: float, v: float) -> tuple:
        return tuple((a * (1 - u) + b * u) * (1 - v) + (d * (1 - u) + c * u) * v)

    return [at(u0, v0), at(u1, v0), at(u1, v1), at(u0, v1)]


def disc(x: float, y: float, z: float, radius: float) -> list:
    turn = np.linspace(0.0, 2.0 * np.pi, 17)[:-1]
    return [(x, y + radius * math.sin(a), z + radius * math.cos(a)) for a in turn]


Faces = list[tuple[str, list]]


def car_faces(s: CarShape) -> Faces:
    """(material, corners) of each face, in the order of painting; the first is the ground under."""
    front, w, wheel = s.half_length, s.half_width, s.wheel_radius
    faces: Faces = [
        ("under", [(-w, 0.02, -front), (w, 0.02, -front), (w, 0.02, front), (-w, 0.02, front)])
    ]
    for x in (-w + 0.12, w - 0.12):  # tyres seen from ahead and behind
        for z in (s.axles[0] + 0.8 * wheel, s.axles[1] - 0.8 * wheel):
            faces.append(("tyre", _quad(z, 0.0, 0.11, z, 0.4, 0.11, x)))
    for side in (-1.0, 1.0):
        faces += _flank(s, side)
    faces += _ends(s) + _cabin(s)
    for side in (-1.0, 1.0):
        faces += _windows(s, side) + _wheels(s, side)
    return faces


def _flank(s: CarShape, side: float) -> Faces:
    """Painted side under the windows, and the sill."""
    front, rear, low = s.half_length, -s.half_length, _LOW
    x, xt = side * s.half_width, side * s.belt_width
    profile = [(x, low, rear + 0.1), (x, s.belt * 0.6, rear), (xt, s.belt - 0.03, rear + 0.04),
               (xt, s.belt, s.tail_z), (xt, s.belt, s.cowl_z),
               (side * 0.9 * s.half_width, s.hood, front - 0.13),
               (x, s.hood - 0.14, front - 0.02), (x, low, front - 0.05)]  # fmt: skip
    sill = [(x, low - 0.03, rear + 0.3), (x, low + 0.06, rear + 0.3),
            (x, low + 0.06, front - 0.3), (x, low - 0.03, front - 0.3)]  # fmt: skip
    return [("paint", profile), ("dark", sill)]


def _ends(s: CarShape) -> Faces:
    """Hood, nose and tail with grille, lamps, plates and exhaust."""
    front, rear, w, top = s.half_length, -s.half_length, s.half_width, s.belt_width
    nose_y = s.hood - 0.14
    hood = _quad(front - 0.13, s.hood, 0.9 * w, s.cowl_z, s.belt - 0.01, top)
    lip = _quad(front - 0.03, nose_y, 0.95 * w, front - 0.13, s.hood, 0.9 * w)
    nose = _quad(front, _LOW + 0.12, 0.97 * w, front - 0.03, nose_y, 0.95 * w)
    trunk = _quad(rear + 0.03, s.belt - 0.04, top, s.tail_z, s.belt, top)
    tail = _quad(rear, _LOW + 0.15, w, rear + 0.03, s.belt - 0.04, top)
    return [
        ("hood", hood), ("warm", _between(hood, 0.22, 0.78, 0.15, 0.8)), ("paint", lip),
        ("paint", nose), ("paint", trunk), ("paint", tail),
        ("dark", _between(nose, 0.02, 0.98, 0.0, 0.25)),
        ("grille", _between(nose, 0.26, 0.74, 0.42, 0.86)),
        ("plate", _between(nose, 0.4, 0.6, 0.2, 0.4)),
        ("head", _between(nose, 0.02, 0.22, 0.6, 0.95)),
        ("head", _between(nose, 0.78, 0.98, 0.6, 0.95)),
        ("dark", _between(tail, 0.02, 0.98, 0.0, 0.22)),
        ("plate", _between(tail, 0.38, 0.62, 0.38, 0.58)),
        ("tail", _between(tail, 0.02, 0.19, 0.58, 0.92)),
        ("tail", _between(tail, 0.81, 0.98, 0.58, 0.92)),
        ("exhaust", _quad(rear, 0.22, 0.08, rear, 0.34, 0.08, 0.5)),
    ]  # fmt: skip


def _cabin(s: CarShape) -> Faces:
    """Pillars, windscreen, rear window and roof."""
    top, roof_w = s.belt_width, s.roof_width
    rear = _quad(s.tail_z, s.belt, top, s.roof_rear_z, s.roof, roof_w)
    front = _quad(s.cowl_z, s.belt - 0.01, top, s.roof_front_z, s.roof - 0.02, roof_w)
    roof = _quad(s.roof_front_z, s.roof - 0.02, roof_w, s.roof_rear_z, s.roof, roof_w)
    return [
        ("paint", _window_frame(s, -1.0, 0.0)), ("paint", _window_frame(s, 1.0, 0.0)),
        ("paint", front), ("glass", _between(front, 0.06, 0.94, 0.06, 0.9)),
        ("paint", rear), ("glass", _between(rear, 0.1, 0.9, 0.12, 0.86)), ("paint", roof),
    ]  # fmt: skip


def _window_frame(s: CarShape, side: float, out: float) -> list:
    """The side of the cabin, `out` metres outside of it."""
    xt, xr = side * (s.belt_width + out), side * (s.roof_width + out)
    return [(xt, s.belt, s.tail_z), (xt, s.belt, s.cowl_z),
            (xr, s.roof - 0.02, s.roof_front_z), (xr, s.roof, s.roof_rear_z)]  # fmt: skip


def _windows(s: CarShape, side: float) -> Faces:
    """Side windows, the door's edge and the mirror."""
    frame, x, z, y = _window_frame(s, side, 0.004), side * (s.half_width + 0.005), s.cowl_z, s.belt
    mirror = [(x * 1.12, y, z - 0.3), (x * 1.12, y + 0.14, z - 0.3),
              (x * 1.12, y + 0.14, z - 0.12), (x * 1.12, y, z - 0.1)]  # fmt: skip
    return [
        ("glass", _between(frame, 0.1, 0.535, 0.08, 0.86)),
        ("glass", _between(frame, 0.565, 0.93, 0.08, 0.86)),
        ("line", [(x, 0.36, 0.02), (x, 0.36, 0.0), (x, y, 0.0), (x, y, 0.02)]),
        ("dark", mirror),
    ]


def _wheels(s: CarShape, side: float) -> Faces:
    """Arch, tyre, rim and hub of both wheels of one side."""
    x, r = side * (s.half_width + 0.005), s.wheel_radius
    return [
        face
        for z in s.axles
        for face in (
            ("dark", disc(x, r + 0.02, z, r + 0.055)),
            ("tyre", disc(x * 1.005, r, z, r)),
            ("rim", disc(x * 1.01, r, z, 0.62 * r)),
            ("dark", disc(x * 1.012, r, z, 0.16 * r)),
        )
    ]


def outward(corners: np.ndarray, s: CarShape) -> np.ndarray:
    """Unit normal of a face that points away from the middle of the car."""
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[1])
    normal = normal / max(float(np.linalg.norm(normal)), 1e-9)
    away = corners.mean(axis=0) - (0.0, 0.75 * s.belt, 0.0)
    return normal if normal @ away >= 0 else -normal
