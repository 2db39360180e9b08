"""Where the fusion node's registration comes from: a file, or camera_info with the rig's pose.

Gathers what is needed, makes the maps in a thread of its own, and hands the result to the pipeline
between two frames. Until everything has come, frames are fused unregistered, and this says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.calibration import Calibration
from ssvif_core.imaging.camera_model import CAMERAS, camera_of, registration_mode
from ssvif_core.imaging.poses import Pose
from ssvif_core.imaging.registration import (
    LEAST_COVERAGE,
    Alignment,
    HomographyAlignment,
    PlaneAlignment,
    Registration,
)
from ssvif_core.inference.pipeline import Pipeline
from ssvif_ros.parameters import Settings
from ssvif_ros.static_transforms import StaticTransforms, listen
from ssvif_ros.worker import LatestWorker

__all__ = ["RegistrationSource"]

Size = tuple[int, int]

#: REP-2003: what a camera's driver publishes is received best effort.
INFO_QOS = qos_profile_sensor_data
#: thermal_offset and the one in the calibration file may differ by this [s]: it is estimated to
#: about this in good recordings.
OFFSET_TOLERANCE_S = 0.005


class RegistrationSource:
    """Keeps a pipeline's registration in step with parameters, camera_info and TF.

    Args:
        node: to subscribe and to log with.
        pipeline: receives the registration.
        settings: of the node at configure.

    Raises:
        SsvifError: the file or the pose cannot be used, or TF is needed and not installed.
    """

    def __init__(self, node: LifecycleNode, pipeline: Pipeline, settings: Settings) -> None:
        self._node, self._pipeline = node, pipeline
        self._mode = registration_mode(
            settings.registration__mode,
            settings.registration__file,
            settings.registration__extrinsics,
        )
        self._depth_m = settings.registration__depth
        self._infos: dict[str, CameraInfo] = {}
        self._intrinsics: dict[str, tuple[Any, ...]] = {}
        self._subscriptions: list[Any] = []
        self._pose: Pose | None = None
        self._tree: StaticTransforms | None = None
        self._waiting = self._failed = ""
        self._offered: tuple[Any, ...] = ()  # what the maps are made of, or will be
        self._ready, self._coverage = "", 1.0
        self._worker: LatestWorker[Alignment] | None = None
        if self._mode == "file":
            self._read_file(settings)
            return
        if settings.registration__file:
            node.get_logger().warning(
                f"registration.file is {settings.registration__file}, and registration.mode "
                f"{self._mode} does not use it: set registration.mode to file, or leave the file "
                "out."
            )
        if self._mode == "none":
            return
        if settings.registration__extrinsics:
            self._pose = Pose.from_text(settings.registration__extrinsics)
        else:
            self._tree, subscription = listen(node, self._update)
            self._subscriptions.append(subscription)
        self._worker = LatestWorker(self._make, self._report)
        for camera in CAMERAS:
            self._subscriptions.append(self._subscribe(camera))
        self._update()

    def _read_file(self, settings: Settings) -> None:
        path = settings.registration__file
        if not path:
            raise SsvifError("registration.mode is file: name the file in registration.file")
        calibration = Calibration.load(Path(path).expanduser())
        made_with_s = calibration.thermal_offset_s
        off_s = 0.0 if made_with_s is None else made_with_s - settings.thermal_offset
        if abs(off_s) > OFFSET_TOLERANCE_S:
            self._node.get_logger().warning(
                f"{path} was made with a thermal_offset of {made_with_s} s, and this node's is "
                f"{settings.thermal_offset}: set thermal_offset to {made_with_s}, or take "
                "thermal_offset_s out of the file."
            )
        # Made here, so that the first frame need not wait.
        sizes = calibration.visible_size, calibration.thermal_size
        self._swap(HomographyAlignment(calibration), sizes)

    def _subscribe(self, camera: str) -> Any:
        def take(info: CameraInfo) -> None:
            if self._intrinsics.get(camera) != (intrinsics := _intrinsics(info)):
                self._infos[camera], self._intrinsics[camera] = info, intrinsics
                self._update()

        return self._node.create_subscription(CameraInfo, f"{camera}/camera_info", take, INFO_QOS)

    # -- what it says --------------------------------------------------------------------------

    @property
    def problem(self) -> str:
        """Why frames are not registered as they should be; "" if they are."""
        return self._failed or self._waiting

    @property
    def state(self) -> str:
        """For diagnostics: "none", what registers, or what is missing."""
        if self.problem and self._ready:
            return f"registered as before ({self._ready}): {self.problem}"
        if self.problem:
            return f"thermal is not registered: {self.problem}"
        return self._ready or ("none" if self._mode == "none" else "maps are being made")

    @property
    def useless(self) -> bool:
        """Whether thermal covers so little that nothing can be fused."""
        return self._coverage < LEAST_COVERAGE

    # -- what it does --------------------------------------------------------------------------

    def configure(self, settings: Settings) -> None:
        """Take live parameters."""
        if self._depth_m != settings.registration__depth:
            self._depth_m = settings.registration__depth
            self._update()

    def _update(self) -> None:
        """Something may have changed: have the maps made, or note what is missing."""
        if self._worker is None:  # nothing that changes is used
            return
        self._waiting = failed = ""
        alignment = None
        parts: tuple[Any, ...] = ()
        try:
            alignment = self._alignment()
        except SsvifError as error:
            failed = str(error)
        if alignment is not None:
            parts = self._parts(alignment)
            if parts == self._offered:  # /tf_static tells of all the robot's frames
                return
            self._worker.offer(alignment)
        self._failed, self._offered = failed, parts

    def _parts(self, alignment: PlaneAlignment) -> tuple[Any, ...]:
        """What must be equal for the maps to stay."""
        pose = alignment.pose
        numbers = pose.rotation.tobytes(), pose.translation.tobytes(), alignment.depth_m
        return *(self._intrinsics[camera] for camera in CAMERAS), *numbers

    def _alignment(self) -> PlaneAlignment | None:
        """What the parts that have come make; None, with `_waiting` set, while one is missing."""
        missing = [camera for camera in CAMERAS if camera not in self._infos]
        if missing:
            topics = [self._node.resolve_topic_name(f"{camera}/camera_info") for camera in missing]
            self._waiting = f"waiting for {' and '.join(topics)}"
            return None
        visible, thermal = (camera_of(self._infos[camera], camera) for camera in CAMERAS)
        pose = self._pose or self._pose_from_tf()
        return None if pose is None else PlaneAlignment(visible, thermal, pose, self._depth_m)

    def _pose_from_tf(self) -> Pose | None:
        frames = [self._infos[camera].header.frame_id for camera in CAMERAS]
        if frames[0] == frames[1]:
            raise SsvifError(
                f"both camera_info have the frame '{frames[0]}': give each camera its own frame "
                "and their pose on /tf_static, or set registration.extrinsics"
            )
        assert self._tree is not None
        pose = self._tree.pose(*frames)
        if pose is None:
            self._waiting = (
                f"waiting for a pose between '{frames[0]}' and '{frames[1]}' on /tf_static (or set "
                "registration.extrinsics)"
            )
        return pose

    def _make(self, alignment: Alignment) -> None:
        """Worker thread: make the maps for the frames that come, or those that are announced."""
        visible, thermal = (camera_of(self._infos[camera], camera).size for camera in CAMERAS)
        self._swap(alignment, self._pipeline.sizes or (visible, thermal))

    def _swap(self, alignment: Alignment, sizes: tuple[Size, Size]) -> None:
        """Make the maps for images of these sizes, and hand them over when they are there."""
        registration = Registration(alignment)
        self._coverage = registration.prepare(*sizes)
        self._pipeline.registration = registration
        self._ready = f"{alignment.describe()}, thermal covers {100 * self._coverage:.0f} %"
        self._node.get_logger().info(f"registered: {self._ready}")

    def _report(self, error: Exception) -> None:
        self._failed, self._offered = str(error), ()  # the next change tries again

    def destroy(self) -> None:
        """Stop listening; the pipeline keeps what it has."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        if self._worker is not None:
            self._worker.stop()


def _intrinsics(info: CameraInfo) -> tuple[Any, ...]:
    """What maps depend on."""
    roi = info.roi
    window = (roi.x_offset, roi.y_offset, roi.width, roi.height)
    return (
        info.width, info.height, info.distortion_model, info.header.frame_id, window,
        info.binning_x, info.binning_y, bytes(memoryview(info.k)), bytes(memoryview(info.d)),
    )  # fmt: skip
