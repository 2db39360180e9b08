"""`ssvif calibrate` on files, as a user runs it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from ssvif_core.calibration.geometry import corner_errors
from ssvif_core.calibration.result import picture_path
from ssvif_core.cli.app import app
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.calibration import Calibration
from ssvif_core.simulation.two_views import misalignment, street

SMALL, SMALL_THERMAL = (320, 240), (160, 128)


def run(*words):
    result = CliRunner().invoke(app, ["calibrate", *map(str, words)])
    if isinstance(result.exception, SsvifError):
        raise result.exception
    return result


def test_two_folders_of_different_sizes_give_a_file_and_what_to_do_next(tmp_path):
    true = misalignment(np.random.default_rng(8), SMALL, SMALL_THERMAL)
    visible, thermal = street("day", 2, true, [0.0, 2.0, 4.0, 6.0], SMALL, SMALL_THERMAL)
    for camera, images in (("rgb", visible), ("lwir", thermal)):
        (tmp_path / camera).mkdir()
        for index, image in enumerate(images):
            file = tmp_path / camera / f"{index}.png"
            # Raw counts, as a core without gain sends them.
            pixels = image[..., ::-1] if camera == "rgb" else image.astype(np.uint16) * 5 + 7000
            cv2.imwrite(str(file), pixels)
    output = tmp_path / "new" / "calibration.yaml"
    result = run(tmp_path / "rgb", "--thermal", tmp_path / "lwir", "-o", output, "--frames", 4)
    assert result.exit_code == 0, result.output
    assert "ros2 launch ssvif_ros fusion.launch.py calibration:=" in result.output
    assert corner_errors(Calibration.load(output).homography, true, SMALL).max() <= 1.5
    assert picture_path(output).exists()
    assert yaml.safe_load(output.read_text())["confidence"] > 0.6
    assert yaml.safe_load(output.read_text())["thermal_offset_s"] is None

    words = (tmp_path / "rgb", "--thermal", tmp_path / "lwir", "-o", output, "--frames", 4)
    said = run(*words, "--offset", -0.05).output
    assert "thermal stamps -50.0 ms, taken over from the offset given" in said
    assert "thermal_offset:=-0.05" in " ".join(said.split())
    said = run(*words).output
    assert "thermal stamps -50.0 ms, taken over from the file before" in said
    assert Calibration.load(output).thermal_offset_s == -0.05


def test_what_cannot_be_is_said_before_anything_is_read(tmp_path):
    with pytest.raises(SsvifError, match="--time"):
        run(tmp_path, "--no-map")
    with pytest.raises(SsvifError, match="Nothing may be written in /proc: put c.yaml elsewhere"):
        run(tmp_path, "-o", "/proc/c.yaml")
    with pytest.raises(SsvifError, match="is a folder: name a file"):
        run(tmp_path, "-o", tmp_path)
    for name, content in (("robot.yaml", "/**: {ros__parameters: {}}"), ("run.py", "\x00import x")):
        (tmp_path / name).write_text(content)
        with pytest.raises(SsvifError, match=f"Not written over .*{name}, for it is no calib"):
            run(tmp_path, "-o", tmp_path / name)
        assert (tmp_path / name).read_text() == content
    with pytest.raises(SsvifError, match="grid"):
        run(tmp_path, "--pattern", "chessboard", "--grid", "nine")
