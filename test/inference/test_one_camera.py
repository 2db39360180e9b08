"""The pipeline with one camera missing, on the shipped model."""

from __future__ import annotations

import numpy as np
import pytest

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.engine import EngineOptions, create_engine
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.models import open_model


@pytest.fixture
def pipeline():
    engine, _ = create_engine(open_model("tiny"), options=EngineOptions(threads=1))
    yield Pipeline(engine, ThermalGain())
    engine.close()


def test_a_missing_camera_is_black_to_the_network(pipeline, frame_pairs):
    visible, thermal, _ = frame_pairs[0]
    for only in ({"visible": visible, "thermal": None}, {"visible": None, "thermal": thermal}):
        black = {"visible": np.zeros_like(visible), "thermal": np.zeros_like(thermal)}
        whole = {name: black[name] if image is None else image for name, image in only.items()}
        expected = pipeline.process(**whole)
        fused, labels = expected.fused.copy(), expected.labels.copy()
        result = pipeline.process(**only)
        assert np.array_equal(result.fused, fused)
        assert np.array_equal(result.labels, labels)


def test_what_the_living_camera_shows_is_what_is_fused(pipeline, frame_pairs):
    visible, thermal, _ = frame_pairs[0]
    seen = pipeline.process(visible, None).fused.astype(float)
    felt = pipeline.process(None, thermal).fused.astype(float).mean(2)
    assert np.corrcoef(seen.ravel(), visible.ravel())[0, 1] > 0.9
    assert np.corrcoef(felt.ravel(), thermal.ravel())[0, 1] > 0.9


def test_without_a_visible_image_the_output_has_the_size_of_the_last_one(pipeline):
    thermal = np.full((64, 80), 90, np.uint8)
    assert pipeline.process(None, thermal).fused.shape == (64, 80, 3)
    pipeline.process(np.zeros((128, 160, 3), np.uint8), thermal)
    assert pipeline.process(None, thermal).fused.shape == (128, 160, 3)
    pipeline.process(np.zeros((96, 128, 3), np.uint8), None)
    assert pipeline.process(None, thermal).labels.shape == (96, 128)


def test_passthrough_hands_on_the_image_itself_with_unknown_labels(pipeline, frame_pairs):
    visible, thermal, _ = frame_pairs[0]
    result = pipeline.process(visible, None, passthrough=True)
    assert result.fused is visible
    assert (result.labels == 255).all() and result.labels.shape == visible.shape[:2]
    result = pipeline.process(None, thermal, passthrough=True)
    assert np.array_equal(result.fused, np.repeat(thermal[..., None], 3, axis=2))
    both = pipeline.process(visible, thermal, passthrough=True)
    assert (both.labels != 255).all()  # with both cameras there is nothing to pass through
    small = pipeline.process(visible[:64, :80], None, passthrough=True)
    assert small.labels.shape == (64, 80)
    assert (small.labels == 255).all()


def test_the_gain_keeps_its_limits_while_thermal_is_missing(pipeline):
    visible = np.zeros((64, 80, 3), np.uint8)
    counts = (7000 + np.arange(64 * 80).reshape(64, 80) % 300).astype(np.uint16)
    pipeline.process(visible, counts, 10.0)
    limits = pipeline.gain.limits
    pipeline.process(visible, None, 11.0)
    assert pipeline.gain.limits == limits


def test_no_image_at_all_is_a_clear_error(pipeline):
    with pytest.raises(SsvifError, match="neither a visible nor a thermal image"):
        pipeline.process(None, None)
    with pytest.raises(SsvifError, match="thermal image is empty"):
        pipeline.process(None, np.zeros((0, 0), np.uint8))
