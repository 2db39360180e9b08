"""Arms of benchmarks/own_frames.py differ from own_frames.yaml in what they say."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `train` (torch)")

from ssvif_core.network.fusion_network import FUSION_PATH  # noqa: E402

OPTIONS = argparse.Namespace(data=Path("data"), variant="tiny", start=None, steps=850, threads=1)


@pytest.fixture
def own_frames(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return importlib.import_module("own_frames")


@pytest.fixture
def arms(own_frames):
    return {arm: own_frames.arm_config(arm, OPTIONS, 1) for arm in own_frames.ARMS}


def test_every_arm_has_as_many_steps_from_the_same_start_on_the_same_frames(arms):
    for config in arms.values():
        assert config.steps == OPTIONS.steps
        assert (config.seed, config.initialise_from) == (1, "tiny")
        assert config.sources == arms["own_frames"].sources
        assert config.sources[0].labels is None


def test_arms_differ_in_what_they_say_and_in_no_more(arms):
    whole, name = arms["own_frames"], {"name": "own_frames"}
    alone = arms["without consistency"]
    assert alone.loss.consistency == 0 < whole.loss.consistency
    assert alone.model_copy(update={"loss": whole.loss} | name) == whole
    path = arms["path first"]
    assert set(path.stages[0].train_only) == set(FUSION_PATH)
    assert path.model_copy(update={"stages": whole.stages} | name) == whole
    assert [stage.kind for stage in arms["stage 1"].stages] == ["fusion"]
    # What no comparison of settings shows: the global context trains in this one alone.
    assert [arm for arm, c in arms.items() if c.mask_mode != "clusters"] == ["stage 1"]
    assert arms["stage 1"].model_copy(update={"stages": whole.stages} | name) == whole
