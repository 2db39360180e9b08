"""The simulated drivers as processes of their own."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from rclpy.time import Time  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from ssvif_ros.processes import RosProcess, child_environment, spin_until  # noqa: E402

MODULE = "ssvif_ros.simulated_cameras"
SMALL = {"width": 160, "height": 120}
BROKEN = """
import sys
from ssvif_ros import simulated_cameras
simulated_cameras.SimulatedCamera._send = lambda *_: 1 / 0
sys.exit(simulated_cameras.main())
"""
#: The same, and all have failed before the main thread spins.
BROKEN_AT_ONCE = (
    """
import threading
start = threading.Thread.start
threading.Thread.start = lambda thread: (start(thread), thread.join())
"""
    + BROKEN
)


@pytest.fixture
def play(ros_domain, tmp_path):
    """Function that starts the cameras and collects `count` images of each."""
    node, executor = ros_domain
    processes = []

    def run(count=5, topics=("visible", "thermal"), **parameters):
        heard = {name: [] for name in ("visible", "thermal", "info", "thermal_info")}
        qos = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        for name in ("visible", "thermal"):
            node.create_subscription(Image, f"{name}/image_raw", heard[name].append, qos)
        node.create_subscription(CameraInfo, "visible/camera_info", heard["info"].append, qos)
        thermal_info = heard["thermal_info"].append
        node.create_subscription(CameraInfo, "thermal/camera_info", thermal_info, qos)
        process = RosProcess(MODULE, {**SMALL, **parameters}, tmp_path / "cameras.log")
        processes.append(process)
        enough = spin_until(executor, lambda: all(len(heard[t]) >= count for t in topics), 30.0)
        assert enough, process.output
        return heard, process

    yield run
    for process in processes:
        process.stop()


def stamps_s(messages):
    return np.array([Time.from_msg(m.header.stamp).nanoseconds * 1e-9 for m in messages])


def test_they_send_what_two_drivers_would_send(play):
    heard, process = play(thermal_rate=9.0, visible_rate=30.0)
    visible, thermal = heard["visible"][0], heard["thermal"][0]
    assert (visible.encoding, visible.width, visible.height) == ("rgb8", 160, 120)
    assert thermal.encoding == "mono16"
    assert np.frombuffer(thermal.data, np.uint16).max() > 255
    assert heard["info"][0].k[2] == 80.0
    # Nominal periods are 1/9 s and 1/30 s; a busy machine delays single frames, not the mean.
    assert np.diff(stamps_s(heard["thermal"])).mean() == pytest.approx(1 / 9, rel=0.35)
    assert process.stop() == 0


def test_one_process_can_play_one_camera_in_8_bits_with_a_wrong_clock(play):
    heard, _ = play(topics=("thermal",), cameras="thermal", thermal_bits=8, thermal_offset=100.0)
    assert heard["thermal"][0].encoding == "mono8"
    assert not heard["visible"]
    import time

    assert stamps_s(heard["thermal"])[-1] - time.time() == pytest.approx(100, abs=5)


def test_dropped_frames_leave_gaps(play):
    heard, _ = play(count=20, topics=("visible",), cameras="visible", drop=0.5)
    gaps = np.diff(stamps_s(heard["visible"])) * 30
    assert gaps.max() > 1.6


def test_the_thermal_camera_can_close_its_shutter_and_fall_silent(play):
    heard, _ = play(
        count=40, topics=("thermal",), cameras="thermal", thermal_freeze_every=0.5,
        thermal_freeze_for=0.3, thermal_silent_every=1.2, thermal_silent_for=0.4,
    )  # fmt: skip
    frames = heard["thermal"]
    repeated = [a.data == b.data for a, b in zip(frames, frames[1:], strict=False)]
    assert any(repeated) and not all(repeated)
    assert np.diff(stamps_s(frames)).max() > 0.35


def test_files_are_played_and_start_again_at_their_end(play, tmp_path):
    writer = cv2.VideoWriter(
        str(tmp_path / "v.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (64, 48)
    )
    for index in range(6):
        writer.write(np.full((48, 64, 3), 40 * index, np.uint8))
    writer.release()
    cv2.imwrite(str(tmp_path / "t.png"), np.full((24, 32), 7000, np.uint16))
    files = {"visible_file": str(tmp_path / "v.mp4"), "thermal_file": str(tmp_path / "t.png")}
    heard, _ = play(count=14, **files)
    levels = [int(np.frombuffer(m.data, np.uint8)[0]) // 40 for m in heard["visible"]]
    assert len(set(levels)) >= 4
    assert any(later < earlier for earlier, later in zip(levels, levels[1:], strict=False))
    thermal = heard["thermal"][0]
    assert (thermal.width, thermal.height, thermal.encoding) == (32, 24, "mono16")
    assert set(np.frombuffer(thermal.data, np.uint16)) == {7000}


def test_the_thermal_camera_may_look_elsewhere_with_another_sensor_and_says_so(play):
    from ssvif_core.imaging.calibration import Calibration
    from ssvif_core.imaging.pinhole import Camera
    from ssvif_core.imaging.poses import Pose
    from ssvif_core.imaging.registration import HomographyAlignment, PlaneAlignment
    from ssvif_core.simulation.misalignment import Misalignment

    heard, _ = play(
        thermal_scale=0.7, thermal_shift_x=0.05, thermal_width=128, thermal_height=96,
    )  # fmt: skip
    thermal, info = heard["thermal"][0], heard["thermal_info"][0]
    assert (thermal.width, thermal.height, info.width, info.height) == (128, 96, 128, 96)
    cameras = [
        Camera((i.width, i.height), i.k, i.distortion_model, tuple(i.d))
        for i in (heard["info"][0], info)
    ]
    said = PlaneAlignment(*cameras, Pose.from_text("0 0 0 0 0 0"), 10.0)
    view = Misalignment(0.7, 0.05, size=(128, 96)).homography((160, 120))
    drawn = HomographyAlignment(Calibration(view, (160, 120), (128, 96)))
    sizes = (160, 120), (128, 96)
    np.testing.assert_allclose(said.coordinates(*sizes), drawn.coordinates(*sizes), atol=0.01)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"visible_file": "/nowhere.mp4"}, "nowhere.mp4"),
        ({"thermal_file": "/nowhere.mp4"}, "nowhere.mp4"),  # the other camera is there by then
        ({"visible_file": "/home/o'brien/nowhere.mp4"}, "o'brien/nowhere.mp4"),
        ({"scene": "underwater"}, "underwater"),
        ({"seed": -1}, "seed"),
        ({"jitter": -0.01}, "jitter"),
        ({"drop": 2.0}, "drop"),
        ({"thermal_offset": -4e9}, "thermal_offset"),
        ({"epoch": float("nan")}, "epoch"),
        ({"thermal_bits": 12}, "12"),
        ({"visible_rate": 0.0}, "visible_rate is 0.0: use 0.1 to 240"),
        ({"visible_rate": 30}, "expecting type 'DOUBLE'"),
        ({"thermal_scale": 0.0}, "thermal_scale"),
        ({"thermal_width": 64}, "thermal_height"),
    ],
)
def test_what_cannot_be_played_is_one_clear_line(ros_domain, tmp_path, parameters, reason):
    process = RosProcess(MODULE, parameters, tmp_path / "cameras.log")
    assert process.process.wait(30) == 1
    assert reason in process.output
    assert "Traceback" not in process.output


@pytest.mark.parametrize("program", [BROKEN, BROKEN_AT_ONCE])
def test_whatever_a_camera_raises_is_said_and_ends_the_program(ros_domain, program):
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env=child_environment(),
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr and "report it" in done.stderr


def test_cameras_of_one_epoch_share_a_trigger(play):
    """In processes of their own, begun at any time; half of the frames may be late under load."""
    import time

    epoch = time.time() - 1000.0
    settings = {"epoch": epoch, "visible_rate": 4.0, "thermal_rate": 2.0}
    play(count=4, topics=("visible",), cameras="visible", **settings)
    heard, _ = play(count=8, topics=("thermal",), cameras="thermal", **settings)
    for name, rate in (("visible", 4.0), ("thermal", 2.0)):
        phases = (stamps_s(heard[name]) - epoch) * rate % 1.0
        assert np.median(np.minimum(phases, 1 - phases)) < 0.1
