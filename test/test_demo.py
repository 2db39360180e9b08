"""`make demo`, shorter: separate processes, live topics, a picture, a video and numbers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

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


def test_ctrl_c_ends_it_with_what_was_recorded_until_then(tmp_path):
    command = [sys.executable, "-m", "ssvif_ros.demo", "--duration", "600", "--rate", "15"]
    process = subprocess.Popen(
        [*command, "--output", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=child_environment(),
        start_new_session=True,  # a terminal sends Ctrl-C to all of them
    )
    video, deadline = tmp_path / "fused.mp4", time.monotonic() + 60
    while not (video.exists() and video.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Traceback" not in said and "ended with status" not in said
    assert json.loads((tmp_path / "summary.json").read_text())["fused_received"] >= 1
    assert (tmp_path / "contact_sheet.png").exists()
    assert cv2.VideoCapture(str(video)).read()[0]


def test_a_camera_that_refuses_to_start_is_told_with_its_reason(tmp_path):
    done = demo("--rate", 1000, "--output", tmp_path)
    assert done.returncode == 1
    assert "visible_rate is 1000.0: use 0.1 to 240" in done.stdout


def test_files_that_cannot_be_played_end_it_at_once(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"no video")
    files = ("--visible", tmp_path / "v.mp4", "--thermal", tmp_path / "v.mp4")
    done = demo(*files, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "v.mp4" in done.stdout
    assert "Traceback" not in done.stderr
