"""Evaluate methods on a set of frames, on several cores, and gather what came out."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from ssvif_core.cores import cores
from ssvif_core.data.collection import SkippedPair, summary
from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.artefacts import ARTEFACTS
from ssvif_core.evaluation.cluster_metrics import ContingencyMatrix
from ssvif_core.evaluation.evaluation_set import EvaluationSet
from ssvif_core.evaluation.frame_scores import CLUSTERS, FrameScorer, FrameScores, Plan
from ssvif_core.evaluation.fusion_metrics import METRICS
from ssvif_core.evaluation.methods import open_models
from ssvif_core.evaluation.ranking import mean_rank
from ssvif_core.evaluation.segmentation_metrics import ConfusionMatrix, named_iou
from ssvif_core.models import ModelCard

__all__ = ["MEAN_RANK", "Evaluation", "evaluate"]

MEAN_RANK = "mean rank"

Table = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Evaluation:
    """Scores of all frames, and the tables made of them.

    Attributes:
        frames: in the order of their names.
        cards: of the models, by the name in the tables.
        parts: name of a frame -> "day" or "night"; empty where the set does not say.
        skipped: frames that could not be used, with reasons.
    """

    frames: Sequence[FrameScores]
    cards: Mapping[str, ModelCard]
    parts: Mapping[str, str]
    skipped: Sequence[SkippedPair] = ()

    def fusion(self, methods: Sequence[str] | None = None) -> Table:
        """Mean over the frames of each metric, for each method; of several, the mean rank, too.

        Args:
            methods: those to rank among each other; None takes all.

        A figure that some frames do not have (no flat region) is the mean of the others, and NaN
        where none has it. Ranks are by the nine metrics only, not by the artefact figures; a method
        alone has none.
        """
        chosen = list(self.frames[0].metrics) if methods is None else list(methods)
        table: Table = {}
        for method in chosen:
            table[method] = {
                name: _mean([frame.metrics[method][name] for frame in self.frames])
                for name in (*METRICS, *ARTEFACTS)
            }
        if len(table) < 2:
            return table
        ranks = mean_rank({m: {n: values[n] for n in METRICS} for m, values in table.items()})
        return {method: {**values, MEAN_RANK: ranks[method]} for method, values in table.items()}

    def segmentation(self) -> dict[str, Table]:
        """Model -> "all", "day", "night" -> IoU of each class and of `objects`, their mean.

        Only models whose ids have names, and only where frames have labels. NaN is a class that
        neither labels nor masks hold; `objects` leaves it out.
        """
        result: dict[str, Table] = {}
        for method, card in self.cards.items():
            if card.mode != CLUSTERS and (counts := self._counts(method)):
                names = [label.name for label in card.classes]
                result[method] = {}
                for part, total in counts.items():
                    matrix = ConfusionMatrix(len(names))
                    matrix.counts = total
                    result[method][part] = named_iou(matrix, names)
        return result

    def clusters(self) -> dict[str, Table]:
        """Method -> part -> figures of `ContingencyMatrix.summary`, for masks without names."""
        named = {name for name, card in self.cards.items() if card.mode != CLUSTERS}
        methods = {name for frame in self.frames for name in frame.counts} - named
        result: dict[str, Table] = {}
        for method in sorted(methods, key=lambda name: (name not in self.cards, name)):
            result[method] = {}
            for part, total in self._counts(method).items():
                matrix = ContingencyMatrix(*total.shape)
                matrix.counts = total
                result[method][part] = matrix.summary()
        return result

    def _counts(self, method: str) -> dict[str, np.ndarray]:
        """Counts of each part that has labelled pixels."""
        totals: dict[str, np.ndarray] = {}
        for frame in self.frames:
            if method not in frame.counts:
                continue
            for part in ("all", self.parts.get(frame.name)):
                if part is not None:
                    totals[part] = totals.get(part, 0) + frame.counts[method]
        return {part: totals[part] for part in sorted(totals) if totals[part].any()}


def evaluate(
    plan: Plan,
    frames: EvaluationSet,
    jobs: int = 1,
    on_frame: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Run every method of a plan on every frame.

    Args:
        plan: what is evaluated.
        frames: on what.
        jobs: processes, each with its own engines, as one thread owns an engine; 0 takes one for
            each core.
        on_frame: called after each frame.

    Raises:
        SsvifError: a model cannot be used, or no frame can.
    """
    cards = {name: model.card for name, model in open_models(plan.models).items()}
    jobs = min(jobs or cores(), len(frames.names))
    scores: list[FrameScores] = []
    skipped: list[SkippedPair] = []
    for score in _scores(plan, frames, jobs):
        if isinstance(score, SkippedPair):
            skipped.append(score)
        else:
            scores.append(score)
        on_frame()
    if not scores:
        raise SsvifError(f"No frame can be used: {summary(skipped)}")
    return Evaluation(scores, cards, frames.parts, skipped)


def _score(scorer: FrameScorer, frames: EvaluationSet, name: str) -> FrameScores | SkippedPair:
    """The scores of a frame, or why it cannot be used: headers alone were looked at before."""
    try:
        pair = frames.measurable(name)
    except SsvifError as error:
        return SkippedPair(name, str(error))
    return scorer.score(pair)


def _scores(plan: Plan, frames: EvaluationSet, jobs: int) -> Iterator[FrameScores | SkippedPair]:
    if jobs == 1:
        scorer = FrameScorer(plan)
        yield from (_score(scorer, frames, name) for name in frames.names)
        return
    # Spawned, not forked: the parent may hold threads of ONNX Runtime, OpenCV or torch.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _begin_work, (plan,)) as pool:
        try:
            yield from pool.map(_work, map(frames.only, frames.names))
        finally:
            pool.shutdown(cancel_futures=True)


class _Worker:
    """What one process of the pool keeps between frames."""

    plan: Plan
    scorer: FrameScorer | None = None


def _begin_work(plan: Plan) -> None:
    cv2.setNumThreads(1)  # the processes share the cores
    _Worker.plan = plan


def _work(frame: EvaluationSet) -> FrameScores | SkippedPair:
    # Made here and not in `_begin_work`, whose errors would reach the caller as a broken pool.
    if _Worker.scorer is None:
        _Worker.scorer = FrameScorer(_Worker.plan)
    return _score(_Worker.scorer, frame, frame.names[0])


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
