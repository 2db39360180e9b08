"""The order of the walk: what a thermal frame goes through, and what is remembered of it."""

from __future__ import annotations

import numpy as np
import pytest

from ssvif_core.imaging.thermal_cleaning import ThermalCleaning
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.engine import EngineOptions, create_engine
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.models import open_model


@pytest.fixture(scope="module")
def engine():
    made, _ = create_engine(open_model("tiny"), options=EngineOptions(threads=1))
    yield made
    made.close()


def test_a_thermal_frame_is_cleaned_and_then_gained_at_its_stamp(engine):
    random = np.random.default_rng(0)
    stripes, visible = random.normal(0, 20, 80), np.zeros((64, 80, 3), np.uint8)
    pipeline = Pipeline(engine, ThermalGain(), cleaning=ThermalCleaning(stripes="columns"))
    cleaning, gain = ThermalCleaning(stripes="columns"), ThermalGain()
    # The second frame, a moment later, has twice the range: the gain goes a part of the way.
    for stamp_s, span in ((10.0, 300), (10.1, 600)):
        raw = (7000 + random.uniform(0, span, (64, 80)) + stripes).astype(np.uint16)
        expected = gain.apply(cleaning.apply(raw), stamp_s)
        assert np.array_equal(pipeline.process(visible, raw, stamp_s).thermal, expected)
    low, high = pipeline.gain.limits
    assert 250 < high - low < 400


def test_the_sizes_of_the_last_pair_are_remembered_as_width_and_height(engine):
    pipeline = Pipeline(engine, ThermalGain())
    pipeline.process(np.zeros((64, 80, 3), np.uint8), np.zeros((24, 32), np.uint8))
    assert pipeline.sizes == ((80, 64), (32, 24))
    pipeline.process(None, np.zeros((48, 64), np.uint8))  # alone it is no pair
    assert pipeline.sizes == ((80, 64), (32, 24))
