"""A drawn street without what moves: sky, road, far end, and (from their files) walls and props.

Each pixel's ray meets the ground and planes along the street, so textures keep their perspective.
"""

from __future__ import annotations

import numpy as np

from ssvif_core.simulation.maps import (
    CENTRE_LINE,
    END_M,
    GROUND,
    HEDGE,
    LEAF,
    LEFT_KERB,
    RIGHT_KERB,
    SKY,
    Maps,
)  # fmt: skip
from ssvif_core.simulation.paint import Camera
from ssvif_core.simulation.physics import Weather
from ssvif_core.simulation.props import build_props
from ssvif_core.simulation.walls import build_walls

__all__ = ["build_street"]


def build_street(
    camera: Camera, weather: Weather, random: np.random.Generator
) -> tuple[Maps, np.ndarray]:
    """Maps of a street, and the places of its lamps (N, 3) [m]."""
    maps = Maps(camera, weather, random)
    _sky(maps)
    _ground(maps)
    _backdrop(maps)
    build_walls(maps)
    return maps, build_props(maps)


def _sky(maps: Maps) -> None:
    weather, rows = maps.weather, int(np.count_nonzero(maps.dy > 0))
    up = np.maximum(maps.dy[:rows, None], 0.0)
    height = np.clip(up / 0.42, 0.0, 1.0) ** 0.7
    x = (maps.dx[None] / (up + 0.12) * 60).astype(np.int32) % len(maps.coarse)
    y = np.broadcast_to((9.0 / (up + 0.12)).astype(np.int32) % len(maps.coarse), x.shape)
    cloud = np.clip(0.55 * maps.coarse[y, x] + 0.1, 0.0, 1.0) * np.clip(6.0 * up, 0.0, 1.0)
    top, low = np.array(weather.sky_top), np.array(weather.sky_horizon)
    clear = low + (top - low) * height[..., None]
    maps.emission[:rows] = clear + cloud[..., None] * 0.75 * (low * 1.05 - clear)
    cold = weather.sky_c + (weather.air_c - 4.0 - weather.sky_c) * np.exp(-up / 0.2)
    maps.celsius[:rows] = cold + cloud * 0.3 * (weather.air_c - 8.0 - cold)
    maps.emissivity[:rows] = 1.0


def _ground(maps: Maps) -> None:
    weather, first = maps.weather, int(np.count_nonzero(maps.dy > 0))
    z = maps.camera.height_m / -maps.dy[first:, None]
    x = maps.dx[None] * z
    zz = np.broadcast_to(z, x.shape)
    near = np.clip(14.0 / zz, 0.0, 1.0)
    fine, coarse = maps.texture(maps.fine, x, zz, 42.0), maps.texture(maps.coarse, x, zz, 11.0)
    grey = 0.12 * (1.0 + near * 0.2 * fine + 0.13 * coarse)
    for lane in (-1.75, -5.5):  # wheels polish the asphalt
        grey += 0.012 * np.exp(-(((np.abs(x - lane) - 0.75) / 0.25) ** 2))
    heat = weather.road_c + 0.9 * coarse + 0.35 * near * fine
    walk = (x > RIGHT_KERB) | (x < LEFT_KERB)
    slab = ((np.abs(x) % 0.6 < 0.02) | (zz % 0.6 < 0.025)) & (zz < 30)
    grey = np.where(walk, 0.25 * (1.0 + 0.1 * coarse + 0.1 * near * fine) * (1 - 0.4 * slab), grey)
    heat -= 1.8 * walk
    kerb = ((x - RIGHT_KERB) * (x - RIGHT_KERB - 0.16) < 0) | (
        (x - LEFT_KERB) * (x - LEFT_KERB + 0.16) < 0
    )
    grey = np.where(kerb, 0.36 + 0.03 * fine, grey)
    paint = _markings(x, zz) * np.clip(0.85 + 0.3 * coarse + 0.15 * fine, 0.25, 1.0)
    grey += paint * (0.6 - grey)
    heat -= 1.5 * paint
    lawn = x > HEDGE - 0.3
    color = grey[..., None] * np.array([1.0, 1.0, 0.99], np.float32)
    color[lawn] = (np.array([0.06, 0.1, 0.03]) * (1 + 0.3 * fine[lawn])[:, None]).clip(0.01)
    heat[lawn] = weather.leaf_c + 0.6 * fine[lawn]
    maps.surface[first:], maps.depth[first:] = GROUND, np.minimum(z, END_M)
    maps.reflectance[first:], maps.celsius[first:] = color, heat
    maps.emissivity[first:] = 0.95


def _markings(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Where there is road paint: centre line, edge line, zebra crossing."""
    line = (np.abs(x - CENTRE_LINE) < 0.07) & (z % 7.0 < 3.2) & (z > 11.5)
    line |= (np.abs(x - RIGHT_KERB + 0.35) < 0.06) & (z > 10.8)
    line |= (np.abs(x - LEFT_KERB - 0.35) < 0.06) & (z > 10.8)
    zebra = (z > 7.2) & (z < 10.2) & (x > LEFT_KERB + 0.5) & (x < RIGHT_KERB - 0.4)
    stop = (z > 10.9) & (z < 11.25) & (x > LEFT_KERB + 0.4) & (x < CENTRE_LINE)
    return line | (zebra & (x % 1.0 < 0.5)) | stop


def _backdrop(maps: Maps) -> None:
    """Far trees and houses across the end of the street."""
    x = maps.dx * END_M
    roll = maps.coarse[7, (x * 2.2).astype(np.int32) % len(maps.coarse)]
    block = np.repeat(maps.random.uniform(-1.0, 1.0, 60), len(x) // 50 + 1)[: len(x)]
    top = 9.0 + 2.0 * roll + 5.0 * np.maximum(block, 0.0)
    y = maps.camera.height_m + maps.dy[:, None] * END_M
    hit = (y < top) & (y > -1.0) & (maps.surface == SKY)
    rough = maps.texture(maps.fine, np.broadcast_to(y, hit.shape)[hit] + 50.0,
                        np.broadcast_to(x, hit.shape)[hit] + 200.0, 4.0)  # fmt: skip
    maps.cover(hit, LEAF, END_M, np.array([0.04, 0.06, 0.025]) * (1 + 0.35 * rough)[:, None],
              maps.weather.leaf_c - 0.5 + 0.8 * rough)  # fmt: skip
