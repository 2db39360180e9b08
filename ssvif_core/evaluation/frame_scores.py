"""One frame, every method: its metrics, its label counts, and its row of the picture grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from ssvif_core.data.pairs import UNKNOWN, FramePair
from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.artefacts import evaluate_artefacts
from ssvif_core.evaluation.cluster_metrics import ContingencyMatrix
from ssvif_core.evaluation.colour_clusters import ColourClusters
from ssvif_core.evaluation.fusion_metrics import evaluate_fusion
from ssvif_core.evaluation.methods import Method, baseline_method, model_method, open_models
from ssvif_core.evaluation.segmentation_metrics import ConfusionMatrix
from ssvif_core.imaging.overlay import draw_overlay
from ssvif_core.imaging.panels import panel_row, with_legend
from ssvif_core.models import ModelCard

__all__ = ["CLUSTERS", "FrameScorer", "FrameScores", "Plan", "known_camera", "without_camera"]

#: The mode of a card whose ids have no names.
CLUSTERS = "clusters"
#: Rows of a table of counts against anonymous clusters: every id that a label file can hold.
LABEL_IDS = UNKNOWN
PANEL_HEIGHT = 240


@dataclass(frozen=True)
class Plan:
    """What is to be evaluated; can be sent to another process.

    Attributes:
        models: names of shipped models or paths of ONNX files.
        baselines: keys of `BASELINES`.
        engine: for the models, see `create_engine`.
        threads: CPU threads of each engine.
        without: "visible" or "thermal": that camera is black for every method and metric.
        colour: k-means on colour by its name in the tables, to stand beside label-free masks.
        pictures: names of the frames that are drawn.
        unscored: models whose masks are not held against labels, which are of other classes.
    """

    models: Sequence[str] = ()
    baselines: Sequence[str] = ()
    engine: str = "auto"
    threads: int = 1
    without: str | None = None
    colour: dict[str, ColourClusters] = field(default_factory=dict)
    pictures: frozenset[str] = frozenset()
    unscored: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FrameScores:
    """What became of one frame.

    Attributes:
        name: of the frame.
        metrics: method -> metric -> value, of the nine and of the artefact figures.
        counts: method -> (classes, classes or clusters) int64, where the frame has labels.
        picture: (240, W, 3) uint8 RGB, or None where none was asked for.
    """

    name: str
    metrics: dict[str, dict[str, float]]
    counts: dict[str, np.ndarray]
    picture: np.ndarray | None = None


def known_camera(camera: str | None) -> str | None:
    """The camera to leave out, or None. Raises SsvifError if there is no such camera."""
    if camera not in (None, "visible", "thermal"):
        raise SsvifError(f"There is no camera '{camera}' to leave out: say visible or thermal.")
    return camera


def without_camera(pair: FramePair, camera: str | None) -> FramePair:
    """The pair with "visible" or "thermal" black; None changes nothing."""
    known_camera(camera)
    visible = np.zeros_like(pair.visible) if camera == "visible" else pair.visible
    thermal = np.zeros_like(pair.thermal) if camera == "thermal" else pair.thermal
    return FramePair(pair.name, visible, thermal, pair.labels)


class FrameScorer:
    """Runs the methods of a plan on frames. Owns engines: one thread uses it.

    Raises:
        SsvifError: a model cannot be opened or run.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        models = open_models(plan.models)
        self.cards: dict[str, ModelCard] = {name: model.card for name, model in models.items()}
        self.methods: dict[str, Method] = {n: baseline_method(n) for n in plan.baselines}
        for name, model in models.items():
            self.methods[name] = model_method(model, plan.engine, plan.threads)

    def score(self, pair: FramePair) -> FrameScores:
        """Evaluate one frame. Raises SsvifError for labels that a model's classes do not hold."""
        pair = without_camera(pair, self.plan.without)
        fused = {name: fuse(pair.visible, pair.thermal) for name, fuse in self.methods.items()}
        metrics = {
            name: evaluate_fusion(result.image, pair.visible, pair.thermal)
            | evaluate_artefacts(result.image, pair.visible, pair.thermal)
            for name, result in fused.items()
        }
        masks = {n: f.labels for n, f in fused.items() if f.labels is not None}
        for name, colour in self.plan.colour.items():
            masks[name] = colour.labels(pair.visible, pair.thermal)
        counts = {
            n: self._counts(n, pair, mask)
            for n, mask in masks.items()
            if pair.labels is not None and n not in self.plan.unscored
        }
        picture = None
        if pair.name in self.plan.pictures:
            images = {name: result.image for name, result in fused.items()}
            picture = self._picture(pair, images, masks)
        return FrameScores(pair.name, metrics, counts, picture)

    def _counts(self, name: str, pair: FramePair, mask: np.ndarray) -> np.ndarray:
        assert pair.labels is not None
        if name in self.plan.colour:
            table = ContingencyMatrix(LABEL_IDS, len(self.plan.colour[name].centres))
        elif self.cards[name].mode == CLUSTERS:
            table = ContingencyMatrix(LABEL_IDS, len(self.cards[name].classes))
        else:
            return self._class_counts(name, pair, mask)
        table.update(pair.labels, mask)
        return table.counts

    def _class_counts(self, name: str, pair: FramePair, mask: np.ndarray) -> np.ndarray:
        assert pair.labels is not None
        classes = [label.name for label in self.cards[name].classes]
        matrix = ConfusionMatrix(len(classes))
        try:
            matrix.update(pair.labels, mask)
        except SsvifError as error:
            raise SsvifError(
                f"Labels of '{pair.name}' against model {name}, whose classes are {classes}: "
                f"{error} Map the ids with --label-map, such as 0:0,1:1,4:0."
            ) from error
        return matrix.counts

    def _picture(
        self, pair: FramePair, images: dict[str, np.ndarray], masks: dict[str, np.ndarray]
    ) -> np.ndarray:
        """visible, thermal, fused images, and masks, each with its name."""
        panels = {f"{pair.name} visible": pair.visible, "thermal": pair.thermal, **images}
        for name, card in self.cards.items():
            overlay = draw_overlay(images[name], masks[name], card.palette)
            panels[f"{name}: masks"] = with_legend(_scaled(overlay), card.legend)
        return panel_row([_scaled(panel) for panel in panels.values()], [*panels])


def _scaled(image: np.ndarray) -> np.ndarray:
    width = max(1, round(image.shape[1] * PANEL_HEIGHT / image.shape[0]))
    return cv2.resize(image, (width, PANEL_HEIGHT), interpolation=cv2.INTER_AREA)
