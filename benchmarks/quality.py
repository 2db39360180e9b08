"""How good the shipped models are: masks on msrs/val, fusion on vifb and msrs/val beside baselines.

    python benchmarks/quality.py [--data ../shared/data] [MODEL ...] [--write-cards] [--jobs 0]

Runs what ships, as `ssvif evaluate` does (the ONNX file, through `Pipeline`, thermal as it is in
the files), and writes benchmarks/results/quality.json, where the figures of models that are not
asked for stay; with --write-cards they also go into the models' cards. Every model is ranked
against the four baselines alone. Masks are scored with both cameras, and with each of them black.

msrs/val labels are where two published RGB-T networks agree: a consensus of predictions, not
hand-made ground truth. Classes other than car, person and bicycle count as background, 255 is left
out. Both sets are for evaluation only and were never trained on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from report import earlier, locked, made, write_result

from ssvif_core.cli.progress import progress_bar
from ssvif_core.evaluation.baselines import BASELINES
from ssvif_core.evaluation.evaluate import Evaluation, evaluate
from ssvif_core.evaluation.evaluation_set import EvaluationSet, open_evaluation_set
from ssvif_core.evaluation.frame_scores import Plan
from ssvif_core.evaluation.methods import open_models
from ssvif_core.evaluation.report import plain
from ssvif_core.evaluation.segmentation_metrics import OBJECTS
from ssvif_core.models import shipped_models

#: Ids of msrs/val -> classes of the models; 4 to 8 (curve, car stop, ...) are background.
LABEL_MAP = {0: 0, 1: 1, 2: 2, 3: 3, 4: 0, 5: 0, 6: 0, 7: 0, 8: 0}


def run(title: str, plan: Plan, frames: EvaluationSet, jobs: int) -> Evaluation:
    with progress_bar() as bar:
        task = bar.add_task(title, total=len(frames.names))
        return evaluate(plan, frames, jobs, lambda: bar.advance(task))


def masks(evaluation: Evaluation, name: str) -> dict[str, dict[str, float]]:
    """IoU of each class: all frames, day and night; the mean says of what it is one."""
    classes = [label.name for label in evaluation.cards[name].classes]
    mean = "mean of " + ", ".join(classes[1:])
    parts = evaluation.segmentation()[name]
    return {
        part: {mean if key == OBJECTS else key: value for key, value in iou.items()}
        for part, iou in parts.items()
    }


def write_models(result: dict[str, Any]) -> Path:
    """Write the figures of models beside those of others that the file holds, each with its own
    command and date.
    """
    with locked("quality"):
        before = earlier("quality")
        how = {key: before[key] for key in made() if key in before}
        kept = {name: {**how, **metrics} for name, metrics in before.get("models", {}).items()}
        new = {name: {**made(), **metrics} for name, metrics in result.items()}
        return write_result("quality", {"models": {**kept, **new}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", default=shipped_models())
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0: one for each core")
    parser.add_argument("--write-cards", action="store_true")
    options = parser.parse_args()

    models = open_models(options.models)
    val = open_evaluation_set(options.data / "msrs" / "val", "labels", LABEL_MAP)
    vifb = open_evaluation_set(options.data / "vifb")
    plan = Plan(tuple(options.models), tuple(BASELINES))
    on_vifb = run("vifb", plan, vifb, options.jobs)
    on_val = run("msrs/val", plan, val, options.jobs)
    dark = {
        f"msrs/val without {camera}": run(
            f"msrs/val without {camera}",
            Plan(tuple(options.models), without=camera),
            val,
            options.jobs,
        )
        for camera in ("visible", "thermal")
    }
    result: dict[str, Any] = {}
    for name, model in models.items():
        result[name] = metrics = plain(
            {
                "msrs/val": masks(on_val, name),
                **{title: masks(evaluation, name) for title, evaluation in dark.items()},
                "vifb": on_vifb.fusion([name, *BASELINES]),
                "msrs/val fusion": on_val.fusion([name, *BASELINES]),
            }
        )
        print(name, json.dumps(metrics, indent=1))
        if options.write_cards:
            path = model.path.with_suffix(".json")
            card = {**json.loads(path.read_text()), "metrics": metrics}
            path.write_text(json.dumps(card, indent=2) + "\n")
    print("written", write_models(result))


if __name__ == "__main__":
    main()
