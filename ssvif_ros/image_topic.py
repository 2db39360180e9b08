"""One image that the node publishes: raw, and compressed beside it as image_transport has it.

Nothing is copied, converted or encoded for a topic that nobody listens to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from ssvif_ros.images import OutgoingImage, to_compressed

__all__ = ["IMAGES", "ImageTopic", "compressed_topic"]

#: Reliable, so that viewers and recorders of either kind can subscribe (REP-2003).
IMAGES = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
_FROM_RGB = {"bgr8": cv2.COLOR_RGB2BGR, "mono8": cv2.COLOR_RGB2GRAY}


def compressed_topic(node: Node, name: str) -> str:
    """Name of the compressed topic beside `name`.

    image_transport resolves the base name and appends the transport, so a remapping of the base
    carries over; rclpy by itself would remap the two names one by one. (It still does: a remapping
    of `<base>/compressed` is followed too.)
    """
    return node.resolve_topic_name(name) + "/compressed"


class ImageTopic:
    """A raw and a compressed lifecycle publisher of the same picture.

    Args:
        node: to publish with.
        name: topic, such as "~/fused".
        create: makes a lifecycle publisher of a message class on a topic.
        lossless: compress as PNG, not as JPEG.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        create: Callable[[type, str], Any],
        *,
        lossless: bool = False,
    ) -> None:
        self._lossless = lossless
        self._raw = create(Image, name)
        self._compressed = create(CompressedImage, compressed_topic(node, name))
        self.publishers = [self._raw, self._compressed]
        self._outgoing = OutgoingImage()
        self._converted: np.ndarray | None = None

    def wanted(self) -> bool:
        """Whether anybody listens to either."""
        return any(publisher.get_subscription_count() for publisher in self.publishers)

    def publish_raw(self, pixels: np.ndarray, encoding: str, header: Header) -> None:
        """Publish the raw image if somebody listens.

        Args:
            pixels: (H, W, 3) uint8 RGB, or (H, W) uint8 for mono8.
            encoding: rgb8, bgr8 or mono8.
            header: stamp and frame.
        """
        if not self._raw.get_subscription_count():
            return
        if pixels.ndim == 3 and encoding in _FROM_RGB:
            pixels = cv2.cvtColor(pixels, _FROM_RGB[encoding], dst=self._converted)
            self._converted = pixels
        self._raw.publish(self._outgoing.of(pixels, encoding, header))

    def publish_compressed(
        self, pixels: np.ndarray, encoding: str, header: Header, jpeg_quality: int
    ) -> None:
        """Encode and publish if somebody listens; takes milliseconds, so do it after raw topics."""
        if self._compressed.get_subscription_count():
            quality = None if self._lossless else jpeg_quality
            self._compressed.publish(to_compressed(pixels, encoding, header, quality))
