"""How good the shipped models are: masks on msrs/val, fusion on vifb beside four baselines.

    python benchmarks/quality.py [--data ../shared/data] [MODEL ...] [--write-cards]

Runs what ships (the ONNX file, through `Pipeline`, thermal as it is in the files) and writes
benchmarks/results/quality.json; with --write-cards the figures also go into the models' cards.

msrs/val labels are where two published RGB-T networks agree: a consensus of predictions, not
hand-made ground truth. Classes other than car, person and bicycle count as background, 255 is left
out. Both sets are for evaluation only and were never trained on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from report import write_result
from rich.progress import track

from ssvif_core.data.pairs import FramePair, list_pairs, read_pair
from ssvif_core.evaluation.baselines import BASELINES
from ssvif_core.evaluation.fusion_metrics import METRICS, evaluate_fusion
from ssvif_core.evaluation.ranking import mean_rank
from ssvif_core.evaluation.segmentation_metrics import ConfusionMatrix
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.engine import create_engine
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.models import ModelCard, open_model, shipped_models

#: Ids of msrs/val -> classes of the models; 4 to 8 (curve, car stop, ...) are background.
LABEL_MAP = {0: 0, 1: 1, 2: 2, 3: 3, 4: 0, 5: 0, 6: 0, 7: 0, 8: 0}
OBJECTS = ("car", "person", "bicycle")
Fuse = Callable[[np.ndarray, np.ndarray], np.ndarray]


def segmentation(pipeline: Pipeline, card: ModelCard, folder: Path) -> dict[str, object]:
    """IoU of each class on msrs/val: all frames, day and night."""
    names = [c.name for c in card.classes]
    matrices = {part: ConfusionMatrix(len(names)) for part in ("all", "day", "night")}
    for name, visible, thermal in track(list_pairs(folder), f"{card.name}: msrs/val"):
        pair = read_pair(name, visible, thermal, folder / "labels" / f"{name}.png", LABEL_MAP)
        assert pair.labels is not None
        labels = pipeline.process(pair.visible, pair.thermal).labels
        for part in ("all", "day" if name.endswith("D") else "night"):
            matrices[part].update(pair.labels, labels)
    return {part: _iou(matrix, names) for part, matrix in matrices.items()}


def _iou(matrix: ConfusionMatrix, names: list[str]) -> dict[str, float]:
    iou = dict(zip(names, map(float, matrix.iou()), strict=True))
    iou["mean of " + ", ".join(OBJECTS)] = float(np.mean([iou[name] for name in OBJECTS]))
    return {name: round(value, 4) for name, value in iou.items()}


def fusion(methods: dict[str, Fuse], pairs: list[FramePair], title: str) -> dict[str, object]:
    """Mean of each metric over the pairs, and the mean rank over the metrics."""
    sums = {method: dict.fromkeys(METRICS, 0.0) for method in methods}
    for pair in track(pairs, title):
        for method, fuse in methods.items():
            values = evaluate_fusion(fuse(pair.visible, pair.thermal), pair.visible, pair.thermal)
            for metric, value in values.items():
                sums[method][metric] += value / len(pairs)
    ranks = mean_rank(sums)
    return {
        method: {
            **{metric: round(value, 4) for metric, value in values.items()},
            "mean rank": round(ranks[method], 3),
        }
        for method, values in sums.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", default=shipped_models())
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--write-cards", action="store_true")
    options = parser.parse_args()
    vifb = [read_pair(*pair) for pair in list_pairs(options.data / "vifb")]
    result: dict[str, dict[str, object]] = {}
    for name in options.models:
        model = open_model(name)
        pipeline = Pipeline(create_engine(model, "onnxruntime", 2)[0], ThermalGain(mode="none"))
        ours: Fuse = lambda v, t, p=pipeline: p.process(v, t).fused.copy()  # noqa: E731
        metrics = {
            "msrs/val": segmentation(pipeline, model.card, options.data / "msrs" / "val"),
            "vifb": fusion({model.card.name: ours, **BASELINES}, vifb, f"{name}: vifb"),
        }
        result[model.card.name] = metrics
        print(json.dumps(metrics, indent=1))
        if options.write_cards:
            path = model.path.with_suffix(".json")
            card = {**json.loads(path.read_text()), "metrics": metrics}
            path.write_text(json.dumps(card, indent=2) + "\n")
    print("written", write_result("quality", {"models": result}))


if __name__ == "__main__":
    main()
