"""The small segmenter tells images that show the objects from images that do not."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (extra `train`)")
from ssvif_core.data.pairs import FramePair  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.evaluation.methods import SOURCES  # noqa: E402
from ssvif_core.evaluation.segmentability import segmentability, summarise  # noqa: E402
from ssvif_core.evaluation.segmentation_metrics import ConfusionMatrix  # noqa: E402
from ssvif_core.evaluation.small_segmenter import (  # noqa: E402
    LabelledImage,
    Recipe,
    SmallSegmenter,
    _Crops,
    train_segmenter,
)

QUICK = Recipe(steps=40, batch_size=4, crop=(64, 64), learning_rate=0.01)


def night(seed):
    """A person-sized warm rectangle that the visible camera does not see."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((80, 96), np.uint8)
    top, left = rng.integers(4, 40, 2)
    labels[top : top + 32, left : left + 24] = 1
    visible = rng.integers(0, 40, (80, 96, 3), dtype=np.uint8)
    thermal = (60 + 120 * labels + rng.integers(0, 20, labels.shape)).astype(np.uint8)
    return FramePair(str(seed), visible, thermal, labels)


TRAIN, TEST = [night(i) for i in range(8)], [night(i) for i in range(20, 24)]


def test_images_that_show_the_object_score_and_images_that_do_not_do_not():
    scores = {
        name: summarise(segmentability(SOURCES[name], TRAIN, TEST, 2, recipe=QUICK), ["b", "p"])
        for name in ("visible", "thermal")
    }
    assert scores["thermal"]["objects"] > 0.7
    assert scores["visible"]["objects"] < 0.4


def test_the_same_seed_gives_the_same_figures_whatever_else_drew_random_numbers():
    recipe = Recipe(steps=3, batch_size=2, crop=(32, 32))
    first = segmentability(SOURCES["thermal"], TRAIN, TEST, 2, (0, 1), recipe)
    torch.rand(7)
    state = torch.get_rng_state()
    second = segmentability(SOURCES["thermal"], TRAIN, TEST, 2, (0, 1), recipe)
    assert torch.equal(state, torch.get_rng_state())
    assert [m.counts.tolist() for m in first] == [m.counts.tolist() for m in second]
    assert first[0].counts.tolist() != first[1].counts.tolist()


def test_brightness_and_contrast_as_such_gain_nothing():
    """Standardised inputs: an affine change of all images leads to the same network output."""
    recipe = Recipe(steps=3, batch_size=2, crop=(32, 32))
    plain = [
        LabelledImage(SOURCES["thermal"](p.visible, p.thermal).image // 2, p.labels) for p in TRAIN
    ]
    brighter = [LabelledImage(frame.image * 2 + 9, frame.labels) for frame in plain]
    outputs = []
    for frames in (plain, brighter):
        network = train_segmenter(frames, 2, 0, recipe)
        image = torch.from_numpy(frames[0].image).permute(2, 0, 1)[None] / 255.0
        outputs.append(network(image).detach())
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("steps", [1, 2, 10, 20])
def test_any_number_of_steps_trains(steps):
    recipe = Recipe(steps=steps, batch_size=2, crop=(32, 32))
    rates = [recipe.rate(step) for step in range(steps)]
    assert max(rates) <= 1 and min(rates) > 0
    matrix = segmentability(SOURCES["thermal"], TRAIN[:2], TEST[:1], 2, recipe=recipe)[0]
    assert matrix.counts.sum() == 80 * 96


def test_the_learning_rate_warms_up_for_a_tenth_and_falls_to_nothing():
    rates = [Recipe(steps=600).rate(step) for step in range(600)]
    assert rates[0] == pytest.approx(1 / 60)
    assert 50 < int(np.argmax(rates)) < 61
    assert rates[300] == pytest.approx(0.5)
    assert rates[-1] < 1e-4


def test_every_method_sees_the_same_crops(monkeypatch):
    drawn = []
    at = _Crops.at

    def spy(crops, step):
        drawn.append(at(crops, step))
        return drawn[-1]

    monkeypatch.setattr(_Crops, "at", spy)
    steps = []
    for name in ("visible", "thermal"):
        segmentability(
            SOURCES[name], TRAIN, TEST, 2, (3,), Recipe(steps=2, crop=(32, 32)),
            on_step=lambda: steps.append(1),
        )  # fmt: skip
    assert len(drawn) == len(steps) == 2 * 2
    for (visible, labels), (thermal, same) in zip(drawn[:2], drawn[2:], strict=True):
        assert torch.equal(labels, same)
        assert not torch.equal(visible, thermal)


def test_crops_hold_objects_and_depend_on_seed_and_step_alone():
    recipe = Recipe(batch_size=16, crop=(32, 32), object_crops=1.0)
    frames = [LabelledImage(np.dstack([p.labels] * 3), p.labels) for p in TRAIN]
    dark = [LabelledImage(np.zeros_like(f.image), f.labels) for f in frames]
    images, labels = _Crops(frames, recipe, 2, 7).at(5)
    _, same = _Crops(dark, recipe, 2, 7).at(5)
    assert torch.equal(labels, same)
    assert (labels == 1).flatten(1).any(1).all()
    # Image and labels are cut and flipped alike.
    assert torch.equal((images[:, 0] * 255).round().long(), labels)


def test_the_segmenter_is_small_and_keeps_the_size_of_the_image():
    network = SmallSegmenter(4).eval()
    assert 150_000 < sum(p.numel() for p in network.parameters()) < 250_000
    assert network(torch.zeros(1, 3, 75, 107)).shape == (1, 4, 75, 107)


def test_a_crop_fits_into_the_smallest_frame():
    frames = [
        LabelledImage(np.zeros((s, 400, 3), np.uint8), np.zeros((s, 400), np.uint8))
        for s in (300, 250)
    ]
    assert Recipe().fitting(frames).crop == (240, 320)
    with pytest.raises(SsvifError, match="too small"):
        Recipe().fitting(
            [LabelledImage(np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), np.uint8))]
        )


def test_a_summary_over_seeds_has_mean_and_spread():
    matrices = [ConfusionMatrix(3) for _ in range(2)]
    matrices[0].counts = np.array([[4, 0, 0], [0, 2, 2], [0, 0, 0]])  # class 1: 2/4; class 2: 0/2
    matrices[1].counts = np.array([[4, 0, 0], [0, 4, 0], [0, 0, 1]])  # both 1
    summary = summarise(matrices, ["background", "car", "person"])
    assert summary["car"] == pytest.approx(0.75)
    assert summary["objects"] == pytest.approx((0.25 + 1) / 2)
    assert summary["objects spread"] == pytest.approx(0.75 / np.sqrt(2))


def test_a_set_without_labels_or_with_unknown_classes_is_refused():
    bare = [FramePair("x", p.visible, p.thermal) for p in TRAIN]
    with pytest.raises(SsvifError, match="to train on"):
        segmentability(SOURCES["visible"], bare, TEST, 2)
    with pytest.raises(SsvifError, match="to score on"):
        segmentability(SOURCES["visible"], TRAIN, bare, 2)
    with pytest.raises(SsvifError, match="not one of 1"):
        segmentability(SOURCES["visible"], TRAIN, TEST, 1)
