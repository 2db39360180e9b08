"""What cameras do to a scene, at random: crops, flips, exposure, thermal gain, noise, darkness.

Geometry works on numpy pairs (OpenCV), photometry on torch batches; both are pure functions of
the random generator that is handed in, so that a run can be repeated and resumed.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from ssvif_core.data.pairs import UNKNOWN, FramePair

__all__ = ["augment_thermal", "augment_visible", "random_crop"]

#: Crops show the scene enlarged up to twice and reduced to 0.6: people between 10 and 60 m.
SCALE_RANGE = (0.6, 2.0)
#: Probability that one of the cameras is out of focus.
BLUR = 0.12
LUMA = (0.299, 0.587, 0.114)


def random_crop(
    pair: FramePair,
    size: tuple[int, int],
    rng: np.random.Generator,
    centre: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut a window at random scale and place, resize it to `size`, flip it half of the time.

    Args:
        pair: source frames.
        size: rows and columns of the result.
        rng: randomness.
        centre: (row, column) that the window has to hold, or None for anywhere.

    Returns:
        visible (h, w, 3) uint8, thermal (h, w) uint8, labels (h, w) uint8 (255 if there are none).
    """
    height, width = pair.thermal.shape
    scale = np.exp(rng.uniform(*np.log(SCALE_RANGE)))
    scale = max(scale, size[0] / height, size[1] / width)
    rows, columns = int(size[0] / scale), int(size[1] / scale)
    if centre is None:
        top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    else:
        place = rng.uniform(0.15, 0.85, 2)
        top = int(np.clip(centre[0] - place[0] * rows, 0, height - rows))
        left = int(np.clip(centre[1] - place[1] * columns, 0, width - columns))
    window = (slice(top, top + rows), slice(left, left + columns))
    target = size[::-1]
    visible = cv2.resize(pair.visible[window], target, interpolation=cv2.INTER_LINEAR)
    thermal = cv2.resize(pair.thermal[window], target, interpolation=cv2.INTER_LINEAR)
    if rng.random() < BLUR:
        visible = cv2.GaussianBlur(visible, (0, 0), rng.uniform(0.5, 1.5))
    if rng.random() < BLUR:
        thermal = cv2.GaussianBlur(thermal, (0, 0), rng.uniform(0.5, 1.5))
    if pair.labels is None:
        labels: np.ndarray = np.full(size, UNKNOWN, np.uint8)
    else:
        labels = cv2.resize(pair.labels[window], target, interpolation=cv2.INTER_NEAREST)
    if rng.random() < 0.5:
        return visible[:, ::-1], thermal[:, ::-1], labels[:, ::-1]
    return visible, thermal, labels


class _Draw:
    """Random numbers of shape (B, 1, 1, 1) from one generator."""

    def __init__(self, batch: int, generator: torch.Generator) -> None:
        self.shape, self.generator = (batch, 1, 1, 1), generator

    def uniform(self, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(self.shape, generator=self.generator)

    def spread(self, sigma: float) -> Tensor:
        """Log-normal factors around 1."""
        return (sigma * torch.randn(self.shape, generator=self.generator)).exp()

    def shift(self, sigma: float) -> Tensor:
        return sigma * torch.randn(self.shape, generator=self.generator)

    def chance(self, probability: float) -> Tensor:
        return torch.rand(self.shape, generator=self.generator) < probability


def _sensor(x: Tensor, draw: _Draw, noise: float) -> Tensor:
    """Noise for half of the frames, the same for all channels (read-out noise is gray)."""
    sigma = draw.uniform(0.0, noise) * draw.chance(0.5)
    return x + sigma * torch.randn(x[:, :1].shape, generator=draw.generator)


def _dimmed(x: Tensor, draw: _Draw, dim: float, dark: float) -> Tensor:
    """Scale some frames down to a few grey levels, and some to nothing at all."""
    x = torch.where(draw.chance(dim), x * draw.uniform(0.05, 0.6), x)
    return torch.where(draw.chance(dark), torch.zeros_like(x), x)


def augment_visible(rgb: Tensor, generator: torch.Generator) -> Tensor:
    """Exposure, gamma, contrast, white balance, saturation, darkness and noise.

    Shapes: (B, 3, H, W) float in [0, 1] -> the same.
    """
    draw = _Draw(len(rgb), generator)
    rgb = rgb.clamp(1e-4, 1.0) ** draw.spread(0.25) * draw.spread(0.25)
    mean = rgb.mean((1, 2, 3), keepdim=True)
    rgb = mean + (rgb - mean) * draw.spread(0.2)
    balance = (0.08 * torch.randn((len(rgb), 3, 1, 1), generator=generator)).exp()
    luma = (rgb * rgb.new_tensor(LUMA).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
    rgb = luma + (rgb * balance - luma) * draw.uniform(0.2, 1.3)
    return _sensor(_dimmed(rgb, draw, 0.15, 0.04), draw, 0.04).clamp(0.0, 1.0)


def augment_thermal(thermal: Tensor, generator: torch.Generator) -> Tensor:
    """Gain control of other cameras: percentile stretch, gain, offset, gamma; darkness and noise.

    White stays hot. Shapes: (B, 1, H, W) float in [0, 1] -> the same.
    """
    draw = _Draw(len(thermal), generator)
    flat = thermal.flatten(1)
    limits = torch.quantile(flat[:, ::7], torch.tensor([0.01, 0.995]), dim=1)
    low, high = limits[0].reshape(-1, 1, 1, 1), limits[1].reshape(-1, 1, 1, 1)
    stretched = ((thermal - low) / (high - low).clamp(min=0.05)).clamp(0.0, 1.0)
    thermal = torch.where(draw.chance(0.35), stretched, thermal)
    thermal = thermal.clamp(1e-4, 1.0) ** draw.spread(0.2) * draw.spread(0.25)
    thermal = thermal + draw.shift(0.05)
    return _sensor(_dimmed(thermal, draw, 0.1, 0.04), draw, 0.03).clamp(0.0, 1.0)
