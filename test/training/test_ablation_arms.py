"""Arms of benchmarks/ablation.py differ from their controls in what they say, and in no more."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `train` (torch)")

from ssvif_core.models import open_model  # noqa: E402


@pytest.fixture
def benchmarks(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))


@pytest.fixture
def arms(benchmarks):
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


def test_arms_are_known_by_the_shipped_model_that_the_first_of_them_starts_from(arms):
    tiny = open_model("tiny").card.sha256
    for name in arms.ARMS:
        start = arms.start_of(name)
        assert start == (tiny if name.startswith(("shipped", "picture")) else None), name
        assert arms.settings_of(OPTIONS, start).get("start") == start
        folder = arms.folder_of(name, 0, OPTIONS).name
        assert (tiny[:8] in folder) is (start is not None)


def test_what_started_from_an_older_model_has_rows_of_its_own(benchmarks, arms):
    ablation = importlib.import_module("ablation")
    options = argparse.Namespace(**{**vars(OPTIONS), "labelled": 268})
    # The runs in the file were recorded before the start was, and `tiny` was replaced since.
    runs = ablation.earlier_runs("ablation")
    now = arms.settings_of(options, arms.start_of("shipped, gate"))
    new = [
        {"arm": arm, "seed": 0, "settings": now, "iou": iou}
        for arm, iou in (("shipped, no consistency", 0.25), ("shipped, gate", 0.75))
    ]
    shown = ablation.table([*runs, *new], options)
    columns = {column.header: list(column.cells) for column in shown.columns}
    rows = {name: i for i, name in enumerate(columns["arm"])}
    assert columns["seeds"][rows["shipped, gate"]] == "1"
    assert columns["iou - control"][rows["shipped, gate"]] == "0.500"
    older = rows["shipped, gate (older start)"]
    assert columns["seeds"][older] == "3"
    assert columns["iou"][older].startswith("0.474")
    assert columns["iou - control"][older].startswith("0.002")


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
