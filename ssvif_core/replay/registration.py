"""The node's registration parameters and a recording's camera_info -> what warps thermal.

The rules are those of `ssvif_ros/registration_source.py`, but for /tf_static, which is not read:
a pose has to be in `registration.extrinsics`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.calibration import Calibration
from ssvif_core.imaging.camera_model import (
    CAMERAS,
    REGISTRATION_MODES,
    camera_of,
    registration_mode,
)
from ssvif_core.imaging.poses import Pose
from ssvif_core.imaging.registration import Alignment, HomographyAlignment, PlaneAlignment

__all__ = ["alignment_of"]


def alignment_of(
    mode: str, file: str, extrinsics: str, depth_m: float, infos: dict[str, Any]
) -> tuple[Alignment | None, str]:
    """What brings thermal onto the visible grid, and in words what does, or why nothing does.

    Args:
        mode: one of `REGISTRATION_MODES`.
        file: of `ssvif calibrate`.
        extrinsics: pose as text, see `Pose.from_text`.
        depth_m: distance at which the images match.
        infos: "visible" and "thermal" -> CameraInfo, those that the recording has.

    Raises:
        SsvifError: the mode is unknown, or the file, the pose or a camera_info cannot be used.
    """
    if mode not in REGISTRATION_MODES:
        raise SsvifError(f"registration.mode is '{mode}': use one of {list(REGISTRATION_MODES)}.")
    mode = registration_mode(mode, file, extrinsics)
    if mode == "none":
        return None, "none"
    calibration = None
    if mode == "file":
        if not file:
            raise SsvifError("registration.mode is file: name the file in registration.file")
        calibration = Calibration.load(Path(file).expanduser())
        if not calibration.undistorted:
            alignment: Alignment = HomographyAlignment(calibration)
            return alignment, alignment.describe()
    missing = [camera for camera in CAMERAS if camera not in infos]
    if missing:
        lacking = " and ".join(missing)
        return None, f"thermal is not registered: the recording has no camera_info of {lacking}"
    cameras = camera_of(infos["visible"], "visible"), camera_of(infos["thermal"], "thermal")
    if calibration is not None:
        alignment = HomographyAlignment(calibration, cameras)
    elif extrinsics:
        alignment = PlaneAlignment(*cameras, Pose.from_text(extrinsics), depth_m)
    else:
        return None, (
            "thermal is not registered: replay reads no /tf_static, set registration.extrinsics"
        )
    return alignment, alignment.describe()
