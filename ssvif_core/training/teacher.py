"""A trained network that teaches its masks to another, or to itself with a camera lost.

Cross-modal distillation (Gupta, Hoffman & Malik, CVPR 2016): the teacher sees both cameras, the
learner may have lost one. It says something in every pixel, also where labels are unknown, and what
the start of a run knew is not forgotten for it (Li & Hoiem, Learning without Forgetting, 2016).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from ssvif_core.deploy.export import load_trained
from ssvif_core.errors import SsvifError
from ssvif_core.models import open_model, shipped_models
from ssvif_core.network.fusion_network import FusionNetwork
from ssvif_core.training.checkpoint import load_checkpoint
from ssvif_core.training.distributed import ALONE, Processes
from ssvif_core.training.reopen import reopen

__all__ = ["distillation_losses", "open_teacher"]

#: Less of a class than this, in pixels of a quarter of the size, is no object to find.
PRESENT = 20.0


def open_teacher(
    source: str, classes: Sequence[str], frames: Callable[[], list[tuple[Tensor, Tensor]]]
) -> FusionNetwork:
    """The network that teaches; it may be of another variant than the one that learns.

    Args:
        source: path of a checkpoint (its averaged weights are taken) or of an exported ONNX model
            with its card, or the name of a shipped model.
        classes: that are taught.
        frames: batches to measure the statistics of a deployed model on, see `reopen`.

    Raises:
        SsvifError: there is no such file or model, it is of another version, or its masks have
            other classes or are clusters.
    """
    if source in shipped_models() or Path(source).suffix == ".onnx":
        model = open_model(str(Path(source).expanduser()))
        network, mode = reopen(model, frames()), model.card.mode
        theirs = [label.name for label in model.card.classes]
    else:
        state = load_checkpoint(Path(source).expanduser())
        network, mode, theirs = load_trained(state), state["mode"], state["classes"]
    if mode is None or theirs != list(classes):
        raise SsvifError(
            f"teacher: {source} knows the classes {', '.join(theirs) if mode else 'none'}, and "
            f"this run {', '.join(classes)}: name a model with the same ones."
        )
    if mode == "clusters":
        raise SsvifError(
            f"teacher: the masks of {source} are anonymous clusters, and what learns them would be "
            "taken for masks of named things. Name them first (config/training/few_labels.yaml "
            f"with initialise_from: {source}), or train this network in consistency.mode clusters."
        )
    return network


def distillation_losses(
    logits: Tensor, teacher: Tensor, processes: Processes = ALONE
) -> dict[str, Tensor]:
    """Cross-entropy and soft Dice against the probabilities of the teacher, in every pixel.

    Args:
        logits: (B, classes, h, w) of the learner.
        teacher: (B, classes, h, w) logits.
        processes: that have a part of the batch each.

    Dice with squares in the denominator (Milletari et al. 2016), so that equal probabilities cost
    nothing; over the whole batch, for each class but background that the teacher sees.
    """
    target, probability = teacher.softmax(1), logits.softmax(1)
    pixels = processes.whole(target.sum()).clamp(min=1)
    entropy = F.cross_entropy(logits, target, reduction="sum")
    overlap = processes.whole((probability * target).sum((0, 2, 3))[1:])
    total = processes.whole((probability**2 + target**2).sum((0, 2, 3))[1:])
    present = processes.whole(target.sum((0, 2, 3))[1:]) > PRESENT
    dice = 1 - (2 * overlap + 1) / (total + 1)
    dice = (dice * present).sum() / present.sum().clamp(min=1)
    return {"cross_entropy": processes.whole(entropy) / pixels, "dice": dice}
