"""What each part of the SSVIF training does: the same small run with parts changed, over seeds.

    python benchmarks/ablation.py [--arms ARM ...] [--seeds 0 1 2] [--steps 900] [--labelled 20]

Every arm is config/training/ssvif.yaml (or ssvif_clusters.yaml) with `tiny`, smaller crops and
`--steps` steps after stage 1, so that a CPU can run it; `--variant base --crop 256 320 --steps
9000` is the real thing. Stage 1 has `--steps` steps as well and is run once for each seed: the arms
of a seed start from the same network. Scored on msrs/val (46 frames, never trained on, labels are a
consensus of two networks):

    iou      mean IoU of car, person and bicycle by the network's own masks
    probe    the same by a linear probe on its frozen features, fitted to the labelled frames of
             msrs/train: what the features hold, whatever the masks are
    fusion   sum of the fusion loss terms on msrs/val, weighted as in training (lower is better)

Label efficiency is the same with fewer labels and other arms:

    for n in 5 20 80 247; do python benchmarks/ablation.py --labelled $n --label-efficiency; done

Each finished run is written to benchmarks/results/ablation.json at once, and a run that is there
with the same settings is not repeated. Runs themselves resume from their checkpoints.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quality import LABEL_MAP
from report import add_run, earlier_runs, mean_and_spread
from rich.console import Console
from rich.table import Table

from ssvif_core.cli.progress import progress_bar
from ssvif_core.data.pairs import FramePair, list_pairs, read_pair
from ssvif_core.evaluation.linear_probe import fit_linear_probe, network_features
from ssvif_core.evaluation.segmentation_metrics import ConfusionMatrix
from ssvif_core.network.fusion_network import FusionNetwork, luminance
from ssvif_core.training.config import TrainingConfig, load_config
from ssvif_core.training.frames import load_sources
from ssvif_core.training.losses import fusion_losses
from ssvif_core.training.trainer import Trainer
from ssvif_core.training.validation import as_tensors, predict_pair

CLASSES = 4
STAGE_1 = "stage 1"
FUSION, LABELS = (("fusion", 1.0),), (("supervised", 1.0),)
TOGETHER = ("warm_up", 0.1), ("joint", 0.9)
GATE = {"weighting": {"kind": "gate"}}
#: arm -> (configuration, stages with their parts of the steps, other settings)
ARMS: dict[str, tuple[str, tuple[tuple[str, float], ...], dict[str, Any]]] = {
    STAGE_1: ("ssvif", FUSION, {}),
    "stage 1, as long as the whole": ("ssvif", FUSION, {}),
    "labels": ("ssvif", LABELS, {}),
    "anchored, no consistency": ("ssvif", TOGETHER, {**GATE, "loss": {"consistency": 0.0}}),
    "anchored, gate": ("ssvif", TOGETHER, GATE),
    "anchored, gate, averaged teacher": (
        "ssvif",
        TOGETHER,
        {**GATE, "consistency": {"teacher": "average"}},
    ),
    "anchored, fixed": ("ssvif", TOGETHER, {"weighting": {"kind": "fixed"}}),
    "anchored, dwa": ("ssvif", TOGETHER, {"weighting": {"kind": "dwa"}}),
    "anchored, gate, label targets": (
        "ssvif",
        TOGETHER,
        {**GATE, "consistency": {"targets": "likely", "confidence": 0.6, "ramp": 0.0}},
    ),
    "clusters, gate": ("ssvif_clusters", TOGETHER, GATE),
    "clusters, then labels": ("ssvif", LABELS, {}),
    "labels, from scratch": ("ssvif", LABELS, {}),
    "labels, from scratch, as long": ("ssvif", (("supervised", 3.0),), {}),
}
SCRATCH = (STAGE_1, "labels, from scratch", "labels, from scratch, as long")
#: Arm whose weights an arm starts from; the others of `ARMS` start from stage 1.
AFTER = {"clusters, then labels": "clusters, gate"} | {
    arm: STAGE_1 for arm in ARMS if arm not in (*SCRATCH, "clusters, then labels")
}
#: What label-free training is worth: nothing before the labels, stage 1, stage 1 and clusters.
EFFICIENCY = (*SCRATCH[1:], "labels", "clusters, then labels")
#: Arms that see no label: one run serves every number of labelled frames.
LABEL_FREE = (STAGE_1, "stage 1, as long as the whole", "clusters, gate")
DEVICE = torch.device("cpu")


def folder_of(arm: str, seed: int, options: argparse.Namespace) -> Path:
    settings = settings_of(options)
    if arm in LABEL_FREE:
        settings["labelled"] = 0
    tag = "-".join([arm.replace(", ", "_"), *map(str, settings.values()), str(seed)])
    return options.runs / tag.replace(", ", "x").replace(" ", "_")


def configuration(arm: str, seed: int, options: argparse.Namespace) -> TrainingConfig:
    """The run of one arm and seed."""
    name, parts, changes = ARMS[arm]
    start = None
    if arm in AFTER:
        start = str(folder_of(AFTER[arm], seed, options) / "checkpoint.pt")
    root = Path(__file__).resolve().parent.parent / "config" / "training"
    config = load_config(root / f"{name}.yaml").model_dump()
    stages = [
        {"kind": kind, "steps": round(part * options.steps), "learning_rate": 0.003,
         "warmup_steps": min(200, options.steps // 25)}
        for kind, part in parts
    ]  # fmt: skip
    sources = [dict(source) for source in config["sources"]]
    for source in sources:
        source["holdout_every"] = 0
        if source.get("labels"):
            wanted = 0 if arm in LABEL_FREE else options.labelled
            source["labelled"] = wanted if "msrs" in str(source["folder"]) else 0
    for key, change in changes.items():
        config[key] = {**config[key], **change}
    ema = 0.998 if options.steps > 4000 else 0.99
    return TrainingConfig.model_validate(
        {**config, "variant": options.variant, "crop": options.crop, "seed": seed,
         "initialise_from": start, "stages": stages, "sources": sources,
         "data_root": options.data, "ema_decay": ema,
         "validate_every": 10**9, "checkpoint_every": 200}
    )  # fmt: skip


def score(network: FusionNetwork, named: bool, data: Path, labelled: Iterable[FramePair],
          weights: dict[str, float]) -> dict[str, float]:  # fmt: skip
    """Figures of one trained network on msrs/val."""
    network.eval()
    folder = data / "msrs" / "val"
    pairs = [
        read_pair(name, v, t, folder / "labels" / f"{name}.png", LABEL_MAP)
        for name, v, t in list_pairs(folder)
    ]
    matrix, night, fusion = ConfusionMatrix(CLASSES), ConfusionMatrix(CLASSES), 0.0
    for pair in pairs:
        fused, labels = predict_pair(network, pair, DEVICE)
        visible, thermal = as_tensors(pair, DEVICE)
        terms = fusion_losses(
            luminance(fused), luminance(visible), thermal, weights["sharpness"], weights["contrast"]
        )
        fusion += sum(weights[n] * float(x) for n, x in terms.items()) / len(pairs)
        if named:
            matrix.update(pair.labels, labels)
            if pair.name.endswith("N"):
                night.update(pair.labels, labels)
    probe = fit_linear_probe(network_features(network), list(labelled), CLASSES)
    result = {"fusion": fusion, **_iou("probe", probe.score(pairs))}
    return {**result, **_iou("iou", matrix), **_iou("night", night)} if named else result


def _iou(name: str, matrix: ConfusionMatrix) -> dict[str, float]:
    car, person, bicycle = (float(x) for x in np.nan_to_num(matrix.iou()[1:]))
    classes = {"car": car, "person": person, "bicycle": bicycle}
    return {name: (car + person + bicycle) / 3, **{f"{name} {n}": x for n, x in classes.items()}}


def train(arm: str, seed: int, options: argparse.Namespace) -> Trainer:
    """Train an arm, or go on with it, or find it finished."""
    if arm in AFTER:
        train(AFTER[arm], seed, options)
    config = configuration(arm, seed, options)
    trainer = Trainer(config, folder_of(arm, seed, options))
    with progress_bar() as bar:
        task = bar.add_task(f"{arm}, seed {seed}", total=config.steps, completed=trainer.step)
        trainer.run(lambda step, _: bar.update(task, completed=step))
    return trainer


def run(arm: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    trainer = train(arm, seed, options)
    config = trainer.config
    named = config.mask_mode != "clusters" and any(s.kind != "fusion" for s in config.stages)
    frames = load_sources(configuration("labels", seed, options))
    labelled = [pair for pair in frames.sources[0].pairs if pair.labels is not None]
    return score(trainer.averaged.network, named, options.data, labelled, config.loss.model_dump())


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "variant": options.variant, "crop": list(options.crop), "steps": options.steps,
        "labelled": options.labelled,
    }  # fmt: skip


def table(runs: list[dict[str, Any]], settings: dict[str, Any]) -> Table:
    """Mean and spread over the seeds of each arm."""
    columns = ("iou", "iou person", "night person", "probe", "fusion")
    title = ", ".join(f"{k} {v}" for k, v in settings.items())
    shown = Table("arm", "seeds", *columns, title=title)
    for arm in ARMS:
        mine = [r for r in runs if r["arm"] == arm and r["settings"] == settings]
        if not mine:
            continue
        cells = [mean_and_spread([r[c] for r in mine if c in r]) for c in columns]
        shown.add_row(arm, str(len(mine)), *cells)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--arms", nargs="+", choices=list(ARMS), help="default: all but those of --label-efficiency"
    )
    parser.add_argument(
        "--label-efficiency", action="store_const", const=EFFICIENCY, dest="arms",
        help="the arms that show what label-free training is worth with few labels",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--labelled", type=int, default=20, help="frames whose labels are used")
    parser.add_argument("--variant", default="tiny")
    parser.add_argument("--crop", type=int, nargs=2, default=[160, 192])
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    options = parser.parse_args()
    options.arms = options.arms or [
        arm for arm in ARMS if arm not in (*SCRATCH[1:], EFFICIENCY[-1])
    ]
    settings, runs = settings_of(options), earlier_runs("ablation")
    for seed in options.seeds:
        for arm in options.arms:
            if any((r["arm"], r["seed"], r["settings"]) == (arm, seed, settings) for r in runs):
                continue
            result = run(arm, seed, options)
            figures = {name: round(value, 4) for name, value in result.items()}
            runs = add_run("ablation", {"arm": arm, "seed": seed, "settings": settings, **figures})
            Console().print(table(runs, settings))
    Console().print(table(runs, settings))


if __name__ == "__main__":
    main()
