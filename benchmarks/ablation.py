"""What each part of the SSVIF training does: the same small run with parts changed, over seeds.

    python benchmarks/ablation.py [--arms ARM ...] [--seeds 0 1 2] [--steps 600] [--labelled 20]

Every arm (`ablation_arms.py`) is config/training/ssvif.yaml (or ssvif_clusters.yaml) with `tiny`,
smaller crops of clean frames and `--steps` steps after stage 1, so that a CPU can run it;
`--variant base --crop 256 320 --stage-1 2500 --steps 9000` is the real thing. Stage 1 is run once
for each seed: the arms of a seed start from the same network and see the same crops. Scored on
msrs/val (46 frames, never trained on, labels are a consensus of two networks):

    iou      mean IoU of car, person and bicycle by the network's own masks
    pixel    the same by the pixel-level segmenter, which sees the fused image alone
    probe    the same by a linear probe on the network's frozen features, fitted to the weak labels
             of every third frame of msrs/train: what the features hold, whatever the masks are
    fusion   sum of the fusion loss terms on msrs/val, weighted as in training (lower is better)
    read     segmentability (segmentability.py) of the fused images, arms of --picture alone: what a
             small segmenter that had no part in the training reads in them, mean of `--readers`

and by how much iou, probe and read differ from the arm's control, seed by seed. Label efficiency
is the same with fewer labels and other arms:

    for n in 5 20 80 268; do
        python benchmarks/ablation.py --labelled $n --label-efficiency --stage-1 3000 --steps 2400
    done

and what stage 2 does to the picture of the shipped `tiny`, whose masks stay as they are:

    python benchmarks/ablation.py --picture --labelled 268 --crop 192 256 --stage-1 1000 --steps 700

Each finished run is written to benchmarks/results/ablation.json at once, and a run that is there
with the same settings is not repeated. What starts from a shipped model is known by the sha256 of
its file, too: runs from an older one have rows of their own. Runs themselves resume from their
checkpoints.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ablation_arms import (
    ARMS,
    EFFICIENCY,
    PICTURE,
    SHIPPED,
    configuration,
    folder_of,
    settings_of,
    start_of,
)
from ablation_scores import Scorer
from report import add_run, earlier_runs, mean_and_spread
from rich.console import Console
from rich.table import Table

from ssvif_core.cli.progress import progress_bar
from ssvif_core.training.collapse import CollapseError
from ssvif_core.training.trainer import Trainer

NAME = "ablation"
COLUMNS = ("iou", "night person", "pixel", "probe", "fusion", "read")
COMPARED = ("iou", "probe", "read")


def train(arm: str, seed: int, options: argparse.Namespace) -> Trainer:
    """Train an arm, or go on with it, or find it finished."""
    before = ARMS[arm].after
    if before in ARMS:
        train(before, seed, options)
    config = configuration(arm, seed, options)
    trainer = Trainer(config, folder_of(arm, seed, options))
    with progress_bar() as bar:
        task = bar.add_task(f"{arm}, seed {seed}", total=config.steps, completed=trainer.step)
        trainer.run(lambda step, _: bar.update(task, completed=step))
    return trainer


def table(runs: list[dict[str, Any]], options: argparse.Namespace) -> Table:
    """Mean and spread over the seeds of each arm, and of its difference to its control."""
    title = ", ".join(f"{k} {v}" for k, v in settings_of(options).items())
    shown = Table("arm", "seeds", *COLUMNS, *(f"{c} - control" for c in COMPARED), title=title)
    groups: dict[tuple[str, str | None], dict[int, dict[str, Any]]] = {}
    for run in runs:
        start = run["settings"].get("start")
        if run["arm"] in ARMS and run["settings"] == settings_of(options, start):
            groups.setdefault((run["arm"], start), {})[run["seed"]] = run
    order = list(ARMS)
    for arm, start in sorted(groups, key=lambda group: order.index(group[0])):
        mine, control = groups[arm, start], groups.get((ARMS[arm].control or "", start), {})
        cells = [mean_and_spread([r[c] for r in mine.values() if c in r]) for c in COLUMNS]
        pairs = [(mine[seed], control[seed]) for seed in mine.keys() & control.keys()]
        cells += [
            mean_and_spread([a[c] - b[c] for a, b in pairs if c in a and c in b]) for c in COMPARED
        ]
        collapsed = sum("collapsed" in r for r in mine.values())
        count = f"{len(mine)}, {collapsed} collapsed" if collapsed else str(len(mine))
        shown.add_row(_named(arm, start), count, *cells)
    return shown


def _named(arm: str, start: str | None) -> str:
    """The arm, and whether it started from another model than it would today."""
    if start == start_of(arm):
        return arm
    return f"{arm} (older start{'' if start is None else ' ' + start[:8]})"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--arms", nargs="+", choices=list(ARMS), help="default: all but those of --label-efficiency"
    )
    parser.add_argument(
        "--label-efficiency", action="store_const", const=EFFICIENCY, dest="arms",
        help="the arms that show what label-free training is worth with few labels",
    )  # fmt: skip
    parser.add_argument(
        "--shipped", action="store_const", const=SHIPPED, dest="arms",
        help="stage 2 on the shipped network; give --labelled 268 and --variant tiny with it",
    )  # fmt: skip
    parser.add_argument(
        "--picture", action="store_const", const=PICTURE, dest="arms",
        help="stage 2 on the picture of the shipped network; options as above",
    )  # fmt: skip
    parser.add_argument(
        "--readers", type=int, nargs="+", default=[0, 1, 2], help="seeds of the small segmenter"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--stage-1", type=int, default=600, help="steps of stage 1")
    parser.add_argument("--steps", type=int, default=600, help="steps after it")
    parser.add_argument("--labelled", type=int, default=20, help="frames whose labels are used")
    parser.add_argument("--rate", type=float, help="learning rate, instead of each its own")
    parser.add_argument("--variant", default="tiny")
    parser.add_argument("--crop", type=int, nargs=2, default=[160, 192])
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    options = parser.parse_args()
    elsewhere = set(EFFICIENCY + SHIPPED + PICTURE) - {"labels"}
    options.arms = options.arms or [arm for arm in ARMS if arm not in elsewhere]
    return options


def main() -> None:
    options = arguments()
    runs, scorer = earlier_runs(NAME), Scorer(options.data)
    for seed in options.seeds:
        for arm in options.arms:
            settings = settings_of(options, start_of(arm))
            if any((r["arm"], r["seed"], r["settings"]) == (arm, seed, settings) for r in runs):
                continue
            try:
                trainer = train(arm, seed, options)
                figures = scorer.score(trainer)
                if arm in PICTURE:
                    figures |= scorer.read(trainer, options.readers)
            except CollapseError as error:  # of the arm, or of the one that it starts from
                Console().print(f"{arm}, seed {seed}: {error}")
                runs = add_run(
                    NAME, {"arm": arm, "seed": seed, "settings": settings, "collapsed": str(error)}
                )
                continue
            figures = {name: round(value, 4) for name, value in figures.items()}
            runs = add_run(NAME, {"arm": arm, "seed": seed, "settings": settings, **figures})
            Console().print(table(runs, options))
    Console().print(table(runs, options))


if __name__ == "__main__":
    main()
