"""Weights and gate on gradients and losses that can be worked out by hand."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")

from ssvif_core.training.config import WeightingConfig  # noqa: E402
from ssvif_core.training.weighting import make_weighting  # noqa: E402


def weighting(**settings):
    return make_weighting(WeightingConfig.model_validate(settings))


def test_fixed_weights_are_one_and_the_gate_is_where_it_was_put():
    fixed = weighting(kind="fixed", through_image=0.25)
    assert fixed.weights({"fusion": 3.0, "anchor": 0.1}) == {"fusion": 1.0, "anchor": 1.0}
    assert fixed.gate(1.0, 1.0) == 0.25


def test_the_gate_limits_segmentation_to_a_part_of_the_pull_of_fusion():
    gate = weighting(kind="gate", rho=0.5)
    assert gate.gate(4.0, 1.0) == 1.0
    # 0.5 * 4 / 8: scaled, the strong gradient has the norm 2, half of that of fusion.
    assert gate.gate(4.0, 8.0) == pytest.approx(0.25)
    assert gate.gate(4.0, 0.0) == 1.0


GATE_SCRIPT = """
import sys
import torch
from types import SimpleNamespace
from ssvif_core.training.config import WeightingConfig
from ssvif_core.training.distributed import process_group
from ssvif_core.training.stages import JointStage
from ssvif_core.training.weighting import make_weighting

with process_group("cpu") as processes:
    weighting = make_weighting(WeightingConfig(kind="gate", rho=0.5))
    stage = JointStage.__new__(JointStage)
    stage.context = SimpleNamespace(processes=processes, weighting=weighting)
    part = slice(processes.rank, processes.rank + 1) if processes.world > 1 else slice(None)
    gate = stage._gate(torch.tensor([3.0, 4.0])[part], torch.tensor([0.0, 10.0])[part])
    if processes.first:
        print(gate)
"""


@pytest.mark.slow
def test_two_processes_have_the_gate_of_the_whole_batch(tmp_path):
    (tmp_path / "gate.py").write_text(GATE_SCRIPT)
    for count in (1, 2):
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
            str(count), str(tmp_path / "gate.py"),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=110)
        assert done.returncode == 0, done.stderr[-3000:]
        # 0.5 * 5 / 10; the mean of both processes' own gates is (1 + 0.2) / 2.
        assert float(done.stdout) == pytest.approx(0.25)


def test_dynamic_averaging_favours_the_loss_that_falls_more_slowly():
    average = weighting(kind="dwa", interval=2, temperature=2.0)
    for losses in ({"a": 4.0, "b": 4.0}, {"a": 4.0, "b": 4.0}, {"a": 4.0, "b": 2.0}):
        assert average.weights(losses) == {"a": 1.0, "b": 1.0}
    average.weights({"a": 4.0, "b": 2.0})
    # Means of the two intervals: a 4 -> 4 (ratio 1), b 4 -> 2 (ratio 1/2).
    a, b = math.exp(1 / 2), math.exp(0.5 / 2)
    factors = average.weights({"a": 1.0, "b": 1.0})
    assert factors["a"] == pytest.approx(2 * a / (a + b))
    assert factors["b"] == pytest.approx(2 * b / (a + b))


def test_dynamic_averaging_compares_the_last_two_intervals_and_none_before():
    average = weighting(kind="dwa", interval=1, temperature=2.0)
    for losses in ({"a": 8.0, "b": 8.0}, {"a": 8.0, "b": 4.0}, {"a": 2.0, "b": 4.0}):
        average.weights(losses)
    # a 8 -> 2 (ratio 1/4), b 4 -> 4 (ratio 1): 2 e^(1/8) / (e^(1/8) + e^(1/2)) = 0.8147.
    factors = average.weights({"a": 1.0, "b": 1.0})
    assert factors["a"] == pytest.approx(0.8147, abs=1e-4)
    assert factors["b"] == pytest.approx(2 - 0.8147, abs=1e-4)


def test_a_restored_state_goes_on_with_the_same_weights():
    first = weighting(kind="dwa", interval=3)
    for i in range(8):
        first.weights({"a": 1.0 / (i + 1), "b": 1.0})
    second = weighting(kind="dwa", interval=3)
    second.load_state_dict(first.state_dict())
    for _ in range(5):
        assert first.weights({"a": 0.5, "b": 0.9}) == second.weights({"a": 0.5, "b": 0.9})
