"""What holds the two segmentations to something besides each other.

Agreement alone has a trivial best answer (one label for everything). An anchor rules it out:

    LabelAnchor      modes anchored and distilled: the labels that part of the frames have
    PrototypeAnchor  mode clusters: what cells of the training frames have in common, found once
                     (`prototypes.py`)
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ssvif_core.network.layers import upsample
from ssvif_core.training.config import LossWeights
from ssvif_core.training.distributed import Processes
from ssvif_core.training.inputs import Inputs
from ssvif_core.training.losses import segmentation_losses
from ssvif_core.training.views import Window

__all__ = ["Anchor", "LabelAnchor"]


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
