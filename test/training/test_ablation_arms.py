"""Arms of benchmarks/ablation.py differ from their controls in what they say, and in no more."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `train` (torch)")


@pytest.fixture
def arms(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return importlib.import_module("ablation_arms")


OPTIONS = argparse.Namespace(
    variant="tiny", crop=[160, 192], stage_1=600, steps=400, labelled=20, data=Path("data"),
    runs=Path("runs"), rate=None,
)  # fmt: skip


def test_every_arm_is_a_valid_run(arms):
    for name in arms.ARMS:
        assert arms.configuration(name, 1, OPTIONS).seed == 1


def test_arms_without_consistency_differ_from_theirs_in_nothing_else(arms):
    for control in ("anchored, no consistency", "shipped, no consistency"):
        with_it = control.replace("no consistency", "gate")
        a, b = (arms.configuration(name, 0, OPTIONS) for name in (control, with_it))
        assert arms.ARMS[with_it].control == control
        assert a.loss.consistency == 0 < b.loss.consistency
        assert a.model_copy(update={"loss": b.loss}) == b


def test_an_arm_and_its_control_see_as_many_steps_of_the_same_crops(arms):
    for name, arm in arms.ARMS.items():
        if arm.control is None or name in arms.LONGER:
            continue
        mine, control = (arms.configuration(n, 0, OPTIONS) for n in (name, arm.control))
        assert mine.steps == control.steps
        assert (mine.crop, mine.batch_size, mine.photometric, mine.labelled_crops) == (
            control.crop, control.batch_size, control.photometric, control.labelled_crops
        )  # fmt: skip


def test_runs_without_labels_see_none_and_serve_every_number_of_labels(arms):
    more = argparse.Namespace(**{**vars(OPTIONS), "labelled": 80})
    for name, arm in arms.ARMS.items():
        sources = arms.configuration(name, 0, OPTIONS).sources
        # None of a source with labels means all of them.
        given = [0 if s.labels is None else s.labelled for s in sources]
        assert sum(given) == (20 if arm.labelled else 0)
        same = arms.folder_of(name, 0, OPTIONS) == arms.folder_of(name, 0, more)
        assert same is not arm.labelled


def test_from_scratch_as_long_takes_as_many_steps_as_all_that_it_is_compared_with(arms):
    steps = sum(
        arms.configuration(name, 0, OPTIONS).steps
        for name in ("stage 1", "clusters, gate", "clusters, then labels")
    )
    assert arms.configuration(arms.AS_LONG, 0, OPTIONS).steps == steps
    steps = sum(
        arms.configuration(name, 0, OPTIONS).steps for name in ("masked", "masked, then labels")
    )
    assert arms.configuration(arms.AS_LONG_AS_MASKED, 0, OPTIONS).steps == steps
