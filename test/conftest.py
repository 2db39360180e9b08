"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import cv2
import hypothesis
import numpy as np
import pytest

from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.simulation.scenes import SCENE_KINDS, Scene

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

# What is started with `nohup` or `&` in a script ignores Ctrl-C, and so would all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real camera and thermal data, or a skip that says what was looked for.

    The data may not be redistributed, so it is no part of the repository: it lies beside it in
    `../shared/data`, or where SSVIF_DATA points.
    """
    folder = Path(os.environ.get("SSVIF_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "msrs" / "val" / "labels").is_dir():
        pytest.skip(f"needs real camera and thermal data in {folder} (or set SSVIF_DATA)")
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """Top folder of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def frame_pairs() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Simulated frames with ground truth: visible RGB, thermal 8 bit, labels, 160 x 120."""
    frames = []
    for kind in SCENE_KINDS:
        scene = Scene(kind, width=160, height=120, seed=3)
        for time_s in (0.5, 2.0, 3.5):
            frame = scene.render(time_s)
            gain = ThermalGain(mode="percentile")
            frames.append((frame.visible, gain.apply(frame.thermal, 0.0), frame.labels))
    return frames


@pytest.fixture(scope="session")
def paired_folder(frame_pairs, tmp_path_factory) -> Path:
    """Folder with `frames/{visible,thermal,labels}` of simulated scenes."""
    root = tmp_path_factory.mktemp("data")
    for part in ("visible", "thermal", "labels"):
        (root / "frames" / part).mkdir(parents=True)
    for index, (visible, thermal, labels) in enumerate(frame_pairs):
        images = {"visible": visible[..., ::-1], "thermal": thermal, "labels": labels}
        for part, image in images.items():
            cv2.imwrite(str(root / "frames" / part / f"{index:03d}.png"), image)
    return root


@pytest.fixture(scope="session")
def recording(frame_pairs, tmp_path_factory) -> Path:
    """An MCAP recording of the simulated scenes: a camera and a raw 16-bit thermal core."""
    rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="needs the extra `bags` (rosbags)")
    from rosbags.typesys import Stores, get_typestore

    path = tmp_path_factory.mktemp("recording") / "drive"
    store, kind = get_typestore(Stores.ROS2_HUMBLE), "sensor_msgs/msg/Image"
    types = store.types
    plugin = rosbag2.StoragePlugin.MCAP
    with rosbag2.Writer(path, version=9, storage_plugin=plugin) as writer:
        topics = {
            topic: writer.add_connection(topic, kind, typestore=store)
            for topic in ("/camera/image_raw", "/thermal/image_raw")
        }
        for index, (visible, thermal, _) in enumerate(frame_pairs):
            counts = 7000 + 3 * thermal.astype(np.uint16)
            frames = (visible, "rgb8", 3), (counts, "mono16", 2)
            for (topic, connection), (pixels, encoding, size) in zip(
                topics.items(), frames, strict=True
            ):
                stamp = types["builtin_interfaces/msg/Time"](1000, index * 33_000_000)
                header = types["std_msgs/msg/Header"](stamp, topic)
                height, width = pixels.shape[:2]
                data = np.frombuffer(pixels.tobytes(), np.uint8)
                message = types[kind](header, height, width, encoding, 0, width * size, data)
                now_ns = 1_000_000_000_000 + index * 33_000_000
                writer.write(connection, now_ns, store.serialize_cdr(message, kind))
    return path


@pytest.fixture
def ros_domain(tmp_path, monkeypatch):
    """Rclpy in a domain of its own for one test: (node, executor)."""
    rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")
    from rclpy.executors import SingleThreadedExecutor

    from ssvif_ros.processes import private_domain

    for name, value in private_domain(tmp_path / "log").items():
        monkeypatch.setenv(name, value)
    rclpy.init()
    node = rclpy.create_node("test")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    yield node, executor
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
