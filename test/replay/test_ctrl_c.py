"""Ctrl-C in the middle of a replay: a real process gets the signal."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")

from ssvif_core.data.bag_files import Bag  # noqa: E402
from ssvif_core.models import open_model  # noqa: E402
from ssvif_core.replay.asked import asked  # noqa: E402
from ssvif_core.replay.folder import earlier_run  # noqa: E402
from ssvif_core.replay.options import ReplayOptions  # noqa: E402
from ssvif_core.replay.settings import NodeSettings  # noqa: E402

#: Where this test runs in the background, children are born deaf to Ctrl-C.
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from ssvif_core.cli import main
main()
"""
LATEST_S = 120.0


@pytest.fixture(scope="module")
def stopped(record, tmp_path_factory):
    """Folder, exit status and last words of a replay that was stopped when the video had begun."""
    folder = tmp_path_factory.mktemp("stopped")
    bag = record(folder / "long", 15.0, scale=2)
    options = ["--model", "base", "--threads", "1", "--metrics-every", "1", "--bag"]
    command = [sys.executable, "-c", PROGRAM, "replay", bag, "-o", folder / "run", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        deadline = time.monotonic() + LATEST_S
        while not (folder / "run" / "fused.mp4").exists():
            assert process.poll() is None, "it ended before its video began"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        words = process.communicate(timeout=LATEST_S)[0].decode()
    return folder / "run", process.returncode, words


def test_ctrl_c_ends_with_status_130_and_says_where_the_results_are(stopped):
    folder, status, words = stopped
    done, total = map(int, re.search(r"(\d+)/(\d+) 0:", words).groups())
    assert done < total  # the bar
    assert status == 130, words
    assert "Stopped. What was measured until then is in" in words
    assert "The same command with --resume goes on from there." in words
    assert "Traceback" not in words


def test_what_was_measured_until_then_is_written_and_called_a_part(stopped):
    folder, _, _ = stopped
    summary = json.loads((folder / "summary.json").read_text())
    assert not summary["complete"]
    assert summary["interrupted"] == "stopped by the user"
    assert any("Not the whole recording" in warning for warning in summary["warnings"])
    with gzip.open(folder / "frames.csv.gz", "rt", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert 12 <= len(rows) < 75  # the recording has 75 thermal frames, but for the lost ones
    assert summary["pairing"]["pairs"] >= len(rows)
    page = (folder / "report.html").read_text()
    assert "not the whole recording" in page and "stopped by the user" in page


def test_the_output_recording_is_whole_as_far_as_it_goes(stopped):
    with Bag(stopped[0] / "bag") as bag:
        images = [bag.message(m) for m in bag.messages(["/fusion/fused"])]
    assert len(images) >= 12


def test_a_stopped_replay_is_no_earlier_run_for_resume(stopped):
    folder, _, _ = stopped
    options = ReplayOptions(NodeSettings(model="base", threads=1), metrics_every=1, bag=True)
    bag = folder.parent / "long"
    assert earlier_run(folder, bag, options) is None
    whole = json.loads((folder / "summary.json").read_text()) | {"complete": True}
    (folder / "summary.json").write_text(json.dumps(whole))
    assert earlier_run(folder, bag, options) == whole  # that it was stopped was the only reason


def test_a_replay_with_another_calibration_model_or_labels_is_no_earlier_run(tmp_path):
    bag, rig, model, labels = (tmp_path / n for n in ("a.mcap", "rig.yaml", "m.onnx", "labels"))
    labels.mkdir()
    for path in (bag, rig, model, labels / "1.png"):
        path.write_bytes(b"before")
    settings = NodeSettings(model=str(model), registration__file=str(rig))
    options = ReplayOptions(settings=settings, labels_folder=labels)
    before = asked(bag, options)
    assert asked(bag, options) == before
    for path in (bag, rig, model, labels / "1.png"):
        old = path.read_bytes()
        stat = path.stat()
        path.write_bytes(b"afterwards")
        assert asked(bag, options) != before, path
        path.write_bytes(old)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert asked(bag, options) == before
    (labels / "2.png").write_bytes(b"one more")
    assert asked(bag, options) != before


def test_a_calibration_in_the_home_folder_is_looked_at_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    bag, rig = tmp_path / "a.mcap", tmp_path / "rig.yaml"
    for path in (bag, rig):
        path.write_bytes(b"before")
    options = ReplayOptions(NodeSettings(model="tiny", registration__file="~/rig.yaml"))
    before = asked(bag, options)
    rig.write_bytes(b"afterwards")
    assert asked(bag, options) != before


def test_what_was_asked_tells_which_shipped_model_it_was(tmp_path):
    bag = tmp_path / "a.mcap"
    bag.touch()
    said = asked(bag, ReplayOptions(NodeSettings(model="tiny")))["shipped"]
    assert said == open_model("tiny").card.sha256
