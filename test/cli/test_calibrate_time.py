"""`ssvif calibrate --time` on what `ssvif record-demo` recorded, as a user runs them."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from ssvif_core.cli.app import app
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.calibration import Calibration

#: Thermal stamps are late by this.
LATE_S = 0.08


def run(*words):
    result = CliRunner().invoke(app, list(map(str, words)))
    if isinstance(result.exception, SsvifError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def film(path, thermal):
    """What a camera sees that turns to and fro in an irregular way; 200 frames a second."""
    random = np.random.default_rng(5)
    plane = cv2.GaussianBlur(random.normal(0, 1, (120, 400)).astype(np.float32), (0, 0), 2.5)
    plane = cv2.normalize(plane, None, 20, 230, cv2.NORM_MINMAX)
    plane = 250 - 0.5 * plane if thermal else plane
    frequencies, phases = random.uniform(0.2, 1.1, 6), random.uniform(0, 6.3, 6)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 200, (96, 72))
    for index in range(200 * 12):
        x = 150 + 8 * np.sin(2 * np.pi * frequencies * index / 200 + phases).sum()
        view = cv2.warpAffine(plane, np.float64([[1, 0, -x], [0, 1, -20]]), (96, 72))
        writer.write(cv2.cvtColor(view.clip(0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR))
    writer.release()
    return path


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("time")
    run("record-demo", folder / "drive", "--visible", film(folder / "rgb.avi", False),
        "--thermal", film(folder / "lwir.avi", True), "--thermal-offset", LATE_S)  # fmt: skip
    return folder / "drive"


def test_late_thermal_stamps_give_the_parameter_that_makes_up_for_them(drive, tmp_path):
    rig = tmp_path / "rig.yaml"
    Calibration(np.eye(3), (160, 120), (160, 120)).save(rig)
    said = run("calibrate", drive, "--time", "--no-map", "-o", rig)
    found = re.search(r"thermal stamps ([+-][\d.]+) ms \(within ([\d.]+) ms", said)
    offset_s, within_s = (float(n) / 1e3 for n in found.groups())
    assert offset_s == pytest.approx(-LATE_S, abs=0.006)
    assert abs(offset_s + LATE_S) <= within_s
    pasted = float(re.search(r"ros2 param set /fusion thermal_offset (\S+)", said).group(1))
    assert pasted == pytest.approx(offset_s, abs=1e-4)
    assert Calibration.load(rig).thermal_offset_s == pasted


def test_clocks_that_are_further_apart_are_found_from_what_is_known(tmp_path):
    run("record-demo", tmp_path / "drive", "--visible", film(tmp_path / "rgb.avi", False),
        "--thermal", film(tmp_path / "lwir.avi", True), "--thermal-offset", 2.5)  # fmt: skip
    words = ("calibrate", tmp_path / "drive", "--time", "--no-map", "-o", tmp_path / "rig.yaml")
    with pytest.raises(SsvifError):
        run(*words)
    said = run(*words, "--offset", "-2.4")
    offset_ms = float(re.search(r"thermal stamps ([+-][\d.]+) ms", said).group(1))
    assert offset_ms == pytest.approx(-2500, abs=8)
    assert "thermal_offset -2.5" in said or "thermal_offset -2.49" in said


def test_a_recording_in_which_nothing_moves_is_refused(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (48, 64), dtype=np.uint8)
    for name in ("visible", "thermal"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    run("record-demo", tmp_path / "still", "--visible", tmp_path / "visible.png", "--thermal",
        tmp_path / "thermal.png", "--duration", 8)  # fmt: skip
    with pytest.raises(SsvifError, match="turn"):
        run("calibrate", tmp_path / "still", "--time", "--no-map", "-o", tmp_path / "rig.yaml")
    assert not (tmp_path / "rig.yaml").exists()
