"""Edge, flat-region and halo losses: cases worked out by hand, and the metrics they stand for."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")

from ssvif_core.evaluation.artefacts import flat_artefacts  # noqa: E402
from ssvif_core.evaluation.fusion_metrics import edge_transfer  # noqa: E402
from ssvif_core.evaluation.halos import halo_steepness  # noqa: E402
from ssvif_core.training.detail_losses import edge_loss, flat_loss, halo_loss  # noqa: E402


def _frame(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).float()[None, None] / 255


def _texture(seed: int, size: int = 96) -> np.ndarray:
    """Smooth random relief, 0..255 float64."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(size, size))
    spectrum = np.fft.fft2(waves)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    relief = np.fft.ifft2(spectrum * np.exp(-((frequency / 0.08) ** 2))).real
    return (relief - relief.min()) / np.ptp(relief) * 255


def test_the_edge_loss_is_one_minus_the_metric_where_edges_have_one_sign():
    # The metric continues an image with zeros, the loss with itself: fade to black at the border.
    fade = np.outer(np.hanning(96), np.hanning(96))
    visible = _texture(0) * fade
    thermal = visible**2 / 255  # other strengths, no edge the other way round
    for fused in ((visible + thermal) / 2, _texture(1) * fade, thermal):
        metric = edge_transfer(*(x.round() for x in (visible, thermal, fused)))
        loss = edge_loss(*(_frame(x.round()) for x in (fused, visible, thermal))).item()
        # The metric's arctan wraps at the vertical, so that +89 and -89 degrees are far apart.
        assert loss == pytest.approx(1 - metric, abs=0.05)


def test_a_copy_of_two_equal_sources_keeps_every_edge_that_counts():
    image = _frame(_texture(2))
    # Gains of both sigmoids at a perfect match: 0.9994 / (1 + e^-7.5) * 0.9879 / (1 + e^-4.4).
    best = 0.9994 / (1 + np.exp(-7.5)) * 0.9879 / (1 + np.exp(-4.4))
    assert edge_loss(image, image, image).item() == pytest.approx(1 - best, abs=2e-3)


def test_the_weaker_of_two_opposed_edges_asks_for_nothing():
    weak, strong = np.full((2, 64, 64), 100.0)
    weak[:, 32:], strong[:, 32:] = 130, 20  # up by 30, down by 80
    copy = edge_loss(*(_frame(x) for x in (strong, weak, strong))).item()
    alone = edge_loss(*(_frame(x) for x in (strong, strong, strong))).item()
    assert copy == pytest.approx(alone, abs=0.015)  # faint noise of the flat parts counts
    # Modulo pi a rim that shows the weaker edge beside the stronger one would earn something.
    rim = strong.copy()
    rim[:, 28:32] -= 50
    assert edge_loss(*(_frame(x) for x in (rim, weak, strong))).item() > copy + 0.1
    # Of one sign, both count: a copy of the stronger one keeps the weaker one in part only.
    same = edge_loss(*(_frame(x) for x in (strong, 200 - weak, strong))).item()
    assert same > copy + 0.05


def test_the_halo_loss_is_the_metric_on_a_rim():
    columns = np.arange(128)
    visible = np.where(columns < 64, 230.0, 90.0) + np.zeros((64, 1))
    thermal = np.where(columns < 64, 10.0, 160.0) + np.zeros((64, 1))
    rim = np.maximum(visible, thermal) - np.clip(columns - 50, 0, 14) * 4.0 * (columns < 64)
    loss = halo_loss(*(_frame(x) for x in (rim, visible, thermal))).item()
    assert loss == pytest.approx(halo_steepness(rim, visible, thermal), rel=0.25)
    clean = halo_loss(*(_frame(x) for x in (np.maximum(visible, thermal), visible, thermal)))
    assert clean.item() < 0.02


def test_a_frame_without_a_strong_edge_asks_for_no_halo_loss():
    fused = _frame(_texture(4)).requires_grad_()
    flat = _frame(np.full((96, 96), 100.0))
    loss = halo_loss(fused, flat, flat)
    loss.backward()
    assert loss.item() == 0
    assert fused.grad.abs().max() == 0


def test_the_flat_loss_is_the_metric_on_a_checkerboard():
    smooth = np.full((64, 64), 100.0)
    board = smooth + np.indices((64, 64)).sum(0) % 2 * 2 - 1  # +-1 grey level
    loss = flat_loss(*(_frame(x) for x in (board, smooth, smooth))).item()
    assert loss == pytest.approx(1.0, abs=0.05)  # windows at the border hold less of it
    assert loss == pytest.approx(flat_artefacts(board, smooth, smooth), abs=0.05)


def test_an_average_adds_no_noise_and_a_gain_does():
    rng = np.random.default_rng(3)
    visible, thermal = (100 + rng.normal(0, 2, (64, 64)) for _ in range(2))
    mean = flat_loss(*(_frame(x) for x in ((visible + thermal) / 2, visible, thermal))).item()
    loud = flat_loss(*(_frame(x) for x in (visible * 2 - 100, visible, thermal))).item()
    assert mean < 0.05 < 1.0 < loud


def test_textured_regions_are_free_of_the_flat_loss():
    texture = _texture(4, 64)
    board = texture + np.indices((64, 64)).sum(0) % 2 * 20
    assert flat_loss(*(_frame(x) for x in (board, texture, texture))).item() < 0.011


def test_both_have_finite_gradients_on_black_frames_and_on_equal_ones():
    for fused in (torch.zeros(1, 1, 32, 32), torch.full((1, 1, 32, 32), 0.5)):
        fused.requires_grad_()
        other = torch.zeros(1, 1, 32, 32)
        (edge_loss(fused, other, other) + flat_loss(fused, other, other)).backward()
        assert torch.isfinite(fused.grad).all()
