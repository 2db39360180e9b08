"""Which frames crops are cut from."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")

from ssvif_core.data.batches import BatchMaker, WeightedPairs  # noqa: E402
from ssvif_core.data.pairs import UNKNOWN, FramePair  # noqa: E402

FRAMES, SIDE = 20, 64


def one_labelled_frame() -> list[FramePair]:
    """Frames of 64 x 64, of which the fourth has labels, a car in its corner."""
    visible = np.full((SIDE, SIDE, 3), 128, np.uint8)
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[:4, :4] = 1
    return [
        FramePair(str(i), visible, visible[..., 0], labels if i == 3 else None)
        for i in range(FRAMES)
    ]


def crops(**settings) -> torch.Tensor:
    """Labels (N, 32, 32) of many crops."""
    maker = BatchMaker(
        [WeightedPairs(one_labelled_frame(), 1)], 4, (32, 32), seed=[0], photometric=False,
        **settings,
    )  # fmt: skip
    return torch.cat([maker.at(step).labels for step in range(100)])


def part_of_background_crops(labels: torch.Tensor) -> float:
    """Part of the crops that say what background is and show no car."""
    known, car = (labels != UNKNOWN).flatten(1).any(1), (labels == 1).flatten(1).any(1)
    return float((known & ~car).float().mean())


def test_with_one_labelled_frame_of_twenty_most_labelled_crops_show_an_object():
    labels = crops(object_crops=0.5)
    assert float((labels == 1).flatten(1).any(1).float().mean()) > 0.4
    assert part_of_background_crops(labels) < 0.1


def test_crops_of_labelled_frames_that_hold_no_object_can_be_asked_for():
    assert part_of_background_crops(crops(object_crops=0.2, labelled_crops=0.8)) > 0.2


def test_where_no_frame_has_labels_any_frame_is_drawn():
    pairs = [FramePair(p.name, p.visible, p.thermal) for p in one_labelled_frame()]
    maker = BatchMaker([WeightedPairs(pairs, 1)], 4, (32, 32), 0.5, [0], False, 0.9)
    assert (maker.at(0).labels == UNKNOWN).all()
