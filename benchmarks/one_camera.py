"""The network with a camera lost, beside a segmenter of its size that never had that camera.

    python benchmarks/one_camera.py [--variant base] [--camera visible] [--steps 1700]

The control is the same network, started from the same weights (--from), trained on the labels
alone (config/training/fusion.yaml without its fusion terms), with the other camera black in every
crop: it has nothing to learn but to do without. Both are scored on msrs/val with that camera black.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quality import LABEL_MAP
from report import add_run
from rich.console import Console
from rich.table import Table

from ssvif_core.cli.progress import progress_bar
from ssvif_core.data.batches import Batch
from ssvif_core.data.pairs import FramePair, list_pairs, read_pair
from ssvif_core.evaluation.methods import model_method
from ssvif_core.evaluation.segmentation_metrics import ConfusionMatrix, named_iou
from ssvif_core.models import open_model
from ssvif_core.training.config import TrainingConfig, load_config
from ssvif_core.training.stages import Inputs
from ssvif_core.training.trainer import Trainer
from ssvif_core.training.validation import predict_pair

CLASSES = ("background", "car", "person", "bicycle")
CONFIG = Path(__file__).resolve().parent.parent / "config" / "training" / "fusion.yaml"


class OneCamera(Trainer):
    """A training run in which the other camera does not exist."""

    camera = "visible"

    def inputs(self, batch: Batch) -> Inputs:
        other = "thermal" if self.camera == "visible" else "visible"
        black = torch.zeros_like(getattr(batch, other))
        return super().inputs(batch._replace(**{other: black}))


def control_config(options: argparse.Namespace) -> TrainingConfig:
    """fusion.yaml with labels instead of everything else."""
    content = load_config(CONFIG, {"data_root": options.data}).model_dump()
    stage = {**content["stages"][-1], "kind": "supervised", "steps": options.steps}
    return TrainingConfig.model_validate(
        {**content, "name": f"{options.camera} alone", "variant": options.variant,
         "initialise_from": options.start or options.variant, "stages": [stage],
         "modality_dropout": 0.0, "loss": {**content["loss"], "fusion": 0.0}}
    )  # fmt: skip


def train_control(options: argparse.Namespace) -> Trainer:
    OneCamera.camera = options.camera
    trainer = OneCamera(control_config(options), options.run)
    with progress_bar() as bar:
        task = bar.add_task(f"{options.camera} alone", total=options.steps, completed=trainer.step)
        trainer.run(lambda step, _: bar.update(task, completed=step))
    return trainer


def left(pair: FramePair, camera: str) -> FramePair:
    """The pair with all but one camera black."""
    visible, thermal = pair.visible, pair.thermal
    if camera == "visible":
        return FramePair(pair.name, visible, np.zeros_like(thermal), pair.labels)
    return FramePair(pair.name, np.zeros_like(visible), thermal, pair.labels)


def figures(matrices: dict[str, ConfusionMatrix]) -> dict[str, dict[str, float]]:
    return {
        part: {name: round(value, 4) for name, value in named_iou(matrix, CLASSES).items()}
        for part, matrix in matrices.items()
    }


def score(masks: Any, pairs: list[FramePair]) -> dict[str, dict[str, float]]:
    """`masks`: FramePair -> labels. IoU over all frames, by day and by night."""
    matrices = {part: ConfusionMatrix(len(CLASSES)) for part in ("all", "day", "night")}
    for pair in pairs:
        labels = masks(pair)
        for part in ("all", "night" if pair.name.endswith("N") else "day"):
            matrices[part].update(pair.labels, labels)
    return figures(matrices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--variant", choices=("base", "tiny"), default="base")
    parser.add_argument("--camera", choices=("visible", "thermal"), default="visible")
    parser.add_argument("--steps", type=int, default=1700)
    parser.add_argument("--from", dest="start", help="weights to start from; default: the shipped")
    parser.add_argument("--run", type=Path, default=Path("runs/one_camera"))
    options = parser.parse_args()
    folder = options.data / "msrs" / "val"
    pairs = [
        left(read_pair(name, v, t, folder / "labels" / f"{name}.png", LABEL_MAP), options.camera)
        for name, v, t in list_pairs(folder)
    ]
    network = train_control(options).averaged.network.eval()
    model = open_model(options.variant)
    fuse = model_method(model)
    run = {
        "variant": options.variant, "camera": options.camera, "steps": options.steps,
        "sha256": model.card.sha256,
        "control": score(lambda p: predict_pair(network, p, torch.device("cpu"))[1], pairs),
        "shipped": score(lambda p: fuse(p.visible, p.thermal).labels, pairs),
    }  # fmt: skip
    add_run("one_camera", run)
    table = Table("", "part", *CLASSES, "objects", title=f"IoU on msrs/val, {options.camera} alone")
    for name in ("control", "shipped"):
        for part, values in run[name].items():
            table.add_row(name, part, *(f"{value:.3f}" for value in values.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
