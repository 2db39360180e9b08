"""What the live node costs over the bare engine: latency and CPU, at 30 Hz, in one run.

    python benchmarks/node.py [--seconds 20] [--rounds 3]

A sender process publishes a 640x480 rgb8 and a 640x480 mono16 image with the same stamp 30 times a
second; this process subscribes to the fused image. Latency is from that stamp to the array in the
subscriber, so it holds two trips through the middleware. The bare engine runs alone before each
round, at the same 30 Hz: back to back it finds its caches warm and is some milliseconds faster.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from engine import in_own_process
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from report import write_result
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from ssvif_ros.images import to_image, visible_rgb
from ssvif_ros.memory import keep_image_buffers
from ssvif_ros.processes import (
    LifecycleClient,
    RosProcess,
    child_environment,
    private_domain,
    spin_until,
)

RATE_HZ = 30.0
RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
#: Milliseconds that the node may add to the bare engine, p50 at 30 Hz.
BAR_MS = 8.0


def send() -> None:
    """The cameras: two constant images, stamped when they are sent."""
    keep_image_buffers()
    rclpy.init()
    node = rclpy.create_node("sender")
    rng = np.random.default_rng(0)
    visible = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    thermal = rng.integers(6700, 7100, (480, 640), dtype=np.uint16)
    publishers = [node.create_publisher(Image, f"{c}/image_raw", RELIABLE) for c in CAMERAS]
    messages = [to_image(visible, "rgb8", Header()), to_image(thermal, "mono16", Header())]

    def tick() -> None:
        stamp = node.get_clock().now().to_msg()
        for publisher, message in zip(publishers, messages, strict=True):
            message.header.stamp = stamp
            publisher.publish(message)

    node.create_timer(1 / RATE_HZ, tick)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        rclpy.try_shutdown()


CAMERAS = ("visible", "thermal")
STAGES = ("decode", "gain", "warp", "engine", "publish")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(model: str, seconds: float, logs: Path) -> dict[str, float]:
    """One round with one model."""
    bare = in_own_process(model, "640x480", 2, 150, RATE_HZ)
    os.environ.update(private_domain(logs))
    rclpy.init()
    fusion = RosProcess("ssvif_ros.fusion_node", {"model": model, "threads": 2}, logs / "node.log")
    sender = None
    try:
        node = rclpy.create_node("benchmark")
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        lifecycle = LifecycleClient(node, executor, "/fusion")
        lifecycle.wait()
        assert lifecycle.change("configure") and lifecycle.change("activate"), fusion.output
        latencies: list[float] = []
        said: dict[str, str] = {}

        def take(message: Image) -> None:
            visible_rgb(message)
            now = node.get_clock().now().nanoseconds
            latencies.append((now - Time.from_msg(message.header.stamp).nanoseconds) * 1e-6)

        node.create_subscription(Image, "fusion/fused", take, RELIABLE)
        node.create_subscription(
            DiagnosticArray,
            "/diagnostics",
            lambda m: said.update({v.key: v.value for s in m.status for v in s.values}),
            10,
        )
        sender = subprocess.Popen([sys.executable, __file__, "--send"], env=child_environment())
        spin_until(executor, lambda: len(latencies) > 60, 30.0)
        latencies.clear()
        cpu, start = cpu_seconds(fusion.process.pid), time.monotonic()
        spin_until(executor, lambda: time.monotonic() - start > seconds, seconds + 1)
        cpu, elapsed = cpu_seconds(fusion.process.pid) - cpu, time.monotonic() - start
        p50, p99 = np.percentile(latencies, (50, 99))
        return {
            "bare_engine_ms_p50": bare["p50_ms"],
            "bare_engine_cpu_ms": bare["cpu_ms"],
            "latency_ms_p50": float(p50),
            "latency_ms_p99": float(p99),
            "added_ms_p50": float(p50) - bare["p50_ms"],
            **{f"{s}_in_node_ms_p50": float(said[f"{s}_ms_p50"]) for s in STAGES},
            "latency_in_node_ms_p50": float(said["latency_ms_p50"]),
            "node_cpu_ms_per_frame": cpu / max(len(latencies), 1) * 1e3,
            "fused_rate_hz": len(latencies) / elapsed,
            "dropped": int(said["dropped_by_worker"]),
            "unpaired": int(said["unpaired_visible"]) + int(said["unpaired_thermal"]),
        }
    finally:
        if sender is not None:
            sender.send_signal(2)
            sender.wait(10)
        fusion.stop()
        rclpy.try_shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=["tiny", "base"])
    parser.add_argument("--send", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        send()
        return
    keep_image_buffers()
    result: dict[str, object] = {"bar_added_ms_p50": BAR_MS, "rate_hz": RATE_HZ}
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            rounds = [
                measure(model, options.seconds, Path(folder) / f"{model}{i}")
                for i in range(options.rounds)
            ]
            median = {k: round(statistics.median(r[k] for r in rounds), 2) for k in rounds[0]}
            result[model] = {"median": median, "rounds": rounds}
            print(model, *(f"  {key}: {value}" for key, value in median.items()), sep="\n")
    print("written", write_result("node", result))


if __name__ == "__main__":
    main()
