"""People of the drawn scenes: a skeleton in clothes of its own, warm where skin shows.

Each limb is a capsule with a darker, cooler rim, for it is seen at a grazing angle there. Knows
nothing of streets.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ssvif_core.simulation.paint import Figure, Materials, Stage, capsules, fixed_point
from ssvif_core.simulation.physics import Weather
from ssvif_core.simulation.skeleton import (  # fmt: skip
    ANKLE,
    BROW,
    CHIN,
    CROWN,
    ELBOW,
    HAND,
    HEM,
    HIP,
    KNEE,
    NAPE,
    NECK,
    PACK_LOW,
    PACK_TOP,
    PELVIS,
    SHOULDER,
    TOE,
    WRIST,
    Pose,
)

__all__ = ["Person", "Place"]

#: Where something is and where it heads: X, Z [m], heading [rad] (0 along +Z), way walked [m].
Place = tuple[float, float, float, float]
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
    (CHIN, BROW, 0.040, 0.050, "skin", "head"),
    (NAPE, CROWN, 0.044, 0.052, "hair", "hair"),
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
_COATS = ((0.03, 0.04, 0.07), (0.2, 0.035, 0.03), (0.42, 0.41, 0.39), (0.05, 0.05, 0.05),
          (0.04, 0.1, 0.2), (0.2, 0.16, 0.1), (0.06, 0.09, 0.06), (0.4, 0.28, 0.1))  # fmt: skip
_LEGS = ((0.03, 0.04, 0.08), (0.02, 0.02, 0.025), (0.12, 0.1, 0.07), (0.06, 0.09, 0.17))
_SKINS = ((0.5, 0.3, 0.2), (0.36, 0.2, 0.13), (0.16, 0.08, 0.05), (0.55, 0.36, 0.27))
_HAIRS = ((0.015, 0.012, 0.01), (0.08, 0.04, 0.02), (0.25, 0.17, 0.07), (0.2, 0.2, 0.2))


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
