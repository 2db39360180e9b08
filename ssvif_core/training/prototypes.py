"""Mode clusters: what holds two segmentations to something where nobody has labelled anything.

Prototypes are directions in a space that joins two descriptions of each cell of 8 x 8 pixels: the
features of the network as stage 1 left it, frozen, and how the cell looks in both cameras, by
itself and with its surroundings. Features alone know what the network was taught; colour and heat
alone know no shapes. docs/experiments.md ("prototypes") has what each is worth.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ssvif_core.data.pairs import UNKNOWN, FramePair
from ssvif_core.network.fusion_network import VARIANTS, FusionNetwork, luminance, pad_to_stride
from ssvif_core.training.assignment import kmeans, nearest
from ssvif_core.training.config import ConsistencyConfig
from ssvif_core.training.distributed import Processes
from ssvif_core.training.inputs import Inputs
from ssvif_core.training.validation import as_tensors
from ssvif_core.training.views import Window, without_border

__all__ = ["LOOKS", "PrototypeAnchor", "looks"]

#: Frames, and points of each, that prototypes are found from.
FRAMES, POINTS = 200, 150
#: Side in pixels of a cell, and in cells of its surroundings.
CELL, SURROUNDINGS = 8, 7
#: Channels of `looks`.
LOOKS = 12
#: Deviation in [0, 1] below which a channel of `looks` says nothing: a quarter of a grey level.
LEAST_DEVIATION = 1e-3


def looks(visible: Tensor, thermal: Tensor) -> Tensor:
    """Brightness, two colour differences and heat of each cell, and how much they vary in it.

    Args:
        visible: (B, 3, H, W) RGB in [0, 1].
        thermal: (B, 1, H, W) in [0, 1].

    Returns:
        (B, 12, H/8, W/8) on the padded grid of `FusionNetwork.features`: means of luma Y, R - Y,
        B - Y and thermal, deviations of luma and thermal, and the same six over 7 x 7 cells.
    """
    luma = luminance(visible)
    images = pad_to_stride(torch.cat([luma, visible[:, ::2] - luma, thermal], 1))
    pixels = F.pixel_unshuffle(images, CELL).unflatten(1, (4, CELL**2))
    # Not by the mean of squares, in which a flat cell has some deviation left by rounding.
    cells = torch.cat([pixels.mean(2), pixels[:, ::3].std(2, correction=0)], 1)
    around = F.avg_pool2d(cells, SURROUNDINGS, 1, SURROUNDINGS // 2, count_include_pad=False)
    return torch.cat([cells, around], 1)


class PrototypeAnchor:
    """Cross-entropy against the nearest prototype.

    Args:
        network: as stage 1 left it; a frozen copy is kept.
        centres: (K, D) of unit length.
        scale: (D,) what channels are multiplied by; D is that of the features, or 12 more: `looks`.
        margin: see `ssvif_core.training.assignment.nearest`.
        processes: that train together.
    """

    def __init__(
        self,
        network: FusionNetwork,
        centres: Tensor,
        scale: Tensor,
        margin: float,
        processes: Processes,
    ) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.centres, self.scale = centres, scale
        self.margin, self.processes = margin, processes

    @classmethod
    def found(
        cls,
        network: FusionNetwork,
        pairs: Sequence[FramePair],
        config: ConsistencyConfig,
        seed: int,
        processes: Processes,
    ) -> PrototypeAnchor:
        """Find the prototypes: k-means over cells of evenly spaced training frames."""
        device = processes.device
        with_looks = config.looks > 0
        width = VARIANTS[network.variant].decoder + LOOKS * with_looks
        ones = torch.ones(width, device=device)
        anchor = cls(network, torch.empty(0), ones, config.margin, processes)
        generator = torch.Generator().manual_seed(seed)
        points = []
        count = min(FRAMES, len(pairs))
        for i in range(count):
            pair = pairs[i * len(pairs) // count]
            cells = anchor.described(*as_tensors(pair, device))[0].flatten(1).T.cpu()
            points.append(cells[torch.randperm(len(cells), generator=generator)[:POINTS]])
        drawn = torch.cat(points)
        if with_looks:
            anchor.scale = _scale(drawn, config.looks).to(device)
        anchor.centres = kmeans(drawn * anchor.scale.cpu(), config.clusters, seed).to(device)
        return anchor

    @torch.no_grad()
    def described(self, visible: Tensor, thermal: Tensor) -> Tensor:
        """(B, D, H/8, W/8) frozen description, each channel relative to the image's own mean."""
        cells = self.network.features(visible, thermal).float()
        if len(self.scale) > cells.shape[1]:
            cells = torch.cat([cells, looks(visible, thermal)], 1)
        return (cells - cells.mean((2, 3), keepdim=True)) * self.scale[:, None, None]

    def targets(self, visible: Tensor, thermal: Tensor) -> Tensor:
        """(B, H/4, W/4) int64 index of the nearest prototype, 255 if unclear or at the border."""
        labels = nearest(self.described(visible, thermal), self.centres, self.margin)
        return without_border(labels.repeat_interleave(2, 1).repeat_interleave(2, 2))

    def losses(
        self, feature_logits: Tensor, pixel_logits: Tensor, window: Window, inputs: Inputs
    ) -> tuple[Tensor, Tensor]:
        # Targets come from both cameras, also where the network has to do with one.
        targets = self.targets(inputs.whole_visible, inputs.whole_thermal)
        return (
            _cross_entropy(feature_logits, targets, self.processes),
            _cross_entropy(pixel_logits, window.of(targets, 4), self.processes),
        )

    def tensors(self) -> list[Tensor]:
        """All that targets depend on: the same in each process."""
        return [*self.network.state_dict().values(), self.scale, self.centres]

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(), "centres": self.centres, "scale": self.scale
        }  # fmt: skip

    @classmethod
    def restored(
        cls, state: dict[str, Any], network: FusionNetwork, margin: float, processes: Processes
    ) -> PrototypeAnchor:
        """What `state_dict` kept; of a run from before there was a scale: features alone."""
        centres = state["centres"].to(processes.device)
        scale = state.get("scale", torch.ones(centres.shape[1])).to(processes.device)
        anchor = cls(network, centres, scale, margin, processes)
        anchor.network.load_state_dict(state["network"])
        return anchor


def _scale(points: Tensor, weight: float) -> Tensor:
    """(D,) such that features together have length 1 in the root mean square, looks `weight`.

    Within looks each channel counts alike, save those that hardly vary: a grey camera's colours.

    Args:
        points: (N, D), the last 12 columns from `looks`, each with its mean taken away.
        weight: of looks beside features.
    """
    rms = points.square().mean(0).sqrt()
    features, cells = rms[:-LOOKS], rms[-LOOKS:]
    alike = 1 / cells.clamp(min=LEAST_DEVIATION)
    return torch.cat(
        [
            torch.ones_like(features) / features.norm().clamp(min=LEAST_DEVIATION),
            weight * alike / (cells * alike).norm().clamp(min=LEAST_DEVIATION),
        ]
    )


def _cross_entropy(logits: Tensor, targets: Tensor, processes: Processes) -> Tensor:
    """Mean over the known pixels of all processes; 0 where there is none."""
    known = processes.whole((targets != UNKNOWN).sum()).clamp(min=1)
    loss = F.cross_entropy(logits.float(), targets, ignore_index=UNKNOWN, reduction="sum")
    return processes.whole(loss) / known
