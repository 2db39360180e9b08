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
from collections.abc import Sequence

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
)
from ssvif_core.network.layers import upsample
from ssvif_core.training.config import StageConfig, TrainingConfig
from ssvif_core.training.cross_segmentation import cross_segmentation
from ssvif_core.training.frames import Frames, ids_in_files
from ssvif_core.training.inputs import Inputs
from ssvif_core.training.losses import segmentation_losses
from ssvif_core.training.masked import (
    MaskedPrediction,
    draw_hidden,
    masked_losses,
)
from ssvif_core.training.masked_validation import validate_masked
from ssvif_core.training.stage import Models, Stage, StageContext
from ssvif_core.training.teacher import distillation_losses
from ssvif_core.training.views import STRIDE, Window, draw_window

__all__ = ["STAGES", "check_labels", "masks_after", "trained_parts", "unseen_classes"]


class MaskedStage(Stage):
    """Masked prediction across cameras: features of the trunk from unlabelled frames.

    Heads and fusion path do not train. Cameras that `modality_dropout` loses are there: what is
    hidden is drawn here.
    """

    parts = reach = TRUNK
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
        losses = masked_losses(predicted, visible, thermal, hidden, self.context.processes)
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
    """Fusion losses; labels, and what a teacher says, on the feature-level head."""

    def backward(self, inputs: Inputs, step: int) -> dict[str, float]:
        output = self.fuse(inputs)
        total, values = self.fusion_loss(output.fused, inputs)
        if self.uses_labels(self.context.config):
            logits, weights = output.logits.float(), self.context.config.loss
            # At half size, as sharp as masks get, and a quarter of the cost.
            terms = segmentation_losses(
                upsample(logits),
                inputs.labels,
                self.context.class_weights,
                self.context.processes,
            )
            total = total + weights.cross_entropy * terms["cross_entropy"]
            total = total + weights.dice * terms["dice"]
            if self.context.guides.teacher is not None:
                taught = distillation_losses(logits, self.taught(inputs), self.context.processes)
                total = total + weights.distillation * (
                    taught["cross_entropy"] + taught["dice"] / 2
                )
                terms |= {f"taught_{name}": term for name, term in taught.items()}
            values |= {f"loss/{name}": float(term.detach()) for name, term in terms.items()}
        total.backward()
        return values | {"loss/total": float(total.detach())}

    @torch.no_grad()
    def taught(self, inputs: Inputs) -> Tensor:
        """(B, classes, H/4, W/4) logits of the teacher, which sees both cameras."""
        teacher = self.context.guides.teacher
        assert teacher is not None
        whole = inputs.whole_visible.contiguous(memory_format=torch.channels_last)
        with self.autocast():
            logits: Tensor = teacher(whole, inputs.whole_thermal).logits
        return logits.float()

    @classmethod
    def uses_labels(cls, config: TrainingConfig) -> bool:
        return config.teacher is not None or config.loss.cross_entropy > 0 or config.loss.dice > 0


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
    reach = (*TRUNK, *SEGMENTATION_HEAD)  # the pixel-level branch sees the fused image detached

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
    there it passes the weighting's gate. So there are three backward passes:

        pixel branch's losses    -> the pixel-level segmenter, and `shown`
        fusion losses            -> `seen`, to be weighed against that
        `seen` + gate * `shown`, -> the fusion network, once: by the fused image, and
        feature branch's losses     by the feature logits
    """

    def backward(self, inputs: Inputs, step: int) -> dict[str, float]:
        output, window = self.fuse(inputs), self.window(inputs, step)
        seen = output.fused.detach().requires_grad_()  # what the fusion losses look at
        shown = output.fused.detach().requires_grad_()  # what the pixel branch looks at
        fusion, values = self.fusion_loss(seen, inputs)
        feature_logits, pixel_logits = output.logits.float(), self.segment(window.of(shown))
        taught = window.of(feature_logits, STRIDE), pixel_logits
        csc_feature, csc_pixel = cross_segmentation(
            *taught,
            self.context.config.consistency,
            self._teachers(inputs, window),
            self.context.processes,
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
        gradients = {"fusion": fusion, "segmentation": segmentation}
        # Of the whole batch, whose gradients one gate scales: each process has its part of it. That
        # they are means and not sums over the processes, their ratio does not show.
        squares = {name: float(x.norm()) ** 2 for name, x in gradients.items()}
        norms = {n: math.sqrt(x) for n, x in self.context.processes.mean(squares).items()}
        return self.context.weighting.gate(**norms)


STAGES: dict[str, type[Stage]] = {
    "masked": MaskedStage,
    "supervised": SupervisedStage,
    "fusion": FusionStage,
    "warm_up": WarmUpStage,
    "joint": JointStage,
}


def trained_parts(config: TrainingConfig) -> set[str]:
    """Names of the network's parts that some stage of a run trains.

    Raises:
        SsvifError: see `Stage.trained`.
    """
    stages = config.stages
    return set().union(*(STAGES[stage.kind].trained(stage, config) for stage in stages))


def masks_after(
    config: TrainingConfig, before: str | None, step: int | None = None, labelled: bool = True
) -> str | None:
    """What the masks of a run are, one of `ssvif_core.models.MODES`; None: nothing yet.

    Args:
        config: of the run.
        before: what they are where it starts.
        step: steps that are made; None: all of them.
        labelled: whether any frame has labels; without, a teacher alone says what masks are.

    Raises:
        SsvifError: see `Stage.trained`.
    """
    begun = [
        stage
        for i, stage in enumerate(config.stages)
        if step is None or step > sum(earlier.steps for earlier in config.stages[:i])
    ]
    so_far = config.model_copy(update={"stages": begun})
    trained = trained_parts(so_far)
    if trained & set(SEGMENTATION_HEAD):
        loss = config.loss
        by_labels = labelled and (loss.cross_entropy > 0 or loss.dice > 0)
        alone = config.teacher is not None and not by_labels
        return "distilled" if alone else so_far.mask_mode
    return None if trained & set(TRUNK) else before


def check_labels(config: TrainingConfig, frames: Frames, class_pixels: np.ndarray) -> None:
    """Raise SsvifError where a stage learns masks from labels, and those to train on say nothing.

    A stage does if it trains the trunk, the segmentation head or the pixel-level segmenter by a
    loss that reads labels. A stage supervised that a teacher teaches can do without; where there
    are label images, they have to say something to that one, too.

    Args:
        config: of the run.
        frames: of the run.
        class_pixels: see `BatchMaker`.
    """
    for stage in _learning_labels(config):
        if not frames.labelled and (config.teacher is None or stage.kind != "supervised"):
            raise SsvifError(
                f"A stage {stage.kind} learns masks from labels, and no frame has any that it may "
                f"use ({frames}): give a source its labels (and not labelled: 0), or take stages "
                "warm_up and joint with consistency.mode clusters, which need none."
            )
        if frames.labelled and not class_pixels.any():
            raise SsvifError(
                f"A stage {stage.kind} learns masks from labels, and no pixel of the labels has a "
                f"known class. {ids_in_files(config)} 255 is unknown, and so is what a label_map "
                "does not name: name the ids of the files there (`label_map: {0: 0, 4: 2}`)."
            )


def unseen_classes(config: TrainingConfig, class_pixels: np.ndarray) -> list[str]:
    """A sentence, if labels teach masks and those that were read lack a class; else none."""
    unseen = [name for i, name in enumerate(config.classes) if not class_pixels[i]]
    if not (unseen and class_pixels.any() and _learning_labels(config)):
        return []
    return [
        f"No label image that was read holds {', '.join(unseen)}: the masks learn nothing of that. "
        "If it is there under another id, name that in the source's label_map."
    ]


def _learning_labels(config: TrainingConfig) -> list[StageConfig]:
    """Stages that learn masks from labels where there are any, see `check_labels`."""
    if config.mask_mode == "clusters":
        return []
    return [
        stage
        for stage in config.stages
        if STAGES[stage.kind].uses_labels(config)
        # A warm-up trains the pixel-level segmenter, whatever of the network it leaves as it is.
        and (
            STAGES[stage.kind].trained(stage, config) - set(FUSION_PATH) or stage.kind == "warm_up"
        )
    ]
