"""What is measured on each fused pair: look, stability, fusion metrics, labels against truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.fusion_metrics import evaluate_fusion
from ssvif_core.evaluation.segmentation_metrics import OBJECTS, ConfusionMatrix, named_iou
from ssvif_core.imaging.registration import Alignment
from ssvif_core.inference.pipeline import FusionResult
from ssvif_core.models import ModelCard
from ssvif_core.replay.stability import Stability, warped

__all__ = ["Measures"]

#: The mode of a card whose ids have no names.
CLUSTERS = "clusters"
#: Smaller frames have no VIF.
LEAST_SIDE = 48


class Measures:
    """Measures one pair after the other, in order.

    Args:
        card: of the model, for class names.
        every: fusion metrics on every n-th pair; 0: on none. They take longer than fusing.
        alignment: what registers thermal, or None.

    Attributes:
        matrix: counts of all labelled frames so far.
        labelled: how many these are.
        without_truth: why labels are not measured, or "".
    """

    def __init__(self, card: ModelCard, every: int, alignment: Alignment | None = None) -> None:
        self._every = every
        self._stability = Stability() if alignment is None else Stability(warped(alignment))
        self.names: Sequence[str] = [label.name for label in card.classes]
        self.matrix = ConfusionMatrix(len(self.names))
        self.labelled = 0
        self.without_truth = (
            "the model's masks are anonymous clusters" if card.mode == CLUSTERS else ""
        )

    def of(
        self,
        index: int,
        stamp_s: float,
        visible: np.ndarray,
        counts: np.ndarray,
        result: FusionResult,
        truth: np.ndarray | None,
    ) -> dict[str, float]:
        """The figures of a pair by column of the table.

        Args:
            index: of the pair.
            stamp_s: of the pair.
            visible: (H, W, 3) uint8 RGB.
            counts: (h, w) uint8, uint16 or float32, thermal as it came.
            result: of the pipeline.
            truth: (H, W) uint8 class ids, 255 unknown; or None.
        """
        fused = cv2.cvtColor(result.fused, cv2.COLOR_RGB2GRAY)
        mean, deviation = cv2.meanStdDev(fused)
        figures = {"fused_mean": float(mean[0, 0]), "fused_deviation": float(deviation[0, 0])}
        figures |= self._stability.step(
            stamp_s, visible, counts, result.thermal, result.fused, result.labels
        )
        if self._every and index % self._every == 0 and min(fused.shape) >= LEAST_SIDE:
            figures |= evaluate_fusion(result.fused, visible, result.thermal)
        if truth is not None and not self.without_truth:
            figures |= self._against(truth, result.labels)
        return figures

    def _against(self, truth: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        matrix = ConfusionMatrix(len(self.names))
        try:
            matrix.update(truth, labels)
        except SsvifError as error:
            self.without_truth = (
                f"{error} The model's classes are {list(self.names)}: map the ids with "
                "--label-map, such as 0:0,1:1,4:0."
            )
            return {}
        self.matrix += matrix
        self.labelled += 1
        total = int(matrix.counts.sum())
        hit = int(np.diag(matrix.counts).sum())
        return {
            "iou_objects": named_iou(matrix, self.names)[OBJECTS],
            "pixel_accuracy": hit / total if total else float("nan"),
        }

    def segmentation(self) -> dict[str, Any] | None:
        """Figures over all labelled frames, or None where there are none."""
        if not self.labelled or self.without_truth:
            return None
        return {
            "labelled": self.labelled,
            "iou": named_iou(self.matrix, self.names),
            "precision": dict(zip(self.names, map(float, self.matrix.precision()), strict=True)),
            "recall": dict(zip(self.names, map(float, self.matrix.recall()), strict=True)),
        }
