"""The lenses of two live cameras, from camera_info; what is done with them is in ssvif_core."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo

from ssvif_core.calibration.geometry import Size
from ssvif_core.calibration.lenses import Lenses, lens_of, lenses_of
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.camera_model import CAMERAS

__all__ = ["LensListener"]


class LensListener:
    """Keeps the newest camera_info of both cameras. Args: node: to subscribe with."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._infos: dict[str, CameraInfo] = {}
        for camera in CAMERAS:
            node.create_subscription(
                CameraInfo,
                f"{camera}/camera_info",
                lambda info, camera=camera: self._infos.update({camera: info}),
                qos_profile_sensor_data,
            )

    def lenses(self, *sizes: Size) -> tuple[Lenses | None, str]:
        """What was heard so far; None and why, for people, where it is not enough.

        Args:
            sizes: (width, height) of the visible and of the thermal images.
        """
        cameras, notes = {}, {}
        for camera, size in zip(CAMERAS, sizes, strict=True):
            info = self._infos.get(camera)
            if info is None:
                topic = self._node.resolve_topic_name(f"{camera}/camera_info")
                notes[camera] = f"nothing came on {topic}"
                continue
            try:
                images = self._node.resolve_topic_name(f"{camera}/image_raw")
                cameras[camera], notes[camera] = lens_of(info, camera, images, size)
            except SsvifError as error:
                notes[camera] = str(error)
        return lenses_of(cameras, notes)
