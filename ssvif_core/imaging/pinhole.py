"""A camera as camera_info describes it: pixels <-> rays, with the lens distortion of its model.

Knows numbers, no messages. Coordinates are those of an optical frame (REP-103): x right, y down,
z forward; pixel centres have whole coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from ssvif_core.errors import SsvifError

__all__ = ["DISTORTION_MODELS", "Camera", "same_shape", "scaling"]

Size = tuple[int, int]

#: Names of sensor_msgs/distortion_models.hpp -> numbers of coefficients that OpenCV takes.
DISTORTION_MODELS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
#: Two sizes are the same view at another scale if width / height differs by less than this.
ASPECT_TOLERANCE = 0.01
#: A ray that comes back this far from its pixel [px] was not found: the model is not invertible.
ROUND_TRIP_PX = 1.0
#: Iterations of the inverse model; OpenCV's own 5 leave tenths of a pixel with wide lenses.
CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-3)
#: Angles from the axis up to 90 degrees at which the equidistant model is looked at; between two of
#: them it is inverted by Newton's method, which has every digit after three steps.
ANGLES, NEWTON_STEPS = 2000, 3


@dataclass(frozen=True, eq=False)
class Camera:
    """Intrinsics of one camera.

    Attributes:
        size: (width, height) that `matrix` is for.
        matrix: (3, 3) float64, K of camera_info.
        model: a key of `DISTORTION_MODELS`; "" for none. A lens that is equidistant is no pinhole
            where all its coefficients are 0.
        distortion: D of camera_info, in OpenCV's order.
    """

    size: Size
    matrix: np.ndarray
    model: str = ""
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix, np.float64).reshape(3, 3)
        focal = matrix[0, 0], matrix[1, 1]
        if not np.isfinite(matrix).all() or min(self.size) < 1 or min(focal) <= 0:
            raise SsvifError(
                f"camera of size {list(self.size)} has no focal length (K[0], K[4] are "
                f"{focal[0]:g}, {focal[1]:g}): calibrate it, and let its driver publish the result "
                "in camera_info (REP-104)"
            )
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "distortion", tuple(map(float, self.distortion)))
        if not np.isfinite(self.distortion).all():
            raise SsvifError(
                f"distortion {list(self.distortion)} is not finite: correct D in camera_info"
            )
        if self.model == "equidistant" and not self.distortion:
            object.__setattr__(self, "distortion", (0.0,) * 4)
        if not any(self.distortion) and self.model != "equidistant":
            object.__setattr__(self, "model", "")
        elif self.model not in DISTORTION_MODELS:
            raise SsvifError(
                f"distortion model '{self.model}' is not one of {list(DISTORTION_MODELS)}: "
                "calibrate the camera with one of these"
            )
        elif len(self.distortion) not in DISTORTION_MODELS[self.model]:
            raise SsvifError(
                f"distortion model {self.model} has {len(self.distortion)} coefficients, not "
                f"{' or '.join(map(str, DISTORTION_MODELS[self.model]))}: correct D in camera_info"
            )

    def resized(self, size: Size) -> Camera:
        """The same camera with images of another size (width, height)."""
        if size == self.size:
            return self
        return replace(self, size=size, matrix=scaling(self.size, size) @ self.matrix)

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Directions in which pixels look.

        Args:
            pixels: (N, 2) float64.

        Returns:
            (N, 2) float64, x / z and y / z; NaN where the lens model has no such pixel.
        """
        points = np.ascontiguousarray(pixels, np.float64).reshape(-1, 1, 2)
        if self.model == "equidistant":
            rays = self._equidistant_rays(points)
        elif self.model:
            d = np.array(self.distortion)
            rays = cv2.undistortPointsIter(
                points, self.matrix, d, np.eye(3), np.eye(3), CRITERIA
            )  # fmt: skip
        else:
            rays = cv2.undistortPoints(points, self.matrix, None)
        rays = rays.reshape(-1, 2)
        if self.model:
            back = self.pixels(np.column_stack([rays, np.ones(len(rays))]))
            lost = ~(np.abs(back - points[:, 0]).max(axis=1) < ROUND_TRIP_PX)  # NaN is lost too
            rays[lost] = np.nan
        return rays

    def _equidistant_rays(self, points: np.ndarray) -> np.ndarray:
        """As `cv2.fisheye.undistortPoints`, whose criteria cannot be set in OpenCV 4.5."""
        flat = (points - self.matrix[:2, 2]) / self.matrix[[0, 1], [0, 1]]
        radius = np.linalg.norm(flat, axis=-1, keepdims=True)
        angles = np.linspace(0.0, np.pi / 2, ANGLES, endpoint=False)
        radii = self._equidistant_radius(angles)
        folds = np.flatnonzero(~(np.diff(radii) > 0))
        grows = slice(int(folds[0]) + 1 if folds.size else None)
        angle = np.interp(radius, radii[grows], angles[grows], right=np.nan)
        k = np.array(self.distortion) * (3, 5, 7, 9)
        for _ in range(NEWTON_STEPS):
            slope = 1 + sum(k[i] * angle ** (2 * i + 2) for i in range(4))
            angle = angle - (self._equidistant_radius(angle) - radius) / slope
        return flat * np.divide(np.tan(angle), radius, where=radius > 0, out=np.ones_like(radius))

    def _equidistant_radius(self, angle: np.ndarray) -> np.ndarray:
        """Distance from the axis in the image, over the focal length (Kannala and Brandt, 2006)."""
        k = self.distortion
        return angle * (1 + sum(k[i] * angle ** (2 * i + 2) for i in range(4)))

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Where points in front of the camera are seen.

        Args:
            points: (N, 3) float64 in the optical frame.

        Returns:
            (N, 2) float64; NaN for points behind the camera, and for those beyond the angle up to
            which the lens model is a lens (polynomials fold back outside the image, and would show
            a second copy of it there).
        """
        z = points[:, 2]
        seen = z > 1e-9
        x, y = (np.divide(points[:, i], z, where=seen, out=np.full(len(z), np.nan)) for i in (0, 1))
        seen &= np.hypot(x, y) < self._largest_slope()
        flat = np.column_stack([x, y, np.ones(len(z))])[:, None]
        flat[~seen] = (0.0, 0.0, 1.0)
        pixels = self._project(flat)
        pixels[~seen] = np.nan
        return pixels

    def _project(self, points: np.ndarray) -> np.ndarray:
        none, d = np.zeros(3), np.array(self.distortion if self.model else [0.0] * 4)
        project = cv2.fisheye.projectPoints if self.model == "equidistant" else cv2.projectPoints
        pixels, _ = project(points, none, none, self.matrix, d)
        return pixels.reshape(-1, 2)

    def _largest_slope(self) -> float:
        """Distance from the axis, at depth 1, up to which farther out is farther out in the image.

        The radial part of the models: OpenCV, "Camera Calibration and 3D Reconstruction".
        """
        if not self.model:
            return np.inf
        if self.model == "equidistant":
            angles = np.linspace(0.0, np.pi / 2, ANGLES, endpoint=False)
            radius, slope = self._equidistant_radius(angles), np.tan(angles)
        else:
            k = self.distortion + (0.0,) * 8
            slope = np.linspace(0.0, 10.0, 20000)
            r2 = slope**2
            over = 1 + r2 * (k[0] + r2 * (k[1] + r2 * k[4]))
            under = 1 + r2 * (k[5] + r2 * (k[6] + r2 * k[7]))
            with np.errstate(divide="ignore", invalid="ignore"):
                radius = slope * over / under
        folds = np.flatnonzero(~(np.diff(radius) > 0))
        return float(slope[folds[0]]) if folds.size else float(slope[-1])


def same_shape(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    """Whether two sizes, or two (rows, columns), may be one view at two scales (within 1 %)."""
    (rows, columns), (other_rows, other_columns) = first[:2], second[:2]
    ratio = columns * other_rows / (rows * other_columns)
    return abs(ratio - 1) <= ASPECT_TOLERANCE


def scaling(from_size: Size, to_size: Size) -> np.ndarray:
    """(3, 3) map of pixels of one grid to those of another over the same field of view."""
    sx, sy = to_size[0] / from_size[0], to_size[1] / from_size[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1.0]])
