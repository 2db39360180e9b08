"""The calibration file: what is written is read again, and what is no calibration is refused."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.calibration import Calibration
from ssvif_core.imaging.camera_file import read_camera_file
from ssvif_core.imaging.pinhole import Camera

MATRIX = [[1.1, 0.01, 5.0], [-0.02, 1.2, -7.0], [1e-5, 2e-5, 1.0]]


def test_what_is_written_is_read_again(tmp_path):
    written = Calibration(
        np.array(MATRIX), (640, 480), (320, 256), method="targetless", confidence=0.8
    )
    written.save(tmp_path / "c.yaml")
    read = Calibration.load(tmp_path / "c.yaml")
    assert np.allclose(read.homography, MATRIX)
    assert (read.visible_size, read.thermal_size) == ((640, 480), (320, 256))
    assert (read.method, read.confidence, read.error_px) == ("targetless", 0.8, None)


def test_lenses_are_kept_in_the_file_as_a_camera_file_has_them(tmp_path):
    lenses = (
        Camera((640, 480), np.diag([500.0, 510.0, 1.0]), "plumb_bob", (-0.2, 0.1, 0, 0, 0.01)),
        Camera((320, 256), np.diag([300.0, 300.0, 1.0])),
    )
    Calibration(np.array(MATRIX), (640, 480), (320, 256), lenses=lenses).save(tmp_path / "c.yaml")
    read = Calibration.load(tmp_path / "c.yaml").lenses
    for camera, expected in zip(read, lenses, strict=True):
        assert np.array_equal(camera.matrix, expected.matrix)
        assert (camera.size, camera.model) == (expected.size, expected.model)
        assert camera.distortion == expected.distortion
    whole = yaml.safe_load((tmp_path / "c.yaml").read_text())
    (tmp_path / "camera.yaml").write_text(yaml.safe_dump(whole["visible_lens"]))
    assert read_camera_file(tmp_path / "camera.yaml").distortion == lenses[0].distortion


def test_an_equidistant_lens_without_coefficients_stays_one_in_the_file(tmp_path):
    lens = Camera((640, 480), np.diag([300.0, 300.0, 1.0]), "equidistant", (0, 0, 0, 0))
    Calibration(np.eye(3), lens.size, lens.size, lenses=(lens, lens)).save(tmp_path / "c.yaml")
    assert Calibration.load(tmp_path / "c.yaml").lenses[0].model == "equidistant"


GOOD = "homography: [[1, 0, 0], [0, 1, 0], [0, 0, 1]]\nvisible_size: [4, 4]\nthermal_size: [4, 4]\n"


def test_a_number_in_quotes_is_a_number(tmp_path):
    (tmp_path / "c.yaml").write_text(GOOD + "error_px: '1.2'\n")
    assert Calibration.load(tmp_path / "c.yaml").error_px == 1.2


@pytest.mark.parametrize("factor", [1.0, 1e-5, 1e6, -0.3])
def test_a_map_is_the_same_whatever_factor_its_numbers_have(factor):
    matrix = np.array([[1.5, 0, 1400], [0, 1.5, 900], [0, 0, 1]])
    sizes = (3840, 2160), (640, 512)
    for scale in (factor, factor / np.linalg.norm(matrix)):
        assert np.allclose(Calibration(matrix * scale, *sizes).homography, matrix)
    flat = np.array([[1.5, 3.0, 1400], [1.0, 2.0, 900], [0, 0, 1]])  # all on a line
    for singular in (flat, np.zeros((3, 3)), np.diag([1e-9, 1.5, 1])):
        with pytest.raises(SsvifError, match="singular"):
            Calibration(singular * factor, *sizes)


def test_other_sizes_scale_the_map_about_pixel_centres():
    identity = Calibration(np.eye(3), (640, 480), (640, 480))
    # The outer edge of the first pixel stays the outer edge: -0.5 on both grids.
    matrix = identity.matrix((1280, 960), (320, 240))
    assert np.allclose(matrix @ [-0.5, -0.5, 1], [-0.5, -0.5, 1])
    assert np.allclose(matrix @ [319.5, 239.5, 1], [1279.5, 959.5, 1])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no calibration"),
        ("homography: [[1, 0, 0], [0, 1, 0]]\nvisible_size: [4, 4]\nthermal_size: [4, 4]", "rows"),
        ("homography: [[0, 0, 0], [0, 0, 0], [0, 0, 1]]\nvisible_size: [4, 4]\n"
         "thermal_size: [4, 4]", "singular"),
        ("homography: [[1, 0, 0], [0, 1, 0], [0, 0, 1]]\nvisible_size: [4]\n"
         "thermal_size: [4, 4]", "visible_size"),
        ("a: [", "Cannot read"),
        (GOOD + "error_px: small", "error_px is 'small'"),
        (GOOD + "thermal_offset_s: [1]", "thermal_offset_s is "),
        (GOOD + "undistorted: true", "visible_lens and thermal_lens"),
        (GOOD + "visible_lens: {}", "visible_lens and thermal_lens"),
        (GOOD + "visible_lens: {}\nthermal_lens: {}", "visible_lens: is no camera file"),
    ],
)  # fmt: skip
def test_what_is_no_calibration_is_refused_with_the_reason(tmp_path, text, reason):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(SsvifError, match=reason):
        Calibration.load(tmp_path / "c.yaml")
