"""camera_info of images that are cut, binned and scaled, with a camera worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from sensor_msgs.msg import CameraInfo, RegionOfInterest  # noqa: E402

from ssvif_ros.camera_info import ScaledInfo, scaled_info  # noqa: E402


def camera(**changes):
    info = CameraInfo(
        height=400, width=800, distortion_model="plumb_bob", d=[0.1, 0.0, 0.0, 0.0, 0.0],
        k=[500.0, 0, 410, 0, 520, 190, 0, 0, 1], r=[1.0, 0, 0, 0, 1, 0, 0, 0, 1],
        p=[480.0, 0, 400, -48, 0, 490, 200, 0, 0, 0, 1, 0],
    )  # fmt: skip
    for name, value in changes.items():
        setattr(info, name, value)
    return info


def test_focal_lengths_centre_and_baseline_scale_with_the_image():
    info = scaled_info(camera(), 100, 400)
    assert (info.height, info.width) == (100, 400)
    # Pixel centres have whole coordinates: 410.5 / 2 - 0.5, and so on.
    assert info.k.tolist() == [250.0, 0, 204.75, 0, 130, 47.125, 0, 0, 1]
    assert info.p.tolist() == [240.0, 0, 199.75, -24, 0, 122.5, 49.625, 0, 0, 0, 1, 0]
    assert list(info.d) == [0.1, 0.0, 0.0, 0.0, 0.0]


def test_region_and_binning_are_worked_in_and_cleared():
    # The camera sends columns 100 to 700 and rows 50 to 350 at half size: 300 x 150.
    region = RegionOfInterest(x_offset=100, y_offset=50, width=600, height=300, do_rectify=True)
    info = scaled_info(camera(roi=region, binning_x=2, binning_y=2), 150, 300)
    assert (info.height, info.width) == (150, 300)
    assert info.k.tolist() == [250.0, 0, 154.75, 0, 260, 69.75, 0, 0, 1]
    assert info.p.tolist() == [240.0, 0, 149.75, -24, 0, 245, 74.75, 0, 0, 0, 1, 0]
    assert info.roi == RegionOfInterest()
    assert (info.binning_x, info.binning_y) == (0, 0)
    # A point in front of the whole sensor's camera meets the same spot of the picture.
    point = np.array([0.3, -0.1, 2.0])
    full = np.reshape(camera().k, (3, 3)) @ point
    small = np.reshape(info.k, (3, 3)) @ point
    np.testing.assert_allclose(small[:2] / small[2], (full[:2] / full[2] - [99.5, 49.5]) / 2 - 0.5)


def test_an_uncalibrated_camera_stays_uncalibrated():
    region = RegionOfInterest(x_offset=8, y_offset=8, width=80, height=40)
    info = scaled_info(camera(k=[0.0] * 9, p=[0.0] * 12, roi=region), 40, 80)
    assert not np.any(info.k)
    assert not np.any(info.p)


def test_a_changed_calibration_or_size_is_noticed_and_the_original_left_alone():
    scaled, info = ScaledInfo(), camera()
    first = scaled.of(info, 200, 400)
    assert scaled.of(camera(), 200, 400) is first
    for change in (
        {"d": [0.2, 0.0, 0.0, 0.0, 0.0]}, {"r": [0.0, 1, 0, 1, 0, 0, 0, 0, 1]},
        {"p": [400.0, 0, 400, -48, 0, 490, 200, 0, 0, 0, 1, 0]}, {"distortion_model": "fisheye"},
        {"binning_x": 2}, {"binning_y": 2}, {"width": 1600}, {"height": 800},
        {"roi": RegionOfInterest(x_offset=8)}, {"roi": RegionOfInterest(y_offset=8)},
        {"roi": RegionOfInterest(width=400)}, {"roi": RegionOfInterest(height=200)},
    ):  # fmt: skip
        before = scaled.of(info, 200, 400)
        assert scaled.of(camera(**change), 200, 400) is not before, change
    assert scaled.of(camera(d=[0.2] * 5), 200, 400).d.tolist() == [0.2] * 5
    assert scaled.of(info, 400, 800).k[0] == 500.0
    assert scaled.of(camera(k=[600.0, 0, 410, 0, 520, 190, 0, 0, 1]), 400, 800).k[0] == 600.0
    assert (info.width, info.k[0]) == (800, 500.0)
