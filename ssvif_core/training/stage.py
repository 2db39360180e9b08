"""What a stage of a run is, and what it works with; the kinds of stages are in `stages.py`.

A stage computes losses and leaves gradients; it knows no optimiser, files or schedule.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from ssvif_core.data.batches import BatchMaker
from ssvif_core.data.pairs import FramePair
from ssvif_core.errors import SsvifError
from ssvif_core.network.fusion_network import (
    FUSION_PATH,
    SEGMENTATION_HEAD,
    TRUNK,
    FusionNetwork,
    FusionOutput,
    luminance,
)
from ssvif_core.network.pixel_segmenter import PixelSegmenter
from ssvif_core.training.anchors import Anchor
from ssvif_core.training.config import FUSION_TERMS, StageConfig, TrainingConfig
from ssvif_core.training.distributed import Processes, computes_bfloat16
from ssvif_core.training.guides import Guides
from ssvif_core.training.inputs import Inputs
from ssvif_core.training.kept_picture import WEIGHTS, kept_luminance, picture_losses
from ssvif_core.training.losses import fusion_losses
from ssvif_core.training.masked import Reconstructor
from ssvif_core.training.validation import validate
from ssvif_core.training.weighting import Weighting

__all__ = ["PARTS", "SEGMENTER", "Models", "Stage", "StageContext"]

#: All parts of the network.
PARTS = (*TRUNK, *SEGMENTATION_HEAD, *FUSION_PATH)
#: In a stage's `train_only`: the pixel-level segmenter, which warm_up and joint train in any case.
SEGMENTER = "segmenter"


class Models(nn.Module):
    """What is trained: the network that is deployed, and what helps it to learn where a stage does:
    the pixel-level branch, and the reconstructor of masked prediction.

    In mode clusters the network's global context does not train, and is nothing unless a run starts
    from a network that has one: learning it, label-free training finds one cluster for each image.
    """

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        classes = len(config.classes)
        self.network = FusionNetwork(config.variant, classes)
        if config.mask_mode == "clusters":
            nn.init.zeros_(self.network.context.weight)
            assert self.network.context.bias is not None
            nn.init.zeros_(self.network.context.bias)
        two_branches = any(stage.kind in ("warm_up", "joint") for stage in config.stages)
        self.segmenter = PixelSegmenter(classes) if two_branches else None
        masked = any(stage.kind == "masked" for stage in config.stages)
        self.reconstructor = Reconstructor(config.variant) if masked else None

    def helpers(self) -> dict[str, nn.Module]:
        """Those that help, by name: kept in checkpoints, not deployed."""
        parts = {"segmenter": self.segmenter, "reconstructor": self.reconstructor}
        return {name: part for name, part in parts.items() if part is not None}


@dataclass
class StageContext:
    """What a stage works with.

    `mask_mode` is what the masks are by now, one of `ssvif_core.models.MODES`, or None: nothing
    yet. A stage changes it with its first step.
    """

    config: TrainingConfig
    models: Models
    processes: Processes
    weighting: Weighting
    class_weights: Tensor | None
    averaged: Models
    mask_mode: str | None
    anchor: Anchor | None = None
    guides: Guides = field(default_factory=Guides)


class Stage(ABC):
    """One stage of a run; subclasses say what is trained and what is asked for.

    Args:
        config: of the stage.
        context: of the run.
        start: step of the run at which the stage begins.

    On creation, parameters that are not trained are frozen and modules wrapped for several
    processes.

    Raises:
        SsvifError: see `trained`.
    """

    #: Parts of the network that this kind of stage trains; empty: all.
    parts: tuple[str, ...] = ()
    #: Parts that its loss depends on, the segmentation head only where it `uses_labels`.
    reach: tuple[str, ...] = PARTS
    #: Of `Models.helpers`: what trains with it.
    helper: str | None = None
    #: What the pictures of `validate` are called.
    shows = "pairs"

    def __init__(self, config: StageConfig, context: StageContext, start: int = 0) -> None:
        self.config, self.context, self.start = config, context, start
        self._trained = self.trained(config, context.config)
        self.training_mode()
        self.network = context.processes.wrap(self.learner())

    def training_mode(self) -> None:
        """Trained parts in training mode; the others keep weights and statistics as they are."""
        for name, part in self.context.models.network.named_children():
            trained = name in self._trained
            part.train(trained).requires_grad_(trained)
        for name, helper in self.context.models.helpers().items():
            helper.train(name == self.helper).requires_grad_(name == self.helper)

    @classmethod
    def trained(cls, stage: StageConfig, config: TrainingConfig) -> set[str]:
        """Names of the network's parts that such a stage of a run trains.

        Raises:
            SsvifError: `train_only` names a part that there is not or that the loss of the stage
                does not reach, or leaves nothing to train.
        """
        asked = set(stage.train_only)
        if unknown := asked - set(PARTS) - {SEGMENTER}:
            raise SsvifError(
                f"train_only: the network has no part {', '.join(sorted(unknown))}. It has "
                f"{', '.join(sorted(PARTS))}; {SEGMENTER} alone trains none of them."
            )
        reached = set(cls.reach)
        if not cls.uses_labels(config):
            reached -= set(SEGMENTATION_HEAD)
        # Without a gradient a part stays as it is, and of several processes each waits for one.
        if beyond := asked - reached - ({SEGMENTER} if cls.helper == SEGMENTER else set()):
            raise SsvifError(
                f"train_only: a stage {stage.kind} trains nothing of {', '.join(sorted(beyond))}, "
                "which its loss does not depend on: leave that out, or name none for all that a "
                "stage of this kind trains."
            )
        if config.mask_mode == "clusters":
            reached.discard("context")  # see Models
        parts = (asked or set(cls.parts or PARTS)) & reached
        if not parts and SEGMENTER not in asked:
            raise SsvifError(
                f"train_only: a stage {stage.kind} trains nothing of {', '.join(sorted(asked))} in "
                "mode clusters: name other parts, or none for those of its kind."
            )
        return parts

    def learner(self) -> nn.Module:
        """What runs forward in a step, as one module."""
        return self.context.models.network

    def crops(self, maker: BatchMaker) -> BatchMaker:
        """Where the crops of this stage come from."""
        return maker

    def validate(self, pairs: Sequence[FramePair]) -> tuple[dict[str, float], np.ndarray]:
        """Figures of the averaged weights on held-out pairs, and one picture of the first."""
        config = self.context.config
        return validate(
            self.context.averaged.network,
            pairs,
            config.classes,
            self.context.processes.device,
            config.loss,
            with_iou=self.context.mask_mode in ("finetuned", "distilled"),
        )

    @classmethod
    def uses_labels(cls, config: TrainingConfig) -> bool:
        """Whether the feature-level segmentation head gets a gradient."""
        return True

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters that this stage trains."""
        return [(n, p) for n, p in self.context.models.named_parameters() if p.requires_grad]

    @abstractmethod
    def backward(self, inputs: Inputs, step: int) -> dict[str, float]:
        """Compute the losses of one step and add their gradients to the parameters.

        Returns:
            Every term, unweighted (`loss/...`), the weights in force (`weight/...`), and
            `loss/total`.
        """

    # -- what stages have in common ---------------------------------------------------------

    def fuse(self, inputs: Inputs) -> FusionOutput:
        """The network on a batch, in the precision of the run."""
        visible = inputs.visible.contiguous(memory_format=torch.channels_last)
        with self.autocast():
            return self.network(visible, inputs.thermal)

    def autocast(self) -> torch.autocast:
        device, wanted = self.context.processes.device, self.context.config.precision
        enabled = wanted == "bfloat16" or (wanted == "auto" and computes_bfloat16(device))
        return torch.autocast(device.type, torch.bfloat16, enabled=enabled)

    def fusion_loss(self, fused: Tensor, inputs: Inputs) -> tuple[Tensor, dict[str, float]]:
        """Weighted sum of the fusion terms and of what keeps a picture, and each of them.

        Where a camera is lost, the fusion terms ask for what the living one sees.
        """
        weights = self.context.config.loss
        luma, thermal = luminance(inputs.visible), inputs.thermal
        lost = inputs.lost.reshape(-1, 1, 1, 1)
        luma, thermal = (
            torch.where(lost == 1, thermal, luma),
            torch.where(lost == 2, luma, thermal),
        )
        scales = weights.model_dump()
        terms = fusion_losses(
            luminance(fused),
            luma,
            thermal,
            weights.sharpness,
            weights.contrast,
            weights.room,
            [name for name in FUSION_TERMS if scales[name] > 0],
        )
        # Not a bare zero: without any term there still is a gradient, and it is zero.
        total = sum((scales[name] * term for name, term in terms.items()), 0.0 * fused.sum())
        total = weights.fusion * total
        if self.context.guides.pictures:
            kept = picture_losses(luminance(fused), self._kept(inputs))
            total = total + weights.picture * sum(WEIGHTS[n] * term for n, term in kept.items())
            terms |= {f"picture_{name}": term for name, term in kept.items()}
        return total, {f"loss/{n}": float(t.detach()) for n, t in terms.items()}

    def _kept(self, inputs: Inputs) -> Tensor:
        """What `picture_of` shows of a batch, in the precision of the run."""
        with self.autocast():
            return kept_luminance(self.context.guides.pictures, inputs.visible, inputs.thermal)
