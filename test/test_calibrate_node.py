"""`ros2 run ssvif_ros calibrate` beside real simulated cameras."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from two_lenses import (
    BARREL,
    FISHEYE,
    THERMAL,
    VISIBLE,
    boards,
    camera,
    enlarged,
    errors_px,
    through,
    without_margin,
)

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from ssvif_core.calibration.geometry import centred_similarity, corner_errors  # noqa: E402
from ssvif_core.calibration.lenses import Lenses  # noqa: E402
from ssvif_core.calibration.result import picture_path  # noqa: E402
from ssvif_core.imaging.calibration import Calibration  # noqa: E402
from ssvif_ros.calibrate import Collector  # noqa: E402
from ssvif_ros.images import to_compressed, to_image  # noqa: E402
from ssvif_ros.lens_listener import LensListener  # noqa: E402
from ssvif_ros.processes import RosProcess, child_environment, spin_until  # noqa: E402

NOTHING = np.zeros((240, 320, 3), np.uint8), np.zeros((128, 160), np.uint8)
AS_NOBODY = """
import os
from ssvif_core.calibration.result import place_of
os.getuid() or os.setuid(65534)
place_of("/calibration.yaml")
"""


def test_live_cameras_give_a_file(ros_domain, tmp_path):
    small = {"scene": "day", "width": 320, "height": 240, "visible_rate": 10.0}
    cameras = RosProcess(
        "ssvif_ros.simulated_cameras", {**small, "thermal_rate": 10.0}, tmp_path / "cameras.log"
    )
    output = tmp_path / "calibration.yaml"
    Calibration(np.eye(3), (320, 240), (320, 240), thermal_offset_s=0.01).save(output)
    wanted = {"output": str(output), "frames": 4, "candidates": 1, "interval": 0.3}
    calibrate = RosProcess("ssvif_ros.calibrate", wanted, tmp_path / "calibrate.log")
    try:
        assert calibrate.process.wait(100) == 0, calibrate.output
    finally:
        calibrate.stop()
        cameras.stop()
    # The simulated cameras look through one lens.
    found = Calibration.load(output)
    assert corner_errors(found.homography, np.eye(3), (320, 240)).max() <= 2.0
    assert picture_path(output).exists()
    assert f"calibration:={output.resolve()} thermal_offset:=0.01" in calibrate.output
    assert found.thermal_offset_s == 0.01  # of the file before; a map does not change it
    assert found.lenses is None  # camera_info says that they have no distortion
    assert "lens distortion: not undone" in calibrate.output


class LivePair:
    """Two drivers whose lenses distort: what both see of a board that is held here and there."""

    def __init__(self, node, lenses, frames):
        self.node, self.lenses, self.frames, self.count = node, lenses, frames, 0
        self.publishers = {
            name: (
                node.create_publisher(Image, f"{name}/image_raw", 5),
                node.create_publisher(CameraInfo, f"{name}/camera_info", 5),
            )
            for name in ("visible", "thermal")
        }
        node.create_timer(0.1, self.send)

    def send(self):
        stamp = self.node.get_clock().now().to_msg()
        frame = self.frames[self.count % len(self.frames)]
        self.count += 1
        for (name, (images, infos)), lens, image in zip(
            self.publishers.items(), self.lenses.both, frame, strict=True
        ):
            header = Header(stamp=stamp, frame_id=name)
            images.publish(to_image(image, "rgb8" if image.ndim == 3 else "mono8", header))
            width, height = lens.size
            infos.publish(
                CameraInfo(header=header, width=width, height=height, k=lens.matrix.ravel(),
                           distortion_model=lens.model, d=lens.distortion)
            )  # fmt: skip


def test_lenses_that_camera_info_knows_are_undone_and_go_into_the_file(ros_domain, tmp_path):
    node, executor = ros_domain
    lenses = Lenses(camera(VISIBLE, BARREL), camera(THERMAL, FISHEYE))
    true = centred_similarity(enlarged(THERMAL), enlarged(VISIBLE), 1.05, 2.0)
    frames = [(through(lenses.visible, v), through(lenses.thermal, t)) for v, t in boards(true)]
    LivePair(node, lenses, frames)
    output = tmp_path / "rig.yaml"
    wanted = {"output": str(output), "frames": 4, "interval": 0.05, "pattern": "chessboard"}
    calibrate = RosProcess("ssvif_ros.calibrate", wanted, tmp_path / "calibrate.log")
    try:
        while calibrate.process.poll() is None:
            executor.spin_once(timeout_sec=0.2)
    finally:
        calibrate.stop()
    assert calibrate.process.returncode == 0, calibrate.output
    assert "undone, visible plumb_bob, thermal equidistant" in calibrate.output
    assert Calibration.load(output).lenses[0].distortion == BARREL[1]
    # 1 px of 320 is 2 px of 640.
    assert errors_px(output, lenses, without_margin(true)).max() <= 1.0


def test_live_lenses_of_rectified_images_and_of_images_of_another_shape(ros_domain):
    node, executor = ros_domain
    LivePair(node, Lenses(camera(VISIBLE, BARREL), camera(THERMAL, FISHEYE)), [NOTHING])
    remap = ["--ros-args", "-r", "visible/image_raw:=/rig/image_rect"]
    here = rclpy.create_node("lenses", context=node.context, cli_args=remap)
    executor.add_node(here)
    listener = LensListener(here)
    found = None
    while found is None:
        executor.spin_once(timeout_sec=0.2)
        found, said = listener.lenses(VISIBLE, THERMAL)
    assert not found.visible.model
    assert found.thermal.distortion == FISHEYE[1]
    assert "visible none (/rig/image_rect is rectified already)" in said
    found, said = listener.lenses(VISIBLE, (160, 120))
    assert found is None
    assert "images of 160x128, and these are 160x120" in said
    here.destroy_node()


def test_cameras_that_send_compressed_images_are_heard(ros_domain):
    node, executor = ros_domain
    visible = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    thermal = visible[..., 0].astype(np.uint16) * 10
    send = {
        "visible": node.create_publisher(CompressedImage, "visible/image_raw/compressed", 5),
        "thermal": node.create_publisher(Image, "thermal/image_raw", 5),
    }
    collector = Collector(node, 2, 0.0, 0.05, 0.0, ["visible"])

    def step():
        header = Header(stamp=node.get_clock().now().to_msg())
        send["visible"].publish(to_compressed(visible, "rgb8", header, None))
        send["thermal"].publish(to_image(thermal, "mono16", header))
        return collector.complete

    assert spin_until(executor, step, 20.0), collector.unusable
    assert (collector.pairs[0][1] == visible).all()


def test_a_folder_in_which_nothing_may_be_written_is_refused_before_anybody_moves_a_camera():
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Nothing may be written in /: put calibration.yaml elsewhere" in done.stderr


def test_without_cameras_it_says_what_to_start(ros_domain, tmp_path):
    wanted = {"timeout": 0.5, "thermal_transport": "compressed"}
    process = RosProcess("ssvif_ros.calibrate", wanted, tmp_path / "calibrate.log")
    assert process.process.wait(60) == 1
    assert "/thermal/image_raw/compressed" in process.output
    assert "Start the drivers" in process.output
    # Said at once, not only when the two minutes are over.
    assert "waiting up to 0.5 s for 48 pairs of /visible/image_raw and" in process.output
    assert "Traceback" not in process.output


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"timeout": 5}, "expecting type 'DOUBLE'"),
        ({"timeout": np.nan}, "timeout is nan"),
        ({"interval": np.nan}, "interval is nan"),
        ({"interval": -1.0}, "interval is -1.0: use 0 to 3600"),
        ({"frames": 1}, "frames is 1"),
        ({"visible_transport": "zip"}, "visible_transport is 'zip': use raw or compressed"),
        (
            {"qos_overrides./visible/image_raw.subscription.reliability": "bogus"},
            "other values of qos_overrides./visible/image_raw.subscription",
        ),
    ],
)
def test_a_parameter_that_cannot_be_is_one_line(ros_domain, tmp_path, parameters, reason):
    process = RosProcess("ssvif_ros.calibrate", parameters, tmp_path / "calibrate.log")
    assert process.process.wait(60) == 1
    assert reason in process.output
    assert "Traceback" not in process.output
