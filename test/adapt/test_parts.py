"""Splitting, thinning out, judging and naming: what `ssvif adapt` decides without training."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ssvif_core.adapt.judge import Judged, judge, measure
from ssvif_core.adapt.material import FolderMaterial, Frame, _Picks
from ssvif_core.adapt.report import lines
from ssvif_core.adapt.split import split
from ssvif_core.adapt.target import digest, target_path
from ssvif_core.adapt.training_pairs import write_pairs
from ssvif_core.adapt.verdict import decide
from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.baselines import average
from ssvif_core.inference.engine import EngineOptions, create_engine
from ssvif_core.models import open_model
from ssvif_core.replay.settings import NodeSettings


@pytest.fixture(scope="module")
def tiny():
    return open_model("tiny")


@pytest.fixture(scope="module")
def engine(tiny):
    found, _ = create_engine(tiny, "onnxruntime", EngineOptions(threads=1, height=120, width=160))
    yield found
    found.close()


class Average:
    """A poor model: the mean of both cameras, and no object in any mask."""

    def infer(self, visible, thermal):
        return average(visible, thermal), np.zeros_like(thermal)


def frames_of(engine, pairs):
    for index, (visible, thermal, _) in enumerate(pairs):
        fused, labels = (image.copy() for image in engine.infer(visible, thermal))
        yield Frame(str(index), float(index), visible, thermal, fused, labels, lambda f: f)


def figure(name, old, mean, half=0.001):
    return Judged(name, 40, old, old + mean, mean, mean - half, mean + half)


def test_the_parts_of_a_recording_do_not_touch():
    parts = split(100.0, 0.25, "s")
    assert (parts.training_end, parts.held_out_start, parts.total) == (70.0, 75.0, 100.0)
    assert split(1000.0, 0.25, "s").training_end == 740.0  # the gap is 10 s at most
    assert split(20, 0.25, "pairs").training_end == 14  # 14 is the gap, 15 to 19 judge


@pytest.mark.parametrize("holdout", [0.0, 0.97, 1.5])
def test_a_part_that_leaves_nothing_is_refused(holdout):
    with pytest.raises(SsvifError, match="--holdout"):
        split(100.0, holdout, "s")


@pytest.mark.parametrize("rate_hz", [9, 10, 25, 30])
def test_pairs_of_a_recording_are_as_far_apart_as_asked_for(rate_hz):
    random = np.random.default_rng(1)
    times = np.arange(0, 30, 1 / rate_hz) + random.exponential(0.003, 30 * rate_hz)
    times = times[random.random(len(times)) > 0.3]  # frames are lost
    taken = list(filter(_Picks(0.01, 0.5), times))
    assert np.diff(taken).min() >= 0.475
    assert len(taken) >= 30 / (0.5 + 3 / rate_hz)
    assert len(list(filter(_Picks(30 / 20), times))) == 20  # spread over all of it


def test_a_folder_with_too_few_pairs_in_a_part_is_refused_at_once(tiny, paired_folder):
    with pytest.raises(SsvifError, match="8 pairs to train on and 3 to judge by.*--holdout"):
        FolderMaterial(paired_folder / "frames", tiny, NodeSettings(), 0.25)


def test_a_view_that_has_not_changed_is_left_out(engine, frame_pairs, tmp_path):
    still = [pair for pair in frame_pairs for _ in range(3)]  # every view three times
    counts = write_pairs(tmp_path, lambda: frames_of(engine, still), "this")
    assert (counts.kept, counts.alike) == (len(frame_pairs), 2 * len(frame_pairs))
    for part in ("visible", "thermal", "labels"):
        assert len(list((tmp_path / "pairs" / part).glob("*.png"))) == len(frame_pairs)


def test_a_robot_that_stands_still_teaches_nothing_and_leaves_no_folder(
    engine, frame_pairs, tmp_path
):
    with pytest.raises(SsvifError, match="Only 1 pairs to train on"):
        write_pairs(tmp_path, lambda: frames_of(engine, frame_pairs[:1] * 30), "this")
    assert list(tmp_path.iterdir()) == []


def test_pairs_are_kept_for_the_same_and_refused_for_another(engine, frame_pairs, tmp_path):
    first = write_pairs(tmp_path, lambda: frames_of(engine, frame_pairs), "this")
    assert write_pairs(tmp_path, lambda: pytest.fail("was made again"), "this") == first
    with pytest.raises(SsvifError, match="another recording"):
        write_pairs(tmp_path, lambda: frames_of(engine, frame_pairs), "that")


def test_a_poor_model_is_called_worse(engine, tiny, frame_pairs):
    measured = measure(frames_of(engine, frame_pairs), lambda size: Average(), tiny)
    judged = judge(measured)
    verdict = decide(judged)
    assert verdict.answer == "worse"
    assert not verdict.use
    worse = {j.name for j in judged if j.change == "worse"}
    assert {"hot_contrast", "masks_kept"} <= worse
    assert all(name in verdict.why for name in worse)
    assert measured.labels_changed
    assert measured.pictures


def test_the_same_model_is_no_measurable_difference(engine, tiny, frame_pairs):
    measured = measure(frames_of(engine, frame_pairs), lambda size: engine, tiny)
    judged = judge(measured)
    assert decide(judged).answer == "no measurable difference"
    assert all(j.mean == 0 for j in judged)
    assert not measured.labels_changed


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"VIF": 0.03, "Qabf": 0.02}, "better"),
        ({"VIF": 0.03}, "not better"),
        ({"VIF": 0.03, "Qabf": 0.02, "SSIM": -0.03}, "not better"),
        ({"VIF": 0.03, "Qabf": -0.02, "SSIM": -0.03}, "worse"),
        ({"VIF": 0.03, "Qabf": 0.02, "flicker_fused": 0.2}, "worse"),
        ({"VIF": 0.03, "Qabf": 0.02, "iou_objects": -0.05}, "worse"),
        ({"VIF": 0.004, "Qabf": 0.004}, "no measurable difference"),  # shown, and too small
        ({"flicker_fused": -0.2, "hot_contrast": 0.2}, "no measurable difference"),
    ],
)
def test_the_verdict_weighs_quality_and_guards(changes, answer):
    names = ("VIF", "Qabf", "SSIM", "SCD", "iou_objects", "flicker_fused", "hot_contrast")
    judged = [figure(name, 1.0, changes.get(name, 0.0)) for name in names]
    assert decide(judged).answer == answer


def test_fewer_pairs_than_an_interval_needs_are_no_verdict(engine, tiny, frame_pairs):
    frames = frames_of(engine, (frame_pairs * 2)[:8])
    judged = judge(measure(frames, lambda size: engine, tiny))
    verdict = decide(judged)
    assert verdict.answer == "too few pairs to tell" and not verdict.use
    assert "on 8 held-out pairs, an interval needs 10" in verdict.why
    said = "\n".join(lines(verdict, "Keep tiny.", judged))
    assert "nan" not in said and "-  too few pairs" in said
    broken = replace(judged[-1], name="artefacts", old=1.0, mean=5.0, low=4.0, high=6.0)
    assert decide([*judged, broken]).answer == "worse"  # a guard may be too careful


def test_a_difference_that_chance_may_have_made_does_not_count():
    assert figure("VIF", 1.0, 0.05, half=0.06).change == "same"
    assert figure("VIF", 1.0, 0.05, half=0.04).change == "better"
    assert figure("artefacts", 1.0, 0.5).change == "worse"


def test_a_model_is_never_written_over_another(tiny, tmp_path):
    asked = digest({"steps": 3})
    path = target_path(tmp_path, None, tiny, tmp_path / "drive.mcap", asked)
    assert path == tmp_path / "tiny-drive.onnx"
    path.write_bytes(b"somebody's")
    with pytest.raises(SsvifError, match="not overwritten"):
        target_path(tmp_path, None, tiny, tmp_path / "drive.mcap", asked)
    path.with_suffix(".json").write_text(json.dumps({"adapted": {"asked": asked}}))
    assert target_path(tmp_path, None, tiny, tmp_path / "drive.mcap", asked) == path
    with pytest.raises(SsvifError, match="not overwritten"):
        target_path(tmp_path, None, tiny, tmp_path / "drive.mcap", digest({"steps": 4}))


def test_a_card_of_another_model_is_not_overwritten(tiny, tmp_path):
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(SsvifError, match="not overwritten"):
        target_path(tmp_path, "mine", tiny, tmp_path, "asked")


@pytest.mark.parametrize("name", ["tiny", "base", "a/b", "..", "new.fp16", ""])
def test_a_name_that_is_no_new_name_is_refused(name, tiny, tmp_path):
    with pytest.raises(SsvifError, match="--name"):
        target_path(tmp_path, name, tiny, tmp_path, "asked")
