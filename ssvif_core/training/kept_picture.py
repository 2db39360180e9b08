"""The fused image of other models, which a run is to give: what `picture_of` names.

Fusion sees what the trunk knows (network/fusion_network.py), so masks that are trained further
change the fused image, and not for the better. Distances to the image of before, whose trunk stays
what it was, keep it (Li & Hoiem, Learning without Forgetting, 2016); of several models, the mean:

    level    mean |F - F'|                   F, F' luminances of both fused images
    edges    mean |dF - dF'|                 d differences of neighbours
    ssim     1 - SSIM(F, F')                 small differences where there is little to see

The models see what the learner sees, lost cameras too: what is shown then is kept as well. Training
the fusion path by the fusion losses instead was tried: better in figures, and a person in front of
a headlamp was gone (docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ssvif_core.network.fusion_network import FusionNetwork, luminance
from ssvif_core.training.losses import ssim_loss

__all__ = ["WEIGHTS", "kept_luminance", "picture_losses"]

#: Of the terms. Edges weigh more than levels: a level that is off by little is not seen.
WEIGHTS = {"level": 10.0, "edges": 20.0, "ssim": 10.0}


@torch.no_grad()
def kept_luminance(models: Sequence[FusionNetwork], visible: Tensor, thermal: Tensor) -> Tensor:
    """(B, 1, H, W) float luminance in [0, 1]: the mean of what the models show.

    Args:
        models: at least one, in evaluation mode.
        visible: (B, 3, H, W) in [0, 1].
        thermal: (B, 1, H, W) in [0, 1].
    """
    visible = visible.contiguous(memory_format=torch.channels_last)
    images = [luminance(model(visible, thermal).fused.float()) for model in models]
    return torch.stack(images).mean(0)


def picture_losses(fused: Tensor, kept: Tensor) -> dict[str, Tensor]:
    """The terms of two luminances (B, 1, H, W) in [0, 1], unweighted scalars."""
    difference = fused - kept
    edges = sum(difference.diff(dim=dim).abs().mean() for dim in (-1, -2))
    assert isinstance(edges, Tensor)
    level = difference.abs().mean()
    return {"level": level, "edges": edges, "ssim": ssim_loss(fused, kept)}
