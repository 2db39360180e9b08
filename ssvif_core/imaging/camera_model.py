"""camera_info -> a camera, its matrices in an image, its parameters: one rule for node and replay.

Knows the fields of the message, whichever library read it, and no ROS.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.pinhole import Camera, scaling

__all__ = [
    "CAMERAS",
    "REGISTRATION_MODES",
    "camera_of",
    "image_size",
    "lens_field",
    "matrices_of_image",
    "registration_mode",
    "window_of",
]

Size = tuple[int, int]

REGISTRATION_MODES = ("auto", "none", "file", "camera_info")
CAMERAS = ("visible", "thermal")


def registration_mode(mode: str, file: str, extrinsics: str) -> str:
    """The mode that "auto" stands for: what is there decides."""
    if mode != "auto":
        return mode
    return "file" if file else "camera_info" if extrinsics else "none"


def camera_of(info: Any, camera: str = "camera") -> Camera:
    """Intrinsics of the images that a camera_info of ROS 1 or ROS 2 belongs to (REP-104).

    K and D are those of the sensor's full frame; a region of interest moves the centre, and
    binning scales.

    Raises:
        SsvifError: the camera is not calibrated, or its distortion model is not known.
    """
    (x, y), size = window_of(info)
    matrix = np.array(lens_field(info, "k"), np.float64).reshape(3, 3)
    matrix[:2, 2] -= (x, y)
    d = tuple(map(float, lens_field(info, "d")))
    try:
        return Camera(size, matrix, info.distortion_model, d).resized(image_size(info))
    except SsvifError as error:
        raise SsvifError(f"{camera}/camera_info: {error}") from error


def image_size(info: Any) -> Size:
    """(width, height) of the images that a camera_info belongs to: its window, binned."""
    _, (width, height) = window_of(info)
    return width // max(1, int(info.binning_x)), height // max(1, int(info.binning_y))


def window_of(info: Any) -> tuple[tuple[int, int], Size]:
    """Part of the sensor that a camera_info's images show, before binning.

    Returns:
        (x, y) of its first pixel, and (width, height): the region of interest, or all of it.
    """
    roi = info.roi
    if roi.width and roi.height:
        return (int(roi.x_offset), int(roi.y_offset)), (int(roi.width), int(roi.height))
    return (0, 0), (int(info.width), int(info.height))


def matrices_of_image(info: Any, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """K and P for the pixels of an image that shows what a camera_info's own images show.

    Region of interest, binning and any resize after them are worked in, so that a camera_info with
    these matrices has neither region nor binning. Pixel centres have whole coordinates, as for
    `cv2.resize` and in `Camera.resized`: halving an image takes column 0 and 1 to column 0, 0.5
    to 0. (image_geometry and image_proc scale without that, and are up to half a pixel off.)

    Args:
        info: CameraInfo of ROS 1 or ROS 2.
        size: (width, height) of the image.

    Returns:
        (3, 3) and (3, 4) float64. What is all 0, because the camera is not calibrated, stays so;
        of a camera_info without a size both are as they are.
    """
    k = np.array(lens_field(info, "k"), np.float64).reshape(3, 3)
    p = np.array(lens_field(info, "p"), np.float64).reshape(3, 4)
    (x, y), window = window_of(info)
    if not all(window):
        return k, p
    to_image = scaling(window, size) @ np.array([[1.0, 0, -x], [0, 1.0, -y], [0, 0, 1.0]])
    return to_image @ k, to_image @ p


def lens_field(info: Any, name: str) -> Any:
    """d, k, r or p of a camera_info: ROS 2 writes these names small, ROS 1 large."""
    return getattr(info, name) if hasattr(info, name) else getattr(info, name.upper())
