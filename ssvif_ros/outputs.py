"""What the fusion node publishes: images, camera_info and the meaning of the labels.

Every message carries the visible camera's header, because the fused image is drawn on its grid.
"""

from __future__ import annotations

import copy
import json

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String

from ssvif_core.imaging.overlay import draw_overlay
from ssvif_core.inference.pipeline import FusionResult
from ssvif_core.models import ModelCard
from ssvif_ros.images import to_image

__all__ = ["Outputs"]

LATCHED = QoSProfile(
    depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE
)
#: Reliable, so that viewers and recorders of either kind can subscribe (REP-2003).
IMAGES = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)


class Outputs:
    """The lifecycle publishers of one configured node.

    Args:
        node: a lifecycle node; publishers start and stop with its activation.
        card: of the model in use.
    """

    def __init__(self, node: LifecycleNode, card: ModelCard) -> None:
        self._node, self._card, self._palette = node, card, card.palette
        create = node.create_lifecycle_publisher
        self.fused = create(Image, "~/fused", IMAGES)
        self.labels = create(Image, "~/labels", IMAGES)
        self.overlay = create(Image, "~/overlay", IMAGES)
        self.camera_info = create(CameraInfo, "~/camera_info", IMAGES)
        self.label_info = create(String, "~/label_info", LATCHED)
        self._publishers = [
            self.fused, self.labels, self.overlay, self.camera_info, self.label_info
        ]  # fmt: skip
        self._vision_info = self._create_vision_info(node)

    def _create_vision_info(self, node: LifecycleNode):  # type: ignore[no-untyped-def]
        """Publisher of vision_msgs/LabelInfo, or None where vision_msgs is not installed."""
        try:
            from vision_msgs.msg import LabelInfo
        except ImportError:
            return None
        publisher = node.create_lifecycle_publisher(LabelInfo, "~/vision_label_info", LATCHED)
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

    def publish(
        self, result: FusionResult, header: Header, info: CameraInfo | None, alpha: float
    ) -> None:
        """Publish one fused frame; the overlay is drawn only if somebody listens."""
        self.fused.publish(to_image(result.fused, "rgb8", header))
        self.labels.publish(to_image(result.labels, "mono8", header))
        if self.overlay.get_subscription_count():
            overlay = draw_overlay(result.fused, result.labels, self._palette, alpha)
            self.overlay.publish(to_image(overlay, "rgb8", header))
        if info is not None:
            scaled = _scaled(info, result.fused.shape[:2])
            scaled.header = header
            self.camera_info.publish(scaled)

    def destroy(self) -> None:
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)


def _scaled(info: CameraInfo, size: tuple[int, ...]) -> CameraInfo:
    """camera_info for an output of `size` (H, W); K and P scale with it (REP-104)."""
    height, width = size
    info = copy.deepcopy(info)
    if info.height and info.width:
        scale = np.array([[width / info.width], [height / info.height], [1.0]])
        info.k = (np.reshape(info.k, (3, 3)) * scale).ravel()
        info.p = (np.reshape(info.p, (3, 4)) * scale).ravel()
        info.height, info.width = height, width
    return info
