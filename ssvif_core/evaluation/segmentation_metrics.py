"""Intersection over union, precision and recall from a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssvif_core.evaluation.counts import CountTable

__all__ = ["OBJECTS", "SPREAD", "ConfusionMatrix", "by_class", "named_iou"]

#: Name of the mean IoU over all classes but 0, in tables.
OBJECTS = "objects"
#: Name of the standard deviation of that mean over seeds.
SPREAD = "objects spread"


class ConfusionMatrix(CountTable):
    """Counts of (true class, predicted class) over any number of images.

    Args:
        classes: number of classes.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(classes, classes)

    def iou(self) -> np.ndarray:
        """(classes,) float; NaN for a class that neither side holds."""
        hit = np.diag(self.counts)
        return _ratio(hit, self.counts.sum(0) + self.counts.sum(1) - hit)

    def precision(self) -> np.ndarray:
        """(classes,) float; NaN for a class that was never predicted."""
        return _ratio(np.diag(self.counts), self.counts.sum(0))

    def recall(self) -> np.ndarray:
        """(classes,) float; NaN for a class that never occurs."""
        return _ratio(np.diag(self.counts), self.counts.sum(1))


def named_iou(matrix: ConfusionMatrix, names: Sequence[str]) -> dict[str, float]:
    """IoU of each class by its name, and of `objects`: the mean of all classes but 0.

    A class that neither side holds is NaN, and `objects` leaves it out.
    """
    iou = matrix.iou()
    objects = iou[1:][~np.isnan(iou[1:])]
    mean = float(objects.mean()) if objects.size else float("nan")
    return {**by_class(names, iou), OBJECTS: mean}


def by_class(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    """Values by the names of their classes; one that is named as the mean is `objects (class)`."""
    rows = [f"{name} (class)" if name == OBJECTS else name for name in names]
    return dict(zip(rows, map(float, values), strict=True))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
