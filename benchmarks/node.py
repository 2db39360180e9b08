"""What the live node costs beside the bare engine and a node that only passes images on.

    python benchmarks/node.py --rounds 5
    python benchmarks/node.py --models tiny --cameras 1280x1024+640x512@10 --result node_large
    python benchmarks/node.py --cameras 1280x1024+640x512@30 --rounds 1 --result node_overload

A visible and a thermal camera, each a process of its own (`camera_sender.py`), publish an rgb8 and
a mono16 image at the same time of day and at some rate; this process subscribes to the fused image
and to the labels. Latency is from the visible image's stamp to the pixels in the subscriber, so it
holds two trips through the middleware: that of the fused image, and with `labels_` before it that
of the labels. A camera and the subscriber copy an image once more than a driver and a node in C++
do, and not as often as messages in Python are copied.

In each round the pass-through node (`passthrough_node.py`) runs first, then the fusion node by
turns with the bare engine, which runs alone and at the same rate while the cameras pause (back to
back it finds its caches warm and is some milliseconds faster): so both meet the same minutes of a
machine that others use, too. Each turn of the engine is a new process, for they differ.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import rclpy
from camera_sender import STAMP
from diagnostic_msgs.msg import DiagnosticArray
from engine import in_own_process
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from report import write_result
from sensor_msgs.msg import Image

from ssvif_core.memory import keep_image_buffers
from ssvif_ros.processes import (
    LifecycleClient,
    RosProcess,
    child_environment,
    private_domain,
    spin_until,
)

HERE = Path(__file__).parent
THREADS = 2
RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
#: Size of the visible and of the thermal image, and how many come in a second.
CAMERAS = ("640x480+640x480@30",)
STAGES = ("decode", "gain", "warp", "engine", "publish")
#: At 640x480: milliseconds that the node may add to the bare engine at p50; p99 in frame periods;
#: and its CPU time for a frame in that of the engine.
BARS = {"added_ms_p50": 6.0, "p99_in_periods": 1.5, "cpu_of_engine": 1.15}

#: What is printed of a round.
SHOWN = (
    *("engine_p50_ms", "added_ms_p50", "labels_added_ms_p50"),
    *("p99_in_periods", "cpu_of_engine", "dropped_by_worker"),
)
#: How often the fusion node and the bare engine take turns in a round.
TURNS = 4
#: Of the engine in each turn.
ENGINE_FRAMES = 60
#: Frames after each pause of the cameras that do not count.
FIRST_FRAMES = 10


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def callback_seconds(pid: int) -> float:
    """CPU time so far of a process's main thread, which runs rclpy's callbacks (proc(5))."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) * 1e-9


class Listener:
    """Takes the images of the node under test, and what it says of itself."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("benchmark")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.latencies: dict[str, list[float]] = {"fused": [], "labels": []}
        self.said: dict[str, str] = {}
        self.said_before: dict[str, str] = {}
        self.cpu_s = self.callbacks_s = self.elapsed_s = 0.0
        for name, latencies in self.latencies.items():
            take = partial(self._take, latencies)
            self.node.create_subscription(Image, f"fusion/{name}", take, RELIABLE, raw=True)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, 10)

    def _take(self, latencies: list[float], packet: bytes) -> None:
        np.frombuffer(packet, np.uint8)
        seconds, nanoseconds = struct.unpack("<iI", packet[STAMP])
        now = self.node.get_clock().now().nanoseconds
        latencies.append((now - seconds * 10**9 - nanoseconds) * 1e-6)

    def _hear(self, message: DiagnosticArray) -> None:
        self.said.update({v.key: v.value for status in message.status for v in status.values})

    def listen(self, pid: int, seconds: float) -> None:
        """Go on counting latencies, frames and CPU time of the process that fuses."""
        seen = {name: len(latencies) for name, latencies in self.latencies.items()}
        many = seen["labels"] + FIRST_FRAMES
        spin_until(self.executor, lambda: len(self.latencies["labels"]) >= many, 30.0)
        for name, latencies in self.latencies.items():
            del latencies[seen[name] :]
        self.said_before = self.said_before or dict(self.said)
        cpu, callbacks, start = cpu_seconds(pid), callback_seconds(pid), time.monotonic()
        spin_until(self.executor, lambda: time.monotonic() - start > seconds, seconds + 1)
        self.cpu_s += cpu_seconds(pid) - cpu
        self.callbacks_s += callback_seconds(pid) - callbacks
        self.elapsed_s += time.monotonic() - start

    def figures(self, rate_hz: float) -> dict[str, float]:
        """Latency, rate, and CPU time for a frame, of all that was listened to."""
        frames = len(self.latencies["fused"])
        p50, p99 = np.percentile(self.latencies["fused"], (50, 99))
        return {
            "ms_p50": float(p50),
            "ms_p99": float(p99),
            "labels_ms_p50": float(np.median(self.latencies["labels"])),
            "cpu_ms": self.cpu_s / max(frames, 1) * 1e3,
            "callbacks_cpu_ms": self.callbacks_s / (self.elapsed_s * rate_hz) * 1e3,  # of one taken
            "rate_hz": frames / self.elapsed_s,
        }


@contextmanager
def live(module: str, parameters: dict[str, object], cameras: str, logs: Path) -> Iterator[tuple]:
    """A process under test, the cameras, and a listener, in a ROS domain of their own."""
    os.environ.update(private_domain(logs))
    rclpy.init()
    tested = RosProcess(module, parameters, logs / "node.log")
    senders: list[subprocess.Popen[bytes]] = []
    try:
        listener = Listener()
        if module != "passthrough_node":
            lifecycle = LifecycleClient(listener.node, listener.executor, "/fusion")
            lifecycle.wait()
            assert lifecycle.change("configure") and lifecycle.change("activate"), tested.output
        visible, thermal, rate = re.split("[+@]", cameras)
        for camera in (("visible", "rgb8", visible), ("thermal", "mono16", thermal)):
            topic, encoding, size = f"{camera[0]}/image_raw", *camera[1:]
            command = [sys.executable, str(HERE / "camera_sender.py"), topic, encoding, size, rate]
            senders.append(subprocess.Popen(command, env=child_environment()))
        yield tested, listener, senders
    finally:
        for sender in senders:
            sender.send_signal(2)
            sender.wait(10)
        tested.stop()
        rclpy.try_shutdown()


@contextmanager
def paused(senders: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """While the cameras send nothing."""
    for sender in senders:
        sender.send_signal(signal.SIGUSR1)
    yield
    for sender in senders:
        sender.send_signal(signal.SIGUSR1)


def round_of(model: str, cameras: str, seconds: float, logs: Path) -> dict[str, float]:
    """The pass-through node; then the fusion node by turns with the bare engine."""
    visible, _, rate = re.split("[+@]", cameras)
    rate_hz = float(rate)
    width, height = map(int, visible.split("x"))
    with live("passthrough_node", {}, cameras, logs / "passthrough") as (tested, listener, _):
        listener.listen(tested.process.pid, seconds / 2)
        passed = listener.figures(rate_hz)
    settings = {"model": model, "threads": THREADS, "warm_up_width": width}
    settings["warm_up_height"] = height
    engine: list[dict[str, float]] = []
    with live("ssvif_ros.fusion_node", settings, cameras, logs / "fusion") as (
        tested, listener, senders,
    ):  # fmt: skip
        for _ in range(TURNS):
            listener.listen(tested.process.pid, seconds / TURNS)
            with paused(senders):
                engine.append(in_own_process(model, visible, THREADS, ENGINE_FRAMES, rate_hz))
        fusion, said, before_it = listener.figures(rate_hz), listener.said, listener.said_before
    bare = {key: statistics.median(turn[key] for turn in engine) for key in ("p50_ms", "cpu_ms")}
    lost = ("dropped_by_worker", "unpaired_visible", "unpaired_thermal")
    return {
        "engine_fastest_p50_ms": min(turn["p50_ms"] for turn in engine),
        "engine_slowest_p50_ms": max(turn["p50_ms"] for turn in engine),
        **{f"engine_{key}": value for key, value in bare.items()},
        **{f"passthrough_{key}": value for key, value in passed.items()},
        **{f"node_{key}": value for key, value in fusion.items()},
        **{f"{stage}_in_node_ms_p50": float(said[f"{stage}_ms_p50"]) for stage in STAGES},
        **{key: int(said[key]) - int(before_it[key]) for key in lost},  # to a second
        "added_ms_p50": fusion["ms_p50"] - bare["p50_ms"],
        "labels_added_ms_p50": fusion["labels_ms_p50"] - bare["p50_ms"],
        "added_to_passthrough_and_engine_ms_p50": (
            fusion["ms_p50"] - bare["p50_ms"] - passed["ms_p50"]
        ),
        "p99_in_periods": fusion["ms_p99"] * rate_hz * 1e-3,
        "cpu_of_engine": fusion["cpu_ms"] / bare["cpu_ms"],
        "cpu_of_engine_and_passthrough": fusion["cpu_ms"] / (bare["cpu_ms"] + passed["cpu_ms"]),
    }


def rounds_of(
    model: str, cameras: str, options: argparse.Namespace, logs: Path
) -> dict[str, object]:
    """All rounds, and their median."""
    rounds: list[dict[str, float]] = []
    for number in range(options.rounds):
        rounds.append(round_of(model, cameras, options.seconds, logs / str(number)))
        print(f"{model} {cameras}:", *(f"{k} {rounds[-1][k]:.2f}" for k in SHOWN), flush=True)
    median = {key: round(statistics.median(r[key] for r in rounds), 2) for key in rounds[0]}
    print(f"{model} {cameras}", *(f"  {key}: {value}" for key, value in median.items()), sep="\n")
    return {"median": median, "rounds": rounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=16.0, help="of the node in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=["tiny", "base"])
    parser.add_argument("--cameras", nargs="+", default=list(CAMERAS), help="WxH+WxH@HZ")
    parser.add_argument("--result", default="node", help="name of the file of results")
    options = parser.parse_args()
    keep_image_buffers()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    result: dict[str, object] = {"bars": BARS, "threads": THREADS}
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            for cameras in options.cameras:
                name = f"{model} {cameras}"
                logs = Path(folder) / name.replace(" ", "_")
                result[name] = rounds_of(model, cameras, options, logs)
    print("written", write_result(options.result, result))


if __name__ == "__main__":
    main()
