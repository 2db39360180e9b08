"""The cameras of `node.py`: two constant images, stamped when they are sent. Its own process.

python benchmarks/camera_sender.py 640x480 640x480 30
"""

from __future__ import annotations

import sys

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from ssvif_core.memory import keep_image_buffers
from ssvif_ros.images import to_image


def main(visible_size: str, thermal_size: str, rate_hz: str) -> None:
    keep_image_buffers()
    rclpy.init()
    node = rclpy.create_node("sender")
    rng = np.random.default_rng(0)
    width, height = map(int, visible_size.split("x"))
    visible = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    width, height = map(int, thermal_size.split("x"))
    thermal = rng.integers(6700, 7100, (height, width), dtype=np.uint16)
    reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    topics = ("visible/image_raw", "thermal/image_raw")
    publishers = [node.create_publisher(Image, topic, reliable) for topic in topics]
    messages = [to_image(visible, "rgb8", Header()), to_image(thermal, "mono16", Header())]

    def tick() -> None:
        stamp = node.get_clock().now().to_msg()
        for publisher, message in zip(publishers, messages, strict=True):
            message.header.stamp = stamp
            publisher.publish(message)

    node.create_timer(1 / float(rate_hz), tick)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        rclpy.try_shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
