"""What the network is asked for: a fused image that keeps both cameras, and true labels.

Fusion terms, with Y visible luminance, T thermal, F fused luminance, all (B, 1, H, W) in [0, 1]:

    intensity      mean |m(F) - clip(mu + c (M - mu))|, M = max(m(Y), m(T)), m local means, mu the
                   mean of M, c the contrast: hot stays hot, bright stays bright. Where Y is
                   saturated, at most 1 - q s(T), s the standard deviation in the window: white on
                   white shows nothing, so what stands before a headlamp needs room below white
    gradient       mean |dF - k d*|, d* the stronger of dY and dT, with its sign, so that edges
                   keep their polarity; k is the sharpness that is asked for
    ssim           1 - (SSIM(F, Y) + SSIM(F, T)) / 2
    decomposition  1 - (corr(F - T, Y) + corr(F - Y, T)) / 2: what one camera adds is the other's
    edges          1 - Q^AB/F: strength and angle of both cameras' edges (`detail_losses.py`)
    flat           noise in flat regions that neither camera has, likewise, in grey levels
    halo           slope beside strong edges that neither camera has, likewise, grey levels a pixel

Intensity is asked of local means: a pixel-wise maximum erases dark detail (a cable before the sky)
wherever the other camera is brighter. Decomposition is the sum of correlations of differences
(Aslantas & Bendes 2015). Keep its weight small: a correlation knows no scale, so a copy of one
camera with a trace of the other has it all. A loss of visual information (VIF) does the same: with
weight it made a copy of the thermal image, without lane markings and lights, and all figures rose.
Weighting SSIM by the sources' local variance (U2Fusion) loses SSIM and wins nothing. Windows are
boxes and gradients are slices: on a CPU both train several times faster than Gaussian windows and
Sobel convolutions, to the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from ssvif_core.data.pairs import UNKNOWN
from ssvif_core.training.config import FUSION_TERMS
from ssvif_core.training.detail_losses import edge_loss, flat_loss, halo_loss
from ssvif_core.training.distributed import ALONE, Processes

__all__ = ["fusion_losses", "segmentation_losses", "ssim_loss"]

# Windows of 8 pixels, 4 apart: a sixteenth of the windows that a dense map has, on crops drawn at
# random positions, so that every pixel is seen from every phase.
SSIM_WINDOW, SSIM_STRIDE = 8, 4
#: Mean luma of a window in which the visible camera shows nothing but white.
SATURATED = 0.95
# Wang et al. 2004: K1 = 0.01, K2 = 0.03 for images in [0, 1].
C1, C2 = 0.01**2, 0.03**2


def _moments(*maps: Tensor) -> tuple[Tensor, ...]:
    """Local means of (B, 1, H, W) maps, in one pass."""
    return F.avg_pool2d(torch.cat(maps, 1), SSIM_WINDOW, SSIM_STRIDE).unbind(1)


def _intensity(
    fused: Tensor, luma: Tensor, thermal: Tensor, contrast: float, room: float
) -> Tensor:
    mean_f, mean_y, mean_t, square_t = _moments(fused, luma, thermal, thermal * thermal)
    target = torch.maximum(mean_y, mean_t)
    middle = target.mean((1, 2), keepdim=True)
    target = (middle + contrast * (target - middle)).clamp(0.0, 1.0)
    if room > 0:
        structure = (square_t - mean_t**2).clamp(min=0).sqrt()
        structure = F.max_pool2d(structure, 3, 1, 1) * (mean_y > SATURATED)
        # What is hot is white by itself, and needs no room.
        target = torch.minimum(target, torch.maximum(1 - room * structure, mean_t))
    return (mean_f - target).abs().mean()


def _stronger(first: Tensor, second: Tensor) -> Tensor:
    return torch.where(first.abs() >= second.abs(), first, second)


def _gradient(fused: Tensor, luma: Tensor, thermal: Tensor, sharpness: float) -> Tensor:
    loss = fused.new_zeros(())
    for dim in (2, 3):
        target = sharpness * _stronger(luma.diff(dim=dim), thermal.diff(dim=dim))
        loss = loss + (fused.diff(dim=dim) - target).abs().mean()
    return loss


def ssim_loss(fused: Tensor, *sources: Tensor) -> Tensor:
    """1 less the mean SSIM with the sources, all (B, 1, H, W) in [0, 1]; a scalar."""
    mean_f, square_f = _moments(fused, fused * fused)
    var_f = (square_f - mean_f**2).clamp(min=0)
    similarity = fused.new_zeros(())
    for source in sources:
        mean, square, product = _moments(source, source * source, fused * source)
        var, cov = (square - mean**2).clamp(min=0), product - mean_f * mean
        structure = (2 * cov + C2) / (var_f + var + C2)
        brightness = (2 * mean_f * mean + C1) / (mean_f**2 + mean**2 + C1)
        similarity = similarity + (structure * brightness).mean() / len(sources)
    return 1 - similarity


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.flatten(1), b.flatten(1)
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    # The constant under the root keeps a black frame (no variance) free of NaN and of gradients. It
    # shrinks the correlations of dark ones, see docs/method.md.
    return ((a * b).mean(1) / ((a * a).mean(1) * (b * b).mean(1) + 1e-6).sqrt()).mean()


def fusion_losses(
    fused: Tensor,
    luma: Tensor,
    thermal: Tensor,
    sharpness: float = 1.0,
    contrast: float = 1.0,
    room: float = 0.0,
    wanted: Collection[str] = FUSION_TERMS,
) -> dict[str, Tensor]:
    """The fusion terms that are wanted, unweighted scalars; equations in the module's docstring.

    Edges and flat regions are looked at in every pixel: together they cost as much as a fifth of a
    training step on a CPU; halos a fraction of that.
    """
    images = (fused, luma, thermal)
    terms: dict[str, Callable[[], Tensor]] = {
        "intensity": lambda: _intensity(*images, contrast, room),
        "gradient": lambda: _gradient(*images, sharpness),
        "ssim": lambda: ssim_loss(*images),
        "decomposition": lambda: _decomposition(*images),
        "edges": lambda: edge_loss(*images),
        "flat": lambda: flat_loss(*images),
        "halo": lambda: halo_loss(*images),
    }
    return {name: terms[name]() for name in FUSION_TERMS if name in wanted}


def _decomposition(fused: Tensor, luma: Tensor, thermal: Tensor) -> Tensor:
    return 1 - (_correlation(fused - thermal, luma) + _correlation(fused - luma, thermal)) / 2


def segmentation_losses(
    logits: Tensor,
    labels: Tensor,
    class_weights: Tensor | None = None,
    processes: Processes = ALONE,
) -> dict[str, Tensor]:
    """Cross-entropy and soft Dice over the known pixels.

    Args:
        logits: (B, classes, h, w).
        labels: (B, h, w) int64, 255 where unknown.
        class_weights: (classes,) for the cross-entropy.
        processes: that have a part of the batch each.

    Dice (Milletari et al. 2016) is taken over the whole batch for each class but background, and
    only for classes that the batch holds: it weighs a bicycle like a car.
    """
    known = labels != UNKNOWN
    count = processes.whole(known.sum()).clamp(min=1)
    entropy = F.cross_entropy(
        logits, labels, weight=class_weights, ignore_index=UNKNOWN, reduction="sum"
    )
    probability = logits.softmax(1) * known[:, None]
    target = F.one_hot(labels.where(known, torch.zeros_like(labels)), logits.shape[1])
    target = target.permute(0, 3, 1, 2) * known[:, None]
    overlap = processes.whole((probability * target).sum((0, 2, 3))[1:])
    total = processes.whole((probability + target).sum((0, 2, 3))[1:])
    present = processes.whole(target.sum((0, 2, 3))[1:]) > 0
    dice = 1 - (2 * overlap + 1) / (total + 1)
    dice = (dice * present).sum() / present.sum().clamp(min=1)
    return {"cross_entropy": processes.whole(entropy) / count, "dice": dice}
