"""A drawn thermal camera that does not look exactly where the visible one does."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["Misalignment"]

Size = tuple[int, int]


@dataclass(frozen=True)
class Misalignment:
    """How the thermal view lies in the visible image.

    Attributes:
        scale: width of what thermal sees, as part of the visible image's width. Below 1 thermal
            has the narrower field of view.
        shift_x: of its centre to the right, as part of the visible image's width.
        shift_y: downwards, as part of the same width.
        rotation_deg: of the thermal camera about its axis, clockwise in the visible image.
        size: (width, height) of thermal frames; None: that of what is filmed.
    """

    scale: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    rotation_deg: float = 0.0
    size: Size | None = None

    def homography(self, visible_size: Size) -> np.ndarray:
        """(3, 3) float64: thermal pixel to visible pixel, pixel centres at whole coordinates."""
        width, height = visible_size
        thermal = self.size or visible_size
        scale, angle = self.scale * width / thermal[0], np.deg2rad(self.rotation_deg)
        cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
        turn = np.array([[cosine, -sine], [sine, cosine]])
        centre = np.array([width - 1, height - 1]) / 2
        centre += width * np.array([self.shift_x, self.shift_y])
        matrix = np.eye(3)
        matrix[:2, :2] = turn
        matrix[:2, 2] = centre - turn @ (np.array(thermal) - 1) / 2
        return matrix

    def apply(self, aligned: np.ndarray) -> np.ndarray:
        """What the camera sees of an aligned image (H, W) uint8 or uint16.

        Where it would look beyond the image, the border's pixels go on: no black corner, which a
        real camera does not have.
        """
        height, width = aligned.shape[:2]
        if self == Misalignment(size=self.size) and self.size in (None, (width, height)):
            return aligned
        matrix, flags = self.homography((width, height)), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = self.size or (width, height)
        return cv2.warpPerspective(
            aligned, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE
        )

    def intrinsics(self, visible_size: Size, visible_matrix: np.ndarray) -> np.ndarray:
        """K of the thermal camera, (3, 3) float64, given the visible camera's.

        Together with a roll of `rotation_deg` and no distance between the cameras they give
        `homography` at every depth.
        """
        matrix = self.homography(visible_size)
        centre = np.linalg.solve(matrix, [*visible_matrix[:2, 2], 1.0])
        f = visible_matrix[0, 0] / np.hypot(*matrix[:2, 0])
        return np.array([[f, 0, centre[0]], [0, f, centre[1]], [0, 0, 1.0]])
