"""camera_info -> a camera, and what its parameters ask for: one rule for node and replay.

Knows the fields of the message, whichever library read it, and no ROS.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.pinhole import Camera

__all__ = ["CAMERAS", "REGISTRATION_MODES", "camera_of", "registration_mode"]

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
    binning only scales, which `Camera.resized` does.

    Raises:
        SsvifError: the camera is not calibrated, or its distortion model is not known.
    """
    k = info.k if hasattr(info, "k") else info.K
    d = info.d if hasattr(info, "d") else info.D
    matrix = np.array(k, np.float64).reshape(3, 3)
    width, height = int(info.width), int(info.height)
    if info.roi.width and info.roi.height:
        matrix[:2, 2] -= (info.roi.x_offset, info.roi.y_offset)
        width, height = int(info.roi.width), int(info.roi.height)
    try:
        return Camera((width, height), matrix, info.distortion_model, tuple(map(float, d)))
    except SsvifError as error:
        raise SsvifError(f"{camera}/camera_info: {error}") from error
