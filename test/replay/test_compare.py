"""Two models on the same pairs: differences, their intervals, and the page."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")

from ssvif_core.replay.compare import Difference, block_interval  # noqa: E402


def rows_of(folder):
    with gzip.open(folder / "frames.csv.gz", "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_interval_of_independent_values_is_the_usual_one():
    values = np.random.default_rng(3).normal(2.0, 1.0, 900)
    low, high = block_interval(values)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.02)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 30, rel=0.2)


def test_values_that_resemble_their_neighbours_have_a_wider_interval():
    random = np.random.default_rng(4)
    values = np.zeros(900)
    for i in range(1, 900):
        values[i] = 0.9 * values[i - 1] + random.normal()
    low, high = block_interval(values)
    # The mean of this process varies (1 + 0.9) / (1 - 0.9) = 19 times as much as its values' alone.
    plain = 2 * 1.96 * values.std() / 30
    assert 2.5 * plain < high - low < 5 * plain


def test_one_value_has_no_interval_and_shows_nothing():
    low, high = block_interval(np.array([1.0]))
    assert np.isnan([low, high]).all()
    assert Difference("Qabf", 1, 0.0, 1.0, 1.0, low, high).verdict == "no difference shown"


@pytest.mark.parametrize(
    ("figure", "mean", "verdict"),
    [("Qabf", 1, "better"), ("Qabf", -1, "worse"), ("flicker_fused", -1, "better")],
)
def test_a_verdict_knows_which_way_is_better(figure, mean, verdict):
    assert Difference(figure, 9, 0.0, mean, mean, mean - 0.5, mean + 0.5).verdict == verdict


def test_models_are_compared_pair_by_pair(drive, tmp_path):
    command = [sys.executable, "-m", "ssvif_core.cli", "replay", drive, "-o", tmp_path]
    options = ["--model", "base", "--compare", "tiny", "--metrics-every", "2", "--pictures", "0"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "tiny against base" in done.stdout
    found = json.loads((tmp_path / "compare.json").read_text())["differences"]["tiny"]
    base, tiny = rows_of(tmp_path / "base"), rows_of(tmp_path / "tiny")
    assert [r["visible_stamp_ns"] for r in base] == [r["visible_stamp_ns"] for r in tiny]
    for figure in ("Qabf", "flicker_labels", "engine_ms", "iou_objects"):
        (difference,) = (d for d in found if d["figure"] == figure)
        pairs = [(float(a[figure]), float(b[figure])) for a, b in zip(base, tiny, strict=True)
                 if a[figure] and b[figure]]  # fmt: skip
        each = [b - a for a, b in pairs]
        assert difference["pairs"] == len(each)
        assert difference["mean"] == pytest.approx(np.mean(each), rel=1e-4, abs=1e-6)
        assert difference["low"] <= difference["mean"] <= difference["high"]
    page = (tmp_path / "compare.html").read_text()
    assert 'href="tiny/report.html"' in page
    assert page.count("data:image/jpeg;base64,") == 3  # the recording has three seconds
    assert "@@" not in page
