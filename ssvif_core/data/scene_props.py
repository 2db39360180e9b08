"""Trees and street lamps of a drawn street: painted into its maps, far to near, with their masks."""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.data.scene_maps import FACING, LEAF, LEFT_KERB, RIGHT_KERB, Maps, Prop

from ssvif_core.data.scene_paint import Camera, capsules, fixed_point

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


def _project(maps: Maps, points: np.ndarray) -> np.ndarray:
    double = Camera(2 * maps.camera.width, 2 * maps.camera.height, maps.camera.height_m)
    return double.project(points)


def _finish(maps: Maps, mask: np.ndarray, depth_m: float) -> None:
    """Remember where the prop is at the camera's size."""
    small = cv2.resize(mask, (maps.camera.width, maps.camera.height),
                       interpolation=cv2.INTER_AREA) > 127  # fmt: skip
    rows, columns = np.flatnonzero(small.any(axis=1)), np.flatnonzero(small.any(axis=0))
    if len(rows):
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        maps.props.append(Prop(box, small[box].astype(np.uint8), depth_m))


def _limbs(maps: Maps, starts: np.ndarray, ends: np.ndarray, radii: np.ndarray,
           z: float) -> np.ndarray:  # fmt: skip
    """Mask (H2, W2) of round bars in the plane at z; radii (K, 2) in metres."""
    mask = np.zeros(maps.surface.shape, np.uint8)
    scale = 2.0 * maps.camera.focal / z
    a, b = _project(maps, starts), _project(maps, ends)
    radii = np.maximum(radii * scale, 0.7)
    for outline in fixed_point(capsules(a, b, radii[:, 0], radii[:, 1])):
        cv2.fillConvexPoly(mask, outline, 255, cv2.LINE_8, 4)
    return mask


def _tree(maps: Maps, x: float, z: float) -> None:
    random, weather = maps.random, maps.weather
    fork, crown, radius = random.uniform(2.0, 2.6), random.uniform(4.2, 5.2), random.uniform(1.5, 2.2)
    tips = np.stack([x + random.uniform(-0.75, 0.75, 7) * radius, crown + random.uniform(-0.7, 0.8, 7)
                     * radius, np.full(7, z)], axis=1)  # fmt: skip
    root = np.array([[x, 0.0, z]] + [[x, fork, z]] * 7)
    ends = np.concatenate([[[x, fork + 0.1, z]], tips])
    wood = _limbs(maps, root, ends, np.array([[0.19, 0.13]] + [[0.08, 0.03]] * 7), z)
    hit = wood > 0
    rough = maps.texture(maps.fine, *np.nonzero(hit), 0.35)
    maps.cover(hit, FACING, z, np.array(_BARK) * (1.0 + 0.3 * rough)[:, None],
                weather.leaf_c + 1.0 + 0.4 * rough)  # fmt: skip
    # Leaves: many small blobs, the lower and inner ones in the shade of the others.
    count = 420
    turn, away = random.uniform(0, 2 * np.pi, count), np.sqrt(random.uniform(0, 1, count))
    bulge = 1.0 + 0.22 * np.sin(3 * turn + random.uniform(0, 6)) + 0.1 * np.sin(7 * turn)
    u = away * bulge * np.cos(turn)
    v = away * bulge * np.sin(turn)
    centers = np.stack([x + radius * u, crown + 0.95 * radius * v, np.full(count, z)], axis=1)
    pixels, scale = _project(maps, centers), 2.0 * maps.camera.focal / z
    shade = 0.45 + 0.3 * v + random.uniform(0.0, 0.55, count)
    leaf, mask = np.zeros(maps.surface.shape, np.float32), wood
    size = scale * random.uniform(0.1, 0.26, count)
    for k in np.argsort(shade + 0.4 * random.random(count)):
        place, tone = fixed_point(pixels[k]).tolist(), float(shade[k])
        axes = fixed_point(size[k] * np.array([1.0, 0.6])).tolist()
        angle = float(random.uniform(0, 180))
        cv2.ellipse(leaf, place, axes, angle, 0, 360, tone, -1, cv2.LINE_8, 4)
        cv2.ellipse(mask, place, axes, angle, 0, 360, 255, -1, cv2.LINE_8, 4)
    hit = leaf > 0
    tone = leaf[hit]
    rough = maps.texture(maps.fine, *np.nonzero(hit), 0.6)
    green = np.array([0.075, 0.115, 0.03]) * random.uniform(0.7, 1.2, 3)
    maps.cover(hit, LEAF, z, green * (tone * (1.0 + 0.3 * rough))[:, None],
                weather.leaf_c - 0.6 + 1.2 * tone + 0.3 * rough, 0.97)  # fmt: skip
    _finish(maps, mask, z)


def _lamp(maps: Maps, x: float, z: float, side: int) -> np.ndarray:
    weather, arm = maps.weather, x - side * 1.1
    points = np.array([[x, 0.0, z], [x, 0.9, z], [x, LAMP_HEIGHT_M - 0.2, z]])
    ends = np.array([[x, 0.9, z], [x, LAMP_HEIGHT_M - 0.2, z], [arm, LAMP_HEIGHT_M, z]])
    mask = _limbs(maps, points, ends, np.array([[0.1, 0.09], [0.06, 0.05], [0.04, 0.04]]), z)
    head = np.array([[arm + side * 0.1, LAMP_HEIGHT_M - 0.03, z]])
    lens = _limbs(maps, head, head - (side * 0.5, 0, 0), np.array([[0.09, 0.07]]), z) > 0
    hit = (mask > 0) & ~lens
    maps.cover(hit, FACING, z, np.array(_STEEL), weather.air_c + np.full(int(hit.sum()), 0.5), 0.8)
    on = 22.0 if weather.dark else 1.0
    maps.cover(lens, FACING, z, np.array([0.5, 0.5, 0.5]),
                weather.air_c + np.full(int(lens.sum()), on), 0.9)  # fmt: skip
    if weather.dark:
        maps.emission[lens] = (14.0, 11.0, 6.5)
    mask[lens] = 255
    _finish(maps, mask, z)
    return np.array([arm, LAMP_HEIGHT_M, z])
