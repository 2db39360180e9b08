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

__all__ = ["read_camera_file"]


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
        return _camera(content)
    except (KeyError, TypeError, ValueError) as error:
        raise SsvifError(
            f"{path} is no camera file ({type(error).__name__}: {error}): it needs image_width, "
            "image_height, camera_matrix, distortion_model and distortion_coefficients."
        ) from error
    except SsvifError as error:
        raise SsvifError(f"{path}: {error}") from error


def _camera(content: Any) -> Camera:
    matrix = np.array(content["camera_matrix"]["data"], np.float64).reshape(3, 3)
    coefficients = tuple(map(float, content["distortion_coefficients"]["data"]))
    size = int(content["image_width"]), int(content["image_height"])
    return Camera(size, matrix, str(content["distortion_model"]), coefficients)
