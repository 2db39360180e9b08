"""The baseline of `node.py`: pairs two cameras and sends the visible image on, and a mask of zeros.

What is left of the fusion node without gain, warp and engine: the price of ROS in Python for the
same bytes in and out. The same pairing, worker thread and publishers' QoS. Its own process.
"""

from __future__ import annotations

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from ssvif_core.memory import keep_image_buffers
from ssvif_core.pairing import NearestPairing
from ssvif_ros.images import to_image
from ssvif_ros.outputs import IMAGES
from ssvif_ros.synchronizer import POLL_PERIOD_S, PairSynchronizer, Subscriber
from ssvif_ros.worker import LatestWorker


def main() -> None:
    keep_image_buffers()
    rclpy.init()
    node = rclpy.create_node("fusion")
    fused = node.create_publisher(Image, "~/fused", IMAGES)
    labels = node.create_publisher(Image, "~/labels", IMAGES)

    def send_on(pair: tuple[Image, Image]) -> None:
        visible, _ = pair
        fused.publish(visible)
        mask = np.zeros((visible.height, visible.width), np.uint8)
        labels.publish(to_image(mask, "mono8", visible.header))

    worker = LatestWorker(send_on, lambda error: print(error, flush=True))
    cameras = [
        Subscriber(node, Image, topic, qos_profile=qos_profile_sensor_data)
        for topic in ("visible/image_raw", "thermal/image_raw")
    ]
    pairing: NearestPairing[Image, Image] = NearestPairing()
    synchronizer = PairSynchronizer(cameras, pairing, clock=node.get_clock())
    synchronizer.registerCallback(lambda visible, thermal: worker.offer((visible, thermal)))
    node.create_timer(POLL_PERIOD_S, synchronizer.poll)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        worker.stop()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
