"""Matrices of a camera_info for images that are cut, binned and resized: no ROS, real pixels."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ssvif_core.imaging.camera_model import matrices_of_image

POINTS = np.array([[0.3, -0.1, 2.0], [-0.4, 0.2, 1.5], [0.0, 0.0, 1.0]])


def info(width=800, height=400, window=(0, 0, 0, 0), k=None, p=None, upper=False):
    """CameraInfo as ROS 2 names its fields, or (`upper`) ROS 1."""
    k = [500.0, 0, 410, 0, 520, 190, 0, 0, 1] if k is None else k
    p = [480.0, 0, 400, -48, 0, 490, 200, 0, 0, 0, 1, 0] if p is None else p
    x, y, w, h = window
    roi = SimpleNamespace(x_offset=x, y_offset=y, width=w, height=h)
    return SimpleNamespace(
        width=width, height=height, roi=roi, **({"K": k, "P": p} if upper else {"k": k, "p": p})
    )


def projected(matrix):
    pixels = POINTS @ matrix[:, :3].T
    return pixels[:, :2] / pixels[:, 2:]


@pytest.mark.parametrize("upper", [False, True], ids=["ros2", "ros1"])
@pytest.mark.parametrize("window", [(0, 0, 0, 0), (100, 50, 600, 300)], ids=["whole", "cut"])
@pytest.mark.parametrize("scale", [0.5, 0.25, 1.0])
def test_a_point_is_seen_on_the_same_pixels_after_a_cut_and_a_resize(scale, window, upper):
    camera = info(window=window, upper=upper)
    # Pictures that say of each pixel from which column and row of the sensor it comes.
    rows, columns = np.mgrid[:400, :800].astype(np.float32)
    x, y, width, height = window if any(window) else (0, 0, 800, 400)
    size = round(width * scale), round(height * scale)
    pictures = [
        cv2.resize(picture[y : y + height, x : x + width], size, interpolation=cv2.INTER_AREA)
        for picture in (columns, rows)
    ]
    k, p = matrices_of_image(camera, size)
    for matrix, numbers in (
        (k, camera.K if upper else camera.k),
        (p, camera.P if upper else camera.p),
    ):
        places = projected(matrix).astype(np.float32)
        looked_up = [
            cv2.remap(picture, places[None], None, cv2.INTER_LINEAR)[0] for picture in pictures
        ]
        full = projected(np.reshape(numbers, (3, -1)))
        np.testing.assert_allclose(np.transpose(looked_up), full, atol=0.05)
    assert p[0, 3] == -48 * scale  # a stereo baseline scales with the focal length


def test_halving_takes_the_middle_of_two_columns_to_the_middle_of_one():
    # By hand: cx 410 lies between columns 409.5 and 410.5, so at (410 + 0.5) / 2 - 0.5.
    k, p = matrices_of_image(info(), (400, 200))
    assert k.tolist() == [[250, 0, 204.75], [0, 260, 94.75], [0, 0, 1]]
    assert p.tolist() == [[240, 0, 199.75, -24], [0, 245, 99.75, 0], [0, 0, 1, 0]]


def test_a_camera_that_is_not_calibrated_or_has_no_size_stays_as_it_is():
    k, p = matrices_of_image(info(window=(8, 8, 80, 40), k=[0.0] * 9, p=[0.0] * 12), (40, 20))
    assert not k.any() and not p.any()
    k, p = matrices_of_image(info(width=0, height=0), (40, 20))
    assert (k.ravel().tolist(), p.ravel().tolist()) == (info().k, info().p)
