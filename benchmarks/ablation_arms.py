"""The arms of `ablation.py`: what each trains, from where, and the configuration of its run."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssvif_core.network.fusion_network import FUSION_PATH
from ssvif_core.training.config import TrainingConfig, load_config
from ssvif_core.training.initialise import sha256_of_start

__all__ = [
    "ARMS", "EFFICIENCY", "PICTURE", "SHIPPED", "Arm", "configuration", "folder_of", "settings_of",
    "start_of",
]  # fmt: skip

STAGE_1 = "stage 1"
CLUSTERS = "clusters, gate"
SCRATCH, AS_LONG = "labels, from scratch", "labels, from scratch, as long"
MASKED, AS_LONG_AS_MASKED = "masked", "labels, from scratch, as long as masked"
WARM_UP = "shipped, warm-up"
PIXEL_BRANCH, PICTURE_CONTROL = "picture, pixel branch", "picture, no pull"
PICTURE_AS_LONG = "picture, stage 1 as long as the whole"
#: Controls that take as long as all stages of what they are compared with.
LONGER = (AS_LONG, AS_LONG_AS_MASKED, PICTURE_AS_LONG)
#: Run once for each seed, for all arms that start from them.
FIRST = (STAGE_1, MASKED, WARM_UP, PIXEL_BRANCH)
FUSION, LABELS, JOINT = (("fusion", 1.0),), (("supervised", 1.0),), (("joint", 1.0),)
TOGETHER = ("warm_up", 0.1), ("joint", 0.9)
#: With 60 steps of warm-up of 600, prototypes were not learnt yet, and the joint stage collapsed.
CLUSTERED = ("warm_up", 0.5), ("joint", 0.5)
GATE = {"weighting": {"kind": "gate"}}
PULL = {"weighting": {"kind": "gate", "rho": 1.0}}
TRAINING = Path(__file__).resolve().parent.parent / "config" / "training"
#: What makes a run small enough for a CPU and still worth looking at: clean frames, both cameras,
#: and crops of labelled frames that hold no object, or few labels teach no background.
SMALL = {"photometric": False, "modality_dropout": 0.0, "object_crops": 0.4, "labelled_crops": 0.5}


@dataclass(frozen=True)
class Arm:
    """One kind of run.

    Attributes:
        stages: kinds with their parts of the steps.
        after: the arm, or the shipped model, whose weights it starts from; None: from scratch.
        changes: settings that differ from config/training/`config`.yaml.
        config: name of that file.
        control: the arm that it is compared with: as many steps, the same start, the same frames.
        labelled: whether it sees labels.
        rate: learning rate.
        parts: of the network that train, empty for those of the stage.
    """

    stages: tuple[tuple[str, float], ...]
    after: str | None = STAGE_1
    changes: dict[str, Any] = field(default_factory=dict)
    config: str = "ssvif"
    control: str | None = None
    labelled: bool = True
    rate: float = 0.004
    parts: tuple[str, ...] = ()


def _anchored(**changes: Any) -> Arm:
    return Arm(TOGETHER, changes=changes, control="anchored, no consistency")


def _shipped(**changes: Any) -> Arm:
    control = None if "loss" in changes else "shipped, no consistency"
    return Arm(JOINT, after=WARM_UP, changes=changes, control=control, rate=0.001)


def _picture(**changes: Any) -> Arm:
    control = None if changes["weighting"].get("through_image") == 0 else PICTURE_CONTROL
    changes["loss"] = {"room": 0.0, **changes.get("loss", {})}  # as it was when they were run
    return Arm(
        JOINT, after=PIXEL_BRANCH, changes=changes, config="readable", control=control, rate=0.002,
        parts=FUSION_PATH,
    )  # fmt: skip


ARMS: dict[str, Arm] = {
    STAGE_1: Arm(FUSION, after=None, labelled=False),
    "stage 1, as long as the whole": Arm(FUSION, labelled=False),
    "labels": Arm(LABELS, control=SCRATCH),
    "anchored, no consistency": Arm(TOGETHER, changes={**GATE, "loss": {"consistency": 0.0}}),
    "anchored, gate": _anchored(**GATE),
    "anchored, gate, averaged teacher": _anchored(**GATE, consistency={"teacher": "average"}),
    "anchored, fixed": _anchored(weighting={"kind": "fixed"}),
    "anchored, dwa": _anchored(weighting={"kind": "dwa"}),
    "anchored, gate, label targets": _anchored(
        **GATE, consistency={"targets": "likely", "confidence": 0.6, "ramp": 0.0}
    ),
    CLUSTERS: Arm(
        CLUSTERED, changes=GATE, config="ssvif_clusters",
        control="stage 1, as long as the whole", labelled=False,
    ),
    "clusters, then labels": Arm(LABELS, after=CLUSTERS, control=SCRATCH),
    SCRATCH: Arm(LABELS, after=None),
    AS_LONG: Arm(LABELS, after=None, control=SCRATCH),
    AS_LONG_AS_MASKED: Arm(LABELS, after=None, control=SCRATCH),
    MASKED: Arm((("masked", 1.0),), after=None, control=STAGE_1, labelled=False),
    "masked, then labels": Arm(LABELS, after=MASKED, control=SCRATCH),
    # The shipped trunk already knows the labels: give all of them (--labelled 268).
    WARM_UP: Arm((("warm_up", 1.0),), after="tiny"),
    "shipped, no consistency": _shipped(**GATE, loss={"consistency": 0.0}),
    "shipped, gate": _shipped(**GATE),
    "shipped, gate, averaged teacher": _shipped(**GATE, consistency={"teacher": "average"}),
    "shipped, fixed": _shipped(weighting={"kind": "fixed"}),
    "shipped, dwa": _shipped(weighting={"kind": "dwa"}),
    # Masks stay; what the pixel branch asks for moves the picture alone.
    PIXEL_BRANCH: Arm(
        (("warm_up", 1.0),), after="tiny", config="readable", parts=("segmenter",),
        changes={"loss": {"room": 0.0}},
    ),
    PICTURE_AS_LONG: Arm(
        FUSION, after="tiny", config="readable", control=PICTURE_CONTROL, labelled=False,
        rate=0.002, parts=FUSION_PATH, changes={"loss": {"room": 0.0}},
    ),
    PICTURE_CONTROL: _picture(weighting={"kind": "fixed", "through_image": 0.0}),
    "picture, gate": _picture(**PULL),
    "picture, gate, labels alone": _picture(**PULL, loss={"consistency": 0.0}),
    "picture, gate, consistency alone": _picture(**PULL, loss={"anchor": 0.0}),
    "picture, fixed": _picture(weighting={"kind": "fixed"}),
    "picture, dwa": _picture(weighting={"kind": "dwa"}),
}  # fmt: skip
#: What label-free training is worth: nothing before the labels, masked prediction, stage 1, stage 1
#: and clusters.
EFFICIENCY = (
    SCRATCH, AS_LONG_AS_MASKED, "masked, then labels", MASKED, "labels", AS_LONG,
    "clusters, then labels",
)  # fmt: skip
#: Stage 2 on a network whose masks are good already.
SHIPPED = tuple(arm for arm in ARMS if arm.startswith("shipped"))
#: What the pixel branch does to the picture of a network whose masks do not change.
PICTURE = tuple(arm for arm in ARMS if arm.startswith("picture"))


def settings_of(options: argparse.Namespace, start: str | None = None) -> dict[str, Any]:
    """What runs must agree in to be compared; `start` as of `start_of`."""
    settings = {
        "variant": options.variant, "crop": list(options.crop), "stage_1": options.stage_1,
        "steps": options.steps, "labelled": options.labelled,
    }  # fmt: skip
    given = {"rate": options.rate, "start": start}
    return settings | {key: value for key, value in given.items() if value}


def start_of(arm: str) -> str | None:
    """sha256 of the model that an arm, or the first of those before it, starts from, if any."""
    start: str | None = arm
    while start in ARMS:
        start = ARMS[start].after
    return None if start is None else sha256_of_start(start)


def folder_of(arm: str, seed: int, options: argparse.Namespace) -> Path:
    """Run folder of an arm; one run without labels serves every number of labelled frames."""
    settings = settings_of(options, (start_of(arm) or "")[:8])
    if not ARMS[arm].labelled:
        settings["labelled"] = 0
    if arm in FIRST:
        settings["steps"] = 0
        settings.pop("rate", None)
    tag = "-".join([arm.replace(", ", "_"), *map(str, settings.values()), str(seed)])
    return options.runs / tag.replace(", ", "x").replace(" ", "_")


def configuration(name: str, seed: int, options: argparse.Namespace) -> TrainingConfig:
    """The run of one arm and seed."""
    arm = ARMS[name]
    config = load_config(TRAINING / f"{arm.config}.yaml").model_dump()
    steps, rate = _steps(name, options), arm.rate
    if options.rate and name not in FIRST:  # what they start from is the same at any rate
        rate = options.rate
    stages = [
        {"kind": kind, "steps": round(part * steps), "learning_rate": rate,
         "warmup_steps": min(200, steps // 25), "train_only": list(arm.parts)}
        for kind, part in arm.stages
    ]  # fmt: skip
    start = arm.after
    if start in ARMS:
        start = str(folder_of(start, seed, options) / "checkpoint.pt")
    for key, change in arm.changes.items():
        config[key] = {**config[key], **change}
    return TrainingConfig.model_validate(
        {**config, **SMALL, "variant": options.variant, "crop": options.crop, "seed": seed,
         "initialise_from": start, "stages": stages,
         "sources": [_source(s, arm, options.labelled) for s in config["sources"]
                     if str(s["folder"]) != "drawn"],  # to be made first, see readable.yaml
         "data_root": options.data, "ema_decay": 0.998 if steps > 4000 else 0.99,
         "validate_every": 10**9, "checkpoint_every": 200}
    )  # fmt: skip


def _steps(name: str, options: argparse.Namespace) -> int:
    if name in FIRST:
        return int(options.stage_1)
    if name in (PICTURE_AS_LONG, AS_LONG_AS_MASKED):
        return int(options.stage_1 + options.steps)
    if name == AS_LONG:  # as everything that "clusters, then labels" takes
        return int(options.stage_1 + 2 * options.steps)
    return int(options.steps)


def _source(source: dict[str, Any], arm: Arm, labelled: int) -> dict[str, Any]:
    """Every frame takes part; labels are those of `labelled` frames of MSRS alone."""
    wanted = labelled if arm.labelled and "msrs" in str(source["folder"]) else 0
    return {**source, "holdout_every": 0} | ({"labelled": wanted} if source["labels"] else {})
