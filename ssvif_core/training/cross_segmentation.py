"""Cross-segmentation consistency: each of two branches learns what the other one says."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssvif_core.data.pairs import UNKNOWN
from ssvif_core.training.assignment import balanced, confident
from ssvif_core.training.config import ConsistencyConfig
from ssvif_core.training.distributed import ALONE, Processes
from ssvif_core.training.views import BORDER, STRIDE, without_border

__all__ = ["cross_segmentation"]


def cross_segmentation(
    feature_logits: Tensor,
    pixel_logits: Tensor,
    config: ConsistencyConfig,
    teachers: tuple[Tensor, Tensor] | None = None,
    processes: Processes = ALONE,
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
        processes: that have a part of the batch each.

    Returns:
        The two terms, for the feature-level and for the pixel-level branch.
    """
    size = feature_logits.shape[-2:]
    feature_teacher, pixel_teacher = teachers or (feature_logits, pixel_logits)
    pixel_logits, pixel_teacher = (
        x[..., : size[0], : size[1]] for x in (pixel_logits, pixel_teacher)
    )
    feature_teacher, pixel_teacher = feature_teacher.detach(), pixel_teacher.detach()
    if config.targets == "soft":
        return (
            _learn_probabilities(feature_logits, pixel_teacher),
            _learn_probabilities(pixel_logits, feature_teacher),
        )
    return (
        _learn_labels(feature_logits, pixel_teacher, config, processes),
        _learn_labels(pixel_logits, feature_teacher, config, processes),
    )


def _learn_probabilities(taught: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy with the teacher's probabilities (Zhang et al., Deep Mutual Learning, 2018).

    It moves the branches towards each other and nowhere else; labels made of them would move both
    towards what is frequent.
    """
    n = BORDER // STRIDE
    inside = (..., slice(n, -n), slice(n, -n))
    return F.cross_entropy(taught[inside], teacher[inside].softmax(1))


def _learn_labels(
    taught: Tensor, teacher: Tensor, config: ConsistencyConfig, processes: Processes
) -> Tensor:
    """Cross-entropy with labels. A pixel of a class with the part p of all counts p^-balance."""
    balances = config.targets == "balanced"
    labels = balanced(teacher) if balances else confident(teacher, config.confidence)
    target = without_border(labels)
    counts = processes.whole(_counts(target, taught.shape[1]))
    weight = _class_weights(counts, config.balance)
    loss = F.cross_entropy(taught, target, weight, ignore_index=UNKNOWN, reduction="sum")
    return processes.whole(loss) / (weight * counts).sum().clamp(min=1e-6)


def _counts(target: Tensor, classes: int) -> Tensor:
    """(K,) float number of pixels of each class."""
    return torch.bincount(target[target != UNKNOWN], minlength=classes).float()


def _class_weights(counts: Tensor, balance: float) -> Tensor:
    """(K,) weights p^-balance; a class that does not occur has none."""
    part = counts / counts.sum().clamp(min=1)
    return torch.where(part > 0, part.clamp(min=1e-3) ** -balance, torch.zeros_like(part))
