"""Fusion terms that look at every pixel: whose edge it shows, noise and shading that no camera saw.

All are figures of the evaluation made differentiable (`evaluation/fusion_metrics.py`,
`evaluation/artefacts.py`, `evaluation/halos.py`), so read those figures of a network that was
trained with them with that in mind. All maps are (B, 1, H, W) luminance in [0, 1].
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ssvif_core.evaluation.artefacts import ENERGY_WINDOW, FLAT_DEVIATION, FLAT_WINDOW
from ssvif_core.evaluation.fusion_metrics import EDGE_ANGLE, EDGE_STRENGTH
from ssvif_core.evaluation.halos import CLEAR, NEAR, SMOOTH, STRONG

__all__ = ["edge_loss", "flat_loss", "halo_loss"]

FULL_SCALE = 255.0
#: Sobel response, in grey levels, below which an edge has no angle worth asking for.
FAINT = 0.1
#: Windows are taken two pixels apart: they overlap all the same, and cost a third.
STRIDE = 2


def edge_loss(fused: Tensor, luma: Tensor, thermal: Tensor) -> Tensor:
    """1 - Q^AB/F: the part of both sources' edges, by strength and angle, that is not kept.

    Angles are compared modulo pi with a soft corner at 0, where the metric has a kink. Where both
    cameras' edges have opposite signs, the weaker one does not count: modulo pi a dark rim beside
    the stronger edge would keep it as well.
    """
    sources = [_sobel(source) for source in (luma, thermal)]
    weights = _without_opposed(*sources)
    fx, fy = _sobel(fused)
    strength_f = (fx * fx + fy * fy + FAINT**2).sqrt()
    kept, possible = fused.new_zeros(()), fused.new_zeros(())
    for (sx, sy), weight in zip(sources, weights, strict=True):
        strength = (sx * sx + sy * sy + FAINT**2).sqrt()
        ratio = torch.minimum(strength, strength_f) / torch.maximum(strength, strength_f)
        across, along = (sx * fy - sy * fx).abs(), (sx * fx + sy * fy).abs()
        angle = torch.atan2(across + FAINT**2, along + FAINT**2)
        quality = _quality(ratio, *EDGE_STRENGTH)
        quality = quality * _quality(1 - angle / (math.pi / 2), *EDGE_ANGLE)
        kept, possible = kept + (quality * weight).sum(), possible + weight.sum()
    return 1 - kept / possible


def _without_opposed(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Strength of both sources' edges; where they point apart, 1 + cos of the angle between them of
    the weaker one.
    """
    strengths = [(x * x + y * y + FAINT**2).sqrt() for x, y in (first, second)]
    cosine = (first[0] * second[0] + first[1] * second[1]) / (strengths[0] * strengths[1])
    left = 1 + cosine.clamp(max=0)
    stronger = strengths[0] >= strengths[1]
    return (
        torch.where(stronger, strengths[0], left * strengths[0]),
        torch.where(stronger, left * strengths[1], strengths[1]),
    )


def flat_loss(fused: Tensor, luma: Tensor, thermal: Tensor) -> Tensor:
    """High-frequency energy in flat regions that neither source has, in grey levels; root of mean.

    What it stands against: gains above 1 make a picture look sharp, and amplify the noise of a
    smooth wall and a night sky.
    """
    flat = (_deviation(luma) < FLAT_DEVIATION) & (_deviation(thermal) < FLAT_DEVIATION)
    excess = _energy(fused) - torch.maximum(_energy(luma), _energy(thermal))
    mean = (excess.clamp(min=0) * flat).sum() / flat.sum().clamp(min=1)
    return (mean + 1e-4).sqrt()  # finite slope where there is nothing to punish


def halo_loss(fused: Tensor, luma: Tensor, thermal: Tensor) -> Tensor:
    """Slope beside strong edges that neither source has, in grey levels a pixel.

    `halo_steepness` at half the size, where what the network predicts lies, and at a quarter of
    the cost; gradients are those of the mean over the same places.
    """
    slope = torch.maximum(_slope(luma), _slope(thermal))
    with torch.no_grad():
        beside = (_highest(slope, CLEAR) < SMOOTH) & (_highest(slope, NEAR) >= STRONG)
    return ((_slope(fused) - slope).clamp(min=0) * beside).sum() / beside.sum().clamp(min=1)


def _slope(image: Tensor) -> Tensor:
    """Length of the gradient at half the size, in grey levels a pixel of the full size."""
    half = F.avg_pool2d(image * FULL_SCALE, 2)
    x = F.pad(half, (1, 1, 1, 1), mode="replicate")
    down = x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]
    right = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]
    # Four for the weights of the low-pass, four for the distance of the differences.
    across = (down[..., 2:] - down[..., :-2]) / 16
    along = (right[..., 2:, :] - right[..., :-2, :]) / 16
    return (across * across + along * along + FAINT**2).sqrt()


def _highest(slope: Tensor, radius: int) -> Tensor:
    """Maximum within `radius` pixels of the full size, of a map at half the size."""
    size = 2 * math.ceil(radius / 2) + 1
    rows = F.max_pool2d(slope, (1, size), 1, (0, size // 2))
    return F.max_pool2d(rows, (size, 1), 1, (size // 2, 0))


def _quality(x: Tensor, gamma: float, kappa: float, sigma: float) -> Tensor:
    return gamma * torch.sigmoid(kappa * (x - sigma))


def _sobel(image: Tensor) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical response in grey levels; slices train faster than a convolution."""
    x = F.pad(image * FULL_SCALE, (1, 1, 1, 1), mode="replicate")
    down = x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]
    right = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]
    return down[..., 2:] - down[..., :-2], right[..., 2:, :] - right[..., :-2, :]


def _energy(image: Tensor) -> Tensor:
    """Mean square, in windows, of what a 3 x 3 binomial low-pass takes away."""
    x = F.pad(image, (1, 1, 1, 1), mode="replicate")
    x = (x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]) / 4
    smooth = (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4
    return _mean(((image - smooth) * FULL_SCALE) ** 2, ENERGY_WINDOW)


def _deviation(image: Tensor) -> Tensor:
    mean = _mean(image, FLAT_WINDOW)
    variance = _mean(image * image, FLAT_WINDOW) - mean * mean
    return variance.clamp(min=0).sqrt() * FULL_SCALE


def _mean(image: Tensor, size: int) -> Tensor:
    """Windows are cut off at the border. A row, then a column: a box is separable."""
    half = size // 2
    rows = F.avg_pool2d(image, (1, size), (1, STRIDE), (0, half), count_include_pad=False)
    return F.avg_pool2d(rows, (size, 1), (STRIDE, 1), (half, 0), count_include_pad=False)
