"""What each step between the two messages of a frame costs, beside the engine.

    python benchmarks/messages.py [--frames 100] [--sizes 640x480 1280x1024]

CPU time of the thread that fuses, median over the frames. All steps are done for every frame, one
after the other, so that each finds the caches as the one before leaves them; the engine (tiny, one
thread) runs among them, and every figure is also given in parts of it. Nobody subscribes here:
what the middleware adds where somebody does is in `node.py`. Writes results/messages.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import rclpy
from report import write_result
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.engine import EngineOptions, create_engine
from ssvif_core.memory import keep_image_buffers
from ssvif_core.models import open_model
from ssvif_core.simulation.scenes import Scene
from ssvif_ros.camera_info import ScaledInfo, scaled_info
from ssvif_ros.images import OutgoingImage, thermal_array, to_compressed, to_image, visible_rgb
from ssvif_ros.processes import private_domain

Step = Callable[[], object]


def inputs(visible: np.ndarray, counts: np.ndarray, header: Header) -> dict[str, Step]:
    """Decoding of a visible message in each kind of encoding, and of a thermal one."""
    bgr = np.ascontiguousarray(visible[..., ::-1])
    gray = np.ascontiguousarray(visible[..., 1])
    size = {"height": gray.shape[0], "width": gray.shape[1], "step": gray.shape[1]}
    nv21 = Image(encoding="nv21", data=gray.tobytes() + bytes(gray.size // 2), **size)
    jpeg = CompressedImage(format="jpeg", data=cv2.imencode(".jpg", bgr)[1].tobytes())
    png = CompressedImage(format="mono16; png", data=cv2.imencode(".png", counts)[1].tobytes())
    messages = {
        "rgb8": to_image(visible, "rgb8", header),
        "bgr8": to_image(bgr, "bgr8", header),
        "bayer_rggb8": to_image(gray, "bayer_rggb8", header),
        "nv21": nv21,
        "JPEG": jpeg,
    }
    thermal = {"mono16": to_image(counts, "mono16", header), "16-bit PNG": png}
    return {
        **{f"take visible, {n}": lambda m=m: visible_rgb(m) for n, m in messages.items()},  # type: ignore[misc]
        **{f"take thermal, {n}": lambda m=m: thermal_array(m) for n, m in thermal.items()},  # type: ignore[misc]
    }


def outputs(fused: np.ndarray, labels: np.ndarray, header: Header) -> dict[str, Step]:
    """What is made of a result: a fresh message and one that is kept, compressed, camera_info."""
    kept, info, scaled = OutgoingImage(), CameraInfo(height=1024, width=1280), ScaledInfo()
    height, width = labels.shape
    bgr = np.empty_like(fused)

    half = np.empty((height // 2, width // 2, 3), np.uint8)
    return {
        "fused, a fresh message": lambda: to_image(fused, "rgb8", header),
        "fused, the kept message": lambda: kept.of(fused, "rgb8", header),
        "fused as bgr8, the kept message": lambda: kept.of(
            cv2.cvtColor(fused, cv2.COLOR_RGB2BGR, dst=bgr), "bgr8", header
        ),
        "fused at half size": lambda: cv2.resize(
            fused, half.shape[1::-1], dst=half, interpolation=cv2.INTER_AREA
        ),
        "fused as JPEG": lambda: to_compressed(fused, "rgb8", header, 90),
        "labels as PNG": lambda: to_compressed(labels, "mono8", header, None),
        "camera_info, worked out": lambda: scaled_info(info, height, width),
        "camera_info, kept": lambda: scaled.of(info, height, width),
    }


def measured(width: int, height: int, frames: int, node: rclpy.node.Node) -> dict[str, float]:
    """CPU milliseconds of each step."""
    frame = Scene("day", width, height).render(1.0, labels=False)
    visible, counts = frame.visible, frame.thermal
    header = Header(frame_id="visible_optical_frame")
    gain = ThermalGain(mode="percentile")
    thermal = gain.apply(counts, 0.0)
    engine, _ = create_engine(open_model("tiny"), options=EngineOptions(threads=1))
    engine.warm_up(height, width)
    fused, labels = engine.infer(visible, thermal)
    publisher = node.create_publisher(Image, "fused", 2)
    message = to_image(fused, "rgb8", header)
    steps: dict[str, Step] = {
        **inputs(visible, counts, header),
        "thermal gain": lambda: gain.apply(counts, 0.0),
        "engine": lambda: engine.infer(visible, thermal),
        **outputs(fused, labels, header),
        "ask who listens": publisher.get_subscription_count,
        "publish to nobody": lambda: publisher.publish(message),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(frames):
        for name, step in steps.items():
            start = time.thread_time()
            step()
            times[name].append(time.thread_time() - start)
    engine.close()
    return {name: round(statistics.median(t) * 1e3, 3) for name, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--sizes", nargs="+", default=["640x480", "1280x1024"])
    options = parser.parse_args()
    keep_image_buffers()
    cv2.setNumThreads(1)
    result: dict[str, object] = {"engine": "tiny, onnxruntime, 1 thread", "frames": options.frames}
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(private_domain(Path(folder)))
        rclpy.init()
        node = rclpy.create_node("messages")
        for size in options.sizes:
            times = measured(*map(int, size.split("x")), options.frames, node)
            table = Table("step", "CPU ms", "part of the engine", title=size)
            parts = {name: round(ms / times["engine"], 4) for name, ms in times.items()}
            for name, ms in times.items():
                table.add_row(name, f"{ms:.3f}", f"{parts[name]:.1%}")
            Console().print(table)
            result[size] = {"cpu_ms": times, "part_of_engine": parts}
        rclpy.shutdown()
    print("written", write_result("messages", result))


if __name__ == "__main__":
    main()
