"""People and riders of the drawn scenes: a skeleton that walks, stands or pedals, and its clothes.

Proportions are those of Winter, Biomechanics and Motor Control of Human Movement (segment lengths
as parts of the body height); the gait is two sines of hip and knee angle, which reads as walking.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ssvif_core.data.scene_paint import Figure, Materials, Stage, capsules, fixed_point
from ssvif_core.data.scene_physics import Weather

__all__ = ["Person", "Place", "pedalling", "standing", "walking"]

#: Where something is and where it heads: X, Z [m], heading [rad] (0 along +Z), way walked [m].
Place = tuple[float, float, float, float]
#: Joints (24, 3) of a body of height 1, X right, Y up, Z ahead, from the way walked [m].
Pose = Callable[[float, float], np.ndarray]

(PELVIS, NECK, CHIN, BROW, HIP, KNEE, ANKLE, TOE, SHOULDER, ELBOW, WRIST, HAND, CROWN, NAPE,
 PACK_TOP, PACK_LOW, HEM) = (0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 21, 22, 23, 24)  # fmt: skip
_LEG, _SHIN, _FOOT, _UPPER_ARM, _FOREARM = 0.245, 0.246, 0.11, 0.186, 0.146

#: Parts: start, end, radii there (parts of the height), what it is made of, and the group that is
#: painted as one (so that no seams show). Sides L and R are the joint and the next one.
_PARTS: list[tuple[int, int, float, float, str, str]] = [
    part
    for side, name in ((0, "left"), (1, "right"))
    for part in (
        (ANKLE + side, TOE + side, 0.026, 0.018, "shoe", f"{name} leg"),
        (HIP + side, KNEE + side, 0.054, 0.036, "legs", f"{name} leg"),
        (KNEE + side, ANKLE + side, 0.035, 0.025, "legs", f"{name} leg"),
        (WRIST + side, HAND + side, 0.019, 0.017, "skin", f"{name} arm"),
        (SHOULDER + side, ELBOW + side, 0.036, 0.029, "coat", f"{name} arm"),
        (ELBOW + side, WRIST + side, 0.029, 0.021, "coat", f"{name} arm"),
    )
] + [
    (PELVIS, HEM, 0.07, 0.085, "hem", "torso"),
    (SHOULDER, HIP, 0.05, 0.06, "coat", "torso"),
    (SHOULDER + 1, HIP + 1, 0.05, 0.06, "coat", "torso"),
    (NECK, PELVIS, 0.075, 0.085, "coat", "torso"),
    (NECK, CHIN, 0.032, 0.032, "skin", "head"),
    (CHIN, BROW, 0.042, 0.052, "skin", "head"),
    (NAPE, CROWN, 0.046, 0.055, "hair", "hair"),
    (PACK_TOP, PACK_LOW, 0.05, 0.065, "pack", "pack"),
]
_START, _END = (np.array([p[i] for p in _PARTS]) for i in (0, 1))
_START_RADIUS, _END_RADIUS = (np.array([p[i] for p in _PARTS]) for i in (2, 3))
_GROUP = np.unique([p[5] for p in _PARTS], return_inverse=True)[1]
_GROUP_SIZE = np.bincount(_GROUP)

#: Joints whose hull casts the shadow.
_SILHOUETTE = [TOE, TOE + 1, HIP, HIP + 1, SHOULDER, SHOULDER + 1, CROWN]
#: Warmth of each material between air (0) and skin at 33.5 C (1): what a coat lets through.
_WARMTH = {"skin": 1.0, "hair": 0.72, "coat": 0.5, "legs": 0.44, "shoe": 0.25, "hem": 0.4,
           "pack": 0.15}  # fmt: skip
_COATS = ((0.03, 0.04, 0.07), (0.25, 0.03, 0.03), (0.5, 0.48, 0.44), (0.05, 0.05, 0.05),
          (0.04, 0.1, 0.2), (0.32, 0.24, 0.12), (0.05, 0.13, 0.07), (0.55, 0.33, 0.05))  # fmt: skip
_LEGS = ((0.03, 0.04, 0.08), (0.02, 0.02, 0.025), (0.12, 0.1, 0.07), (0.06, 0.09, 0.17))
_SKINS = ((0.5, 0.3, 0.2), (0.36, 0.2, 0.13), (0.16, 0.08, 0.05), (0.55, 0.36, 0.27))
_HAIRS = ((0.015, 0.012, 0.01), (0.08, 0.04, 0.02), (0.25, 0.17, 0.07), (0.2, 0.2, 0.2))


def _trunk(joints: np.ndarray, lean: float) -> None:
    """Everything over the hips: head, shoulders and pack, leant forward about the pelvis."""
    body = np.array([
        (NECK, 0, 0.835, 0.0), (CHIN, 0, 0.895, 0.022), (BROW, 0, 0.938, 0.016),
        (SHOULDER, -0.098, 0.792, 0.0), (SHOULDER + 1, 0.098, 0.792, 0.0),
        (CROWN, 0, 0.945, -0.012), (NAPE, 0, 0.905, -0.026),
        (PACK_TOP, 0, 0.775, -0.095), (PACK_LOW, 0, 0.63, -0.1),
    ])  # fmt: skip
    places, points = body[:, 0].astype(int), body[:, 1:].copy()
    up, ahead = points[:, 1] - joints[PELVIS, 1], points[:, 2]
    points[:, 1] = joints[PELVIS, 1] + up * math.cos(lean) - ahead * math.sin(lean)
    points[:, 2] = joints[PELVIS, 2] + up * math.sin(lean) + ahead * math.cos(lean)
    joints[places] = points


def _reach(joint: np.ndarray, length: float, angle: float) -> np.ndarray:
    """The end of a limb that hangs from `joint`, swung forward by `angle`."""
    return joint + (0.0, -length * math.cos(angle), length * math.sin(angle))


def walking(way_m: float, height_m: float, vigour: float = 1.0) -> np.ndarray:
    """Joints while walking: one cycle of both legs in 0.8 body heights of way."""
    joints = np.zeros((25, 3))
    joints[PELVIS] = (0.0, 0.55, 0.0)
    phase = 2.0 * math.pi * way_m / (0.8 * height_m)
    for side, x in ((0, -1.0), (1, 1.0)):
        cycle = phase + side * math.pi
        thigh = vigour * (0.42 * math.sin(cycle) + 0.06)
        knee = 0.08 + vigour * 0.95 * max(0.0, math.cos(cycle + 0.35)) ** 2
        joints[HIP + side] = (0.05 * x, 0.53, 0.0)
        joints[KNEE + side] = _reach(joints[HIP + side], _LEG, thigh)
        joints[ANKLE + side] = _reach(joints[KNEE + side], _SHIN, thigh - knee)
        joints[TOE + side] = _reach(joints[ANKLE + side], _FOOT, thigh - knee + 1.45)
        arm = -vigour * 0.45 * math.sin(cycle)
        shoulder = np.array((0.118 * x, 0.79, 0.0))
        joints[ELBOW + side] = _reach(shoulder, _UPPER_ARM, arm) + (0.018 * x, 0, 0)
        joints[WRIST + side] = _reach(joints[ELBOW + side], _FOREARM, arm + 0.3 * vigour + 0.05)
        joints[HAND + side] = _reach(joints[WRIST + side], 0.045, arm + 0.35)
    joints[HEM] = 0.5 * (joints[KNEE] + joints[KNEE + 1]) + (0.0, 0.1, 0.0)
    _trunk(joints, 0.05 * vigour)
    joints[:, 1] -= joints[ANKLE : TOE + 2, 1].min() - 0.02  # the lower foot is on the ground
    return joints


def standing(way_m: float, height_m: float) -> np.ndarray:
    """Joints while standing; `way_m` sways the body a little."""
    return walking(0.05 * math.sin(way_m), height_m, vigour=0.25)


def pedalling(way_m: float, height_m: float) -> np.ndarray:
    """Joints on a bicycle of `scene_vehicles`: seat 0.93 m, cranks 0.17 m, gear 5 m a turn."""
    joints = np.zeros((25, 3))
    joints[PELVIS] = np.array((0.0, 1.0, -0.22)) / height_m
    turn = 2.0 * math.pi * way_m / 5.0
    for side, x in ((0, -1.0), (1, 1.0)):
        angle = turn + side * math.pi
        pedal = np.array((0.11 * x, 0.34 - 0.17 * math.cos(angle), 0.02 + 0.17 * math.sin(angle)))
        ankle = pedal / height_m + (0.0, 0.045, -0.03)
        hip = joints[PELVIS] + (0.05 * x, 0.0, 0.0)
        joints[HIP + side], joints[ANKLE + side] = hip, ankle
        joints[KNEE + side] = _bend(hip, ankle, _LEG, _SHIN)
        joints[TOE + side] = ankle + (0.0, -0.03, 0.09)
    _trunk(joints, 0.42)
    for side, x in ((0, -1.0), (1, 1.0)):
        joints[WRIST + side] = np.array((0.24 * x, 1.06, 0.44)) / height_m
        joints[HAND + side] = joints[WRIST + side] + (0.0, -0.005, 0.035)
        joints[ELBOW + side] = _bend(
            joints[SHOULDER + side], joints[WRIST + side], _UPPER_ARM, _FOREARM, ahead=-1.0
        )
    joints[HEM] = joints[PELVIS] + (0.0, -0.02, 0.02)
    return joints


def _bend(
    root: np.ndarray, tip: np.ndarray, upper: float, lower: float, ahead: float = 1.0
) -> np.ndarray:
    """The middle joint of a two-part limb between `root` and `tip`, bent to the front or back."""
    span = tip - root
    length = min(float(np.linalg.norm(span)), upper + lower - 1e-3)
    along = (upper**2 - lower**2 + length**2) / (2.0 * length)
    out = math.sqrt(max(0.0, upper**2 - along**2))
    unit = span / np.linalg.norm(span)
    normal = np.array((0.0, unit[2], -unit[1])) * (-ahead if unit[1] > 0 else ahead)
    if normal[2] * ahead < 0:
        normal = -normal
    return root + unit * along + normal * out


class Person:
    """A person with clothes of its own.

    Args:
        weather: of the scene.
        random: chooses height and clothes.
        pose: how it moves.
        track: place at a time [s].
    """

    def __init__(
        self,
        weather: Weather,
        random: np.random.Generator,
        pose: Pose,
        track: Callable[[float], Place],
    ) -> None:
        self._pose, self._track = pose, track
        self._height_m = float(random.uniform(1.6, 1.86))
        coat, legs, skin, hair = (
            np.array(choices[random.integers(len(choices))])
            for choices in (_COATS, _LEGS, _SKINS, _HAIRS)
        )
        long_coat, pack = random.random() < 0.35, random.random() < 0.4
        colors = {"coat": coat, "legs": legs, "skin": skin, "hair": hair, "hem": coat,
                  "shoe": np.full(3, 0.03), "pack": _COATS[random.integers(8)]}  # fmt: skip
        kept = [
            i
            for i, part in enumerate(_PARTS)
            if (part[4] != "pack" or pack) and (part[4] != "hem" or long_coat)
        ]
        self._kept = np.array(kept)
        made_of = [_PARTS[i][4] for i in kept]
        celsius = weather.air_c + np.array([_WARMTH[m] for m in made_of]) * (33.5 - weather.air_c)
        celsius += random.normal(0.0, 0.5, len(kept))
        # The rim of a limb is seen at a grazing angle: less emission, less light.
        counts = np.concatenate(
            [weather.apparent_counts(celsius - 0.6, 0.95), weather.apparent_counts(celsius, 0.98)]
        )
        reflectance = np.tile(np.array([colors[m] for m in made_of]), (2, 1))
        labels = np.full(len(counts), 2, np.uint8)
        self._materials = Materials(reflectance, np.zeros_like(reflectance), counts, labels)
        self._sun_side = 1.0 if weather.sun_to[0] > 0 else -1.0
        rim, core = ((0.3, 0.72), (0.6, 1.0))
        if weather.sun_to[2] > 0:  # against the sun only the rim is lit
            rim, core = ((0.12, 0.8), (0.0, 0.85))
        self._shade = np.repeat([rim, core], len(kept), axis=0)

    def figure(self, time_s: float, stage: Stage) -> Figure | None:
        """The person at a time, or None out of sight."""
        x, z, heading, way = self._track(time_s)
        if not 1.2 < z < 120.0 or abs(x) > 0.56 * z + 1.0:
            return None
        joints = self._height_m * self._pose(way, self._height_m)
        world = np.empty_like(joints)
        cos, sin = math.cos(heading), math.sin(heading)
        world[:, 0] = x + joints[:, 0] * cos + joints[:, 2] * sin
        world[:, 1] = joints[:, 1]
        world[:, 2] = z - joints[:, 0] * sin + joints[:, 2] * cos
        kept, pixels = self._kept, stage.camera.project(world)
        start, end = pixels[_START[kept]], pixels[_END[kept]]
        scale = self._height_m * stage.camera.focal / z
        radii = scale * np.stack([_START_RADIUS[kept], _END_RADIUS[kept]])
        aside = np.array((self._sun_side * 0.2, -0.12)) * radii[:, :, None]
        outlines = capsules(
            np.concatenate([start, start + aside[0]]),
            np.concatenate([end, end + aside[1]]),
            np.concatenate([radii[0], 0.66 * radii[0]]),
            np.concatenate([radii[1], 0.66 * radii[1]]),
        )
        order = self._far_to_near(world)
        m = self._materials
        ambient, direct = stage.light_at(x, 1.1, z)
        shade = self._shade[order]
        return Figure(
            outlines=list(fixed_point(outlines[order])),
            widths=[0] * len(order),
            light=ambient * shade[:, 1:] + direct * shade[:, :1],
            materials=Materials(
                m.reflectance[order], m.emission[order], m.counts[order], m.labels[order]
            ),
            depth_m=z,
            shadows=stage.shadows_of(world[_SILHOUETTE], 0.25),
        )

    def _far_to_near(self, world: np.ndarray) -> np.ndarray:
        """Order of the 2K outlines: groups by depth, in each the rims before the cores."""
        kept = self._kept
        depth = 0.5 * (world[_START[kept], 2] + world[_END[kept], 2])
        sums = np.bincount(_GROUP[kept], depth, minlength=len(_GROUP_SIZE))
        near = -(sums / np.maximum(np.bincount(_GROUP[kept], minlength=len(sums)), 1))[_GROUP[kept]]
        return np.lexsort((np.repeat((0, 1), len(kept)), np.tile(near, 2)))
