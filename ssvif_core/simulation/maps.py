"""Maps of the still part of a drawn scene, and the layout of the street that they show.

Every pixel, at twice the camera's size, has a surface, a depth, a reflectance, a temperature and an
emissivity. Knows nothing of what is drawn into the maps, of light, or of what moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssvif_core.simulation.paint import Camera
from ssvif_core.simulation.physics import Weather

__all__ = ["NORMALS", "Maps", "Prop", "fractal", "prop_of"]

SKY, GROUND, FACING, LEFT, RIGHT, LEAF = range(6)
#: Outward normals of the surfaces, in that order; leaves have none.
NORMALS = np.array([(0, 0, 0), (0, 1, 0), (0, 0, -1), (1, 0, 0), (-1, 0, 0), (0, 0, 0)], np.float32)
#: The street across [m]: left walls, left kerb, right kerb, hedge, right walls.
LEFT_WALL, LEFT_KERB, RIGHT_KERB, HEDGE, RIGHT_WALL = -12.0, -7.5, 2.0, 5.4, 7.4
CENTRE_LINE = -3.65
END_M = 130.0
_TILE = 512


def fractal(random: np.random.Generator, height: int, width: int, slope: float) -> np.ndarray:
    """Seamless 1/f^slope noise (height, width) float32, mean 0, standard deviation 1."""
    spectrum = np.fft.rfft2(random.standard_normal((height, width)))
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.hypot(fy, fx * width / max(height, width))
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(spectrum / frequency**slope, s=(height, width))
    return ((noise - noise.mean()) / noise.std()).astype(np.float32)


@dataclass(frozen=True)
class Prop:
    """Something still that can hide what moves behind it: its pixels on the plate, and depth."""

    box: tuple[slice, slice]
    mask: np.ndarray
    depth_m: float


def prop_of(mask: np.ndarray, depth_m: float) -> Prop | None:
    """The prop of a uint8 mask (H, W), cut to what is set in it."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    return Prop(box, mask[box].copy(), depth_m)


class Maps:
    """Maps of one street at twice the camera's size (H2, W2).

    Attributes:
        dx, dy: slope of each column's and row's ray: X = dx * Z, Y = camera height + dy * Z.
        surface: id of the surface (SKY, GROUND, ...), uint8.
        depth: along Z [m]; sky is END_M.
        reflectance, emission: linear RGB (H2, W2, 3).
        celsius, emissivity: of the surface.
        heights: buildings as (near, far, height) [m] by side of the street, -1 left and 1 right.
        props: trees and lamps, at the camera's size.
        fine, coarse: seamless noise, standard deviation 1.
    """

    def __init__(self, camera: Camera, weather: Weather, random: np.random.Generator) -> None:
        self.camera, self.weather, self.random = camera, weather, random
        h, w = 2 * camera.height, 2 * camera.width
        focal = 2.0 * camera.focal
        self.dx = ((np.arange(w) + 0.5 - w / 2) / focal).astype(np.float32)
        self.dy = ((h / 2 - np.arange(h) - 0.5) / focal).astype(np.float32)
        self.surface = np.full((h, w), SKY, np.uint8)
        self.depth = np.full((h, w), END_M, np.float32)
        self.reflectance = np.zeros((h, w, 3), np.float32)
        self.emission = np.zeros((h, w, 3), np.float32)
        self.celsius = np.zeros((h, w), np.float32)
        self.emissivity = np.full((h, w), 0.95, np.float32)
        self.heights: dict[int, list[tuple[float, float, float]]] = {-1: [], 1: []}
        self.props: list[Prop] = []
        self.fine = fractal(random, _TILE, _TILE, 0.45)
        self.coarse = fractal(random, _TILE, _TILE, 1.4)

    @staticmethod
    def texture(tile: np.ndarray, a: np.ndarray, b: np.ndarray, per_m: float) -> np.ndarray:
        """Noise at places (a, b) on a plane [m]."""
        rows = (a * per_m).astype(np.int32) & (_TILE - 1)
        return tile[rows, (b * per_m).astype(np.int32) & (_TILE - 1)]

    def cover(
        self, where: np.ndarray | tuple, surface: int, depth: np.ndarray | float,
        reflectance: np.ndarray, celsius: np.ndarray, emissivity: float = 0.95,
    ) -> None:  # fmt: skip
        """Put a surface that gives off no light on the pixels `where` (mask or indices)."""
        self.surface[where], self.depth[where] = surface, depth
        self.reflectance[where], self.celsius[where] = np.maximum(reflectance, 0.005), celsius
        self.emission[where], self.emissivity[where] = 0.0, emissivity
