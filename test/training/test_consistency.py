"""Views, assignments, consistency and collapse figures on cases worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")

from ssvif_core.data.pairs import UNKNOWN  # noqa: E402
from ssvif_core.training.assignment import balanced, confident, kmeans, nearest  # noqa: E402
from ssvif_core.training.collapse import (  # noqa: E402
    CollapseAlarm,
    CollapseError,
    CollapseFigures,
    measure,
)
from ssvif_core.training.config import CollapseConfig, ConsistencyConfig  # noqa: E402
from ssvif_core.training.cross_segmentation import cross_segmentation  # noqa: E402
from ssvif_core.training.views import BORDER, draw_window, without_border  # noqa: E402


def test_a_window_shows_the_same_places_in_images_and_in_logits():
    position = torch.arange(128).reshape(1, 1, 1, 128).expand(1, 1, 96, 128)
    coarse = position[..., ::4, ::4]
    mirrored = set()
    for step in range(12):
        window = draw_window(96, 128, seed=3, step=step)
        assert window == draw_window(96, 128, seed=3, step=step)
        assert 0 <= window.top <= 96 - window.height
        assert 0 <= window.left <= 128 - window.width
        image, logits = window.of(position), window.of(coarse, 4)
        assert image.shape[-2:] == (window.height, window.width)
        mirrored.add(window.mirrored)
        # Mirrored or not, each logit stands over the four columns that it stands for.
        assert torch.equal(logits[0, 0, 0] // 4, image[0, 0, 0, ::4] // 4)
    assert mirrored == {True, False}


def test_nothing_near_the_border_is_compared():
    kept = without_border(torch.ones(1, 20, 30, dtype=torch.long))
    n = BORDER // 4
    assert (kept != UNKNOWN).sum() == (20 - 2 * n) * (30 - 2 * n)
    assert (kept[0, :n] == UNKNOWN).all()
    assert (kept[0, :, -n:] == UNKNOWN).all()


def test_only_confident_predictions_become_labels():
    logits = torch.tensor([[2.0, 0.1], [0.0, 0.0]]).reshape(1, 2, 1, 2)
    # Probabilities of class 0: 1 / (1 + e^-2) = 0.88 and 1 / (1 + e^-0.1) = 0.52.
    assert confident(logits, 0.6).flatten().tolist() == [0, UNKNOWN]
    assert confident(logits, 0.5).flatten().tolist() == [0, 0]


def test_balanced_assignment_does_not_give_everything_to_one_class():
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 16, 16)
    logits[:, 0] += 4.0  # by likelihood nearly everything is class 0
    part = (logits.argmax(1) == 0).float().mean()
    assert part > 0.95
    assert 0.5 < (balanced(logits) == 0).float().mean() < 0.9
    # What gets class 0 are the pixels that lean most to it.
    lead = (logits[:, 0] - logits[:, 1]).flatten()
    chosen = (balanced(logits) == 0).flatten()
    assert lead[chosen].min() >= lead[~chosen].max() - 1e-5


def test_kmeans_finds_separate_directions_and_nearest_leaves_out_what_lies_between():
    axes = torch.eye(3)
    torch.manual_seed(0)
    points = torch.cat([axis + 0.05 * torch.randn(50, 3) for axis in axes])
    centres = kmeans(points, 3, seed=0)
    assert torch.allclose((centres @ axes.T).max(1).values, torch.ones(3), atol=0.01)
    assert (centres @ axes.T).argmax(1).sort().values.tolist() == [0, 1, 2]
    features = torch.stack([axes[0], axes[0] + axes[1]], 1).reshape(1, 3, 1, 2)
    labels = nearest(features, axes, margin=0.1)
    assert labels.flatten().tolist() == [0, UNKNOWN]


def test_the_branches_teach_each_other_and_not_themselves():
    config = ConsistencyConfig.model_validate({"targets": "likely", "confidence": 0.0})
    feature = torch.zeros(1, 2, 12, 12, requires_grad=True)
    pixel = torch.zeros(1, 2, 12, 12)
    pixel[:, 1] = 3.0
    pixel.requires_grad_()
    loss_feature, loss_pixel = cross_segmentation(feature, pixel, config)
    # The feature branch is undecided: -log(1/2). It teaches class 0 (the first of two equals) to
    # the pixel branch, which is sure of class 1: -log(1 / (1 + e^3)).
    assert loss_feature.item() == pytest.approx(math.log(2), rel=1e-5)
    assert loss_pixel.item() == pytest.approx(math.log(1 + math.exp(3)), rel=1e-5)
    loss_feature.backward()
    assert feature.grad is not None
    assert pixel.grad is None


def test_probabilities_move_the_branches_to_each_other_and_not_to_what_is_frequent():
    config = ConsistencyConfig.model_validate({"targets": "soft"})
    feature = torch.zeros(1, 2, 12, 12, requires_grad=True)  # 1/2, 1/2
    pixel = torch.zeros(1, 2, 12, 12)
    pixel[:, 1] = math.log(3)  # 1/4, 3/4
    pixel.requires_grad_()
    loss_feature, loss_pixel = cross_segmentation(feature, pixel, config)
    assert loss_feature.item() == pytest.approx(math.log(2), rel=1e-5)
    # -1/2 log(1/4) - 1/2 log(3/4)
    assert loss_pixel.item() == pytest.approx(-math.log(3 / 16) / 2, rel=1e-5)
    # Who teaches learns nothing by it.
    for loss, teacher in ((loss_feature, pixel), (loss_pixel, feature)):
        assert torch.autograd.grad(loss, teacher, retain_graph=True, allow_unused=True) == (None,)
    # The gradient of a pixel's logits is p - q, here (1/2 - 1/4), over the 4 x 4 pixels compared.
    (gradient,) = torch.autograd.grad(loss_feature, feature)
    assert gradient[0, 0, 6, 6].item() == pytest.approx(0.25 / 16, rel=1e-5)
    assert gradient[0, 0, 2, 2].item() == 0.0
    # Two branches that agree leave each other alone.
    same, _ = cross_segmentation(feature, feature.detach().clone(), config)
    (gradient,) = torch.autograd.grad(same, feature)
    assert gradient.abs().max() < 1e-7


def test_without_confidence_nothing_is_taught_and_the_loss_is_zero():
    config = ConsistencyConfig.model_validate({"targets": "likely", "confidence": 0.9})
    logits = torch.zeros(1, 4, 12, 12, requires_grad=True)
    losses = cross_segmentation(logits, logits.detach().clone().requires_grad_(), config)
    assert [loss.item() for loss in losses] == [0.0, 0.0]


def _figures(predict):
    visible, thermal = torch.rand(4, 3, 128, 160), torch.rand(4, 1, 128, 160)
    return measure(predict, visible, thermal)


def _one_hot(labels, classes=4):
    return torch.nn.functional.one_hot(labels, classes).permute(0, 3, 1, 2).float()


def test_one_cluster_for_everything_is_seen():
    figures = _figures(lambda v, t: _one_hot(torch.zeros_like(v[:, 0, ::4, ::4]).long()))
    assert figures.perplexity == pytest.approx(1.0)
    assert figures.used == 1


def test_one_cluster_for_each_image_is_seen():
    def predict(v, t):
        labels = torch.arange(4).reshape(4, 1, 1).expand(4, v.shape[2] // 4, v.shape[3] // 4)
        return _one_hot(labels)

    figures = _figures(predict)
    assert figures.perplexity == pytest.approx(4.0)
    assert figures.image_perplexity == pytest.approx(1.0)


def test_clusters_that_follow_the_border_are_seen():
    def predict(v, t):
        labels = torch.ones_like(v[:, 0, ::4, ::4]).long()
        n = BORDER // 4
        labels[:, n:-n, n:-n] = 0
        return _one_hot(labels)

    assert _figures(predict).border == pytest.approx(1.0)


def test_clusters_that_move_with_the_image_are_stable_and_those_of_the_grid_are_not():
    def of_the_image(v, t):
        return _one_hot((v[:, 0, ::4, ::4] * 4).long().clamp(max=3))

    def of_the_grid(v, t):
        columns = torch.arange(v.shape[3] // 4) % 4
        return _one_hot(columns.expand(4, v.shape[2] // 4, -1))

    assert _figures(of_the_image).stability == pytest.approx(1.0)
    assert _figures(of_the_grid).stability == pytest.approx(0.0)


def test_the_alarm_ends_a_run_only_after_several_bad_looks_in_a_row():
    good = CollapseFigures(6.0, 3.0, 8, 0.1, 0.9)
    bad = CollapseFigures(1.1, 1.1, 1, 0.1, 0.9)
    alarm = CollapseAlarm(CollapseConfig.model_validate({"patience": 2}))
    alarm.look(bad)
    alarm.look(good)
    alarm.look(bad)
    with pytest.raises(CollapseError, match="one cluster"):
        alarm.look(bad)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"perplexity": 2.0}, "almost everything is one cluster"),
        ({"used": 2}, "hardly any cluster is used"),
        ({"image_perplexity": 1.2}, "each image is one cluster"),
        ({"border": 0.7}, "follow the image border"),
        ({"stability": 0.3}, "do not move with the image"),
    ],
)
def test_each_figure_alone_raises_the_alarm_and_is_named(changes, reason):
    figures = CollapseFigures(6.0, 3.0, 8, 0.1, 0.9)
    alarm = CollapseAlarm(CollapseConfig.model_validate({"patience": 1}))
    alarm.look(figures)
    with pytest.raises(CollapseError, match=reason):
        alarm.look(dataclasses.replace(figures, **changes))
