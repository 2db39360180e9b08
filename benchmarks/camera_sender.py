"""One camera of `node.py`: a constant image, stamped when it is sent. Its own process.

Cameras on a robot are triggered together and have a driver each, so two of these share nothing but
the clock: each sends when the time of day is a multiple of the frame period.

    python benchmarks/camera_sender.py visible/image_raw rgb8 640x480 30
"""

from __future__ import annotations

import sys
import time

import numpy as np
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from ssvif_core.memory import keep_image_buffers
from ssvif_ros.images import to_image

RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


def picture(encoding: str, size: str) -> np.ndarray:
    """Noise: bytes of a camera, or counts of a thermal core around room temperature."""
    width, height = map(int, size.split("x"))
    rng = np.random.default_rng(0)
    if encoding == "mono16":
        return rng.integers(6700, 7100, (height, width), dtype=np.uint16)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def main(topic: str, encoding: str, size: str, rate_hz: str) -> None:
    keep_image_buffers()
    rclpy.init()
    node = rclpy.create_node("sender_" + encoding)
    publisher = node.create_publisher(Image, topic, RELIABLE)
    message = to_image(picture(encoding, size), encoding, Header())
    period_s = 1 / float(rate_hz)
    try:
        while True:
            time.sleep(period_s - time.time() % period_s)
            message.header.stamp = node.get_clock().now().to_msg()
            publisher.publish(message)
    except KeyboardInterrupt:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
