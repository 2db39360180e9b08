"""An engine that fails frame after frame is replaced by its spare, at the size where it fails."""

from __future__ import annotations

import numpy as np
import pytest

from ssvif_core.errors import SsvifError
from ssvif_core.inference.engine import EngineOptions
from ssvif_core.inference.fallback import FAILURES_IN_ROW, FallbackEngine
from ssvif_core.inference.onnxruntime_engine import OnnxRuntimeEngine
from ssvif_core.models import open_model

BUILT_FOR = (48, 64)
OTHER = (32, 64)


class OneSize(OnnxRuntimeEngine):
    """As a TensorRT engine: runs the size that it was built for and refuses others."""

    broken = False

    def infer(self, visible, thermal, on_fused=None):
        if self.broken or thermal.shape != BUILT_FOR:
            raise SsvifError(f"this engine was built for {BUILT_FOR}")
        return super().infer(visible, thermal, on_fused)


@pytest.fixture
def engines():
    made = []

    def spare():
        made.append(OnnxRuntimeEngine(open_model("tiny"), EngineOptions(threads=1)))
        return made[-1]

    first = OneSize(open_model("tiny"), EngineOptions(threads=1))
    first.name = "one-size"
    engine = FallbackEngine(first, spare)
    yield engine, first, made
    engine.close()


def infer(engine, size, times=1):
    """How many of so many frames were computed."""
    computed = 0
    for _ in range(times):
        try:
            fused, labels = engine.infer(np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8))
        except SsvifError:
            continue
        assert (fused.shape, labels.shape) == ((*size, 3), size)
        computed += 1
    return computed


def test_single_failures_are_passed_on_and_nothing_is_replaced(engines):
    engine, _, spares = engines
    for _ in range(3):
        assert infer(engine, OTHER, FAILURES_IN_ROW - 1) == 0
        assert infer(engine, BUILT_FOR) == 1
    assert not spares
    assert engine.describe()["engine_fallback"] == ""


def test_after_some_failures_in_a_row_the_spare_computes_and_says_why(engines, caplog):
    engine, _, spares = engines
    assert infer(engine, OTHER, FAILURES_IN_ROW + 3) == 4
    assert len(spares) == 1
    assert engine.name == engine.describe()["engine"] == "onnxruntime"
    assert "one-size fails at 64x32" in engine.describe()["engine_fallback"]
    assert len([r for r in caplog.records if "takes over" in r.getMessage()]) == 1


def test_at_its_own_size_the_engine_is_back(engines):
    engine, _, spares = engines
    assert infer(engine, OTHER, FAILURES_IN_ROW) == 1
    assert infer(engine, BUILT_FOR) == 1
    assert engine.name == "one-size"
    assert engine.describe()["engine_fallback"] == ""
    assert infer(engine, OTHER, FAILURES_IN_ROW) == 1
    assert len(spares) == 1  # made once


def test_one_that_fails_for_good_loses_no_further_frame_when_the_size_changes(engines):
    engine, first, _ = engines
    first.broken = True
    assert infer(engine, OTHER, FAILURES_IN_ROW) == 1
    for size in (BUILT_FOR, OTHER, (16, 16)):
        assert infer(engine, size, 2) == 2


def test_what_the_making_of_the_spare_raises_is_raised_and_tried_again():
    def no_spare():
        raise SsvifError("no memory")

    engine = FallbackEngine(OneSize(open_model("tiny"), EngineOptions(threads=1)), no_spare)
    assert infer(engine, OTHER, 2 * FAILURES_IN_ROW) == 0
    assert infer(engine, BUILT_FOR) == 1
    engine.close()


def test_an_engine_that_cannot_even_warm_up_is_replaced(engines):
    engine, first, made = engines
    first.broken = True
    engine.warm_up(*BUILT_FOR)
    assert len(made) == 1
    assert infer(engine, BUILT_FOR, 3) == 3
    assert engine.describe()["engine_fallback"].startswith("one-size fails at 64x48")


def test_closing_it_closes_the_engine_and_the_spare(engines):
    engine, first, spares = engines
    assert infer(engine, OTHER, FAILURES_IN_ROW) == 1
    engine.close()
    for one, size in ((first, BUILT_FOR), (spares[0], OTHER)):
        with pytest.raises(SsvifError, match="closed"):
            one.infer(np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8))
