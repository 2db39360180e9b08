"""Can a machine read the fused image? One small segmenter, trained on each method's images.

    python benchmarks/segmentability.py [METHOD ...] [--seeds 0 1 2] [--steps 600]

METHOD is visible, thermal, a baseline, base, tiny, or the path of an ONNX model. The recipe is that
of `ssvif evaluate --segmentability`: the same weights at the start and the same crops for every
method; trained on msrs/train with its weak labels, scored on msrs/val. Each finished run is written
to benchmarks/results/segmentability.json at once, so several processes may share the work and one
that was interrupted goes on; a method is known by its name and, for a model, by the file's sha256.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

from quality import LABEL_MAP
from report import add_run, earlier_runs, mean_and_spread
from rich.console import Console
from rich.table import Table

from ssvif_core.cli.progress import progress_bar
from ssvif_core.evaluation.baselines import BASELINES
from ssvif_core.evaluation.evaluation_set import EvaluationSet, open_evaluation_set
from ssvif_core.evaluation.methods import SOURCES, Method, baseline_method, model_method
from ssvif_core.evaluation.segmentability import segmentability, summarise
from ssvif_core.evaluation.small_segmenter import Recipe
from ssvif_core.models import open_model

CLASSES = ("background", "car", "person", "bicycle")
NAME = "segmentability"


def opened(name: str) -> tuple[Method, str]:
    """A method and the sha256 of its file, empty for what is no model."""
    if name in SOURCES:
        return SOURCES[name], ""
    if name in BASELINES:
        return baseline_method(name), ""
    model = open_model(name)
    return model_method(model), model.card.sha256


def pairs(frames: EvaluationSet) -> list[Any]:
    return [frames.read(name) for name in frames.labels]


def table(runs: list[dict[str, Any]], steps: int) -> Table:
    """Mean over the seeds of each method, and their standard deviation."""
    columns = ("objects", *CLASSES[1:])
    shown = Table("method", "seeds", *columns, title=f"IoU on msrs/val, {steps} steps")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        if run["steps"] == steps:
            groups.setdefault((run["method"], run["sha256"]), []).append(run)
    order = sorted(groups, key=lambda g: -statistics.mean(r["objects"] for r in groups[g]))
    for method, digest in order:
        mine = groups[method, digest]
        cells = [mean_and_spread([run[column] for run in mine]) for column in columns]
        shown.add_row(f"{method} {digest[:8]}".strip(), str(len(mine)), *cells)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("methods", nargs="*", default=[*SOURCES, *BASELINES, "base", "tiny"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()
    folder = options.data / "msrs"
    train = pairs(open_evaluation_set(folder / "train", "weak_labels"))
    test = pairs(open_evaluation_set(folder / "val", "labels", LABEL_MAP))
    runs = earlier_runs(NAME)
    for seed in options.seeds:
        for name in options.methods:
            method, digest = opened(name)
            known = {"method": name, "sha256": digest, "seed": seed, "steps": options.steps}
            if any(all(run[key] == value for key, value in known.items()) for run in runs):
                continue
            with progress_bar() as bar:
                task = bar.add_task(f"{name}, seed {seed}", total=options.steps)
                matrices = segmentability(
                    method, train, test, len(CLASSES), [seed], Recipe(steps=options.steps),
                    on_step=lambda: bar.advance(task),  # noqa: B023 used at once
                )  # fmt: skip
            scores = summarise(matrices, CLASSES)
            figures = {key: round(scores[key], 4) for key in ("objects", *CLASSES)}
            runs = add_run(NAME, {**known, **figures})
    Console().print(table(runs, options.steps))


if __name__ == "__main__":
    main()
