"""What the scripts of benchmarks/ write: whole files, commands to run again, nothing lost."""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import subprocess
import sys

import cv2
import numpy as np
import pytest


@pytest.fixture
def report(repository, tmp_path, monkeypatch):
    """benchmarks/report.py, which writes to a folder of the test."""
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    module = importlib.import_module("report")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return module


def test_a_command_can_be_given_to_a_shell_again(report, monkeypatch):
    arguments = ["--arms", "picture, dwa", "stage 1", "--seeds", "2"]
    monkeypatch.setattr(sys, "argv", ["benchmarks/ablation.py", *arguments])
    path = report.write_result("x", {"figures": 1})
    command = json.loads(path.read_text())["command"]
    assert shlex.split(command) == ["python", "benchmarks/ablation.py", *arguments]
    assert report.add_run("y", {})[0]["command"] == command


ADD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import report
report.RESULTS = Path(sys.argv[2])
for number in range(30):
    report.add_run("x", {"number": number, "text": "long" * 2000})
"""


def test_runs_of_several_processes_are_all_kept_and_can_be_read_at_any_time(
    report, repository, tmp_path
):
    command = [sys.executable, "-c", ADD, str(repository / "benchmarks"), str(tmp_path)]
    adding = [subprocess.Popen(command) for _ in range(2)]
    while any(each.poll() is None for each in adding):
        report.earlier_runs("x")
    assert [each.returncode for each in adding] == [0, 0]
    numbers = [run["number"] for run in report.earlier_runs("x")]
    assert sorted(numbers) == sorted([*range(30)] * 2)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".lock"}


def test_quality_of_one_model_leaves_that_of_the_others(report, monkeypatch):
    quality = importlib.import_module("quality")
    (report.RESULTS / "quality.json").write_text(
        json.dumps(
            {"command": "old", "date": "2026-01-01", "models": {"base": {"a": 1}, "tiny": {"a": 2}}}
        )
    )
    monkeypatch.setattr(sys, "argv", ["benchmarks/quality.py", "tiny"])
    models = json.loads(quality.write_models({"tiny": {"a": 3}}).read_text())["models"]
    assert models["base"] == {"command": "old", "date": "2026-01-01", "a": 1}
    assert models["tiny"]["a"] == 3
    assert models["tiny"]["command"] == "python benchmarks/quality.py tiny"


def test_each_control_of_one_camera_has_a_run_folder_of_its_own(report):
    pytest.importorskip("torch", reason="needs the extra `train` (torch)")
    one_camera = importlib.import_module("one_camera")
    options = {
        "variant": "base", "camera": "visible", "steps": 800, "rate": 0.002, "seed": 0,
        "start": None,
    }  # fmt: skip
    changes = [
        {}, {"variant": "tiny"}, {"camera": "thermal"}, {"steps": 1200}, {"seed": 1},
        {"start": "tiny"},
    ]  # fmt: skip
    folders = {one_camera.folder_of(argparse.Namespace(**{**options, **c})) for c in changes}
    assert len(folders) == len(changes)


def test_the_baseline_of_calibration_takes_any_frame_and_says_where_none_converges(report):
    calibration = importlib.import_module("calibration")
    case = calibration.drawn(0)
    assert calibration.baseline(case.visible[:1], case.thermal[:1]) is None
    # Visible light itself, 8 pixels aside in the smaller image, in the third frame alone.
    start = calibration.centred_similarity(calibration.THERMAL, calibration.VISIBLE)
    true = start @ np.array([[1, 0, 8], [0, 1, 0], [0, 0, 1.0]])
    image = cv2.warpPerspective(case.visible[2], np.linalg.inv(true), calibration.THERMAL)
    found = calibration.baseline(case.visible[:3], [0 * image, 0 * image, image])
    off = [
        calibration.corner_errors(homography, true, calibration.VISIBLE).max()
        for homography in (found, start)
    ]
    assert off[0] < 4 < off[1]
