"""Buildings and hedges of a drawn street: planes with windows, doors and leaves, far to near.

Knows the maps of a `Maps` and fills them; nothing of light or of what moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssvif_core.simulation.maps import FACING, HEDGE, LEAF, LEFT, LEFT_WALL, RIGHT, RIGHT_WALL, Maps

__all__ = ["build_walls"]

_PLASTERS = ((0.42, 0.36, 0.28), (0.3, 0.15, 0.1), (0.5, 0.48, 0.44), (0.24, 0.2, 0.17),
             (0.38, 0.3, 0.2), (0.3, 0.32, 0.34))  # fmt: skip
#: Glass at night with light behind, and blinds by day.
_LIT = np.array([[1.3, 0.95, 0.5], [1.0, 0.95, 0.8], [0.5, 0.62, 0.8]])


@dataclass(frozen=True)
class _Wall:
    side: int
    x: float
    near_m: float
    far_m: float
    height_m: float
    hedge: bool
    seed: int


def build_walls(maps: Maps) -> None:
    """Draw all walls of a maps into its maps, and note the buildings' heights for shadows."""
    random, walls = maps.random, []
    for side, x, z in ((-1, LEFT_WALL, 13.0), (1, RIGHT_WALL, 9.0)):
        z += float(random.uniform(0.0, 3.0))
        while z < 115.0:
            length, height = float(random.uniform(10.0, 22.0)), float(random.uniform(6.5, 13.0))
            walls.append(
                _Wall(side, x, z, z + length, height, False, int(random.integers(1 << 30)))
            )
            maps.heights[side].append((z, z + length, height))
            z += length + (float(random.uniform(3.0, 9.0)) if random.random() < 0.6 else 0.0)
    z = 9.5
    while z < 60.0:
        length = float(random.uniform(4.0, 9.0))
        walls.append(_Wall(1, HEDGE, z, z + length, float(random.uniform(0.8, 1.1)), True, 1))
        z += length + float(random.uniform(1.5, 3.0))
    for wall in sorted(walls, key=lambda w: (w.hedge, -w.near_m)):
        _draw(maps, wall)


def _draw(maps: Maps, wall: _Wall) -> None:
    """The side along the street, then the front that faces the camera."""
    dx, dy, eye = maps.dx, maps.dy, maps.camera.height_m
    with np.errstate(divide="ignore"):
        z = wall.x / dx
    columns = np.flatnonzero((z > wall.near_m) & (z < wall.far_m) & (dx * wall.side > 0))
    if len(columns):
        part = slice(columns[0], columns[-1] + 1)
        z = z[part]
        y = eye + dy[:, None] * z
        hit = (y > 0) & (y < wall.height_m)
        surface = LEAF if wall.hedge else LEFT if wall.side < 0 else RIGHT
        _cover(maps, wall, part, hit, y, np.broadcast_to(z, y.shape), surface, z)
    x = dx * wall.near_m
    depth = 0.9 if wall.hedge else 9.0
    columns = np.flatnonzero((x * wall.side > abs(wall.x)) & (x * wall.side < abs(wall.x) + depth))
    if len(columns):
        part = slice(columns[0], columns[-1] + 1)
        y = np.broadcast_to(eye + dy[:, None] * wall.near_m, (len(dy), len(columns)))
        hit = (y > 0) & (y < wall.height_m)
        surface = LEAF if wall.hedge else FACING
        _cover(maps, wall, part, hit, y, np.broadcast_to(x[part], y.shape), surface,
               np.full(len(columns), wall.near_m, np.float32))  # fmt: skip


def _cover(
    maps: Maps, wall: _Wall, part: slice, hit: np.ndarray, y: np.ndarray, along: np.ndarray,
    surface: int, depth: np.ndarray,
) -> None:  # fmt: skip
    """Material of one plane: `along` and `y` are metres on it, `depth` (columns,) is along Z."""
    distance = np.broadcast_to(depth, hit.shape)
    targets = [m[:, part] for m in (maps.surface, maps.depth, maps.reflectance, maps.celsius,
                                 maps.emission, maps.emissivity)]  # fmt: skip
    hit = hit & (distance <= targets[1])
    a, b, d = along[hit], y[hit], distance[hit]
    near = np.clip(25.0 / d, 0.1, 1.0)
    fine, coarse = maps.texture(maps.fine, b, a, 30.0), maps.texture(maps.coarse, b, a, 14.0)
    if wall.hedge:
        leaf = maps.texture(maps.fine, b, a, 55.0) + 0.6 * coarse
        color = np.array([0.055, 0.095, 0.025]) * (1.0 + 0.45 * leaf + 0.3 * (b - 0.4))[:, None]
        heat, glow = maps.weather.leaf_c + 0.9 * leaf, np.zeros((len(a), 3))
        emissivity = np.full(len(a), 0.97)
    else:
        color, heat, glow, emissivity = _facade(maps, wall, a, b, near, fine, coarse)
    values: tuple = (surface, d, np.maximum(color, 0.006), heat, glow, emissivity)
    for target, value in zip(targets, values, strict=True):
        target[hit] = value


def _facade(
    maps: Maps, wall: _Wall, a: np.ndarray, b: np.ndarray, near: np.ndarray,
    fine: np.ndarray, coarse: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Plaster or brick with rows of windows: reflectance, heat, light, emissivity."""
    random, weather = np.random.default_rng(wall.seed), maps.weather
    base = np.array(_PLASTERS[random.integers(len(_PLASTERS))])
    pitch, wide, floor = random.uniform(2.0, 3.2), random.uniform(1.0, 1.5), 3.1
    shade = 1.0 + 0.08 * coarse + 0.08 * near * fine
    if base[0] > 1.6 * base[2]:  # bricks
        joint = (b % 0.12 < 0.02) | ((a + 0.13 * np.floor(b / 0.12)) % 0.26 < 0.02)
        shade = shade * (1.0 - 0.3 * near * joint)
    color = base * shade[:, None]
    column, row = np.floor(a / pitch).astype(np.int64), np.floor((b - 0.5) / floor).astype(np.int64)
    u, v = a - column * pitch - 0.5 * (pitch - wide), b - 0.5 - row * floor
    high = np.where(row == 0, 2.2, 1.55)
    low = np.where(row == 0, 0.25, 0.75)
    fits = (row >= 0) & (b < wall.height_m - 0.6)
    frame = fits & (u > -0.08) & (u < wide + 0.08) & (v > low - 0.1) & (v < low + high + 0.08)
    glass = fits & (u > 0) & (u < wide) & (v > low) & (v < low + high)
    glass &= np.abs(u - wide / 2) > 0.03  # the bar in the middle
    chance = np.modf(np.sin((column * 127.1 + row * 311.7 + wall.seed % 997) * 0.731) * 43758.5)[0]
    chance = np.abs(chance)
    color[frame] = (0.55, 0.54, 0.52)
    color[glass] = np.array([0.05, 0.06, 0.07]) + 0.25 * (chance[glass, None] > 0.7) * (
        v[glass, None] > 1.2
    )
    cornice = b > wall.height_m - 0.35
    color[cornice] *= 0.7
    heat = weather.wall_c + random.normal(0, 0.8) + 1.0 * coarse + 0.3 * near * fine + 0.05 * b
    heat[frame] += 1.2
    heat[glass] += np.where(chance[glass] < 0.3, 2.5, -1.5)
    emissivity = np.where(glass, 0.8, 0.94)
    glow = np.zeros_like(color)
    if weather.dark:
        lit = glass & (chance < np.where(row == 0, 0.32, 0.16))
        tone = _LIT[(chance[lit] * 1000).astype(int) % 3]
        glow[lit] = tone * (0.25 + 0.35 * np.clip(v[lit] / 2.0, 0, 1))[:, None]
    return color, heat, glow, emissivity
