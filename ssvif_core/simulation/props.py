"""Trees and lamps of a drawn street: painted into its maps, far to near, with their masks.

Knows nothing of light or of what moves.
"""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.simulation.maps import FACING, LEAF, LEFT_KERB, RIGHT_KERB, Maps, prop_of
from ssvif_core.simulation.paint import Camera, capsules, fixed_point

__all__ = ["LAMP_HEIGHT_M", "build_props"]

LAMP_HEIGHT_M = 5.3
_BARK, _STEEL = (0.07, 0.055, 0.04), (0.1, 0.11, 0.11)


def build_props(maps: Maps) -> np.ndarray:
    """Paint trees and lamps; returns the places of the lamp heads (N, 3)."""
    random, todo = maps.random, []
    for side, x in ((1, RIGHT_KERB + 2.75), (-1, LEFT_KERB - 2.6)):
        z = 15.0 + float(random.uniform(-1.5, 3.0)) + (4.0 if side < 0 else 0.0)
        while z < 95.0:
            todo.append((z, "tree", x + float(random.uniform(-0.2, 0.2)), side))
            z += float(random.uniform(9.0, 14.0))
    for side, x, first in ((1, RIGHT_KERB + 0.45, 12.5), (-1, LEFT_KERB - 0.45, 20.0)):
        todo += [(first + 21.0 * i, "lamp", x, side) for i in range(4)]
    heads = []
    for z, kind, x, side in sorted(todo, reverse=True):
        if kind == "tree":
            _tree(maps, x, z)
        else:
            heads.append(_lamp(maps, x, z, side))
    return np.array(heads)


class _Easel:
    """A part of the maps, large enough for one prop in the plane at `z`, and its mask."""

    def __init__(self, maps: Maps, x: tuple[float, float], top_m: float, z: float) -> None:
        self.maps, self.z, self.scale = maps, z, 2.0 * maps.camera.focal / z
        corners = np.array([[x[0], top_m, z], [x[1], -0.2, z]])
        h, w = maps.surface.shape
        (left, top), (right, low) = np.clip(np.floor(self._project(corners)), 0, (w, h)).astype(int)
        self.left, self.top = int(left), int(top)
        self.mask = np.zeros(
            (max(int(low) - self.top, 0), max(int(right) - self.left, 0)), np.uint8
        )

    def _project(self, points: np.ndarray) -> np.ndarray:
        camera = self.maps.camera
        return Camera(2 * camera.width, 2 * camera.height, camera.height_m).project(points)

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Places on the easel of world points (N, 3)."""
        return self._project(points) - (self.left, self.top)

    def limbs(self, starts: np.ndarray, ends: np.ndarray, radii: np.ndarray) -> np.ndarray:
        """Mask of round bars, radii (K, 2) in metres; it is added to the easel's."""
        mask, radii = np.zeros_like(self.mask), np.maximum(radii * self.scale, 0.7)
        outlines = capsules(self.pixels(starts), self.pixels(ends), radii[:, 0], radii[:, 1])
        for outline in fixed_point(outlines):
            cv2.fillConvexPoly(mask, outline, 255, cv2.LINE_8, 4)
        cv2.max(self.mask, mask, dst=self.mask)
        return mask

    def places(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns in the maps of what is set in a mask of the easel."""
        rows, columns = np.nonzero(mask)
        return rows + self.top, columns + self.left

    def finish(self) -> None:
        """Remember where the prop is at the camera's size."""
        h, w = self.maps.surface.shape
        full = np.zeros((h, w), np.uint8)
        full[
            self.top : self.top + self.mask.shape[0], self.left : self.left + self.mask.shape[1]
        ] = self.mask
        small = cv2.resize(full, (w // 2, h // 2), interpolation=cv2.INTER_AREA) > 127
        if (prop := prop_of(small.astype(np.uint8), self.z)) is not None:
            self.maps.props.append(prop)


def _tree(maps: Maps, x: float, z: float) -> None:
    random, weather = maps.random, maps.weather
    fork, crown, radius = (random.uniform(*r) for r in ((2.0, 2.6), (4.2, 5.2), (1.5, 2.2)))
    easel = _Easel(maps, (x - 1.6 * radius, x + 1.6 * radius), crown + 1.6 * radius, z)
    if not easel.mask.size:
        return
    aside, up = random.uniform(-0.75, 0.75, 7) * radius, random.uniform(-0.7, 0.8, 7) * radius
    tips = np.stack([x + aside, crown + up, np.full(7, z)], axis=1)
    root = np.array([[x, 0.0, z]] + [[x, fork, z]] * 7)
    ends = np.concatenate([[[x, fork + 0.1, z]], tips])
    wood = easel.places(easel.limbs(root, ends, np.array([[0.19, 0.13]] + [[0.08, 0.03]] * 7)))
    rough = maps.texture(maps.fine, *wood, 0.35)
    maps.cover(wood, FACING, z, np.array(_BARK) * (1.0 + 0.3 * rough)[:, None],
               weather.leaf_c + 1.0 + 0.4 * rough)  # fmt: skip
    leaf = _crown(easel, np.array([x, crown, z]), radius)
    rows, columns = easel.places(leaf)
    grain = maps.texture(maps.fine, rows, columns, 0.8)
    light = grain > -1.1  # light comes through between the leaves
    tone, rough = leaf[leaf > 0][light], grain[light]
    green = np.array([0.075, 0.115, 0.03]) * random.uniform(0.7, 1.2, 3)
    maps.cover((rows[light], columns[light]), LEAF, z,
               green * (tone * (1.0 + 0.3 * rough))[:, None],
               weather.leaf_c - 1.2 + 2.2 * tone + 0.5 * rough, 0.97)  # fmt: skip
    easel.finish()


def _crown(easel: _Easel, center: np.ndarray, radius: float) -> np.ndarray:
    """Brightness of leaves (0 where there are none): blobs, the lower ones in others' shade."""
    random, count = easel.maps.random, 900
    turn, away = random.uniform(0, 2 * np.pi, count), np.sqrt(random.uniform(0, 1, count))
    bulge = 1.0 + 0.22 * np.sin(3 * turn + random.uniform(0, 6)) + 0.1 * np.sin(7 * turn)
    u, v = away * bulge * np.cos(turn), away * bulge * np.sin(turn)
    points = center + radius * np.stack([u, 0.95 * v, np.zeros(count)], axis=1)
    tones = 0.45 + 0.3 * v + random.uniform(0.0, 0.55, count)
    places = fixed_point(easel.pixels(points)).tolist()
    sizes = easel.scale * random.uniform(0.06, 0.17, count)
    axes = fixed_point(sizes[:, None] * (1.0, 0.6)).tolist()
    angles = random.uniform(0, 180, count).tolist()
    leaf = np.zeros(easel.mask.shape, np.float32)
    for k in np.argsort(tones + 0.4 * random.random(count)).tolist():
        tone = max(float(tones[k]), 0.05)
        cv2.ellipse(leaf, places[k], axes[k], angles[k], 0, 360, tone, -1, cv2.LINE_8, 4)
    easel.mask[leaf > 0] = 255
    return leaf


def _lamp(maps: Maps, x: float, z: float, side: int) -> np.ndarray:
    weather, arm = maps.weather, x - side * 1.1
    easel = _Easel(maps, (x - 2.0, x + 2.0), LAMP_HEIGHT_M + 0.5, z)
    starts = np.array([[x, 0.0, z], [x, 0.9, z], [x, LAMP_HEIGHT_M - 0.2, z]])
    ends = np.array([[x, 0.9, z], [x, LAMP_HEIGHT_M - 0.2, z], [arm, LAMP_HEIGHT_M, z]])
    pole = easel.limbs(starts, ends, np.array([[0.1, 0.09], [0.06, 0.05], [0.04, 0.04]]))
    head = np.array([[arm + side * 0.1, LAMP_HEIGHT_M - 0.03, z]])
    lens = easel.limbs(head, head - (side * 0.5, 0, 0), np.array([[0.09, 0.07]]))
    steel, glass = easel.places(pole), easel.places(lens)
    maps.cover(steel, FACING, z, np.array(_STEEL), np.array(weather.air_c + 0.5), 0.8)
    warm = weather.air_c + (22.0 if weather.dark else 1.0)
    maps.cover(glass, FACING, z, np.array([0.5, 0.5, 0.5]), np.array(warm), 0.9)
    if weather.dark:
        maps.emission[glass] = (14.0, 11.0, 6.5)
    easel.finish()
    return np.array([arm, LAMP_HEIGHT_M, z])
