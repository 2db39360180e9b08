"""The network with a camera lost, beside a segmenter of its size that never had that camera.

    python benchmarks/one_camera.py [--variant base] [--camera visible] [--steps 1700]

The control is the same network, started from the same weights (--from), trained on the labels
alone (config/training/fusion.yaml without its fusion terms; the fusion path is frozen), with the
other camera black in every crop: it has nothing to learn but to do without. Both are scored on
msrs/val with that camera black. A run is known by all of that and by the sha256 of what it starts
from; --run names another folder for it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from quality import LABEL_MAP
from report import add_run
from rich.console import Console

from ssvif_core.cli.progress import progress_bar
from ssvif_core.data.batches import Batch
from ssvif_core.deploy.export import export_model
from ssvif_core.evaluation.evaluate import evaluate
from ssvif_core.evaluation.evaluation_set import open_evaluation_set
from ssvif_core.evaluation.frame_scores import Plan
from ssvif_core.evaluation.report import plain
from ssvif_core.evaluation.tables import screen_table
from ssvif_core.models import open_model
from ssvif_core.network.fusion_network import FUSION_PATH, FusionNetwork
from ssvif_core.training.config import FUSION_TERMS, TrainingConfig, load_config
from ssvif_core.training.initialise import sha256_of_start
from ssvif_core.training.inputs import Inputs
from ssvif_core.training.trainer import Trainer

CLASSES = ("background", "car", "person", "bicycle")
#: What is black where one camera is left.
OTHER = {"visible": "thermal", "thermal": "visible"}
CONFIG = Path(__file__).resolve().parent.parent / "config" / "training" / "fusion.yaml"


class OneCamera(Trainer):
    """A training run in which the other camera does not exist."""

    camera = "visible"

    def inputs(self, batch: Batch) -> Inputs:
        other = OTHER[self.camera]
        black = torch.zeros_like(getattr(batch, other))
        return super().inputs(batch._replace(**{other: black}))


def known(options: argparse.Namespace) -> dict[str, Any]:
    """What tells one control from another."""
    return {
        "variant": options.variant, "camera": options.camera, "steps": options.steps,
        "rate": options.rate, "seed": options.seed,
        "start": sha256_of_start(options.start or options.variant),
    }  # fmt: skip


def folder_of(options: argparse.Namespace) -> Path:
    """Run folder of a control, where none is named."""
    about = known(options)
    about["start"] = str(about["start"])[:8]
    return Path("runs/one_camera") / "-".join(map(str, about.values()))


def control_config(options: argparse.Namespace) -> TrainingConfig:
    """fusion.yaml with labels instead of everything else."""
    content = load_config(CONFIG, {"data_root": options.data}).model_dump()
    parts = [name for name, _ in FusionNetwork(options.variant).named_children()]
    stage = {
        "kind": "supervised", "steps": options.steps, "learning_rate": options.rate,
        "warmup_steps": options.steps // 20,
        "train_only": [name for name in parts if name not in FUSION_PATH],
    }  # fmt: skip
    return TrainingConfig.model_validate(
        {**content, "name": f"{options.camera} alone", "variant": options.variant,
         "seed": options.seed, "initialise_from": options.start or options.variant,
         "stages": [stage],
         "modality_dropout": 0.0, "ema_decay": 0.99, "validate_every": 10**9,
         "loss": {**content["loss"], **dict.fromkeys(FUSION_TERMS, 0.0)}}
    )  # fmt: skip


def train_control(options: argparse.Namespace) -> Trainer:
    OneCamera.camera = options.camera
    trainer = OneCamera(control_config(options), options.run)
    with progress_bar() as bar:
        task = bar.add_task(f"{options.camera} alone", total=options.steps, completed=trainer.step)
        trainer.run(lambda step, _: bar.update(task, completed=step))
    return trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--variant", choices=("base", "tiny"), default="base")
    parser.add_argument("--camera", choices=tuple(OTHER), default="visible")
    parser.add_argument("--steps", type=int, default=1700)
    parser.add_argument("--rate", type=float, default=0.002, help="learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", dest="start", help="weights to start from; default: the shipped")
    parser.add_argument("--run", type=Path, help="run folder; default: one for each control")
    options = parser.parse_args()
    options.run = options.run or folder_of(options)
    frames = open_evaluation_set(options.data / "msrs" / "val", "labels", LABEL_MAP)
    network = train_control(options).averaged.network.eval()
    control = options.run / "control.onnx"
    export_model(network, control, CLASSES, [frames.read(name) for name in frames.evenly(4)])
    models = (options.variant, str(control))
    evaluation = evaluate(Plan(models, without=OTHER[options.camera]), frames)
    scores = plain(evaluation.segmentation())
    model = {"sha256": open_model(options.variant).card.sha256}
    add_run("one_camera", {**known(options), **model, **scores})
    rows = {f"{m}, {part}": iou for m, parts in scores.items() for part, iou in parts.items()}
    title = f"IoU on msrs/val, {options.camera} alone"
    Console().print(screen_table(title, rows, Console()))


if __name__ == "__main__":
    main()
