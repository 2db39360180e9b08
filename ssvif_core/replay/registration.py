"""The node's registration parameters and a recording's camera_info -> what warps thermal.

The rules are those of `ssvif_ros/registration_source.py`. What comes late there (camera_info, a
pose on /tf_static) counts here from the first pair on.
"""

from __future__ import annotations

from collections.abc import Callable
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

__all__ = ["PoseBetween", "alignment_of"]

#: (parent frame, child frame) -> the pose and where it is from, or None and why there is none.
PoseBetween = Callable[[str, str], tuple[Pose | None, str]]


def alignment_of(
    mode: str,
    file: str,
    extrinsics: str,
    depth_m: float,
    infos: dict[str, Any],
    pose_between: PoseBetween | None = None,
) -> tuple[Alignment | None, str]:
    """What brings thermal onto the visible grid, and in words what does, or why nothing does.

    Args:
        mode: one of `REGISTRATION_MODES`.
        file: of `ssvif calibrate`.
        extrinsics: pose as text, see `Pose.from_text`.
        depth_m: distance at which the images match.
        infos: "visible" and "thermal" -> CameraInfo, those that the recording has.
        pose_between: looks up the pose of the thermal frame in the visible one where `extrinsics`
            is empty, and says where it is from; None: nowhere.

    Raises:
        SsvifError: the mode is unknown, or the file, the pose or a camera_info cannot be used.
    """
    if mode not in REGISTRATION_MODES:
        raise SsvifError(f"registration.mode is '{mode}': use one of {list(REGISTRATION_MODES)}.")
    mode = registration_mode(mode, file, extrinsics)
    if mode == "none":
        return None, "none"
    if mode == "file":
        if not file:
            raise SsvifError("registration.mode is file: name the file in registration.file")
        alignment: Alignment = HomographyAlignment(Calibration.load(Path(file).expanduser()))
        return alignment, alignment.describe()
    missing = [camera for camera in CAMERAS if camera not in infos]
    if missing:
        lacking = " and ".join(missing)
        return None, f"thermal is not registered: the recording has no camera_info of {lacking}"
    cameras = camera_of(infos["visible"], "visible"), camera_of(infos["thermal"], "thermal")
    if extrinsics:
        alignment = PlaneAlignment(*cameras, Pose.from_text(extrinsics), depth_m)
    else:
        pose, source = _looked_up(infos, pose_between)
        if pose is None:
            return None, f"thermal is not registered: {source}"
        alignment = PlaneAlignment(*cameras, pose, depth_m)
        return alignment, f"{alignment.describe()}, {source}"
    return alignment, alignment.describe()


def _looked_up(infos: dict[str, Any], pose_between: PoseBetween | None) -> tuple[Pose | None, str]:
    frames = [infos[camera].header.frame_id for camera in CAMERAS]
    if frames[0] == frames[1]:
        return None, (
            f"both camera_info have the frame '{frames[0]}': give each camera its own frame and "
            "their pose on /tf_static, or set registration.extrinsics"
        )
    if pose_between is None:
        return None, "set registration.extrinsics"
    return pose_between(*frames)
