"""`make demo`, shorter: separate processes, live topics, a picture, a video and numbers."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from ssvif_ros.processes import child_environment  # noqa: E402


def demo(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "ssvif_ros.demo", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=110,
        env=child_environment(),
    )


def test_the_demo_fuses_live_and_leaves_pictures_and_numbers(tmp_path):
    done = demo("--duration", 3, "--rate", 15, "--thermal-rate", 9, "--output", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["fused_received"] >= 5
    assert summary["node/paired"] >= 5
    assert summary["node/bad_frames"] == 0
    sheet = cv2.imread(str(tmp_path / "contact_sheet.png"))
    assert sheet.shape[1] > sheet.shape[0] / 3 > 100
    capture = cv2.VideoCapture(str(tmp_path / "fused.mp4"))
    assert capture.read()[0]
    assert "latency" in done.stdout


def test_files_that_cannot_be_played_end_it_at_once(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"no video")
    files = ("--visible", tmp_path / "v.mp4", "--thermal", tmp_path / "v.mp4")
    done = demo(*files, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "v.mp4" in done.stdout
    assert "Traceback" not in done.stderr
