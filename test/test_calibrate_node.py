"""`ros2 run ssvif_ros calibrate` beside real simulated cameras."""

from __future__ import annotations

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from ssvif_core.calibration.geometry import corner_errors  # noqa: E402
from ssvif_core.imaging.calibration import Calibration  # noqa: E402
from ssvif_ros.processes import RosProcess  # noqa: E402


def test_live_cameras_give_a_file(ros_domain, tmp_path):
    small = {"scene": "day", "width": 320, "height": 240, "visible_rate": 10.0}
    cameras = RosProcess(
        "ssvif_ros.simulated_cameras", {**small, "thermal_rate": 10.0}, tmp_path / "cameras.log"
    )
    output = tmp_path / "calibration.yaml"
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
    assert output.with_suffix(".jpg").exists()
    assert "fusion.launch.py calibration:=" in calibrate.output


def test_without_cameras_it_says_what_to_start(ros_domain, tmp_path):
    process = RosProcess("ssvif_ros.calibrate", {"timeout": 0.5}, tmp_path / "calibrate.log")
    assert process.process.wait(60) == 1
    assert "/thermal/image_raw" in process.output
    assert "Start the drivers" in process.output
    assert "Traceback" not in process.output


def test_a_parameter_of_another_type_is_one_line(ros_domain, tmp_path):
    process = RosProcess("ssvif_ros.calibrate", {"timeout": 5}, tmp_path / "calibrate.log")
    assert process.process.wait(60) == 1
    assert "expecting type 'DOUBLE'" in process.output
    assert "Traceback" not in process.output
