"""Small things about plane-to-plane maps: sizes, corners, and how far two maps are apart.

All coordinates are pixel centres with whole numbers, as in OpenCV and in `Calibration`.
"""

from __future__ import annotations

import cv2
import numpy as np

__all__ = [
    "Size",
    "apply",
    "centred_similarity",
    "corner_errors",
    "corners",
    "plausible",
    "scaling",
    "translation",
]

Size = tuple[int, int]


def scaling(from_size: Size, to_size: Size) -> np.ndarray:
    """(3, 3) map between the pixel grids of two sizes (width, height) of one field of view."""
    sx, sy = to_size[0] / from_size[0], to_size[1] / from_size[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1.0]])


def translation(x: float, y: float) -> np.ndarray:
    """(3, 3) shift by (x, y) pixels."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def centred_similarity(
    from_size: Size, to_size: Size, scale: float = 1.0, degrees: float = 0.0
) -> np.ndarray:
    """Centre onto centre, turned, square pixels kept square.

    With `scale` 1 the two widths agree; above 1 the first image covers more than the second.
    """
    factor = scale * to_size[0] / from_size[0]
    angle = np.deg2rad(degrees)
    c, s = factor * np.cos(angle), factor * np.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    before = translation(-(from_size[0] - 1) / 2, -(from_size[1] - 1) / 2)
    return translation((to_size[0] - 1) / 2, (to_size[1] - 1) / 2) @ turn @ before


def corners(size: Size) -> np.ndarray:
    """(4, 2) float64 corner pixels of an image (width, height), clockwise from the top left."""
    w, h = size[0] - 1.0, size[1] - 1.0
    return np.array([[0, 0], [w, 0], [w, h], [0, h]])


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map (N, 2) points."""
    return cv2.perspectiveTransform(points.reshape(1, -1, 2).astype(np.float64), matrix)[0]


def corner_errors(found: np.ndarray, true: np.ndarray, visible_size: Size) -> np.ndarray:
    """(4,) distances in visible pixels: how far each visible corner lands off.

    The corners of the visible image are taken to thermal by the true map and back by the found
    one, so that parts of the thermal image outside of the visible one do not count.
    """
    points = corners(visible_size)
    back = apply(found @ np.linalg.inv(true), points)
    return np.linalg.norm(back - points, axis=1)


def plausible(matrix: np.ndarray, thermal_size: Size) -> bool:
    """Whether two cameras side by side could give this map.

    The thermal image stays convex, is not mirrored, and its opposite sides differ by less than a
    factor of 1.6.
    """
    if not np.isfinite(matrix).all():
        return False
    w = apply_weights(matrix, corners(thermal_size))
    if (w <= 0).any() and (w >= 0).any():
        return False
    quad = apply(matrix, corners(thermal_size))
    sides = np.roll(quad, -1, axis=0) - quad
    turned = np.roll(sides, -1, axis=0)
    turns = sides[:, 0] * turned[:, 1] - sides[:, 1] * turned[:, 0]
    if (turns <= 0).any():
        return False
    lengths = np.linalg.norm(sides, axis=1)
    ratios = lengths[:2] / lengths[2:]
    return bool((ratios < 1.6).all() and (ratios > 1 / 1.6).all())


def apply_weights(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N,) third coordinates of mapped points; a change of sign is a horizon between them."""
    return points @ matrix[2, :2] + matrix[2, 2]
