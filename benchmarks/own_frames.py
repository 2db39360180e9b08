"""What training on your own frames without labels does to the features: before, after, controls.

    python benchmarks/own_frames.py [--variant tiny] [--from WEIGHTS] [--steps 850] [--seeds 0 1 2]

config/training/own_frames.yaml, from the shipped model or from other weights (--from), on frames of
RoadScene, a quarter of them held out; no label takes part. Then a linear probe is fitted to the
frozen features with the labels of 5, 20 and all training frames that have some, for road, sky,
vegetation, car and building, of which the shipped model knows one, and scored on those held out.
RoadScene is no new camera for the shipped models. Arms:

    own_frames              as it is: stage 1 a tenth of the steps, warm-up a fifth, then stage 2
    without consistency     the same, w_c = 0: the prototypes alone
    features alone          the same, prototypes of the network's features, not of how cells look
    stage 1                 as many steps of stage 1, of the trunk, too: of all that stage 2 trains
                            but the segmentation head, which it asks for nothing
    colour and heat         no network: probe and k-means of what cells and pixels look like

The start of each is scored before its first step. Masks of clusters, each named by one class, are
scored on the same frames.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from report import add_run
from rich.console import Console

from ssvif_core.cli.progress import progress_bar
from ssvif_core.data.pairs import FramePair
from ssvif_core.data.sources import open_pairs
from ssvif_core.evaluation.cluster_metrics import ContingencyMatrix
from ssvif_core.evaluation.colour_clusters import kmeans_on_colour
from ssvif_core.evaluation.linear_probe import (
    Features,
    colour_features,
    fit_linear_probe,
    network_features,
)
from ssvif_core.evaluation.tables import screen_table
from ssvif_core.network.fusion_network import FUSION_PATH, TRUNK
from ssvif_core.training.config import TrainingConfig, load_config
from ssvif_core.training.frames import joined, load_sources
from ssvif_core.training.initialise import sha256_of_start
from ssvif_core.training.trainer import Trainer
from ssvif_core.training.validation import predict_pair

COLOUR = "colour and heat"
ARMS = ("own_frames", "without consistency", "features alone", "stage 1", COLOUR)
CONFIG = Path(__file__).resolve().parent.parent / "config" / "training" / "own_frames.yaml"
FOLDER = Path("roadscene") / "train"
#: Cityscapes train id -> class: road, sky, vegetation, car, building.
LABEL_MAP = {0: 0, 10: 1, 8: 2, 13: 3, 2: 4}
CLASSES = 5
#: Labelled frames that a probe is fitted to, and draws of them.
LABELLED, DRAWS = (5, 20), 3


def arm_config(arm: str, options: argparse.Namespace, seed: int) -> TrainingConfig:
    """own_frames.yaml with what the arm changes."""
    content = load_config(CONFIG, {"data_root": options.data}).model_dump()
    fusion, warm_up, joint = content["stages"]
    if arm == "stage 1":
        trained = [part for part in (*TRUNK, *FUSION_PATH) if part != "context"]
        content["stages"] = [{**fusion, "steps": options.steps, "train_only": trained}]
    else:
        steps = {"fusion": options.steps // 10, "warm_up": options.steps // 5}
        steps["joint"] = options.steps - sum(steps.values())
        content["stages"] = [{**s, "steps": steps[s["kind"]]} for s in (fusion, warm_up, joint)]
    if arm == "without consistency":
        content["loss"]["consistency"] = 0.0
    if arm == "features alone":
        content["consistency"]["looks"] = 0.0
    source = {**content["sources"][0], "folder": FOLDER, "holdout_every": 4}
    return TrainingConfig.model_validate(
        {**content, "name": arm, "variant": options.variant,
         "initialise_from": options.start or options.variant, "seed": seed, "sources": [source],
         "validate_every": 10**9, "threads": options.threads}
    )  # fmt: skip


class Probed:
    """Labelled frames, apart as a run has them apart.

    Args:
        data: folder that holds roadscene/train with pseudo_labels.
        held_out: names of the frames that the run was not trained on.
    """

    def __init__(self, data: Path, held_out: set[str]) -> None:
        pairs = open_pairs(data / FOLDER, labels="pseudo_labels", label_map=LABEL_MAP)
        frames = [pairs[i] for i in range(len(pairs))]
        labelled = [frame for frame in frames if frame.labels is not None]
        self.test = [frame for frame in labelled if frame.name in held_out]
        self.train = [frame for frame in labelled if frame.name not in held_out]

    def score(self, features: Features) -> dict[str, float]:
        """Mean IoU of the classes by how many frames the probe was fitted to."""
        draws = [np.random.default_rng(i).permutation(len(self.train)) for i in range(DRAWS)]
        table = {
            str(n): [self._iou(features, [self.train[i] for i in draw[:n]]) for draw in draws]
            for n in LABELLED
        }
        table["all"] = [self._iou(features, self.train)]
        return {name: round(float(np.mean(values)), 4) for name, values in table.items()}

    def masks(self, labels: Callable[[FramePair], np.ndarray], clusters: int) -> dict[str, float]:
        """How well anonymous masks match the classes on the frames held out."""
        matrix = ContingencyMatrix(CLASSES, clusters)
        for frame in self.test:
            matrix.update(frame.labels, labels(frame))
        return {name: round(value, 4) for name, value in matrix.summary().items()}

    def _iou(self, features: Features, frames: Sequence[FramePair]) -> float:
        iou = fit_linear_probe(features, frames, CLASSES).score(self.test).iou()
        return float(np.nan_to_num(iou).mean())


def run_arm(arm: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    name = f"{options.variant}-{arm.replace(' ', '_')}-{options.steps}-{seed}"
    trainer = Trainer(arm_config(arm, options, seed), options.runs / name)
    if trainer.step:
        raise SystemExit(f"{options.runs / name} has a run in it: name other --runs.")
    probed = Probed(options.data, {pair.name for pair in trainer.held_out})
    start = str(options.start or options.variant)
    about = {"variant": options.variant, "start": sha256_of_start(start), "arm": arm,
             "steps": options.steps, "seed": seed}  # fmt: skip
    before = probed.score(network_features(trainer.averaged.network))
    with progress_bar() as bar:
        task = bar.add_task(f"{arm}, seed {seed}", total=options.steps)
        trainer.run(lambda step, _: bar.update(task, completed=step))
    network = trainer.averaged.network.eval()
    result = {**about, "frames": len(probed.train), "test": len(probed.test), "before": before,
              "after": probed.score(network_features(network))}  # fmt: skip
    if trainer.mask_mode == "clusters":
        clusters = network.classes
        result["masks"] = probed.masks(
            lambda frame: predict_pair(network, frame, trainer.device)[1], clusters
        )
    return result


def run_colour(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The same figures without a network."""
    config = arm_config("own_frames", options, seed)
    frames = load_sources(config)
    probed = Probed(options.data, {pair.name for pair in frames.held_out})
    clusters = config.consistency.clusters
    pairs = joined([source.pairs for source in frames.sources])
    found = kmeans_on_colour(pairs, clusters, seed)
    return {
        "arm": COLOUR, "seed": seed, "after": probed.score(colour_features()),
        "masks": probed.masks(lambda frame: found.labels(frame.visible, frame.thermal), clusters),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--variant", choices=("base", "tiny"), default="tiny")
    parser.add_argument("--from", dest="start", help="weights to start from; default: the shipped")
    parser.add_argument("--steps", type=int, default=850, help="of all stages together")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", choices=ARMS, nargs="+", default=ARMS)
    parser.add_argument("--runs", type=Path, default=Path("runs/own_frames"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    for seed in options.seeds:
        for arm in options.arms:
            colour = arm == COLOUR
            result = run_colour(seed, options) if colour else run_arm(arm, seed, options)
            add_run("own_frames", result)
            if not colour:
                rows.setdefault("start", result["before"])
            rows[f"{arm}, seed {seed}"] = {**result["after"], **result.get("masks", {})}
    title = "RoadScene: mean IoU of a linear probe by labelled frames; masks of clusters"
    Console().print(screen_table(title, rows, Console()))


if __name__ == "__main__":
    main()
