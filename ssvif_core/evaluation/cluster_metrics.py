"""How well anonymous masks (mode `clusters`) match classes that they were never told of.

All figures come from one table of counts, class against cluster, over all images: a cluster has to
mean the same in every image to score.
"""

from __future__ import annotations

import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.counts import CountTable

__all__ = ["ContingencyMatrix"]


class ContingencyMatrix(CountTable):
    """Counts of (true class, cluster) over any number of images.

    Args:
        classes: number of true classes.
        clusters: number of clusters; may be larger or smaller.
    """

    column = "cluster"

    def __init__(self, classes: int, clusters: int) -> None:
        super().__init__(classes, clusters)

    def hungarian(self) -> np.ndarray:
        """Cluster of each class, one to one, such that the sum of IoU is largest.

        Assignment by Kuhn (1955), through `scipy.optimize.linear_sum_assignment`.

        Returns:
            (classes,) int64; -1 for a class that is left without one, as there are fewer clusters.

        Raises:
            SsvifError: scipy is not installed.
        """
        try:
            from scipy.optimize import linear_sum_assignment
        except ImportError as error:
            raise SsvifError(f"Matching needs scipy: pip install '.[train]' ({error}).") from error
        chosen = np.full(len(self.counts), -1, np.int64)
        rows, columns = linear_sum_assignment(self._iou_of_pairs(), maximize=True)
        chosen[rows] = columns
        return chosen

    def hungarian_iou(self) -> np.ndarray:
        """(classes,) IoU of each class with its matched cluster, 0 without; NaN: never occurs."""
        chosen = self.hungarian()
        iou = self._iou_of_pairs()[np.arange(len(chosen)), chosen]
        return np.where(self._occurs(), np.where(chosen < 0, 0.0, iou), np.nan)

    def majority_iou(self) -> np.ndarray:
        """(classes,) IoU after every cluster took the class that most of its pixels are.

        Many clusters may take one class. More clusters can only help, so compare at the same
        number. 0 for a class that no cluster took; NaN for one that never occurs.
        """
        classes, clusters = self.counts.shape
        taken = np.zeros((classes, classes), np.int64)
        np.add.at(taken.T, self.counts.argmax(0), self.counts.T)  # rows are still the truth
        hit = np.diag(taken)
        union = taken.sum(0) + taken.sum(1) - hit
        return np.where(self._occurs(), hit / np.maximum(union, 1), np.nan)

    def majority_accuracy(self) -> float:
        """Part of the pixels whose cluster took their class ("purity"); NaN without pixels."""
        total = self.counts.sum()
        return float(self.counts.max(0).sum() / total) if total else float("nan")

    def nmi(self) -> float:
        """Normalised mutual information, 2 I(class; cluster) / (H(class) + H(cluster)), 0..1.

        With the arithmetic mean of the entropies, as scikit-learn has it. 1 if both have one value
        only; NaN without pixels.
        """
        total = self.counts.sum()
        if not total:
            return float("nan")
        joint = self.counts / total
        rows, columns = joint.sum(1), joint.sum(0)
        entropies = _entropy(rows) + _entropy(columns)
        information = entropies - _entropy(joint.ravel())
        return float(2 * information / entropies) if entropies > 0 else 1.0

    def summary(self) -> dict[str, float]:
        """The figures that reports show; means are over the classes that occur."""
        if not self.counts.any():
            raise SsvifError("No labelled pixel was counted: evaluate a folder with labels.")
        return {
            "hungarian mIoU": float(np.nanmean(self.hungarian_iou())),
            "majority mIoU": float(np.nanmean(self.majority_iou())),
            "majority accuracy": self.majority_accuracy(),
            "NMI": self.nmi(),
        }

    def _occurs(self) -> np.ndarray:
        return self.counts.sum(1) > 0

    def _iou_of_pairs(self) -> np.ndarray:
        """(classes, clusters) IoU of each class with each cluster."""
        union = self.counts.sum(1, keepdims=True) + self.counts.sum(0, keepdims=True) - self.counts
        return self.counts / np.maximum(union, 1)


def _entropy(part: np.ndarray) -> float:
    part = part[part > 0]
    return float(-(part * np.log(part)).sum())
