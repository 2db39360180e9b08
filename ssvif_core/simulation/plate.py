"""The two cameras' still background: the maps of a street under its light, and their own heat.

Knows nothing of what moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ssvif_core.simulation.maps import GROUND, LEFT_WALL, NORMALS, RIGHT_WALL, SKY, Maps
from ssvif_core.simulation.physics import expose

__all__ = ["Plate", "make_plate"]


@dataclass(frozen=True)
class Plate:
    """Backgrounds at the camera's size (H, W).

    Attributes:
        visible: RGB uint8 (H, W, 3), without blooms.
        shadowed: the same with the ground in the shade.
        veil: RGB uint8 light that blooms over everything, things before it too.
        counts: float32 thermal counts, without noise.
    """

    visible: np.ndarray
    shadowed: np.ndarray
    veil: np.ndarray
    counts: np.ndarray


def make_plate(maps: Maps, lamps: np.ndarray, lamp_rgb: np.ndarray) -> Plate:
    """Light the maps and halve them."""
    weather = maps.weather
    ambient = np.array(weather.ambient, np.float32)
    normals = NORMALS[maps.surface]
    # Crevices and the foot of walls get less of the sky.
    around = np.where(maps.surface == GROUND, 1.0, 0.8).astype(np.float32)[..., None] * ambient
    if weather.dark:
        around = around + _lamp_light(maps, lamps, normals)[..., None] * lamp_rgb.astype(np.float32)
    light = around
    if any(weather.sun):
        sun = np.array(weather.sun, np.float32)
        light = around + _sunlight(maps, normals)[..., None] * sun
    linear = _picture(maps, light)
    visible = _to_bytes(expose(linear, weather.exposure))
    first = maps.camera.height // 2  # no ground over the horizon
    ground = (maps.surface[2 * first :] == GROUND)[..., None]
    shade = np.where(ground, around[2 * first :] * weather.shadow, light[2 * first :])
    shadowed = visible.copy()
    shadowed[first:] = _to_bytes(expose(_picture(maps, shade, first), weather.exposure))
    size = (maps.camera.width, maps.camera.height)
    counts = weather.through_air(weather.apparent_counts(maps.celsius, maps.emissivity), maps.depth)
    return Plate(
        visible,
        shadowed,
        _veil(maps, linear),
        cv2.resize(counts.astype(np.float32), size, interpolation=cv2.INTER_AREA),
    )


def _to_bytes(levels: np.ndarray) -> np.ndarray:
    return np.rint(levels).astype(np.uint8)


def _picture(maps: Maps, light: np.ndarray, first: int = 0) -> np.ndarray:
    """Linear light at the camera's size, from row `first`: reflected, emitted, and haze."""
    part, weather = slice(2 * first, None), maps.weather
    haze = np.exp(-weather.haze_per_m * maps.depth[part])
    haze[maps.surface[part] == SKY] = 1.0
    out = maps.reflectance[part] * light
    out += maps.emission[part]
    out *= haze[..., None]
    out = cv2.resize(out, (maps.camera.width, out.shape[0] // 2), interpolation=cv2.INTER_AREA)
    clear = cv2.resize(haze, (out.shape[1], out.shape[0]), interpolation=cv2.INTER_AREA)
    return out + (1.0 - clear)[..., None] * np.array(weather.sky_horizon, np.float32) * 0.8


def _lamp_light(maps: Maps, lamps: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Light of all lamps on each pixel (H2, W2): inverse square times the cosine."""
    x, y = maps.dx[None] * maps.depth, maps.camera.height_m + maps.dy[:, None] * maps.depth
    total = np.zeros(maps.depth.shape, np.float32)
    flat = ~normals.any(axis=2)
    for lamp in lamps.astype(np.float32):
        ax, ay, az = lamp[0] - x, lamp[1] - y, lamp[2] - maps.depth
        square = ax * ax + ay * ay + az * az + 0.3
        cosine = (ax * normals[..., 0] + ay * normals[..., 1] + az * normals[..., 2]) / np.sqrt(
            square
        )
        total += np.where(flat, 0.5, np.maximum(cosine, 0.0)) / square * (ay > -0.3)
    total[maps.surface == SKY] = 0.0
    return total


def _sunlight(maps: Maps, normals: np.ndarray) -> np.ndarray:
    """Part of the sun that each pixel gets (H2, W2); buildings throw shadows."""
    sun = np.array(maps.weather.sun_to, np.float32)
    cosine = np.maximum(normals @ sun, 0.0)
    cosine[~normals.any(axis=2)] = 0.5 if sun[2] < 0 else 0.22
    side = -1 if sun[0] < 0 else 1
    wall = LEFT_WALL if side < 0 else RIGHT_WALL
    x, y = maps.dx[None] * maps.depth, maps.camera.height_m + maps.dy[:, None] * maps.depth
    way = (wall - x) / sun[0]  # along the ray to the sun, until the row of buildings
    top, z = y + way * sun[1], maps.depth + way * sun[2]
    shaded = np.zeros(cosine.shape, bool)
    for near, far, height in maps.heights[side]:
        shaded |= (z > near) & (z < far) & (top < height)
    cosine[shaded & (way > 0.05)] = 0.0
    return cosine


def _veil(maps: Maps, linear: np.ndarray) -> np.ndarray:
    """What scatters in the lens: blooms of everything over white, and the sun."""
    weather = maps.weather
    h, w = linear.shape[:2]
    small = cv2.resize(linear, (max(w // 4, 1), max(h // 4, 1)), interpolation=cv2.INTER_AREA)
    bright = np.maximum(small * weather.exposure - 2.2, 0.0)
    veil = np.zeros_like(small)
    for sigma, part in ((0.004, 0.35), (0.02, 0.25), (0.07, 0.2)):
        veil += part * cv2.GaussianBlur(bright, (0, 0), max(sigma * w / 4, 0.5))
    sun = np.array(weather.sun_to)
    if any(weather.sun) and sun[2] > 0:
        focal = maps.camera.focal / 4
        u = small.shape[1] / 2 + focal * sun[0] / sun[2]
        v = small.shape[0] / 2 - focal * sun[1] / sun[2]
        rows, columns = np.mgrid[: small.shape[0], : small.shape[1]]
        away = np.hypot(columns - u, rows - v) / focal
        color = np.array(weather.sun, np.float32) / max(weather.sun)
        # Glare spread falls with about the square of the angle (Vos 1984, CIE disability glare).
        glare = 0.004 / (away**2 + 0.0006) + 0.10 / (1.0 + (away / 0.35) ** 2)
        veil += glare.astype(np.float32)[..., None] * (0.45 + 0.55 * color)
    levels = 255.0 * (1.0 - np.exp(-1.5 * veil)) ** 0.8
    full = cv2.resize(levels.astype(np.float32), (w, h), interpolation=cv2.INTER_LINEAR)
    return np.rint(np.clip(full, 0, 255)).astype(np.uint8)
