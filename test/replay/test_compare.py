"""Two models on the same pairs: differences, their intervals, and the page."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")

from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.replay.compare import LEAST_PAIRS, Difference, block_interval  # noqa: E402
from ssvif_core.replay.compare_report import SHOWN, Run, _card, comparison_lines  # noqa: E402
from ssvif_core.replay.one import Task, do_task  # noqa: E402
from ssvif_core.replay.options import ReplayOptions  # noqa: E402
from ssvif_core.replay.roles import TopicChoice  # noqa: E402
from ssvif_core.replay.settings import NodeSettings  # noqa: E402
from ssvif_core.replay.variants import file_name, names_of, variant  # noqa: E402


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


def test_a_few_values_have_no_interval_and_show_nothing():
    low, high = block_interval(np.array([1.0, 1.1, 1.2]))
    assert np.isnan([low, high]).all()
    assert Difference("Qabf", 3, 0.0, 1.1, 1.1, low, high).verdict == "too few pairs"


@pytest.mark.parametrize(
    ("figure", "mean", "verdict"),
    [("Qabf", 1, "better"), ("Qabf", -1, "worse"), ("flicker_fused", -1, "better")],
)
def test_a_verdict_knows_which_way_is_better(figure, mean, verdict):
    assert Difference(figure, 9, 0.0, mean, mean, mean - 0.5, mean + 0.5).verdict == verdict


def test_small_differences_are_not_named_worse_and_few_pairs_have_no_ratio():
    few, sure = (float("nan"),) * 2, (-0.006, -0.004)
    found = [
        Difference("total_ms", 3, 10.0, 12.0, 2.0, *few),
        Difference("VIF", 50, 1.0, 0.995, -0.005, *sure),
        Difference("Qabf", 50, 0.1, 0.095, -0.005, *sure),
    ]
    _, time, small, large = comparison_lines("base", {"tiny": found})
    assert time.endswith("+2 -   too few pairs")
    assert small.endswith("[-0.006, -0.004]   less than 1%")
    assert large.endswith("worse")
    run = Run("tiny", Path(), {}, None)
    card = _card(run, run, found)
    assert card.detail == "worse: Qabf; 1 more differ by less than 1%."
    sure_time = [replace(found[0], low=1.9, high=2.1), *found[1:]]
    assert "1.20 times as long" in _card(run, run, sure_time).detail


def test_models_are_compared_pair_by_pair(drive, tmp_path):
    command = [sys.executable, "-m", "ssvif_core.cli", "replay", drive, "-o", tmp_path]
    options = ["--model", "base", "--compare", "tiny", "--metrics-every", "2", "--pictures", "0"]
    options += ["--workers", "1"]  # every pair is timed
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
        if len(each) >= LEAST_PAIRS:
            assert difference["low"] <= difference["mean"] <= difference["high"]
        else:
            assert difference["verdict"] == "too few pairs"
    page = (tmp_path / "compare.html").read_text()
    assert 'href="tiny/report.html"' in page
    # The recording has three seconds, and no two pictures are within one: which, the models decide.
    assert page.count("data:image/jpeg;base64,") in (2, 3)
    assert "@@" not in page


# What is compared.


FIRST = NodeSettings(model="base", engine="onnxruntime", precision="fp32")


@pytest.mark.parametrize(
    ("text", "model", "precision", "engine"),
    [
        ("tiny", "tiny", "fp32", "onnxruntime"),
        (":fp16", "base", "fp16", "onnxruntime"),
        ("@openvino", "base", "fp32", "openvino"),
        ("tiny:int8@torch", "tiny", "int8", "torch"),
        ("tiny:auto@auto", "tiny", "auto", "auto"),
        ("mine/new.onnx@openvino", "mine/new.onnx", "fp32", "openvino"),
    ],
)
def test_what_a_comparison_leaves_out_is_as_in_the_first(text, model, precision, engine):
    made = variant(text, FIRST)
    assert (made.model, made.precision, made.engine) == (model, precision, engine)


def test_a_path_may_hold_the_signs_of_precision_and_engine(tmp_path):
    path = tmp_path / "a@b:c.onnx"
    path.touch()
    assert variant(str(path), FIRST).model == str(path)
    made = variant(f"{path}:fp16@torch", FIRST)
    assert (made.model, made.precision, made.engine) == (str(path), "fp16", "torch")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("tiny@fast", "'fast' is no engine"), ("tiny:fp8", "'fp8' is no precision"), ("", "nothing")],
)
def test_a_comparison_that_means_nothing_is_refused(text, reason):
    with pytest.raises(SsvifError, match=reason):
        variant(text, FIRST)


def test_a_model_that_is_not_there_is_named_before_the_first_replay(drive, tmp_path):
    output = tmp_path / "run"
    options = ["--model", "tiny", "--compare", "nomodel.onnx", "-o", str(output)]
    command = [sys.executable, "-m", "ssvif_core.cli", "replay", str(drive), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "There is no model 'nomodel.onnx'" in done.stderr + done.stdout
    assert not list(output.rglob("*"))


def test_a_comparison_stays_while_something_can_be_refused(drive, tmp_path):
    ours = {"first": "base", "differences": {}}
    (tmp_path / "compare.json").write_text(json.dumps(ours))
    (tmp_path / "compare.html").write_text(SHOWN)
    options = ReplayOptions(NodeSettings(model="tiny"), TopicChoice("/typo"))
    outcome = do_task(Task(drive, tmp_path, options, ("base",)), lambda *_: None)
    assert "/typo" in outcome.failed
    assert (tmp_path / "compare.html").read_text() == SHOWN
    (tmp_path / "compare.json").write_text("[]")
    outcome = do_task(Task(drive, tmp_path, options, ("base",)), lambda *_: None)
    assert "no comparison wrote it: name another folder" in outcome.failed


def test_names_say_in_what_the_compared_differ():
    made = [FIRST, *(variant(text, FIRST) for text in (":fp16", "@openvino"))]
    assert names_of(made) == [
        "base:fp32@onnxruntime",
        "base:fp16@onnxruntime",
        "base:fp32@openvino",
    ]
    auto = NodeSettings(model="base")
    assert names_of([auto, variant("tiny", auto)]) == ["base", "tiny"]
    assert names_of([auto, variant(":int8", auto)]) == ["base", "base:int8"]
    assert names_of([auto, auto]) == ["base", "base (2)"]
    alike = [
        NodeSettings(model=path) for path in ("a/my best.onnx", "b/my-best.onnx", "MY-best.onnx")
    ]
    assert len({file_name(name).lower() for name in names_of(alike)}) == 3
    assert file_name("base:fp32@onnxruntime") == "base-fp32-onnxruntime"
    assert file_name("base (2)") == "base--2"


@pytest.mark.slow
def test_engines_and_precisions_are_compared_on_the_same_pairs(drive, tmp_path):
    others = [":fp16", ":int8"]
    others += [f"@{name}" for name in ("openvino", "torch") if importlib.util.find_spec(name)]
    command = [sys.executable, "-m", "ssvif_core.cli", "replay", drive, "-o", tmp_path]
    options = ["--model", "tiny", "--engine", "onnxruntime", "--precision", "fp32"]
    options += ["--workers", "1", "--metrics-every", "5", "--no-video", "--pictures", "0"]
    options += [word for other in others for word in ("--compare", other)]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "compare.json").read_text())
    assert len(content["differences"]) == len(others)
    ran = {name: (e["engine"], e["precision"]) for name, e in content["engines"].items()}
    assert ran["tiny:fp16@onnxruntime"] == ("onnxruntime", "fp16")
    assert ran["tiny:int8@onnxruntime"] == ("onnxruntime", "int8")
    assert all(ran[name][0] == name.split("@")[1] for name in ran)
    changed = {
        name: max(abs(d["mean"]) for d in rows if d["figure"] in ("Qabf", "SSIM", "VIF"))
        for name, rows in content["differences"].items()
    }
    # Rounding changes the image, and eight bits change it more; another engine hardly does.
    assert 0 < changed["tiny:fp16@onnxruntime"] < changed["tiny:int8@onnxruntime"]
    for name in ran:
        if name.startswith("tiny:fp32@") and name != content["first"]:
            assert changed[name] < changed["tiny:int8@onnxruntime"] / 10
    for figures in content["differences"].values():
        sure = [d for d in figures if d["pairs"] >= LEAST_PAIRS]
        assert sure and all(d["low"] <= d["mean"] <= d["high"] for d in sure)
