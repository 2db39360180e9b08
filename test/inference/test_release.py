"""A pipeline without an engine, as a node that is not active has it."""

from __future__ import annotations

import numpy as np
import pytest

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.engine import EngineOptions, create_engine
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.models import open_model

FRAME = np.full((32, 32, 3), 90, np.uint8), np.full((32, 32), 60, np.uint8)


def engine():
    return create_engine(open_model("tiny"), "onnxruntime", EngineOptions(threads=1))[0]


def closed(made):
    try:
        made.infer(*FRAME)
    except SsvifError as error:
        return "closed" in str(error)
    return False


def test_a_released_engine_is_closed_and_another_goes_on_with_the_same_answer():
    first, second = engine(), engine()
    pipeline = Pipeline(first, ThermalGain())
    fused = pipeline.process(*FRAME).fused.copy()
    pipeline.release()
    assert pipeline.released and closed(first)
    with pytest.raises(SsvifError, match="closed"):
        pipeline.process(*FRAME)
    pipeline.release()  # twice is no harm
    pipeline.resume(second)
    assert not pipeline.released
    assert (pipeline.process(*FRAME).fused == fused).all()
    pipeline.close()
    assert closed(second)


def test_an_engine_that_is_handed_over_meanwhile_is_closed_at_once():
    pipeline, late, third = Pipeline(engine(), ThermalGain()), engine(), engine()
    pipeline.release()
    pipeline.replace_engine(late)
    assert closed(late)
    pipeline.resume(third)
    pipeline.process(*FRAME)
    assert pipeline.engine is third


def test_an_engine_that_waits_its_turn_is_released_too():
    pipeline, waiting = Pipeline(engine(), ThermalGain()), engine()
    pipeline.replace_engine(waiting)
    pipeline.release()
    assert closed(waiting)
