"""The misaligned thermal camera of the simulation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssvif_core.imaging.calibration import Calibration
from ssvif_core.imaging.pinhole import Camera
from ssvif_core.imaging.poses import Pose
from ssvif_core.imaging.registration import HomographyAlignment, PlaneAlignment, Registration
from ssvif_core.simulation.misalignment import Misalignment

SIZE = (160, 120)
VIEW = Misalignment(scale=0.7, shift_x=0.03, shift_y=-0.02, rotation_deg=5.0, size=(128, 100))


def test_an_aligned_camera_changes_nothing():
    image = np.random.default_rng(0).integers(0, 60000, (120, 160), dtype=np.uint16)
    assert Misalignment().apply(image) is image


def test_the_centre_of_the_thermal_image_is_where_the_shift_says():
    # Visible centre (79.5, 59.5), 160 px wide: 4.8 px to the right, 3.2 px up.
    centre = VIEW.homography(SIZE) @ [63.5, 49.5, 1]
    assert centre[:2] == pytest.approx([84.3, 56.3])
    # 128 thermal pixels are 0.7 * 160 visible ones.
    step = VIEW.homography(SIZE)[:2, 0]
    assert np.hypot(*step) == pytest.approx(0.7 * 160 / 128)


def test_its_homography_brings_thermal_back_onto_the_visible_grid(frame_pairs):
    scene = cv2.GaussianBlur(frame_pairs[0][1], (0, 0), 1.5)
    seen = VIEW.apply(scene)
    assert seen.shape == (100, 128)
    calibration = Calibration(VIEW.homography(SIZE), SIZE, (128, 100))
    registration = Registration(HomographyAlignment(calibration))
    warped = registration.warp(seen, SIZE)
    white, black = np.full((120, 160, 3), 255, np.uint8), np.zeros((120, 160, 3), np.uint8)
    inside = registration.blend(white, black)[..., 0] == 255
    assert inside.mean() > 0.2
    assert np.abs(warped[inside].astype(int) - scene[inside]).mean() < 1.0


def test_its_intrinsics_and_roll_give_the_same_map_at_any_depth():
    visible = np.array([[160.0, 0, 80], [0, 160, 60], [0, 0, 1]])
    thermal = VIEW.intrinsics(SIZE, visible)
    cameras = Camera(SIZE, visible), Camera((128, 100), thermal)
    expected = HomographyAlignment(Calibration(VIEW.homography(SIZE), SIZE, (128, 100)))
    for depth in (1.0, 50.0):
        roll = Pose.from_text(f"0 0 0 0 0 {np.deg2rad(5.0)}")
        plane = PlaneAlignment(*cameras, roll, depth)
        np.testing.assert_allclose(
            plane.coordinates(SIZE, (128, 100)), expected.coordinates(SIZE, (128, 100)), atol=0.01
        )
