"""One camera of `node.py`: a constant image, stamped when it is sent. Its own process.

Cameras on a robot are triggered together and have a driver each, so two of these share nothing but
the clock: each sends when the time of day is a multiple of the frame period. Drivers are written in
C++, which serialises an image once; rclpy would copy it into a message first. So the bytes are made
before it is time, and published as they are. SIGUSR1 makes it pause, and go on.

    python benchmarks/camera_sender.py visible/image_raw rgb8 640x480 30
"""

from __future__ import annotations

import signal
import struct
import sys
import time

import numpy as np
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from ssvif_core.memory import keep_image_buffers
from ssvif_ros.images import to_image

RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
#: Where a serialised message with a header has its stamp, behind four bytes that name the encoding.
STAMP = slice(4, 12)


def picture(encoding: str, size: str) -> np.ndarray:
    """Noise: bytes of a camera, or counts of a thermal core around room temperature."""
    width, height = map(int, size.split("x"))
    rng = np.random.default_rng(0)
    if encoding == "mono16":
        return rng.integers(6700, 7100, (height, width), dtype=np.uint16)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


_sends = True


def toggle(*_: object) -> None:
    """Handler of SIGUSR1."""
    global _sends
    _sends = not _sends


def main(topic: str, encoding: str, size: str, rate_hz: str) -> None:
    signal.signal(signal.SIGUSR1, toggle)
    keep_image_buffers()
    rclpy.init()
    node = rclpy.create_node("sender_" + encoding)
    publisher = node.create_publisher(Image, topic, RELIABLE)
    packet = bytearray(serialize_message(to_image(picture(encoding, size), encoding, Header())))
    period_ns = round(1e9 / float(rate_hz))
    try:
        while True:
            due_ns = time.time_ns() // period_ns * period_ns + period_ns
            packet[STAMP] = struct.pack("<iI", *divmod(due_ns, 10**9))
            ready = bytes(packet)
            time.sleep(max(0.0, (due_ns - time.time_ns()) * 1e-9))
            if _sends:
                publisher.publish(ready)
    except KeyboardInterrupt:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
