"""Thermal onto the visible camera's grid: maps made once for a calibration, applied each frame.

The grid is the visible image as its camera sends it, lens distortion and all, so that its
camera_info stays true for what is fused. Knows arrays and numbers; where intrinsics and poses come
from (files, topics, TF) is elsewhere.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from ssvif_core.imaging.calibration import Calibration
from ssvif_core.imaging.coverage import FeatheredEdge, MirroredBorder
from ssvif_core.imaging.pinhole import Camera, same_shape
from ssvif_core.imaging.poses import Pose

__all__ = ["Alignment", "HomographyAlignment", "PlaneAlignment", "Registration", "covered_by"]

logger = logging.getLogger("ssvif.registration")

Size = tuple[int, int]

#: Lens models are evaluated on every 4th pixel and interpolated: 0.02 px at most for lenses that
#: have a pixel grid at all, and a sixteenth of the time.
STEP = 4
#: Part of the visible image below which a calibration cannot be meant so.
LEAST_COVERAGE = 0.02
#: Smallest part of a pixel in the fixed-point maps of cv2.remap.
LAST_FRACTION = 1 / 32


class Alignment(Protocol):
    """Says where in the thermal image the scene of a visible pixel is."""

    def coordinates(self, visible_size: Size, thermal_size: Size) -> np.ndarray:
        """(H, W, 2) float32 thermal pixel of each visible pixel; NaN where there is none."""

    def describe(self) -> str:
        """In a few words, for logs."""


@dataclass(frozen=True)
class HomographyAlignment:
    """A plane-to-plane map from a file, and the lenses that the file has. Attributes: the file."""

    calibration: Calibration

    def coordinates(self, visible_size: Size, thermal_size: Size) -> np.ndarray:
        """See `Alignment`."""
        _check_shape("visible", self.calibration.visible_size, visible_size)
        _check_shape("thermal", self.calibration.thermal_size, thermal_size)
        to_thermal = np.linalg.inv(self.calibration.matrix(visible_size, thermal_size))
        # The side of the horizon on which the thermal image lies: its centre is seen.
        sign = np.sign(np.linalg.inv(to_thermal)[2] @ [*_centre(thermal_size), 1.0])
        if self.calibration.lenses is None:
            return _mapped(_pixels(visible_size, 1), to_thermal * sign).astype(np.float32)
        visible, thermal = (
            camera.resized(size)
            for camera, size in zip(
                self.calibration.lenses, (visible_size, thermal_size), strict=True
            )
        )
        grid = _pixels(visible_size, STEP)
        straight = _homogeneous(visible.rays(grid.reshape(-1, 2))) @ visible.matrix.T
        straight = _mapped(straight[:, :2], to_thermal * sign)
        rays = _homogeneous(straight) @ np.linalg.inv(thermal.matrix).T
        return _refined(thermal.pixels(rays).reshape(grid.shape), visible_size)

    def describe(self) -> str:
        """Method and error, as the file has them."""
        c = self.calibration
        error = "" if c.error_px is None else f", error {c.error_px:.1f} px"
        lenses = "" if c.lenses is None else ", lenses undone"
        return f"homography ({c.method}{error}{lenses})"


@dataclass(frozen=True)
class PlaneAlignment:
    """Intrinsics of both cameras, the pose between them, and how far away the scene is.

    The scene is taken for a plane in front of the visible camera, parallel to its image, at
    `depth_m`. Without lens distortion this is the homography induced by that plane,
    H = K_t (R + t n^T / d) K_v^-1 with n = (0, 0, 1) and X_t = R X_v + t (Hartley and Zisserman,
    Multiple View Geometry, 2nd ed., result 13.1; their plane has the other sign of d).

    Attributes:
        visible: intrinsics.
        thermal: intrinsics.
        pose: of the thermal camera's optical frame in the visible one's.
        depth_m: distance of the plane in metres.
    """

    visible: Camera
    thermal: Camera
    pose: Pose
    depth_m: float

    def coordinates(self, visible_size: Size, thermal_size: Size) -> np.ndarray:
        """See `Alignment`."""
        _check_shape("visible", self.visible.size, visible_size)
        _check_shape("thermal", self.thermal.size, thermal_size)
        visible, thermal = self.visible.resized(visible_size), self.thermal.resized(thermal_size)
        grid = _pixels(visible_size, STEP)
        points = _homogeneous(visible.rays(grid.reshape(-1, 2))) * self.depth_m
        to_thermal = self.pose.inverse()
        points = points @ to_thermal.rotation.T + to_thermal.translation
        return _refined(thermal.pixels(points).reshape(grid.shape), visible_size)

    def describe(self) -> str:
        """Baseline and depth."""
        baseline = float(np.linalg.norm(self.pose.translation))
        return f"camera_info, {baseline:.3f} m apart, scene at {self.depth_m:g} m"


class Registration:
    """An alignment, ready to be applied to frames. Immutable but for the maps it keeps.

    One thread at a time applies it; `prepare` may be called from another one before.
    """

    def __init__(self, alignment: Alignment) -> None:
        self.alignment = alignment
        self._maps: tuple[tuple[Size, Size], _Maps] | None = None

    def prepare(self, visible_size: Size, thermal_size: Size) -> float:
        """Make the maps for images of these sizes (width, height).

        Returns:
            The part of the visible image that thermal covers, 0 to 1.
        """
        return self._maps_for(visible_size, thermal_size).coverage

    @property
    def coverage(self) -> float | None:
        """Part of the visible image that thermal covers; None before the first frame."""
        return self._maps[1].coverage if self._maps else None

    def warp(self, thermal: np.ndarray, visible_size: Size) -> np.ndarray:
        """A thermal frame on the visible grid.

        Args:
            thermal: (h, w) uint8.
            visible_size: (width, height).

        Returns:
            (H, W) uint8; a buffer that the next call overwrites.
        """
        return self._maps_for(visible_size, (thermal.shape[1], thermal.shape[0])).warp(thermal)

    def blend(self, fused: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """What was fused, with the visible image where thermal does not reach.

        Call it after `warp` of the same frame. Both (H, W, 3) uint8. Returns `fused` itself where
        thermal covers everything, else a buffer that the next call overwrites.
        """
        edge = self._maps[1].edge if self._maps else None
        return fused if edge is None else edge.blend(fused, visible)

    def _maps_for(self, visible_size: Size, thermal_size: Size) -> _Maps:
        kept, sizes = self._maps, (visible_size, thermal_size)
        if kept is not None and kept[0] == sizes:
            return kept[1]
        maps = _Maps(self.alignment.coordinates(visible_size, thermal_size), thermal_size)
        if maps.coverage < LEAST_COVERAGE:
            logger.warning(
                "registration by %s: thermal covers %.0f %% of the visible image. Nothing can be "
                "fused: check directions, units and sizes.",
                self.alignment.describe(),
                100 * maps.coverage,
            )
        self._maps = (sizes, maps)
        return maps


class _Maps:
    """Fixed-point maps for one pair of sizes, and what belongs to the edge of the coverage."""

    def __init__(self, coordinates: np.ndarray, thermal_size: Size) -> None:
        last = np.array(thermal_size, np.float32) - 1
        covered = covered_by(coordinates, thermal_size)
        self.coverage = float(covered.mean())
        complete = bool(covered.all())
        self.edge = None if complete else FeatheredEdge(covered)
        self._border = None if complete else MirroredBorder(thermal_size)
        margin = 0 if self._border is None else self._border.width
        # Clipped to the image with its border, short of its last pixel: cv2.remap takes a slow way
        # wherever it must look for a neighbour outside. What has no place goes to the corner,
        # which has the mean.
        low, high = -margin, last + margin - LAST_FRACTION * (margin > 0)
        places = np.clip(np.nan_to_num(coordinates, nan=low), low, high) + margin
        # Fixed point was the fastest of what was measured; see docs/registration.md.
        x, y = cv2.split(places.astype(np.float32))
        self._maps = cv2.convertMaps(x, y, cv2.CV_16SC2)
        self._warped: np.ndarray = np.empty(covered.shape, np.uint8)

    def warp(self, thermal: np.ndarray) -> np.ndarray:
        if self._border is not None:
            thermal = self._border.apply(thermal)
        whole, parts = self._maps
        edge = cv2.BORDER_REPLICATE
        return cv2.remap(thermal, whole, parts, cv2.INTER_LINEAR, self._warped, edge)


def covered_by(coordinates: np.ndarray, thermal_size: Size) -> np.ndarray:
    """Where the thermal camera looks.

    Args:
        coordinates: (H, W, 2) float32, see `Alignment.coordinates`.
        thermal_size: (width, height).

    Returns:
        (H, W) bool.
    """
    last = np.array(thermal_size, np.float32) - 1
    with np.errstate(invalid="ignore"):
        inside = (coordinates >= -0.5) & (coordinates <= last + 0.5)
    return np.all(inside, axis=2)  # type: ignore[no-any-return]


def _check_shape(camera: str, calibrated: Size, size: Size) -> None:
    """Warn where a calibration is stretched, for the images may as well have been cut."""
    if not same_shape(calibrated, size):
        logger.warning(
            "registration: %s images are %dx%d, and the calibration is for %dx%d, another shape: "
            "it is stretched to fit, which is wrong if the images are cut. Calibrate at the size "
            "that the camera sends.",
            camera,
            *size,
            *calibrated,
        )


def _centre(size: Size) -> tuple[float, float]:
    return (size[0] - 1) / 2, (size[1] - 1) / 2


def _pixels(size: Size, step: int) -> np.ndarray:
    """(h, w, 2) float64 positions of every `step`th pixel, up to the last one or beyond it."""
    axes = [np.arange(0, n - 1 + step, step, dtype=np.float64) for n in size]
    return np.stack(np.meshgrid(*axes), axis=-1)


def _homogeneous(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, np.ones_like(points[..., :1])], axis=-1)


def _mapped(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., 2) through a homography; NaN on and beyond its horizon."""
    mapped = _homogeneous(points) @ matrix.T
    seen = mapped[..., 2:] > 1e-12
    return np.divide(
        mapped[..., :2], mapped[..., 2:], where=seen, out=np.full_like(mapped[..., :2], np.nan)
    )


def _refined(coarse: np.ndarray, size: Size) -> np.ndarray:
    """Values at every `STEP`th pixel -> at every pixel, (H, W, 2) float32, linear between."""
    x, y = cv2.split((_pixels(size, 1) / STEP).astype(np.float32))
    return cv2.remap(coarse.astype(np.float32), x, y, cv2.INTER_LINEAR)
