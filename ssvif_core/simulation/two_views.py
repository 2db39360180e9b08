"""Two cameras that look at one drawn street from known places: misaligned by a known map."""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.calibration.geometry import (
    Size,
    apply,
    centred_similarity,
    corners,
    scaling,
    translation,
)
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.simulation.scenes import Scene, SceneKind

__all__ = ["misalignment", "placed", "seen", "street"]


def misalignment(
    random: np.random.Generator, visible_size: Size = (640, 480), thermal_size: Size = (320, 256)
) -> np.ndarray:
    """Thermal pixel -> visible pixel: scale 0.7 to 1.4, shift 15 %, 5 degrees, some perspective."""
    scale = float(np.exp(random.uniform(np.log(0.7), np.log(1.4))))
    turned = centred_similarity(thermal_size, visible_size, scale, random.uniform(-5, 5))
    shift = random.uniform(-0.15, 0.15, 2) * visible_size
    at = corners(thermal_size)
    bent = at + random.uniform(-0.03, 0.03, (4, 2)) * thermal_size[0]
    perspective = cv2.getPerspectiveTransform(at.astype(np.float32), bent.astype(np.float32))
    matrix = translation(*shift) @ turned @ perspective
    return matrix / matrix[2, 2]


def placed(
    homography: np.ndarray, visible_size: Size, thermal_size: Size, source: Size
) -> tuple[np.ndarray, np.ndarray]:
    """(visible pixel -> source pixel, thermal pixel -> source pixel): both fit into the source."""
    points = np.vstack([apply(homography, corners(thermal_size)), corners(visible_size)])
    low, extent = points.min(0), np.ptp(points, axis=0)
    shrink = max(extent[0] / (source[0] - 1), extent[1] / (source[1] - 1))
    scale = np.diag([1 / shrink, 1 / shrink, 1.0])
    visible = scale @ translation(-low[0], -low[1])
    return visible, visible @ homography


def seen(image: np.ndarray, place: np.ndarray, size: Size) -> np.ndarray:
    """What a camera of `size` sees of a source image; each pixel is the mean of nine samples."""
    fine = (3 * size[0], 3 * size[1])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    sampled = cv2.warpPerspective(
        image, place @ scaling(fine, size), fine, flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return cv2.resize(sampled, size, interpolation=cv2.INTER_AREA)


def street(
    kind: SceneKind, seed: int, homography: np.ndarray, times_s: list[float],
    visible_size: Size = (640, 480), thermal_size: Size = (320, 256),
) -> tuple[list[np.ndarray], list[np.ndarray]]:  # fmt: skip
    """Visible RGB and thermal 8-bit frames of a drawn street, thermal displaced by a known map."""
    source = (visible_size[0] * 7 // 4, visible_size[1] * 7 // 4)
    scene = Scene(kind, *source, seed=seed)
    at_visible, at_thermal = placed(homography, visible_size, thermal_size, source)
    gain = ThermalGain(mode="percentile")
    visible, thermal = [], []
    for time_s in times_s:
        frame = scene.render(time_s, labels=False)
        visible.append(seen(frame.visible, at_visible, visible_size))
        thermal.append(seen(gain.apply(frame.thermal), at_thermal, thermal_size))
    return visible, thermal
