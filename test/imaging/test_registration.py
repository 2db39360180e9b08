"""Thermal onto the visible grid: cases worked out by hand, and what the edge looks like."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.calibration import Calibration
from ssvif_core.imaging.coverage import FEATHER, FeatheredEdge, MirroredBorder
from ssvif_core.imaging.pinhole import Camera
from ssvif_core.imaging.poses import Pose
from ssvif_core.imaging.registration import HomographyAlignment, PlaneAlignment, Registration

SIZE = (64, 48)
BARREL = (-0.3, 0.1, 0.001, -0.002, 0.0)
RATIONAL = (0.4, 0.1, 0.0005, -0.0005, 0.01, 0.7, 0.2, 0.02)
FISHEYE = (0.05, -0.01, 0.002, -0.0003)
MODELS = [("plumb_bob", BARREL), ("rational_polynomial", RATIONAL), ("equidistant", FISHEYE)]
HERE = Pose(np.eye(3), np.zeros(3))


def texture(size, seed=0):
    image = np.random.default_rng(seed).integers(0, 256, size[::-1], dtype=np.uint8)
    return cv2.GaussianBlur(image, (0, 0), 2)


def by_homography(matrix, visible_size=SIZE, thermal_size=SIZE, **more):
    return HomographyAlignment(Calibration(np.array(matrix), visible_size, thermal_size, **more))


def camera(size, model="", distortion=(), f=None):
    f = f or size[0]
    matrix = np.array([[f, 0, (size[0] - 1) / 2], [0, f, (size[1] - 1) / 2], [0, 0, 1.0]])
    return Camera(size, matrix, model, distortion)


def test_the_identity_changes_no_pixel_and_leaves_the_fused_image_alone():
    thermal = texture(SIZE)
    registration = Registration(by_homography(np.eye(3)))
    assert (registration.warp(thermal, SIZE) == thermal).all()
    assert registration.coverage == 1.0
    fused, visible = np.zeros((48, 64, 3), np.uint8), np.ones((48, 64, 3), np.uint8)
    assert registration.blend(fused, visible) is fused


def test_a_shift_moves_pixels_by_whole_numbers():
    thermal = texture(SIZE)
    warped = Registration(by_homography([[1, 0, 5], [0, 1, -3], [0, 0, 1]])).warp(thermal, SIZE)
    assert (warped[:45, 5:] == thermal[3:, :59]).all()


def test_a_file_for_one_size_serves_another_as_a_resize_would():
    thermal = texture((32, 24))
    registration = Registration(by_homography(np.eye(3)))
    warped = registration.warp(thermal, (96, 72))
    expected = cv2.resize(thermal, (96, 72), interpolation=cv2.INTER_LINEAR)
    assert registration.coverage == 1.0
    # Maps have a resolution of 1/32 px.
    assert np.abs(warped.astype(int) - expected).max() <= 2


def test_pixels_beyond_the_horizon_of_a_homography_are_not_covered():
    # Visible x = x / (1 + x / 20): nothing of the thermal image lies at x >= 20.
    alignment = by_homography([[1, 0, 0], [0, 1, 0], [1 / 20, 0, 1.0]])
    coordinates = alignment.coordinates(SIZE, SIZE)
    assert coordinates[0, 10, 0] == pytest.approx(20.0, abs=1e-3)
    assert np.isnan(coordinates[:, 21:]).all()


def test_a_camera_beside_the_other_sees_the_plane_shifted_by_focal_length_over_depth():
    # f = 64 px, 0.25 m to the right, 4 m away: 64 * 0.25 / 4 = 4 px to the left.
    pose = Pose.from_text("0.25 0 0 0 0 0")
    coordinates = PlaneAlignment(camera(SIZE), camera(SIZE), pose, 4.0).coordinates(SIZE, SIZE)
    x, y = np.meshgrid(np.arange(64), np.arange(48))
    np.testing.assert_allclose(coordinates[..., 0], x - 4.0, atol=1e-4)
    np.testing.assert_allclose(coordinates[..., 1], y, atol=1e-4)


def test_the_plane_alignment_is_the_homography_that_the_plane_induces():
    visible, thermal = camera((80, 60), f=90), camera(SIZE, f=70)
    pose, depth = Pose.from_text("0.1 -0.05 0.02 0.03 -0.05 0.1"), 3.0
    to_thermal = pose.inverse()
    normal = np.array([[0.0, 0.0, 1.0]])
    induced = (
        thermal.matrix
        @ (to_thermal.rotation + to_thermal.translation[:, None] @ normal / depth)
        @ np.linalg.inv(visible.matrix)
    )
    alignment = PlaneAlignment(visible, thermal, pose, depth)
    # Cameras of half the size, as a driver with another resolution would send.
    coordinates = alignment.coordinates((80, 60), SIZE)
    expected = cv2.perspectiveTransform(
        np.stack(np.meshgrid(np.arange(80.0), np.arange(60.0)), -1), induced
    )
    np.testing.assert_allclose(coordinates, expected, atol=0.01)


@pytest.mark.parametrize(("model", "distortion"), MODELS)
def test_rays_and_pixels_of_a_lens_are_those_of_opencv(model, distortion):
    lens = camera((640, 480), model, distortion)
    pixels = np.random.default_rng(0).uniform((20, 20), (620, 460), (200, 2))
    rays = lens.rays(pixels)
    np.testing.assert_allclose(lens.pixels(np.column_stack([rays, np.ones(200)])), pixels, atol=0.1)
    if model != "equidistant":
        expected = cv2.undistortPoints(pixels[:, None], lens.matrix, np.array(distortion))[:, 0]
        np.testing.assert_allclose(rays, expected, atol=2e-3)


@pytest.mark.parametrize(
    "distortion", [FISHEYE, (0.3, 0.1, -0.05, 0.01), (-0.1, 0.02, 0, 0), (0, 0, 0, 0)]
)
def test_rays_of_an_equidistant_lens_are_those_of_opencv_to_the_last_digits(distortion):
    lens = camera((640, 480), "equidistant", distortion, f=300)
    pixels = np.vstack([
        np.random.default_rng(0).uniform((0, 0), (640, 480), (500, 2)), lens.matrix[:2, 2]
    ])  # fmt: skip
    rays = lens.rays(pixels)
    back = cv2.fisheye.distortPoints(rays[:, None], lens.matrix, np.array(distortion, float))
    np.testing.assert_allclose(back[:, 0], pixels, atol=1e-6)
    np.testing.assert_allclose(
        lens.pixels(np.column_stack([rays, np.ones(len(rays))])), pixels, atol=1e-6
    )


def test_pixels_beyond_the_fold_of_an_equidistant_lens_have_no_ray():
    # theta (1 - 0.3 theta^2) grows up to 60 degrees, which is at 0.70 f.
    lens = camera((640, 480), "equidistant", (-0.3, 0, 0, 0), f=300)
    rays = lens.rays(np.array([[319.5 + 205, 239.5], [319.5 + 215, 239.5], [0.0, 0.0]]))
    assert np.isfinite(rays[0]).all()
    assert np.isnan(rays[1:]).all()


def test_a_calibration_of_another_shape_is_said_to_be_stretched(caplog):
    by_homography(np.eye(3), (640, 512), (320, 256)).coordinates((320, 240), (160, 128))
    assert "visible images are 320x240, and the calibration is for 640x512" in caplog.text
    assert "thermal images" not in caplog.text
    plane = PlaneAlignment(camera((64, 48)), camera((64, 51)), HERE, 1.0)
    plane.coordinates((128, 96), (64, 48))
    assert "thermal images are 64x48, and the calibration is for 64x51" in caplog.text


@pytest.mark.parametrize(("model", "distortion"), MODELS)
def test_one_camera_with_a_distorted_and_a_straight_lens_is_undistorted(model, distortion):
    # The thermal image is distorted, the visible one is not: the warp is what cv2.undistort does.
    size = (320, 240)
    lens, straight = camera(size, model, distortion), camera(size)
    coordinates = PlaneAlignment(straight, lens, HERE, 1.0).coordinates(size, size)
    d, kind = np.array(distortion), cv2.CV_32FC1
    init = cv2.initUndistortRectifyMap
    if model == "equidistant":
        init = cv2.fisheye.initUndistortRectifyMap
    maps = init(lens.matrix, d, np.eye(3), lens.matrix, size, kind)
    assert np.isfinite(coordinates).all()
    np.testing.assert_allclose(coordinates, np.dstack(maps), atol=0.05)


@pytest.mark.parametrize(("model", "distortion"), MODELS)
def test_equal_lenses_cancel(model, distortion):
    lens = camera((320, 240), model, distortion)
    coordinates = PlaneAlignment(lens, lens, HERE, 1.0).coordinates((320, 240), (320, 240))
    x, y = np.meshgrid(np.arange(320), np.arange(240))
    np.testing.assert_allclose(coordinates, np.stack([x, y], -1), atol=0.1)


def test_a_homography_of_undistorted_images_undistorts_and_distorts_again():
    size = (320, 240)
    cameras = camera(size, "plumb_bob", BARREL), camera(size, "equidistant", FISHEYE)
    shift = np.array([[1, 0, 7.0], [0, 1, -4.0], [0, 0, 1]])
    calibration = Calibration(shift, size, size, lenses=cameras)
    coordinates = HomographyAlignment(calibration).coordinates(size, size)
    for x, y in ((160, 120), (40, 60), (280, 200)):
        ray = cv2.undistortPoints(
            np.array([[[float(x), float(y)]]]), cameras[0].matrix, np.array(BARREL),
            P=cameras[0].matrix,
        )  # fmt: skip
        moved = ray - (7.0, -4.0)
        centre = cameras[1].matrix[:2, 2]
        seen = cv2.fisheye.distortPoints(
            (moved - centre) / size[0], cameras[1].matrix, np.array(FISHEYE)
        )
        np.testing.assert_allclose(coordinates[y, x], seen[0, 0], atol=0.15)


def test_a_polynomial_that_folds_back_gives_no_second_image():
    # r (1 - 0.3 r^2) grows up to r = 1.05; a plane at 80 degrees would come back into the image.
    lens = camera(SIZE, "plumb_bob", (-0.3, 0, 0, 0, 0))
    assert np.isnan(lens.pixels(np.array([[1.8, 0.0, 1.0], [0.0, 0.0, -1.0]]))).all()
    assert np.isfinite(lens.pixels(np.array([[1.0, 0.0, 1.0]]))).all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"matrix": np.diag([-1.0, -1.0, 1.0])}, "no focal length.*-1, -1"),
        ({"matrix": np.zeros((3, 3))}, "REP-104"),
        ({"model": "ocam"}, "ocam"),
        ({"distortion": (0.1, 0.2)}, "2 coefficients"),
    ],
)
def test_intrinsics_that_cannot_be_used_say_why(change, reason):
    good = {"size": SIZE, "matrix": np.eye(3), "model": "plumb_bob", "distortion": BARREL}
    with pytest.raises(SsvifError, match=reason):
        Camera(**{**good, **change})


def test_a_pose_is_read_as_urdf_and_tf_write_it():
    quarter = Pose.from_text("1 2 3 0 0 1.5707963267948966")
    np.testing.assert_allclose(quarter.rotation @ [1, 0, 0], [0, 1, 0], atol=1e-9)
    same = Pose.from_text("1, 2, 3, 0, 0, 0.7071067811865476, 0.7071067811865476")
    np.testing.assert_allclose(same.rotation, quarter.rotation, atol=1e-9)
    # Fixed axes: rolled about x first, then turned about z.
    both = Pose.from_text("0 0 0 1.5707963267948966 0 1.5707963267948966")
    np.testing.assert_allclose(both.rotation @ [0, 1, 0], [0, 0, 1], atol=1e-9)
    home = quarter @ quarter.inverse()
    np.testing.assert_allclose(home.rotation, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(home.translation, 0, atol=1e-12)
    for text in ("1 2 3", "a b c d e f", "0 0 0 0 0 0 0"):
        with pytest.raises(SsvifError):
            Pose.from_text(text)


CENTRAL = [[0.7, 0, 48], [0, 0.7, 36], [0, 0, 1.0]]


def test_outside_the_coverage_the_visible_image_stays_and_no_step_is_seen():
    size = (320, 240)
    registration = Registration(by_homography(CENTRAL, size, size))
    registration.warp(texture(size), size)
    assert registration.coverage == pytest.approx(0.49, abs=0.01)
    fused, visible = np.full((240, 320, 3), 180, np.uint8), np.full((240, 320, 3), 60, np.uint8)
    blended = registration.blend(fused, visible).astype(int)[..., 0]
    covered = np.zeros((240, 320), bool)
    covered[36:203, 48:271] = True  # ends: 0.7 * 239 + 36 = 203.3, 0.7 * 319 + 48 = 271.3
    near = cv2.dilate(covered.astype(np.uint8), np.ones((3, 3)))
    assert (blended[near == 0] == 60).all()
    inner = cv2.erode(covered.astype(np.uint8), np.ones((3, 3)), iterations=round(FEATHER * 320))
    assert (blended[inner > 0] == 180).all()
    # 120 grey levels over 32 px; smoothstep is at most 1.5 times as steep as a straight ramp.
    steepest = max(np.abs(np.diff(blended, axis=axis)).max() for axis in (0, 1))
    assert steepest <= 1.5 * 120 / 32 + 1


def test_tiles_blend_every_pixel_as_the_weight_says():
    # A rotated coverage: tiles of every kind.
    covered = np.zeros((120, 200), np.uint8)
    cv2.fillConvexPoly(covered, np.array([[60, 10], [190, 40], [150, 115], [15, 70]]), 1)
    edge = FeatheredEdge(covered > 0)
    rng = np.random.default_rng(1)
    fused, visible = (rng.integers(0, 256, (120, 200, 3), dtype=np.uint8) for _ in range(2))
    before = fused.copy(), visible.copy()
    weight = edge.weight[..., None]
    blended = edge.blend(fused, visible)
    assert np.abs(blended - (weight * fused + (1 - weight) * visible)).max() <= 0.51
    assert (blended[covered == 0] == visible[covered == 0]).all()
    assert (fused == before[0]).all()
    assert (visible == before[1]).all()


def test_the_border_continues_the_image_and_ends_at_its_mean():
    thermal = texture((70, 50))
    border = MirroredBorder((70, 50))
    n = border.width
    assert n == 10
    padded = border.apply(thermal).astype(int)
    assert (padded[n:-n, n:-n] == thermal).all()
    mean = thermal.mean()
    assert np.abs(padded[0] - mean).max() <= 1.5
    assert np.abs(padded[:, -1] - mean).max() <= 1.5
    # One pixel out: the second pixel from the edge, nine tenths of it.
    expected = 0.9 * thermal[1:2] + 0.1 * mean
    assert np.abs(padded[n - 1 : n, n:-n] - expected).max() <= 2


def test_a_registration_serves_sizes_that_change_in_flight():
    alignment = by_homography(CENTRAL, (320, 240), (320, 240))
    registration = Registration(alignment)
    small, large = (64, 48), (80, 60)
    for visible, thermal in (
        (small, (32, 24)), (large, (32, 24)), (large, (64, 48)), (large, (3, 2)), (small, (3, 2))
    ):  # fmt: skip
        fresh, image = Registration(alignment), texture(thermal)
        warped = registration.warp(image, visible)
        assert warped.shape == visible[::-1]
        assert (warped == fresh.warp(image, visible)).all()
        white = np.full((*visible[::-1], 3), 255, np.uint8)
        blended = registration.blend(white, np.zeros_like(white))
        assert (blended == fresh.blend(white, np.zeros_like(white))).all()
        assert registration.coverage == fresh.coverage
