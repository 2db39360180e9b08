"""Arms of benchmarks/own_frames.py differ from own_frames.yaml in what they say."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `train` (torch)")

from ssvif_core.network.fusion_network import FUSION_PATH, SEGMENTATION_HEAD  # noqa: E402
from ssvif_core.training.stages import STAGES  # noqa: E402

OPTIONS = argparse.Namespace(data=Path("data"), variant="tiny", start=None, steps=850, threads=1)


@pytest.fixture
def own_frames(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return importlib.import_module("own_frames")


@pytest.fixture
def arms(own_frames):
    trained = [arm for arm in own_frames.ARMS if arm != own_frames.COLOUR]
    return {arm: own_frames.arm_config(arm, OPTIONS, 1) for arm in trained}


def test_every_arm_has_as_many_steps_from_the_same_start_on_the_same_frames(arms):
    assert len(arms) == 4
    for config in arms.values():
        assert config.steps == OPTIONS.steps
        assert (config.seed, config.initialise_from) == (1, "tiny")
        assert config.sources == arms["own_frames"].sources
        assert config.sources[0].labels is None


def test_the_benchmark_says_what_each_arm_is(own_frames):
    assert all(f"\n    {arm:<24}" in own_frames.__doc__ for arm in own_frames.ARMS)


def test_arms_differ_in_what_they_say_and_in_no_more(arms):
    whole, name = arms["own_frames"], {"name": "own_frames"}
    assert set(whole.stages[0].train_only) == set(FUSION_PATH)
    alone = arms["without consistency"]
    assert alone.loss.consistency == 0 < whole.loss.consistency
    assert alone.model_copy(update={"loss": whole.loss} | name) == whole
    features = arms["features alone"]
    assert features.consistency.looks == 0 < whole.consistency.looks
    assert features.model_copy(update={"consistency": whole.consistency} | name) == whole
    assert arms["stage 1"].model_copy(update={"stages": whole.stages} | name) == whole


def test_the_control_trains_what_stage_2_trains_as_far_as_its_loss_reaches(arms):
    control, whole = arms["stage 1"], arms["own_frames"]
    assert [stage.kind for stage in control.stages] == ["fusion"]
    joint = STAGES["joint"].trained(whole.stages[2], whole)
    trained = STAGES["fusion"].trained(control.stages[0], control)
    assert "context" not in trained
    assert joint - set(SEGMENTATION_HEAD) == trained
