"""From logits or features to target labels: the most likely one, or balanced within each image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssvif_core.data.pairs import UNKNOWN

__all__ = ["balanced", "confident", "kmeans", "nearest"]

SINKHORN_ITERATIONS = 3


def confident(logits: Tensor, threshold: float) -> Tensor:
    """Most likely class where its probability reaches `threshold`, else 255.

    Shapes: (B, K, h, w) -> (B, h, w) int64.
    """
    probability, labels = logits.softmax(1).max(1)
    return labels.where(probability >= threshold, torch.full_like(labels, UNKNOWN))


def balanced(logits: Tensor, softness: float = 1.0) -> Tensor:
    """Assignment in which, within each image, no class takes much more than its share.

    Sinkhorn-Knopp as in SwAV (Caron et al. 2020, algorithm 1), within one image instead of over a
    batch: over a batch the cheapest balanced answer is one class for each image. Every class is
    asked for with the mean of an equal share and the share that the logits give it, because not
    every image holds everything.

    Shapes: (B, K, h, w) -> (B, h, w) int64.
    """
    batch, classes, height, width = logits.shape
    plan = (logits.flatten(2).float() / softness).softmax(1)  # (B, K, pixels)
    wanted = (plan.mean(2, keepdim=True) + 1 / classes) / 2
    for _ in range(SINKHORN_ITERATIONS):
        plan = plan * (wanted / plan.mean(2, keepdim=True).clamp(min=1e-8))
        plan = plan / plan.sum(1, keepdim=True).clamp(min=1e-8)
    return plan.argmax(1).reshape(batch, height, width)


def nearest(features: Tensor, centres: Tensor, margin: float = 0.0) -> Tensor:
    """Index of the nearest centre by cosine, 255 where the second is closer than `margin` to it.

    Shapes: features (B, C, h, w), centres (K, C) of unit length -> (B, h, w) int64.
    """
    similarity = torch.einsum("bchw,kc->bkhw", F.normalize(features.float(), dim=1), centres)
    best, labels = similarity.topk(2, dim=1)
    clear = best[:, 0] - best[:, 1] >= margin
    return labels[:, 0].where(clear, torch.full_like(labels[:, 0], UNKNOWN))


def kmeans(points: Tensor, clusters: int, seed: int, rounds: int = 25) -> Tensor:
    """Spherical k-means with k-means++ seeding (Arthur & Vassilvitskii 2007).

    Args:
        points: (N, C) float; only their directions count.
        clusters: K <= N.
        seed: of the seeding.

    Returns:
        (K, C) centres of unit length. A cluster that runs empty is set to the point that its
        centre fits worst.
    """
    points = F.normalize(points.float(), dim=1)
    generator = torch.Generator().manual_seed(seed)
    centres = points[torch.randint(len(points), (1,), generator=generator)]
    for _ in range(1, clusters):
        distance = (1 - (points @ centres.T).max(1).values).clamp(min=0) + 1e-12
        chosen = torch.multinomial(distance.cpu(), 1, generator=generator)
        centres = torch.cat([centres, points[chosen]])
    for _ in range(rounds):
        fit, labels = (points @ centres.T).max(1)
        sums = torch.zeros_like(centres).index_add_(0, labels, points)
        empty = torch.bincount(labels, minlength=clusters) == 0
        sums[empty] = points[fit.argsort()[: int(empty.sum())]]
        centres = F.normalize(sums, dim=1)
    return centres
