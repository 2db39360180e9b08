"""A probe finds what is linearly there, and only that."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (extra `train`)")
from ssvif_core.data.pairs import FramePair  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.evaluation.linear_probe import (  # noqa: E402
    Features,
    colour_features,
    fit_linear_probe,
    network_features,
)
from ssvif_core.network.fusion_network import FusionNetwork  # noqa: E402


def warm_blocks(seed):
    """Blocks of 16 x 16 pixels, some warm (class 1), on random colours: thermal alone tells."""
    rng = np.random.default_rng(seed)
    blocks = (rng.random((6, 8)) < 0.3).astype(np.uint8)
    labels = np.kron(blocks, np.ones((16, 16), np.uint8))
    visible = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)
    return FramePair(str(seed), visible, 40 + 150 * labels, labels)


def test_classes_that_a_feature_tells_apart_are_found_on_new_frames():
    probe = fit_linear_probe(colour_features(), [warm_blocks(i) for i in range(4)], 2)
    matrix = probe.score([warm_blocks(i) for i in (8, 9)])
    assert matrix.counts.sum() == 2 * 96 * 128
    # Interpolated logits round the corners of blocks, hence not 1.
    assert matrix.iou().min() > 0.85


def test_features_that_know_nothing_give_no_classes():
    constant = Features(lambda v, t: torch.ones(3, 12, 16), 8)
    probe = fit_linear_probe(constant, [warm_blocks(0)], 2)
    assert probe.weight.abs().max() < 1e-3
    assert np.unique(probe.labels(warm_blocks(1))).size == 1


def test_a_fit_is_repeatable_and_at_the_minimum():
    pairs = [warm_blocks(i) for i in range(3)]
    first, second = (fit_linear_probe(colour_features(), pairs, 2, seed=5) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    # Softmax regression with an L2 penalty: the columns of the best weights add up to 0.
    assert first.weight.sum(1).abs().max() < 1e-3


def test_a_networks_features_are_cut_to_the_image_and_probed():
    torch.manual_seed(0)
    features = network_features(FusionNetwork("tiny", 2))
    rng = np.random.default_rng(0)
    labels = np.zeros((75, 107), np.uint8)
    labels[20:50, 30:80] = 1
    labels[:5] = 255
    pair = FramePair(
        "odd",
        rng.integers(0, 256, (75, 107, 3), np.uint8),
        30 + 150 * (labels == 1).astype(np.uint8),
        labels,
    )
    assert features.of(pair).shape == (32, 10, 14)
    matrix = fit_linear_probe(features, [pair], 2).score([pair])
    assert matrix.counts.sum() == 70 * 107
    assert matrix.iou()[1] > 0.5


def test_colour_features_are_mean_and_deviation_of_each_cell():
    pair = warm_blocks(0)
    grid = colour_features(8).of(pair)
    assert grid.shape == (8, 12, 16)
    cell = pair.visible[8:16, 16:24, 1].astype(float)
    assert grid[1, 1, 2] == pytest.approx(cell.mean(), rel=1e-4)
    assert grid[5, 1, 2] == pytest.approx(cell.std(), rel=1e-3)


def test_frames_without_labels_and_labels_out_of_range_are_refused():
    pair = warm_blocks(0)
    with pytest.raises(SsvifError, match="frames with labels"):
        fit_linear_probe(colour_features(), [FramePair("x", pair.visible, pair.thermal)], 2)
    with pytest.raises(SsvifError, match="not one of 1"):
        fit_linear_probe(colour_features(), [pair], 1)
