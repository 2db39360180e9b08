"""Where thermal pixels lie in the visible image: the file that `ssvif calibrate` makes.

Knows a file and numbers; how they were found, and how frames are warped by them, is elsewhere.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.camera_file import camera_from, contents_of
from ssvif_core.imaging.pinhole import Camera, scaling

__all__ = ["Calibration"]

Size = tuple[int, int]
Lenses = tuple[Camera, Camera]

#: Smallest to largest stretch of a map between images of unit size. A camera that sees a hundredth
#: of what the other one sees has about 1e-2, or 1e-4 where it is seen from the side.
SMALLEST_PART = 1e-7
#: Keys of the two lenses in the file; below each, what a camera file has.
LENS_KEYS = ("visible_lens", "thermal_lens")


@dataclass(frozen=True)
class Calibration:
    """A plane-to-plane map between the two cameras.

    Attributes:
        homography: (3, 3) float64; takes thermal pixel (x, y, 1) to visible pixel. Pixel centres
            have whole coordinates, as in OpenCV. Where there are `lenses`, it is a map of images
            whose distortion `cv2.undistort` has removed, K kept.
        visible_size: (width, height) that the homography is for; other sizes scale it.
        thermal_size: (width, height).
        lenses: visible and thermal; None: the map is one of the images as they come.
        method: how it was found: "chessboard", "circles", "targetless", "hand", ...
        frames: how many pairs it was found from.
        error_px: in visible pixels, what the worst corner may be off by (targetless, it is less in
            nine of ten cases).
        confidence: 0..1, where the method has one; targetless, the agreement of the two images.
        thermal_offset_s: to be added to thermal stamps, where it was estimated.
        created: ISO 8601 date and time.
    """

    homography: np.ndarray
    visible_size: Size
    thermal_size: Size
    lenses: Lenses | None = None
    method: str = "hand"
    frames: int = 0
    error_px: float | None = None
    confidence: float | None = None
    thermal_offset_s: float | None = None
    created: str = ""

    def __post_init__(self) -> None:
        matrix = np.asarray(self.homography, np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
            raise SsvifError("homography must be three rows of three finite numbers")
        for name in ("visible_size", "thermal_size"):
            size = tuple(getattr(self, name))
            if len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
                raise SsvifError(f"{name} is {list(size)}: give [width, height] in pixels")
            object.__setattr__(self, name, size)
        if _singular(matrix, self.visible_size, self.thermal_size):
            raise SsvifError("homography is singular: it takes the image to a line or a point")
        for name in ("error_px", "confidence", "thermal_offset_s"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else _number(name, value))
        object.__setattr__(self, "homography", matrix / matrix[2, 2])

    def matrix(self, visible_size: Size, thermal_size: Size) -> np.ndarray:
        """The (3, 3) homography for images of other sizes (width, height) of the same cameras."""
        to_visible = scaling(self.visible_size, visible_size)
        from_thermal = scaling(thermal_size, self.thermal_size)
        matrix = to_visible @ self.homography @ from_thermal
        return matrix / matrix[2, 2]

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read a file.

        Raises:
            SsvifError: it cannot be read, or does not say what it must; with the key that is wrong.
        """
        try:
            content = yaml.safe_load(path.read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise SsvifError(f"Cannot read the calibration {path}: {error}") from error
        needed = ("homography", "visible_size", "thermal_size")
        if not isinstance(content, dict) or any(key not in content for key in needed):
            raise SsvifError(
                f"{path} is no calibration: it needs {', '.join(needed)}. Make one with "
                "`ssvif calibrate`."
            )
        known: dict[str, Any] = {k: v for k, v in content.items() if k in cls.__dataclass_fields__}
        try:
            return cls(**known, lenses=_lenses(content))
        except (SsvifError, TypeError, ValueError) as error:
            raise SsvifError(f"{path}: {error}") from error

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all; folders above it are made."""
        content = asdict(replace(self, lenses=None))
        del content["lenses"]
        content["homography"] = [[float(x) for x in row] for row in self.homography]
        content["visible_size"], content["thermal_size"] = (
            list(self.visible_size),
            list(self.thermal_size),
        )
        for key, camera in zip(LENS_KEYS, self.lenses or (), strict=False):
            content[key] = contents_of(camera)
        head = "# Thermal pixel (x, y, 1) -> visible pixel. Made by `ssvif calibrate`.\n"
        part = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(head + yaml.safe_dump(content, sort_keys=False))
            part.replace(path)
        except OSError as error:
            raise SsvifError(f"Cannot write {path}: {error}") from error


def _singular(matrix: np.ndarray, visible_size: Size, thermal_size: Size) -> bool:
    """Whether a map cannot be inverted, whatever factor and sizes of images its numbers have."""
    unit = np.diag([*np.divide(1.0, visible_size), 1.0]) @ matrix @ np.diag([*thermal_size, 1.0])
    values = np.linalg.svd(unit, compute_uv=False)
    return bool(
        values[-1] <= SMALLEST_PART * values[0] or abs(unit[2, 2]) <= SMALLEST_PART * values[0]
    )


def _number(name: str, value: Any) -> float:
    """A number, also where an editor has put it in quotes."""
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise SsvifError(f"{name} is {value!r}: give a number, or leave it out") from error


def _lenses(content: dict[str, Any]) -> Lenses | None:
    """Both lenses of a file's content, if it is a map of undistorted images."""
    there = [key for key in LENS_KEYS if key in content]
    if not there and not content.get("undistorted"):
        return None
    if len(there) < len(LENS_KEYS):
        raise SsvifError(
            f"this is a map of images without lens distortion: {' and '.join(LENS_KEYS)} must be "
            "there, each with what the camera's calibration file has. Make it again with "
            "`ssvif calibrate`."
        )
    visible, thermal = (_lens(key, content[key]) for key in LENS_KEYS)
    return visible, thermal


def _lens(key: str, content: Any) -> Camera:
    try:
        return camera_from(content)
    except SsvifError as error:
        raise SsvifError(f"{key}: {error}") from error
