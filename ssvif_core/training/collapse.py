"""Is label-free segmentation still about what is seen? Four figures that say when it is not.

Agreement of the branches and their loss are no measure of it: one cluster for everything agrees
perfectly. What was seen to happen instead of segmentation (docs/method.md), and the figure that
shows it:

    perplexity        exp(entropy of all labels): everything in one or two clusters
    image_perplexity  the same within each image, averaged: one cluster for each image
    border            total variation distance, 0 to 1, between the labels near the border and
                      those inside: clusters of places, learnt from zero padding
    stability         part of the pixels that keep their label when the image is moved by
                      `SHIFT` pixels: labels of the sampling grid
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from ssvif_core.errors import SsvifError
from ssvif_core.training.config import CollapseConfig
from ssvif_core.training.views import BORDER, STRIDE

__all__ = ["CollapseAlarm", "CollapseError", "CollapseFigures", "measure"]

#: Pixels; no multiple of the network's coarsest stride (16), a multiple of the logits' (4).
SHIFT = 20
#: A cluster with less than this part of all pixels counts as unused.
USED = 0.005


class CollapseError(SsvifError):
    """The masks of a run no longer mean anything; the message says which figure shows it."""


@dataclass(frozen=True)
class CollapseFigures:
    """See the module's docstring; `used` is the number of clusters with 0.5 % of the pixels."""

    perplexity: float
    image_perplexity: float
    used: float
    border: float
    stability: float


def _histogram(labels: Tensor, classes: int) -> Tensor:
    return torch.bincount(labels.flatten(), minlength=classes).float() / max(1, labels.numel())


def _perplexity(part: Tensor) -> float:
    return float(torch.exp(-(part * part.clamp(min=1e-12).log()).sum()))


@torch.no_grad()
def measure(
    predict: Callable[[Tensor, Tensor], Tensor], visible: Tensor, thermal: Tensor
) -> CollapseFigures:
    """Look at the labels of one batch.

    Args:
        predict: (B, 3, H, W), (B, 1, H, W) -> logits (B, K, H/4, W/4).
        visible: the batch.
        thermal: the batch.
    """
    logits = predict(visible, thermal)
    labels, classes = logits.argmax(1), logits.shape[1]
    whole = _histogram(labels, classes)
    n = BORDER // STRIDE
    inside = labels[:, n:-n, n:-n]
    outside = (whole * labels.numel() - _histogram(inside, classes) * inside.numel()) / (
        labels.numel() - inside.numel()
    )
    moved = predict(visible[..., SHIFT:, SHIFT:], thermal[..., SHIFT:, SHIFT:]).argmax(1)
    k = SHIFT // STRIDE
    rows, columns = (m - k for m in labels.shape[1:])
    same = labels[:, k:, k:] == moved[:, :rows, :columns]
    return CollapseFigures(
        perplexity=_perplexity(whole),
        image_perplexity=sum(_perplexity(_histogram(x, classes)) for x in labels) / len(labels),
        used=float((whole >= USED).sum()),
        border=float((outside - _histogram(inside, classes)).abs().sum()) / 2,
        stability=float(same[:, n : -n or None, n : -n or None].float().mean()),
    )


class CollapseAlarm:
    """Counts bad looks in a row and ends the run when there were too many."""

    def __init__(self, config: CollapseConfig) -> None:
        self.config, self.bad = config, 0

    def look(self, figures: CollapseFigures) -> None:
        """Take the figures of one look.

        Raises:
            CollapseError: figures were out of bounds `patience` times in a row.
        """
        reasons = self._reasons(figures)
        self.bad = self.bad + 1 if reasons else 0
        if self.bad >= self.config.patience:
            values = ", ".join(f"{name} {value:.3g}" for name, value in asdict(figures).items())
            raise CollapseError(
                f"The masks have collapsed: {'; '.join(reasons)} ({values}). Checkpoint and "
                "pictures of the run show it. Try a stronger anchor (loss.anchor), targets: "
                "balanced, more clusters, or a longer warm-up; collapse.* sets the bounds."
            )

    def _reasons(self, f: CollapseFigures) -> list[str]:
        c = self.config
        checks = {
            "almost everything is one cluster": f.perplexity < c.min_perplexity,
            "hardly any cluster is used": f.used < c.min_used,
            "each image is one cluster": f.image_perplexity < c.min_image_perplexity,
            "clusters follow the image border": f.border > c.max_border,
            "clusters do not move with the image": f.stability < c.min_stability,
        }
        return [reason for reason, holds in checks.items() if holds]
