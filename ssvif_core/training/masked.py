"""Masked prediction across cameras: label-free training of the trunk, before all other stages.

Blocks of one camera are hidden, in places of both, and what was there is to be told from the rest.
Where a person's warm outline is hidden and the visible image is not, the network has to find the
person in order to draw it. Masked autoencoders learn so from one camera (He et al. 2022), MultiMAE
(Bachmann et al. 2022) from several; here both cameras always look at the same place, so a hidden
block mostly has its other half.

What is asked for is each channel less its local mean, divided by its local deviation: the shape of
things and not the brightness of a region, which is easily guessed (He et al.: normalised pixels).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssvif_core.network.fusion_network import VARIANTS, FusionNetwork
from ssvif_core.network.layers import upsample
from ssvif_core.training.distributed import ALONE, Processes

__all__ = [
    "STRIDE",
    "Hidden",
    "MaskedPrediction",
    "Reconstructor",
    "draw_hidden",
    "local_statistics",
    "masked_losses",
]

#: Side of a block that is hidden, in pixels; blocks lie on a grid of it.
BLOCK = 32
#: Parts of the blocks of which the visible, the thermal and both images are hidden; the last is
#: drawn apart, from all blocks.
VISIBLE, THERMAL, BOTH = 0.42, 0.42, 0.15
#: Side of the cells whose mean and deviation are taken away, in pixels.
CELL = 16
#: Added to the deviation, so that noise of flat regions is not made large.
LEAST_DEVIATION = 0.03
#: The prediction is at this part of the resolution.
STRIDE = 4
CHANNELS = 4  # red, green, blue, thermal


class Hidden(NamedTuple):
    """Where each camera is hidden, (B, 1, H, W) float, 1: hidden."""

    visible: Tensor
    thermal: Tensor

    def on(self, device: torch.device) -> Hidden:
        """The same on a device."""
        return Hidden(self.visible.to(device), self.thermal.to(device))


class Reconstructor(nn.Module):
    """Reads both images off the trunk's features. Trained, never deployed.

    Args:
        variant: of the network, a key of `VARIANTS`.
    """

    def __init__(self, variant: str) -> None:
        super().__init__()
        v = VARIANTS[variant]
        self.eighth = nn.Conv2d(v.decoder, CHANNELS, 1)
        self.quarter = nn.Conv2d(v.quarter, CHANNELS, 1)

    def forward(self, d8: Tensor, d4: Tensor) -> Tensor:
        """Features at 1/8 and at 1/4 -> (B, 4, H/4, W/4)."""
        return self.quarter(d4) + upsample(self.eighth(d8))


class MaskedPrediction(nn.Module):
    """Trunk and reconstructor as one module, which several processes need."""

    def __init__(self, network: FusionNetwork, reconstructor: Reconstructor) -> None:
        super().__init__()
        self.network, self.reconstructor = network, reconstructor

    def forward(self, visible: Tensor, thermal: Tensor) -> Tensor:
        """(B, 3, H, W) and (B, 1, H, W) with hidden blocks -> (B, 4, H/4, W/4)."""
        return self.reconstructor(*self.network.trunk(visible, thermal))


def draw_hidden(batch: int, height: int, width: int, seed: Sequence[int]) -> Hidden:
    """What is hidden in a step: a function of the seed alone.

    Args:
        batch: crops.
        height: of the crops, in pixels; likewise `width`.
        seed: of numpy's generator.
    """
    rng = np.random.default_rng(seed)
    grid = (batch, 1, -(-height // BLOCK), -(-width // BLOCK))
    which, both = rng.random(grid), rng.random(grid) < BOTH

    def pixels(blocks: np.ndarray) -> Tensor:
        mask = torch.from_numpy(blocks.astype(np.float32))
        return F.interpolate(mask, scale_factor=BLOCK, mode="nearest")[..., :height, :width]

    return Hidden(pixels((which < VISIBLE) | both), pixels((which >= 1 - THERMAL) | both))


def masked_losses(
    predicted: Tensor,
    visible: Tensor,
    thermal: Tensor,
    hidden: Hidden,
    processes: Processes = ALONE,
) -> dict[str, Tensor]:
    """Smooth L1 to the normalised images at 1/4, for each camera where it was hidden.

    Args:
        predicted: (B, 4, H/4, W/4).
        visible: (B, 3, H, W) in [0, 1], whole.
        thermal: (B, 1, H, W) in [0, 1], whole.
        hidden: on the same grid.
        processes: that have a part of the batch each.
    """
    images = torch.cat([visible, thermal], 1)
    mean, deviation = local_statistics(images)
    wanted = F.avg_pool2d((images - mean) / deviation, STRIDE)
    apart = F.smooth_l1_loss(predicted.float(), wanted, reduction="none")
    losses = {}
    for camera, channels in (("visible", slice(0, 3)), ("thermal", slice(3, 4))):
        where = F.avg_pool2d(getattr(hidden, camera), STRIDE).expand_as(apart[:, channels])
        total = processes.whole((apart[:, channels] * where).sum())
        losses[camera] = total / processes.whole(where.sum()).clamp(min=1)
    return losses


def local_statistics(image: Tensor) -> tuple[Tensor, Tensor]:
    """Local mean and deviation (at least `LEAST_DEVIATION`) of each channel; both vary smoothly."""

    def local(x: Tensor) -> Tensor:
        means = F.avg_pool2d(x, CELL)
        return F.interpolate(means, size=x.shape[-2:], mode="bilinear", align_corners=False)

    mean = local(image)
    variance = (local(image * image) - mean * mean).clamp(min=0)
    return mean, variance.sqrt() + LEAST_DEVIATION
