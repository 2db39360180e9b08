"""Edge and flat-region losses: cases worked out by hand, and the metrics that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")

from ssvif_core.evaluation.artefacts import flat_artefacts  # noqa: E402
from ssvif_core.evaluation.fusion_metrics import edge_transfer  # noqa: E402
from ssvif_core.training.detail_losses import edge_loss, flat_loss  # noqa: E402


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


def test_the_edge_loss_is_one_minus_the_metric():
    # The metric continues an image with zeros, the loss with itself: fade to black at the border.
    fade = np.outer(np.hanning(96), np.hanning(96))
    visible, thermal = _texture(0) * fade, _texture(1) * fade
    for fused in ((visible + thermal) / 2, np.maximum(visible, thermal), visible):
        metric = edge_transfer(*(x.round() for x in (visible, thermal, fused)))
        loss = edge_loss(*(_frame(x.round()) for x in (fused, visible, thermal))).item()
        # The metric's arctan wraps at the vertical, so that +89 and -89 degrees are far apart.
        assert loss == pytest.approx(1 - metric, abs=0.05)


def test_a_copy_of_two_equal_sources_keeps_every_edge_that_counts():
    image = _frame(_texture(2))
    # Gains of both sigmoids at a perfect match: 0.9994 / (1 + e^-7.5) * 0.9879 / (1 + e^-4.4).
    best = 0.9994 / (1 + np.exp(-7.5)) * 0.9879 / (1 + np.exp(-4.4))
    assert edge_loss(image, image, image).item() == pytest.approx(1 - best, abs=2e-3)


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
