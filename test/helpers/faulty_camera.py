"""A camera driver in a process of its own that misbehaves on command.

    camera = FaultyCamera("visible", folder, rate=30.0, size=(160, 128))
    camera.tell(jump_s=3600.0)      # stamps are an hour ahead from now on
    camera.tell(malformed=200)      # a burst
    camera.tell(random_sizes=True)  # each frame of another size
    camera.tell(stamps="zero")      # or "same", or "true"
    camera.tell(silent=True)
    camera.process.kill()

What it has sent is counted in a file, so that the count outlives kill -9.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

__all__ = ["FaultyCamera"]

STOP = "stop"


class FaultyCamera:
    """Handle of such a process.

    Args:
        camera: "visible" (rgb8) or "thermal" (mono16).
        folder: for its log and its count.
        rate: frames per second.
        size: (width, height).
    """

    def __init__(
        self, camera: str, folder: Path, rate: float = 30.0, size: tuple[int, int] = (160, 128)
    ) -> None:
        self.camera, self._folder, self._rate, self.size = camera, folder, rate, size
        self._count = np.memmap(folder / f"{camera}.sent", np.int64, "w+", shape=(1,))
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        from ssvif_ros.processes import child_environment

        about = {"camera": self.camera, "rate": self._rate, "size": self.size}
        about["count"] = str(self._folder / f"{self.camera}.sent")
        with (self._folder / f"{self.camera}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, __file__, json.dumps(about)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=child_environment(),
            )  # fmt: skip

    @property
    def sent(self) -> int:
        """Messages published so far, good and bad, by all processes of this camera."""
        return int(self._count[0])

    @property
    def log(self) -> str:
        return (self._folder / f"{self.camera}.log").read_text(errors="replace")

    def tell(self, **command: Any) -> None:
        """Send a command; a camera that has just died does not hear it."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write((json.dumps(command) + "\n").encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Kill -9 and start again, well-behaved."""
        self.kill()
        self.process = self._started()

    def stop(self) -> None:
        """End it: it leaves when all it has sent was acknowledged."""
        self.tell(**{STOP: True})
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


def _play(about: dict[str, Any]) -> None:
    import rclpy
    from malformed import malformed
    from rclpy.duration import Duration
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from rclpy.time import Time
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    from ssvif_ros.images import to_image

    camera, period = about["camera"], 1.0 / about["rate"]
    count = np.memmap(about["count"], np.int64, "r+", shape=(1,))
    state: dict[str, Any] = {
        "jump_s": 0.0, "stamps": "true", "random_sizes": False, "size": about["size"],
        "silent": False, "malformed": 0, STOP: False,
    }  # fmt: skip
    commands: SimpleQueue[dict[str, Any]] = SimpleQueue()
    random = np.random.default_rng(0)
    encoding = "rgb8" if camera == "visible" else "mono16"
    shape_end, dtype = ((3,), np.uint8) if camera == "visible" else ((), np.uint16)

    def listen() -> None:
        for line in sys.stdin:
            commands.put(json.loads(line))

    same = time.time_ns()

    def header() -> Header:
        stamps = {"true": time.time_ns() + int(state["jump_s"] * 1e9), "zero": 0, "same": same}
        stamp = Time(nanoseconds=stamps[state["stamps"]]).to_msg()
        return Header(stamp=stamp, frame_id=f"{camera}_optical_frame")

    def publish(message: Image) -> None:
        images.publish(message)
        count[0] += 1

    rclpy.init()
    node = rclpy.create_node(f"faulty_{camera}_camera")
    qos = QoSProfile(depth=2000, reliability=ReliabilityPolicy.RELIABLE)
    images = node.create_publisher(Image, f"{camera}/image_raw", qos)
    bad = malformed(camera, header, seed=1)
    threading.Thread(target=listen, daemon=True).start()
    due = time.monotonic()
    while not state[STOP]:
        try:
            while True:
                state.update(commands.get_nowait())
        except Empty:
            pass
        for _ in range(state["malformed"]):
            publish(next(bad))
        state["malformed"] = 0
        if not state["silent"]:
            width, height = state["size"]
            if state["random_sizes"]:
                width, height = (
                    int(random.integers(side // 2, side + 1)) for side in state["size"]
                )
            pixels = random.integers(0, 200, (height, width, *shape_end)).astype(dtype)
            publish(to_image(pixels, encoding, header()))
        due = max(due + period, time.monotonic() - 1.0)
        time.sleep(max(0.0, due - time.monotonic()))
    images.wait_for_all_acked(Duration(seconds=10))
    rclpy.shutdown()


if __name__ == "__main__":
    _play(json.loads(sys.argv[1]))
