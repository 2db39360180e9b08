"""Plays a recording's images with /clock, as `ros2 bag play --clock --loop` does.

A program of its own: `python bag_player.py BAG RATE LOOPS`. It waits until every topic is heard.
`ros2 bag` cannot be had from a package index, and the tests need none of the rest of it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import rclpy
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from ssvif_core.data.bag_files import Bag

TOPICS = ("/visible/image_raw", "/thermal/image_raw")
CLOCK_STEP_NS = 10_000_000
LEAST_WAIT_S = 30.0


def play(path: Path, rate: float, loops: int) -> None:
    """Publish all of it `loops` times; ends early if nobody listens."""
    node = rclpy.create_node("bag_player")
    clock = node.create_publisher(Clock, "/clock", 10)
    images = {topic: node.create_publisher(Image, topic, QoSProfile(depth=100)) for topic in TOPICS}
    deadline = time.monotonic() + LEAST_WAIT_S
    while not all(p.get_subscription_count() for p in [clock, *images.values()]):
        if time.monotonic() > deadline:
            raise SystemExit("nobody listens")
        time.sleep(0.02)
    with Bag(path) as bag:
        messages = list(bag.messages([*TOPICS]))
    first_ns = messages[0].received_ns
    for _ in range(loops):
        start, now_ns = time.monotonic(), first_ns

        def until(due_ns: int, start: float = start, now_ns: int = now_ns) -> int:
            """Let the recording's time go on, with the clock's ticks."""
            while now_ns < due_ns:
                now_ns = min(now_ns + CLOCK_STEP_NS, due_ns)
                wait_s = start + (now_ns - first_ns) * 1e-9 / rate - time.monotonic()
                time.sleep(max(0.0, wait_s))
                clock.publish(Clock(clock=rclpy.time.Time(nanoseconds=now_ns).to_msg()))
            return now_ns

        for recorded in messages:
            now_ns = until(recorded.received_ns, now_ns=now_ns)
            images[recorded.topic].publish(recorded.raw)
    # What was sent last is still on its way out of this process.
    for publisher in images.values():
        publisher.wait_for_all_acked(rclpy.duration.Duration(seconds=5))


if __name__ == "__main__":
    rclpy.init()  # a context manager since kilted only
    try:
        play(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
    finally:
        rclpy.try_shutdown()
