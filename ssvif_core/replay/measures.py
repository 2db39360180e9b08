"""What is measured on each fused pair: look, stability, fusion metrics, labels against truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.fusion_metrics import evaluate_fusion
from ssvif_core.evaluation.segmentation_metrics import (
    OBJECTS,
    ConfusionMatrix,
    by_class,
    named_iou,
)
from ssvif_core.imaging.registration import Alignment, covered_by
from ssvif_core.inference.pipeline import FusionResult
from ssvif_core.models import ModelCard
from ssvif_core.replay.stability import Look, Stability, warped

__all__ = ["Measured", "Measures"]

Shape = tuple[int, int]
Box = tuple[slice, slice]
#: The mode of a card whose ids have no names.
CLUSTERS = "clusters"
#: Smaller frames have no VIF.
LEAST_SIDE = 48


@dataclass(frozen=True)
class Measured:
    """What one pair gave.

    Attributes:
        figures: by column of the table.
        matrix: its labels against the truth, or None.
        refused: why its truth could not be used, or "".
    """

    figures: dict[str, float]
    matrix: ConfusionMatrix | None = None
    refused: str = ""


class Measures:
    """Measures pairs, each for itself from any thread (`of`), and adds them up in order (`add`).

    Args:
        card: of the model, for class names.
        every: fusion metrics on every n-th pair; 0: on none. They take longer than fusing.
        alignment: what registers thermal, or None.

    Fusion metrics are taken inside the box that holds all of what thermal covers: what the engine
    saw as thermal beyond it is made up (`MirroredBorder`), and figures against that do not compare.

    Attributes:
        every: as given.
        matrix: counts of all labelled frames so far.
        labelled: how many these are.
        without_truth: why labels are not measured, or "".
    """

    def __init__(self, card: ModelCard, every: int, alignment: Alignment | None = None) -> None:
        self.every = every
        self._alignment, self._boxes = alignment, dict[tuple[Shape, Shape], Box]()
        self._stability = Stability() if alignment is None else Stability(warped(alignment))
        self.names: Sequence[str] = [label.name for label in card.classes]
        self.matrix = ConfusionMatrix(len(self.names))
        self.labelled = 0
        self.without_truth = (
            "the model's masks are anonymous clusters" if card.mode == CLUSTERS else ""
        )

    def look(
        self, stamp_s: float, visible: np.ndarray, counts: np.ndarray, result: FusionResult
    ) -> Look:
        """What the next pair is compared with, see `Stability.look`."""
        return self._stability.look(
            stamp_s, visible, counts, result.thermal, result.fused, result.labels
        )

    def of(
        self,
        index: int,
        before: Look | None,
        now: Look,
        visible: np.ndarray,
        result: FusionResult,
        truth: np.ndarray | None,
    ) -> Measured:
        """The figures of one pair.

        Args:
            index: of the pair.
            before: of the pair before it.
            now: its own.
            visible: (H, W, 3) uint8 RGB.
            result: of the pipeline.
            truth: (H, W) uint8 class ids, 255 unknown; or None.
        """
        mean, deviation = cv2.meanStdDev(now.fused)
        figures = {"fused_mean": float(mean[0, 0]), "fused_deviation": float(deviation[0, 0])}
        figures |= self._stability.compare(before, now)
        if self.every and index % self.every == 0:
            box = self.box((visible.shape[0], visible.shape[1]), now.counts_size)
            fused, *sources = (image[box] for image in (result.fused, visible, result.thermal))
            if min(fused.shape[:2]) >= LEAST_SIDE:
                figures |= evaluate_fusion(fused, *sources)
        if truth is None or self.without_truth:
            return Measured(figures)
        matrix = ConfusionMatrix(len(self.names))
        try:
            matrix.update(truth, result.labels)
        except SsvifError as error:
            return Measured(figures, refused=str(error))
        return Measured(figures, matrix)

    def box(self, visible: Shape, thermal: Shape) -> Box:
        """Rows and columns of the visible image in which thermal looks; both (height, width)."""
        if self._alignment is None:
            return slice(0, visible[0]), slice(0, visible[1])
        if (visible, thermal) not in self._boxes:
            coordinates = self._alignment.coordinates(visible[::-1], thermal[::-1])
            covered = covered_by(coordinates, thermal[::-1]).view(np.uint8)
            x, y, width, height = cv2.boundingRect(covered)
            self._boxes[visible, thermal] = slice(y, y + height), slice(x, x + width)
        return self._boxes[visible, thermal]

    def add(self, measured: Measured) -> dict[str, float]:
        """Count a pair, in order; all its figures by column of the table."""
        if measured.refused and not self.without_truth:
            self.without_truth = (
                f"{measured.refused} The model's classes are {list(self.names)}: map the ids with "
                "--label-map, such as 0:0,1:1,4:0."
            )
        matrix = measured.matrix
        if matrix is None or self.without_truth:
            return measured.figures
        self.matrix += matrix
        self.labelled += 1
        total = int(matrix.counts.sum())
        hit = int(np.diag(matrix.counts).sum())
        return measured.figures | {
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
            "precision": by_class(self.names, self.matrix.precision()),
            "recall": by_class(self.names, self.matrix.recall()),
        }
