"""The YAML file of one camera's calibration, as camera_calibration writes it and drivers read it.

The format of camera_calibration_parsers (camera_info_url of camera drivers): image_width,
image_height, camera_matrix, distortion_model, distortion_coefficients.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.pinhole import Camera

__all__ = ["camera_from", "contents_of", "read_camera_file"]


def read_camera_file(path: Path) -> Camera:
    """Intrinsics and distortion from a file.

    Raises:
        SsvifError: it cannot be read, or is no such file; with what is wrong.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SsvifError(
            f"Cannot read the camera file {path}: {error}. It must be a YAML file as "
            "`ros2 run camera_calibration cameracalibrator` writes it."
        ) from error
    try:
        return camera_from(content)
    except SsvifError as error:
        raise SsvifError(f"{path}: {error}") from error


def camera_from(content: Any) -> Camera:
    """The camera that such a file's content describes.

    Raises:
        SsvifError: something is missing or cannot be.
    """
    try:
        matrix = np.array(content["camera_matrix"]["data"], np.float64).reshape(3, 3)
        coefficients = tuple(map(float, content["distortion_coefficients"]["data"]))
        size = int(content["image_width"]), int(content["image_height"])
        return Camera(size, matrix, str(content["distortion_model"]), coefficients)
    except (KeyError, TypeError, ValueError) as error:
        raise SsvifError(
            f"is no camera file ({type(error).__name__}: {error}): it needs image_width, "
            "image_height, camera_matrix, distortion_model and distortion_coefficients."
        ) from error


def contents_of(camera: Camera) -> dict[str, Any]:
    """What `camera_from` reads, of plain numbers and texts."""
    coefficients = list(camera.distortion)
    return {
        "image_width": camera.size[0],
        "image_height": camera.size[1],
        "camera_matrix": {"rows": 3, "cols": 3, "data": camera.matrix.ravel().tolist()},
        "distortion_model": camera.model or "plumb_bob",
        "distortion_coefficients": {"rows": 1, "cols": len(coefficients), "data": coefficients},
    }
