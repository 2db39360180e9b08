"""camera_info -> a camera, and what its parameters ask for: one rule for node and replay.

Knows the fields of the message, whichever library read it, and no ROS.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.pinhole import Camera

__all__ = ["CAMERAS", "REGISTRATION_MODES", "camera_of", "image_size", "registration_mode"]

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
    k = info.k if hasattr(info, "k") else info.K
    d = info.d if hasattr(info, "d") else info.D
    matrix = np.array(k, np.float64).reshape(3, 3)
    if info.roi.width and info.roi.height:
        matrix[:2, 2] -= (info.roi.x_offset, info.roi.y_offset)
    try:
        unbinned = Camera(_cut(info), matrix, info.distortion_model, tuple(map(float, d)))
        return unbinned.resized(image_size(info))
    except SsvifError as error:
        raise SsvifError(f"{camera}/camera_info: {error}") from error


def image_size(info: Any) -> tuple[int, int]:
    """(width, height) of the images that a camera_info belongs to: what is cut out, binned."""
    width, height = _cut(info)
    return width // max(1, int(info.binning_x)), height // max(1, int(info.binning_y))


def _cut(info: Any) -> tuple[int, int]:
    """(width, height) of the region of interest in the full frame; all zero: all of it."""
    cut = info.roi if info.roi.width and info.roi.height else info
    return int(cut.width), int(cut.height)
