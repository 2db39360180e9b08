"""A trained network that teaches its masks to another, or to itself with a camera lost.

Cross-modal distillation (Gupta, Hoffman & Malik, CVPR 2016): the teacher sees both cameras, the
learner may have lost one. It says something in every pixel, also where labels are unknown, and what
the start of a run knew is not forgotten for it (Li & Hoiem, Learning without Forgetting, 2016).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from ssvif_core.errors import SsvifError
from ssvif_core.training.distributed import ALONE, Processes

__all__ = ["check_teacher", "distillation_losses"]

#: Less of a class than this, in pixels of a quarter of the size, is no object to find.
PRESENT = 20.0


def check_teacher(
    source: str, mode: str | None, theirs: Sequence[str], classes: Sequence[str]
) -> None:
    """Whether a network can teach its masks to one of these classes, of whatever variant it is.

    Args:
        source: what the run calls it.
        mode: what its masks are, one of `ssvif_core.models.MODES`, None: nothing.
        theirs: names of its classes.
        classes: that are taught.

    Raises:
        SsvifError: its masks have other classes or are clusters.
    """
    if mode is None or list(theirs) != list(classes):
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
