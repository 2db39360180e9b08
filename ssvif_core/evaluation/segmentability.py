"""Can a machine read the fused image? The same small segmenter, trained on each method's images.

Needs torch (extra `train`). Published comparisons find most fused images no better for segmentation
than the visible image alone (arXiv 2410.06811), so both cameras alone belong into the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ssvif_core.data.pairs import FramePair
from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.methods import Method
from ssvif_core.evaluation.segmentation_metrics import (
    OBJECTS,
    SPREAD,
    ConfusionMatrix,
    named_iou,
)
from ssvif_core.evaluation.small_segmenter import (
    LabelledImage,
    Recipe,
    score_segmenter,
    train_segmenter,
)

__all__ = ["segmentability", "summarise"]


def segmentability(
    method: Method,
    train: Sequence[FramePair],
    test: Sequence[FramePair],
    classes: int,
    seeds: Sequence[int] = (0,),
    recipe: Recipe | None = None,
    device: str = "cpu",
    on_step: Callable[[], None] = lambda: None,
) -> list[ConfusionMatrix]:
    """Train the small segmenter on one method's images and score it, once for each seed.

    Args:
        method: makes the images of both sets.
        train: pairs; those without labels are left out. Labels may be weak.
        test: pairs, likewise; none of the training frames.
        classes: number of classes.
        seeds: of weights and crops; the same for all methods that are compared.
        recipe: of the training; None for the published one.
        device: of torch.
        on_step: called after each training step.

    Raises:
        SsvifError: one of the sets has no labelled frame.
    """
    images, held_out = _fused(method, train), _fused(method, test)
    if not images or not held_out:
        missing = "train" if not images else "score"
        raise SsvifError(f"No frame to {missing} on has labels: give a folder that holds them.")
    return [
        score_segmenter(train_segmenter(images, classes, seed, recipe, device, on_step), held_out)
        for seed in seeds
    ]


def summarise(matrices: Sequence[ConfusionMatrix], names: Sequence[str]) -> dict[str, float]:
    """IoU of each class and of the objects (all but class 0): mean over seeds, and spread.

    Args:
        matrices: one for each seed.
        names: of the classes, background first.

    Returns:
        `{name: mean, ...}`, `objects`, and `objects spread`, its standard deviation over seeds
        (NaN for a single one). Classes that do not occur are NaN and are left out of `objects`.
    """
    rows = [named_iou(matrix, names) for matrix in matrices]
    objects = np.array([row[OBJECTS] for row in rows])
    spread = float(objects.std(ddof=1)) if len(objects) > 1 else float("nan")
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} | {
        SPREAD: spread
    }


def _fused(method: Method, pairs: Sequence[FramePair]) -> list[LabelledImage]:
    return [
        LabelledImage(np.ascontiguousarray(method(pair.visible, pair.thermal).image), pair.labels)
        for pair in pairs
        if pair.labels is not None
    ]
