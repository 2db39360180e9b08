"""The stages of a run. Each is a small unit: what it trains, and what one step of it asks for.

    masked      label-free, before all others: the trunk tells one camera from the other
    supervised  fusion losses and labels on the feature-level head, together
    fusion      stage 1 of SSVIF: fusion losses alone
    warm_up     stage 1b: both segmenters learn their anchor; the fused image stays as it is
    joint       stage 2: fusion, cross-segmentation consistency and anchor, together

A stage computes losses and leaves gradients; it knows no optimiser, files or schedule.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssvif_core.data.batches import BatchMaker
from ssvif_core.data.pairs import UNKNOWN, FramePair
from ssvif_core.errors import SsvifError
from ssvif_core.network.fusion_network import (
    FUSION_PATH,
    SEGMENTATION_HEAD,
    TRUNK,
    FusionNetwork,
    FusionOutput,
    luminance,
)
from ssvif_core.network.layers import upsample
from ssvif_core.network.pixel_segmenter import PixelSegmenter
from ssvif_core.training.anchors import Anchor
from ssvif_core.training.assignment import balanced, confident
from ssvif_core.training.config import FUSION_TERMS, ConsistencyConfig, StageConfig, TrainingConfig
from ssvif_core.training.distributed import Processes, computes_bfloat16
from ssvif_core.training.losses import fusion_losses, segmentation_losses
from ssvif_core.training.masked import (
    MaskedPrediction,
    Reconstructor,
    draw_hidden,
    masked_losses,
)
from ssvif_core.training.masked_validation import validate_masked
from ssvif_core.training.validation import validate
from ssvif_core.training.views import BORDER, STRIDE, Window, draw_window, without_border
from ssvif_core.training.weighting import Weighting

__all__ = ["STAGES", "Inputs", "Models", "Stage", "StageContext", "trained_parts"]

#: All parts of the network.
PARTS = (*TRUNK, *SEGMENTATION_HEAD, *FUSION_PATH)
#: In a stage's `train_only`: the pixel-level segmenter, which warm_up and joint train in any case.
SEGMENTER = "segmenter"


class Inputs(NamedTuple):
    """One batch as a stage gets it, on the device.

    visible (B,3,H,W) and thermal (B,1,H,W) float in [0,1], with lost cameras lost; labels (B,H,W)
    int64, 255 unknown; lost (B,) 0 none, 1 visible, 2 thermal; whole_*: before any was lost.
    """

    visible: Tensor
    thermal: Tensor
    labels: Tensor
    lost: Tensor
    whole_visible: Tensor
    whole_thermal: Tensor


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

    `mask_mode` is what the masks are, one of `ssvif_core.models.MODES`, or None: nothing yet.
    """

    config: TrainingConfig
    models: Models
    processes: Processes
    weighting: Weighting
    class_weights: Tensor | None
    averaged: Models
    mask_mode: str | None
    anchor: Anchor | None = None


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
            SsvifError: `train_only` names a part that there is not, or leaves nothing to train.
        """
        asked = set(stage.train_only)
        if unknown := asked - set(PARTS) - {SEGMENTER}:
            raise SsvifError(
                f"train_only: the network has no part {', '.join(sorted(unknown))}. It has "
                f"{', '.join(sorted(PARTS))}; {SEGMENTER} alone trains none of them."
            )
        left_out = {SEGMENTER}
        if not cls.uses_labels(config):
            left_out |= set(SEGMENTATION_HEAD)
        if config.mask_mode == "clusters":
            left_out.add("context")  # see Models
        parts = (asked or set(cls.parts or PARTS)) - left_out
        if not parts and cls.helper is None:
            raise SsvifError(
                f"train_only: a stage {stage.kind} trains nothing of {', '.join(sorted(asked))}: "
                "name other parts, or none for those of its kind."
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
        """Weighted sum of the fusion terms, and each of them.

        Where a camera is lost, the fused image is asked to show what the living one sees.
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
        return weights.fusion * total, {f"loss/{n}": float(t.detach()) for n, t in terms.items()}


class MaskedStage(Stage):
    """Masked prediction across cameras: features of the trunk from unlabelled frames.

    Heads and fusion path do not train. Cameras that `modality_dropout` loses are there: what is
    hidden is drawn here.
    """

    parts = TRUNK
    helper = "reconstructor"
    shows = "hidden"

    def learner(self) -> nn.Module:
        return _masked_prediction(self.context.models)

    def crops(self, maker: BatchMaker) -> BatchMaker:
        return maker.everywhere()

    def validate(self, pairs: Sequence[FramePair]) -> tuple[dict[str, float], np.ndarray]:
        prediction = _masked_prediction(self.context.averaged)
        return validate_masked(prediction, pairs, self.context.processes.device)

    def backward(self, inputs: Inputs, step: int) -> dict[str, float]:
        visible, thermal = inputs.whole_visible, inputs.whole_thermal
        seed = [self.context.config.seed, self.context.processes.rank, step, 3]
        batch, _, height, width = visible.shape
        hidden = draw_hidden(batch, height, width, seed).on(visible.device)
        shown = visible * (1 - hidden.visible), thermal * (1 - hidden.thermal)
        with self.autocast():
            predicted = self.network(
                shown[0].contiguous(memory_format=torch.channels_last), shown[1]
            )
        losses = masked_losses(predicted, visible, thermal, hidden)
        total = losses["visible"] + losses["thermal"]
        total.backward()
        values = {f"loss/hidden_{camera}": float(x.detach()) for camera, x in losses.items()}
        return {**values, "loss/total": float(total.detach())}

    @classmethod
    def uses_labels(cls, config: TrainingConfig) -> bool:
        return False


def _masked_prediction(models: Models) -> MaskedPrediction:
    assert models.reconstructor is not None
    return MaskedPrediction(models.network, models.reconstructor)


class SupervisedStage(Stage):
    """Fusion losses, and labels on the feature-level head."""

    def backward(self, inputs: Inputs, step: int) -> dict[str, float]:
        output = self.fuse(inputs)
        total, values = self.fusion_loss(output.fused, inputs)
        if self.uses_labels(self.context.config):
            # Logits at half size against every second label: as sharp as masks get, a quarter of
            # the cost.
            terms = segmentation_losses(
                upsample(output.logits.float()),
                inputs.labels[:, ::2, ::2],
                self.context.class_weights,
            )
            weights = self.context.config.loss
            total = total + weights.cross_entropy * terms["cross_entropy"]
            total = total + weights.dice * terms["dice"]
            values |= {f"loss/{name}": float(term.detach()) for name, term in terms.items()}
        total.backward()
        return values | {"loss/total": float(total.detach())}

    @classmethod
    def uses_labels(cls, config: TrainingConfig) -> bool:
        return config.loss.cross_entropy > 0 or config.loss.dice > 0


class FusionStage(SupervisedStage):
    """Stage 1: the fused image alone. The segmentation head is left out."""

    @classmethod
    def uses_labels(cls, config: TrainingConfig) -> bool:
        return False


class _TwoBranches(Stage):
    """What warm-up and joint training share: both branches look, each is held to the anchor."""

    helper = "segmenter"

    def __init__(self, config: StageConfig, context: StageContext, start: int = 0) -> None:
        super().__init__(config, context, start)
        assert context.anchor is not None and context.models.segmenter is not None
        self.segmenter = context.processes.wrap(context.models.segmenter)
        self.anchor = context.anchor

    def window(self, inputs: Inputs, step: int) -> Window:
        height, width = inputs.visible.shape[-2:]
        return draw_window(height, width, self.context.config.seed, step)

    def segment(self, image: Tensor) -> Tensor:
        """The pixel-level branch on images, in the precision of the run."""
        with self.autocast():
            return self.segmenter(image.contiguous(memory_format=torch.channels_last)).float()


class WarmUpStage(_TwoBranches):
    """Stage 1b: the feature-level head and the pixel-level branch learn the anchor.

    Everything that the fused image depends on is frozen.
    """

    parts = SEGMENTATION_HEAD

    def backward(self, inputs: Inputs, step: int) -> dict[str, float]:
        output, window = self.fuse(inputs), self.window(inputs, step)
        pixel_logits = self.segment(window.of(output.fused.detach()))
        feature_loss, pixel_loss = self.anchor.losses(
            output.logits.float(), pixel_logits, window, inputs
        )
        total = self.context.config.loss.anchor * (feature_loss + pixel_loss)
        total.backward()
        return {
            "loss/anchor_feature": float(feature_loss.detach()),
            "loss/anchor_pixel": float(pixel_loss.detach()),
            "loss/total": float(total.detach()),
        }


class JointStage(_TwoBranches):
    """Stage 2: fusion, consistency of the two segmentations, and the anchor.

    The gradient of the pixel branch reaches the fusion network only through the fused image, and
    there it passes the weighting's gate.
    """

    def backward(self, inputs: Inputs, step: int) -> dict[str, float]:
        output, window = self.fuse(inputs), self.window(inputs, step)
        seen = output.fused.detach().requires_grad_()  # what the fusion losses look at
        shown = output.fused.detach().requires_grad_()  # what the pixel branch looks at
        fusion, values = self.fusion_loss(seen, inputs)
        feature_logits, pixel_logits = output.logits.float(), self.segment(window.of(shown))
        taught = window.of(feature_logits, STRIDE), pixel_logits
        csc_feature, csc_pixel = cross_segmentation(
            *taught, self.context.config.consistency, self._teachers(inputs, window)
        )
        anchor_feature, anchor_pixel = self.anchor.losses(
            feature_logits, pixel_logits, window, inputs
        )
        weights = self._weights(
            fusion, csc_feature + csc_pixel, anchor_feature + anchor_pixel, self._ramp(step)
        )
        (weights["consistency"] * csc_pixel + weights["anchor"] * anchor_pixel).backward()
        (fusion_gradient,) = torch.autograd.grad(weights["fusion"] * fusion, seen)
        assert shown.grad is not None
        gate = self._gate(fusion_gradient, shown.grad)
        rest = weights["consistency"] * csc_feature + weights["anchor"] * anchor_feature
        pulls = [(output.fused, fusion_gradient + gate * shown.grad), (rest, torch.ones_like(rest))]
        trained = [pull for pull in pulls if pull[0].requires_grad]  # one may be frozen: train_only
        torch.autograd.backward([loss for loss, _ in trained], [pull for _, pull in trained])
        scaled = {"fusion": fusion, "consistency": csc_feature + csc_pixel,
                  "anchor": anchor_feature + anchor_pixel}  # fmt: skip
        total = sum(weights[name] * float(loss.detach()) for name, loss in scaled.items())
        return {
            **values,
            "loss/consistency_feature": float(csc_feature.detach()),
            "loss/consistency_pixel": float(csc_pixel.detach()),
            "loss/anchor_feature": float(anchor_feature.detach()),
            "loss/anchor_pixel": float(anchor_pixel.detach()),
            "loss/total": total,
            **{f"weight/{name}": weight for name, weight in weights.items()},
            "weight/gate": gate,
        }

    @torch.no_grad()
    def _teachers(self, inputs: Inputs, window: Window) -> tuple[Tensor, Tensor] | None:
        """Logits of both averaged branches on whole frames; None: each branch teaches itself.

        An average of the last steps is right more often than each of them (Tarvainen & Valpola,
        Mean Teachers, 2017), and what it sees with both cameras is what a branch that has lost one
        must learn.
        """
        if self.context.config.consistency.teacher == "branch":
            return None
        averaged = self.context.averaged.eval()
        assert averaged.segmenter is not None
        with self.autocast():
            output = averaged.network(
                inputs.whole_visible.contiguous(memory_format=torch.channels_last),
                inputs.whole_thermal,
            )
            pixel = averaged.segmenter(
                window.of(output.fused).contiguous(memory_format=torch.channels_last)
            )
        return window.of(output.logits.float(), STRIDE), pixel.float()

    def _ramp(self, step: int) -> float:
        """Consistency fades in, exp(-5 (1 - t)^2) as in Laine & Aila 2017: at first the branches
        have nothing to teach each other.
        """
        length = self.context.config.consistency.ramp * self.config.steps
        t = min(1.0, (step - self.start) / length) if length else 1.0
        return math.exp(-5 * (1 - t) ** 2)

    def _weights(
        self, fusion: Tensor, consistency: Tensor, anchor: Tensor, ramp: float
    ) -> dict[str, float]:
        losses = {"fusion": fusion, "consistency": consistency, "anchor": anchor}
        values = self.context.processes.mean({n: float(x.detach()) for n, x in losses.items()})
        factors = self.context.weighting.weights(values)
        scales = self.context.config.loss
        return {
            "fusion": factors["fusion"],  # loss.fusion is in the fusion loss already
            "consistency": factors["consistency"] * scales.consistency * ramp,
            "anchor": factors["anchor"] * scales.anchor,
        }

    def _gate(self, fusion: Tensor, segmentation: Tensor) -> float:
        gate = self.context.weighting.gate(fusion, segmentation)
        return self.context.processes.mean({"gate": gate})["gate"]


def cross_segmentation(
    feature_logits: Tensor,
    pixel_logits: Tensor,
    config: ConsistencyConfig,
    teachers: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross-segmentation consistency: each branch learns what the other says of the same view.

        L_csc = CE(S_F, sg(A(S_P))) + CE(S_P, sg(A(S_F)))

    with sg "stop gradient" and A what is taught: probabilities, or labels. Within `BORDER` pixels
    of the view's border nothing is asked.

    Args:
        feature_logits: (B, K, h, w) of the feature-level branch, cut to the window.
        pixel_logits: (B, K, h, w) of the pixel-level branch.
        config: what is taught.
        teachers: logits of the two branches that teach; None: the same two.

    Returns:
        The two terms, for the feature-level and for the pixel-level branch.
    """
    size = feature_logits.shape[-2:]
    feature_teacher, pixel_teacher = teachers or (feature_logits, pixel_logits)
    pixel_logits, pixel_teacher = (
        x[..., : size[0], : size[1]] for x in (pixel_logits, pixel_teacher)
    )
    loss = _learn_probabilities if config.targets == "soft" else _learn_labels
    return (
        loss(feature_logits, pixel_teacher.detach(), config),
        loss(pixel_logits, feature_teacher.detach(), config),
    )


def _learn_probabilities(taught: Tensor, teacher: Tensor, config: ConsistencyConfig) -> Tensor:
    """Cross-entropy with the teacher's probabilities (Zhang et al., Deep Mutual Learning, 2018).

    It moves the branches towards each other and nowhere else; labels made of them would move both
    towards what is frequent.
    """
    n = BORDER // STRIDE
    inside = (..., slice(n, -n), slice(n, -n))
    return F.cross_entropy(taught[inside], teacher[inside].softmax(1))


def _learn_labels(taught: Tensor, teacher: Tensor, config: ConsistencyConfig) -> Tensor:
    """Cross-entropy with labels. A pixel of a class with the part p of all counts p^-balance."""
    balances = config.targets == "balanced"
    labels = balanced(teacher) if balances else confident(teacher, config.confidence)
    target = without_border(labels)
    weight = _class_weights(target, taught.shape[1], config.balance)
    loss = F.cross_entropy(taught, target, weight, ignore_index=UNKNOWN, reduction="sum")
    return loss / (weight * _counts(target, taught.shape[1])).sum().clamp(min=1e-6)


def _counts(target: Tensor, classes: int) -> Tensor:
    """(K,) float number of pixels of each class."""
    return torch.bincount(target[target != UNKNOWN], minlength=classes).float()


def _class_weights(target: Tensor, classes: int, balance: float) -> Tensor:
    """(K,) weights p^-balance; a class that does not occur has none."""
    part = _counts(target, classes)
    part = part / part.sum().clamp(min=1)
    return torch.where(part > 0, part.clamp(min=1e-3) ** -balance, torch.zeros_like(part))


STAGES: dict[str, type[Stage]] = {
    "masked": MaskedStage,
    "supervised": SupervisedStage,
    "fusion": FusionStage,
    "warm_up": WarmUpStage,
    "joint": JointStage,
}


def trained_parts(config: TrainingConfig, labelled: int) -> set[str]:
    """Names of the network's parts that some stage of a run trains; looks at all of them first.

    Args:
        config: of the run.
        labelled: frames with labels that it has.

    Raises:
        SsvifError: see `Stage.trained`; or a stage learns masks from labels, and there are none.
    """
    parts: set[str] = set()
    for stage in config.stages:
        kind = STAGES[stage.kind]
        trained = kind.trained(stage, config)
        # A warm-up trains the pixel-level segmenter, whatever of the network it leaves as it is.
        masks = bool(trained - set(FUSION_PATH)) or stage.kind == "warm_up"
        by_labels = kind.uses_labels(config) and config.mask_mode != "clusters"
        if masks and by_labels and not labelled:
            raise SsvifError(
                f"A stage {stage.kind} learns masks from labels, and no frame has any: give a "
                "source its labels (and not labelled: 0), or take stages warm_up and joint with "
                "consistency.mode clusters, which need none."
            )
        parts |= trained
    return parts
