"""What holds the two segmentations to something besides each other.

Agreement alone has a trivial best answer (one label for everything). An anchor rules it out:

    LabelAnchor      modes anchored and distilled: the labels that part of the frames have
    PrototypeAnchor  mode clusters: directions in the feature space of the network as stage 1 left
                     it, frozen, found once by k-means over the training frames
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ssvif_core.data.pairs import UNKNOWN, FramePair
from ssvif_core.network.fusion_network import FusionNetwork
from ssvif_core.network.layers import upsample
from ssvif_core.training.assignment import kmeans, nearest
from ssvif_core.training.config import LossWeights
from ssvif_core.training.distributed import Processes
from ssvif_core.training.inputs import Inputs
from ssvif_core.training.losses import segmentation_losses
from ssvif_core.training.validation import as_tensors
from ssvif_core.training.views import Window, without_border

__all__ = ["Anchor", "LabelAnchor", "PrototypeAnchor"]

#: Frames, and points of each, that prototypes are found from.
FRAMES, POINTS = 200, 150


class Anchor(Protocol):
    """Losses of one batch. Everything is on the device of the logits."""

    def losses(
        self, feature_logits: Tensor, pixel_logits: Tensor, window: Window, inputs: Inputs
    ) -> tuple[Tensor, Tensor]:
        """Losses of the feature-level and of the pixel-level branch.

        Args:
            feature_logits: (B, K, H/4, W/4) of whole crops.
            pixel_logits: (B, K, h/4, w/4) of the window.
            window: where the pixel branch looks.
            inputs: the batch.
        """
        ...


class LabelAnchor:
    """Cross-entropy and Dice on the labelled part of a batch; nothing elsewhere."""

    def __init__(
        self, weights: LossWeights, class_weights: Tensor | None, processes: Processes
    ) -> None:
        self.weights, self.class_weights, self.processes = weights, class_weights, processes

    def losses(
        self, feature_logits: Tensor, pixel_logits: Tensor, window: Window, inputs: Inputs
    ) -> tuple[Tensor, Tensor]:
        return (
            self._loss(feature_logits, inputs.labels),
            self._loss(pixel_logits, window.of(inputs.labels, 2)),
        )

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        terms = segmentation_losses(
            upsample(logits.float()), labels, self.class_weights, self.processes
        )
        return self.weights.cross_entropy * terms["cross_entropy"] + (
            self.weights.dice * terms["dice"]
        )


class PrototypeAnchor:
    """Cross-entropy against the nearest prototype of frozen features.

    Args:
        network: as stage 1 left it; a frozen copy is kept.
        centres: (K, C) of unit length.
        margin: see `ssvif_core.training.assignment.nearest`.
        processes: that train together.
    """

    def __init__(
        self, network: FusionNetwork, centres: Tensor, margin: float, processes: Processes
    ) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.centres, self.margin, self.processes = centres, margin, processes

    @classmethod
    def found(
        cls,
        network: FusionNetwork,
        pairs: Sequence[FramePair],
        clusters: int,
        margin: float,
        seed: int,
        processes: Processes,
    ) -> PrototypeAnchor:
        """Find the prototypes: k-means over features of evenly spaced training frames."""
        anchor, device = cls(network, torch.empty(0), margin, processes), processes.device
        generator = torch.Generator().manual_seed(seed)
        points = []
        count = min(FRAMES, len(pairs))
        for i in range(count):
            pair = pairs[i * len(pairs) // count]
            features = anchor.features(*as_tensors(pair, device))[0].flatten(1).T.cpu()
            points.append(features[torch.randperm(len(features), generator=generator)[:POINTS]])
        anchor.centres = kmeans(torch.cat(points), clusters, seed).to(device)
        return anchor

    @torch.no_grad()
    def features(self, visible: Tensor, thermal: Tensor) -> Tensor:
        """(B, C, H/8, W/8) frozen features, each channel relative to the image's own mean."""
        features = self.network.features(visible, thermal).float()
        return features - features.mean((2, 3), keepdim=True)

    def targets(self, visible: Tensor, thermal: Tensor) -> Tensor:
        """(B, H/4, W/4) int64 index of the nearest prototype, 255 if unclear or at the border."""
        labels = nearest(self.features(visible, thermal), self.centres, self.margin)
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

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "centres": self.centres}


def _cross_entropy(logits: Tensor, targets: Tensor, processes: Processes) -> Tensor:
    """Mean over the known pixels of all processes; 0 where there is none."""
    known = processes.whole((targets != UNKNOWN).sum()).clamp(min=1)
    loss = F.cross_entropy(logits.float(), targets, ignore_index=UNKNOWN, reduction="sum")
    return processes.whole(loss) / known
