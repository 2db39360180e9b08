"""From shapes in the world to pixels: pinhole camera, figures, brushes for light, heat and labels.

Knows nothing of what a figure is (person, car): only outlines with materials, drawn far to near.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from ssvif_core.simulation.physics import Weather, expose

__all__ = [
    "Camera",
    "Figure",
    "Glow",
    "HeatScale",
    "Materials",
    "capsules",
    "fill",
    "fixed_point",
    "paint",
    "silhouette",
]

#: Outlines are in 1/16 pixel, so that slow movement does not jump (OpenCV's `shift`).
_SHIFT = 4
#: Nothing nearer than this is projected [m]. Exact for edges along the street, see `project`.
_NEAR_M = 0.6
#: Beyond this a shadow is a line of a pixel [m].
_SHADOW_M = 50.0
_HALF_TURN = np.linspace(-np.pi / 2, np.pi / 2, 6)
_RING = np.linspace(0.0, 2.0 * np.pi, 13)[:-1]


@dataclass(frozen=True)
class Camera:
    """A level pinhole, 1.4 m over the ground, 53 degrees wide; X right, Y up, Z forward [m]."""

    width: int
    height: int
    height_m: float = 1.4

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return float(self.width)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of world points (..., 3).

        Points behind the camera are moved to the near plane along Z; what passes the camera drives
        along Z, so its edges stay where they were.
        """
        scale = self.focal / np.maximum(points[..., 2], _NEAR_M)
        pixels = np.empty((*points.shape[:-1], 2))
        pixels[..., 0] = self.width / 2.0 - 0.5 + scale * points[..., 0]
        pixels[..., 1] = self.height / 2.0 - 0.5 + scale * (self.height_m - points[..., 1])
        return pixels


@dataclass(frozen=True)
class Stage:
    """What every figure needs to know: who looks, and what light there is.

    Attributes:
        camera: both modalities share it (a co-registered pair).
        weather: light and temperatures.
        lamps: (N, 3) places of the street lamps [m].
        lamp_rgb: light of one lamp straight under it at 1 m, linear.
    """

    camera: Camera
    weather: Weather
    lamps: np.ndarray
    lamp_rgb: np.ndarray

    def light_at(self, x: float, y: float, z: float) -> tuple[np.ndarray, np.ndarray]:
        """Linear RGB (3,) at a place: what comes from all around, and what the sun adds."""
        around = np.array(self.weather.ambient)
        if self.weather.dark:
            away = self.lamps - (x, y, z)
            around = around + self.lamp_rgb * (1.0 / (away * away).sum(axis=1)).sum()
        return around, np.array(self.weather.sun)

    def shadows_of(self, points: np.ndarray, radius_m: float) -> list[np.ndarray]:
        """Outlines on the ground of the shadow of points (N, 3): by the sun and by contact."""
        x, z = points[:, 0].mean(), points[:, 2].mean()
        spread = radius_m + 0.5 * np.ptp(points[:, [0, 2]], axis=0)
        if z > _SHADOW_M:
            return []
        ring = np.zeros((12, 3))
        ring[:, 0], ring[:, 2] = x + spread[0] * np.cos(_RING), z + spread[1] * np.sin(_RING)
        shadows = [fixed_point(self.camera.project(ring))]
        if any(self.weather.sun):
            sun = np.array(self.weather.sun_to)
            cast = points - points[:, 1:2] / sun[1] * sun
            cast[:, 2] = np.maximum(cast[:, 2], 1.0)
            hull = cv2.convexHull(self.camera.project(cast).astype(np.float32))[:, 0]
            shadows.append(fixed_point(hull))
        return shadows


@dataclass(frozen=True)
class Materials:
    """Surfaces of K outlines.

    Attributes:
        reflectance: (K, 3) linear RGB, 0 to 1.
        emission: (K, 3) linear RGB light that it gives off (lamps).
        counts: (K,) thermal counts at zero distance.
        labels: (K,) class ids.
    """

    reflectance: np.ndarray
    emission: np.ndarray
    counts: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Glow:
    """A light that blooms: where, how wide (pixels) and its colour at the centre (levels)."""

    center: tuple[float, float]
    radius: float
    rgb: tuple[float, float, float]


@dataclass
class Figure:
    """One thing at one moment, ready to be painted; outlines are painted in their order.

    Attributes:
        outlines: convex polygons, (n, 2) int32 as `fixed_point` makes them.
        widths: line width in pixels for each; 0 is filled.
        light: (K, 3) linear light that falls on each.
        materials: of each.
        depth_m: distance along Z: far figures are painted first.
        shadows: polygons on the ground, (n, 2) int32 likewise.
        glows: lights that bloom.
    """

    outlines: list[np.ndarray]
    widths: list[int]
    light: np.ndarray
    materials: Materials
    depth_m: float
    shadows: list[np.ndarray] = field(default_factory=list)
    glows: list[Glow] = field(default_factory=list)


@dataclass(frozen=True)
class HeatScale:
    """Counts <-> levels of the 8-bit plane that figures are painted on.

    OpenCV smooths edges on 8-bit images only, so heat is painted on an 8-bit copy of the still
    background; what the copy lost is added back afterwards (see `scene_sensor`). One level is 32
    counts, 0.4 K: finer steps drown in noise.
    """

    base: float = 2200.0
    step: int = 32

    def levels(self, counts: np.ndarray) -> np.ndarray:
        """Levels (float, 0 to 255) of counts."""
        return np.clip((counts - self.base) / self.step, 0.0, 255.0)

    def counts(self, levels: np.ndarray) -> np.ndarray:
        """Counts (float) of levels."""
        return self.base + float(self.step) * levels


def capsules(
    starts: np.ndarray, ends: np.ndarray, start_radii: np.ndarray, end_radii: np.ndarray
) -> np.ndarray:
    """Outlines (K, 12, 2) of limbs: two round ends (K, 2) with radii (K,), and what is between."""
    along = ends - starts
    angle = np.arctan2(along[:, 1], along[:, 0])[:, None]
    front, back = angle + _HALF_TURN, angle + np.pi + _HALF_TURN
    outline = np.empty((len(starts), 12, 2))
    outline[:, :6, 0] = ends[:, :1] + end_radii[:, None] * np.cos(front)
    outline[:, :6, 1] = ends[:, 1:] + end_radii[:, None] * np.sin(front)
    outline[:, 6:, 0] = starts[:, :1] + start_radii[:, None] * np.cos(back)
    outline[:, 6:, 1] = starts[:, 1:] + start_radii[:, None] * np.sin(back)
    return outline


def fixed_point(outline: np.ndarray) -> np.ndarray:
    """Pixels to OpenCV's fixed point; far outside is cut to what it can hold."""
    return np.rint(np.minimum(np.maximum(outline, -4000), 8000) * (1 << _SHIFT)).astype(np.int32)


def fill(image: np.ndarray, outline: np.ndarray, color: int) -> None:
    """Fill one convex `fixed_point` outline on a one-channel image, without smooth edges."""
    cv2.fillConvexPoly(image, outline, color, cv2.LINE_8, _SHIFT)


def silhouette(figure: Figure, height: int, width: int) -> np.ndarray:
    """What a figure hides: uint8 (height, width), 1 or 0."""
    mask = np.zeros((height, width), np.uint8)
    for outline, line in zip(figure.outlines, figure.widths, strict=True):
        if line:
            cv2.polylines(mask, [outline], True, 1, line, cv2.LINE_8, _SHIFT)
        else:
            fill(mask, outline, 1)
    return mask


def paint(
    figure: Figure,
    weather: Weather,
    scale: HeatScale,
    visible: np.ndarray | None,
    heat: np.ndarray | None,
    labels: np.ndarray | None,
) -> None:
    """Paint one figure on the planes that are given: RGB, 8-bit heat, labels."""
    points = figure.outlines
    m = figure.materials
    if visible is not None:
        light = m.reflectance * figure.light + m.emission
        _strokes(visible, points, figure.widths, expose(light, weather.exposure).tolist())
    if heat is not None:
        levels = scale.levels(weather.through_air(m.counts, figure.depth_m))
        _strokes(heat, points, figure.widths, levels.tolist())
    if labels is not None:
        for outline, label in zip(points, m.labels.tolist(), strict=True):
            fill(labels, outline, label)


def _strokes(image: np.ndarray, points: list[np.ndarray], widths: list[int], colors: list) -> None:
    for outline, width, color in zip(points, widths, colors, strict=True):
        if width:
            cv2.polylines(image, [outline], True, color, width, cv2.LINE_AA, _SHIFT)
        else:
            cv2.fillConvexPoly(image, outline, color, cv2.LINE_AA, _SHIFT)
