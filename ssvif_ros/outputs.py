"""What the fusion node publishes: images, camera_info and the meaning of the labels.

Every message carries the visible camera's header, because the fused image is drawn on its grid.
"""

from __future__ import annotations

import json
from functools import partial

import cv2
import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header, String

from ssvif_core.imaging.overlay import draw_overlay
from ssvif_core.inference.pipeline import FusionResult
from ssvif_core.models import ModelCard
from ssvif_ros.camera_info import ScaledInfo, mismatch
from ssvif_ros.image_topic import IMAGES, ImageTopic
from ssvif_ros.parameters import Settings
from ssvif_ros.wait_set import NO_EVENTS

__all__ = ["Outputs"]

LATCHED = QoSProfile(
    depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE
)


class Outputs:
    """The lifecycle publishers of one configured node.

    Args:
        node: a lifecycle node; publishers start and stop with its activation.
        card: of the model in use.
    """

    def __init__(self, node: LifecycleNode, card: ModelCard) -> None:
        self._node, self._card, self._palette = node, card, card.palette
        create = partial(node.create_lifecycle_publisher, event_callbacks=NO_EVENTS)
        self.fused = ImageTopic(node, "~/fused")
        self.labels = ImageTopic(node, "~/labels", lossless=True)
        self.overlay = ImageTopic(node, "~/overlay")
        self.camera_info = create(CameraInfo, "~/camera_info", IMAGES)
        self.label_info = create(String, "~/label_info", LATCHED)
        self._scaled_info, self._told = ScaledInfo(), ""
        self._publishers = [
            *self.fused.publishers, *self.labels.publishers, *self.overlay.publishers,
            self.camera_info, self.label_info,
        ]  # fmt: skip
        self._vision_info = self._create_vision_info(create)

    def _create_vision_info(self, create):  # type: ignore[no-untyped-def]
        """Publisher of vision_msgs/LabelInfo, or None where vision_msgs is not installed."""
        try:
            from vision_msgs.msg import LabelInfo
        except ImportError:
            return None
        publisher = create(LabelInfo, "~/vision_label_info", LATCHED)
        self._publishers.append(publisher)
        return publisher

    def publish_label_info(self, stamp: Time) -> None:
        """Say what the labels mean; latched, so late subscribers hear it too."""
        card = self._card
        classes = [{"id": c.id, "name": c.name, "color": list(c.color)} for c in card.classes]
        content = {"model": card.name, "mode": card.mode, "classes": classes, "unknown": 255}
        self.label_info.publish(String(data=json.dumps(content)))
        if self._vision_info is None:
            return
        from vision_msgs.msg import LabelInfo, VisionClass

        message = LabelInfo(header=Header(stamp=stamp.to_msg()))
        message.class_map = [VisionClass(class_id=c.id, class_name=c.name) for c in card.classes]
        self._vision_info.publish(message)

    def publish_fused(
        self, fused: np.ndarray, header: Header, info: CameraInfo | None, settings: Settings
    ) -> None:
        """Publish the fused image, and its camera_info, though the labels may not be there yet.

        Args:
            fused: (H, W, 3) uint8 RGB.
            header: of the visible image.
            info: of the visible camera, if it is known; None also where `fused` is not on its grid.
            settings: `output_scale` and `output_encoding` apply.
        """
        self._fused = _resized(fused, settings.output_scale, cv2.INTER_AREA)
        self.fused.publish_raw(self._fused, settings.output_encoding, header)
        if info is not None and self.camera_info.get_subscription_count():
            self._warn_once(mismatch(info, header.frame_id, *fused.shape[:2]))
            scaled = self._scaled_info.of(info, *self._fused.shape[:2])
            scaled.header = header
            self.camera_info.publish(scaled)

    def _warn_once(self, doubt: str) -> None:
        if doubt and doubt != self._told:
            self._told = doubt
            self._node.get_logger().warning(f"~/camera_info may be wrong: {doubt}.")

    def publish_rest(self, result: FusionResult, header: Header, settings: Settings) -> None:
        """Publish the rest of a frame whose fused image is out; compressed images last.

        Args:
            result: what was fused.
            header: of the visible image.
            settings: those of `publish_fused`; `overlay_alpha` and `compressed__*` apply, too.
        """
        encoding, fused = settings.output_encoding, self._fused
        images = [(self.fused, fused, encoding)]

        def send(topic: ImageTopic, pixels: np.ndarray, name: str) -> None:
            topic.publish_raw(pixels, name, header)
            images.append((topic, pixels, name))

        labels = _resized(result.labels, settings.output_scale, cv2.INTER_NEAREST)
        send(self.labels, labels, "mono8")
        if self.overlay.wanted():
            overlay = draw_overlay(fused, labels, self._palette, settings.overlay_alpha)
            # Masks are told apart by their colours, which mono8 would take away.
            send(self.overlay, overlay, "rgb8" if encoding == "mono8" else encoding)
        for topic, pixels, name in images:
            topic.publish_compressed(pixels, name, header, settings.compressed__jpeg_quality)

    def destroy(self) -> None:
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)


def _resized(image: np.ndarray, scale: float, interpolation: int) -> np.ndarray:
    """The image at `scale` times its size, at least one pixel."""
    if scale == 1.0:
        return image
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=interpolation)
