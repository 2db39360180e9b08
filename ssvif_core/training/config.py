"""What a training run is: one YAML file, checked before the first step."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ssvif_core.errors import SsvifError

__all__ = [
    "FUSION_TERMS",
    "HIDDEN_TERMS",
    "START",
    "CollapseConfig",
    "ConsistencyConfig",
    "DataSource",
    "LossWeights",
    "StageConfig",
    "TrainingConfig",
    "WeightingConfig",
    "differences",
    "load_config",
]


#: The terms of the fusion loss, as in `LossWeights`.
FUSION_TERMS = ("intensity", "gradient", "ssim", "decomposition", "edges", "flat", "halo")
#: Those of masked prediction.
HIDDEN_TERMS = ("hidden_visible", "hidden_thermal")
#: As a teacher, or in `picture_of`: the network that the run starts from.
START = "start"
#: Of the moving average in the end, what may still be the start of the run.
MOST_OF_START = 0.1
#: Rows and columns that a crop of a stage joint has at least: of a smaller one the view is all
#: border (`views.py`).
LEAST_JOINT_CROP = 64
#: Pixels of one side of a crop: a multiple of the network's coarsest stride.
Side = Annotated[int, Field(gt=0, multiple_of=16)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSource(_Strict):
    """Where pairs come from, and how much of each batch comes from there."""

    folder: Path = Field(description="folder of a known layout, video of the camera, or rosbag")
    thermal: Path | None = Field(None, description="the thermal video, if `folder` is a video")
    layout: str = Field("auto", description="auto, or a name of ssvif_core.data.layouts")
    split: str = "train"
    visible_topic: str | None = Field(
        None, description="of a rosbag; found by content if not given"
    )
    thermal_topic: str | None = Field(None, description="of a rosbag, likewise")
    offset_s: float = Field(0.0, description="rosbag: added to thermal stamps, as in the node")
    limit: int | None = Field(None, gt=0, description="pairs to use at most")
    origin: str = Field("", description="where the data comes from, for the model card")
    share: float = Field(gt=0, description="part of every batch that is drawn from this source")
    labels: str | None = Field(None, description="sub-folder of label images, if any")
    label_map: dict[int, int] | None = Field(None, description="ids in the file -> class ids")
    labelled: int | None = Field(None, ge=0, description="frames whose labels are used; all if not")
    holdout_every: int = Field(
        0, ge=0, description="keep each n-th pair out to validate; of those with labels and of the "
        "others apart; of a recording or video the last n-th, after a gap"
    )  # fmt: skip


class LossWeights(_Strict):
    """Weights of the loss terms; see `ssvif_core.training.losses`."""

    intensity: float = Field(4.0, ge=0)
    contrast: float = Field(1.0, ge=0.5, le=2, description="contrast asked for, over the sources'")
    room: float = Field(0.0, ge=0, description="q: room below white for structure of thermal")
    gradient: float = Field(10.0, ge=0)
    sharpness: float = Field(1.0, ge=0.5, le=2, description="edges asked for, over the sources'")
    ssim: float = Field(1.0, ge=0)
    decomposition: float = Field(0.3, ge=0)
    edges: float = Field(0.0, ge=0)
    flat: float = Field(0.0, ge=0)
    halo: float = Field(0.0, ge=0)
    cross_entropy: float = Field(1.0, ge=0)
    dice: float = Field(0.5, ge=0)
    distillation: float = Field(
        1.0, ge=0, description="scale of what the teacher says, where the run has one"
    )
    fusion: float = Field(1.0, ge=0, description="scale of all fusion terms")
    picture: float = Field(
        1.0, ge=0, description="scale of what keeps the fused image of `picture_of`"
    )
    consistency: float = Field(1.0, ge=0, description="scale of cross-segmentation consistency")
    anchor: float = Field(1.0, ge=0, description="scale of what holds the masks to their anchor")


class StageConfig(_Strict):
    """One part of a run; see `ssvif_core.training.stages` for what each kind does."""

    kind: Literal["masked", "supervised", "fusion", "warm_up", "joint"]
    steps: int = Field(gt=0)
    learning_rate: float = Field(2e-3, gt=0)
    warmup_steps: int = Field(200, ge=0, description="steps of rising learning rate")
    train_only: list[str] = Field(
        [], description="parts of the network to train; empty: those of the kind of stage; "
        "segmenter: none of them, the pixel-level segmenter alone"
    )  # fmt: skip


class ConsistencyConfig(_Strict):
    """What the two segmentations are held to besides each other."""

    mode: Literal["anchored", "distilled", "clusters"] = "anchored"
    clusters: int = Field(12, ge=2, le=200, description="anonymous ids, in mode clusters")
    targets: Literal["soft", "likely", "balanced"] = Field(
        "soft", description="what a branch teaches: its probabilities, its most likely class, or "
        "an assignment that is balanced in each image (clusters)"
    )  # fmt: skip
    teacher: Literal["branch", "average"] = Field(
        "branch", description="who teaches: the other branch as it is; or its moving average, "
        "which sees the frames whole where a camera is lost to the one that learns"
    )  # fmt: skip
    confidence: float = Field(0.6, ge=0, le=1, description="likely: below it nothing is taught")
    ramp: float = Field(0.3, ge=0, le=1, description="part of the stage in which it fades in")
    margin: float = Field(0.01, ge=0, description="lead in cosine that a prototype needs")
    looks: float = Field(
        1.0, ge=0, description="clusters: weight of colour and heat beside the features that "
        "prototypes are found in; 0: features alone"
    )  # fmt: skip
    balance: float = Field(
        0.5, ge=0, le=1, description="likely, balanced: 0: every pixel counts alike; 1: every class"
    )


class WeightingConfig(_Strict):
    """See `ssvif_core.training.weighting`."""

    kind: Literal["fixed", "dwa", "gate"] = "gate"
    through_image: float = Field(1.0, ge=0, le=1, description="fixed, dwa: factor of the gradient")
    interval: int = Field(50, gt=0, description="dwa: steps that are averaged")
    temperature: float = Field(2.0, gt=0, description="dwa")
    rho: float = Field(0.3, gt=0, description="gate: segmentation's pull over fusion's, at most")


class CollapseConfig(_Strict):
    """When the masks of mode clusters count as collapsed; see `ssvif_core.training.collapse`."""

    every: int = Field(100, gt=0, description="steps between two looks")
    patience: int = Field(3, gt=0, description="bad looks in a row that end the run")
    min_perplexity: float = Field(2.5, ge=1)
    min_used: int = Field(3, ge=1, description="clusters with 0.5 % of the pixels")
    min_image_perplexity: float = Field(1.5, ge=1)
    max_border: float = Field(0.5, ge=0, le=1)
    min_stability: float = Field(0.5, ge=0, le=1)


class TrainingConfig(_Strict):
    """A whole run. Paths are relative to `data_root`."""

    name: str
    variant: Literal["base", "tiny"]
    classes: list[str] = Field(min_length=2)
    data_root: Path
    sources: list[DataSource] = Field(min_length=1)
    stages: list[StageConfig] = Field(min_length=1)
    initialise_from: str | None = Field(
        None, description="checkpoint, ONNX model, or shipped model whose weights to start from"
    )
    teacher: str | None = Field(
        None, description="likewise, or `start`, which is what the run starts from: a model of the "
        "same classes, whose masks stages supervised learn besides the labels; it sees both "
        "cameras where one is lost to the learner"
    )  # fmt: skip
    picture_of: list[str] = Field(
        [], description="likewise, any classes: models whose fused image (of several, the mean) "
        "the run is to give, so that masks learn and the picture stays; see `kept_picture`"
    )  # fmt: skip
    seed: int = Field(0, ge=0, lt=2**63)
    batch_size: int = Field(8, gt=0)
    crop: tuple[Side, Side] = Field(
        (256, 320), description="rows, columns; multiples of 16, at least 64 with a stage joint"
    )
    object_crops: float = Field(0.6, ge=0, le=1, description="crops centred on a labelled object")
    labelled_crops: float = Field(
        0.0,
        ge=0,
        le=1,
        description="of the other crops, those of frames with labels; any frame if 0",
    )
    photometric: bool = Field(
        True, description="vary light, thermal gain, noise and sensor faults of the crops"
    )
    modality_dropout: float = Field(0.0, ge=0, le=1, description="crops with one camera lost")
    modality_dropout_thermal: float = Field(
        0.5, ge=0, le=1, description="of those, the part that loses the thermal camera"
    )
    weight_decay: float = Field(0.02, ge=0)
    gradient_clip: float = Field(5.0, gt=0)
    ema_decay: float = Field(0.998, ge=0, lt=1)
    class_weights: list[Annotated[float, Field(ge=0)]] | None = None
    loss: LossWeights = LossWeights.model_validate({})
    consistency: ConsistencyConfig = ConsistencyConfig.model_validate({})
    weighting: WeightingConfig = WeightingConfig.model_validate({})
    collapse: CollapseConfig = CollapseConfig.model_validate({})
    validate_every: int = Field(500, gt=0)
    checkpoint_every: int = Field(250, gt=0)
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 where the processor computes in it, else float32"
    )
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves it to torch")

    @property
    def steps(self) -> int:
        """Steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    @property
    def mask_mode(self) -> str:
        """What masks are, one of `ssvif_core.models.MODES`, that the stages of this run teach.

        Where they teach none, the masks are those of the start: see `Trainer.mask_mode`.
        """
        if not any(stage.kind in ("warm_up", "joint") for stage in self.stages):
            return "finetuned"
        return {"anchored": "finetuned"}.get(self.consistency.mode, self.consistency.mode)

    def doubts(self) -> list[str]:
        """What makes the run come to little, and what to set instead; a sentence each."""
        said = [
            f"Stage {stage.kind}: its {stage.steps} steps end before its learning rate has risen "
            f"(warmup_steps {stage.warmup_steps}): set its warmup_steps to {stage.steps // 10}."
            for stage in self.stages
            if stage.warmup_steps >= stage.steps
        ]
        start = self.ema_decay**self.steps
        if start > MOST_OF_START:
            decay = math.floor(1000 * MOST_OF_START ** (1 / self.steps)) / 1000
            said.append(
                f"The moving average, which is validated and exported, is {start:.0%} of what the "
                f"run starts with after {self.steps} steps: set ema_decay to {decay:g} or less."
            )
        return said

    @model_validator(mode="after")
    def _joint_has_something_to_compare(self) -> TrainingConfig:
        joint = any(stage.kind == "joint" for stage in self.stages)
        if joint and min(self.crop) < LEAST_JOINT_CROP:
            raise ValueError(
                f"crop: a stage joint needs at least {LEAST_JOINT_CROP} rows and columns; nothing "
                "of a smaller crop is far enough from the border to be compared"
            )
        return self

    @model_validator(mode="after")
    def _teacher_has_somebody_to_teach(self) -> TrainingConfig:
        if self.teacher and not any(stage.kind == "supervised" for stage in self.stages):
            raise ValueError(
                "teacher: only a stage supervised learns from one; there is none: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _picture_is_trained(self) -> TrainingConfig:
        kinds = {stage.kind for stage in self.stages}
        if self.picture_of and not kinds & {"supervised", "fusion", "joint"}:
            raise ValueError(
                "picture_of: only stages supervised, fusion and joint change the fused image; "
                "there is none: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _start_is_known(self) -> TrainingConfig:
        if START in (self.teacher, *self.picture_of) and self.initialise_from is None:
            raise ValueError(
                "`start`, of teacher and picture_of, is the network of initialise_from: name one"
            )
        return self

    @model_validator(mode="after")
    def _clusters_can_be_found(self) -> TrainingConfig:
        if self.mask_mode != "clusters":
            return self
        clusters, bounds = self.consistency.clusters, self.collapse
        if len(self.classes) != clusters:
            raise ValueError(
                "mode clusters: write `classes: clusters`, or as many names as clusters"
            )
        if any(stage.kind == "supervised" for stage in self.stages):
            raise ValueError(
                "mode clusters: a stage supervised learns labels, and clusters have none; train "
                "on labels in a run of its own that starts from this one (initialise_from)"
            )
        for name in ("min_perplexity", "min_used", "min_image_perplexity"):
            if getattr(bounds, name) > clusters:
                raise ValueError(
                    f"collapse.{name} is {getattr(bounds, name)}, which {clusters} clusters never "
                    "reach: lower it, or every run ends as collapsed"
                )
        return self

    @model_validator(mode="after")
    def _classes_have_weights(self) -> TrainingConfig:
        weights = self.class_weights
        if weights is not None and (len(weights) != len(self.classes) or not any(weights)):
            raise ValueError("class_weights needs one number for each of classes, not all 0")
        return self

    @field_validator("data_root")
    @classmethod
    def _home(cls, path: Path) -> Path:
        return path.expanduser()

    @model_validator(mode="before")
    @classmethod
    def _anonymous(cls, content: object) -> object:
        """`classes: clusters` stands for as many anonymous names as there are clusters."""
        if isinstance(content, dict) and content.get("classes") == "clusters":
            consistency = content.get("consistency")
            count = consistency.get("clusters", 12) if isinstance(consistency, dict) else 12
            if not isinstance(count, int) or not 2 <= count <= 200:
                count = 2  # consistency.clusters is what is wrong, and is said
            return {**content, "classes": [f"cluster {i}" for i in range(count)]}
        return content

    def with_steps(self, steps: int) -> TrainingConfig:
        """The same run in `steps` steps; each stage keeps its part.

        In fewer steps the moving average is shorter by as much: it would else be the random start,
        which is what is exported.
        """
        total = self.steps
        ends = [
            round(sum(s.steps for s in self.stages[: i + 1]) * steps / total)
            for i in range(len(self.stages))
        ]
        sizes = [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        if min(sizes) < 1:
            raise SsvifError(f"{steps} steps are too few for {len(self.stages)} stages.")
        stages = [
            stage.model_copy(
                update={"steps": size, "warmup_steps": stage.warmup_steps * size // stage.steps}
            )
            for stage, size in zip(self.stages, sizes, strict=True)
        ]
        decay = self.ema_decay
        if steps < total:
            decay = max(0.0, 1 - (1 - decay) * total / steps)
        return self.model_copy(update={"stages": stages, "ema_decay": decay})


def differences(kept: str, config: TrainingConfig) -> list[str]:
    """Keys, as loss.gradient, in which a configuration kept as JSON differs from another.

    Keys that are newer than it have their defaults in it.
    """
    try:
        before = TrainingConfig.model_validate_json(kept).model_dump(mode="json")
    except ValidationError:  # it is of a version that allowed other things
        before = json.loads(kept)
    return _differing(before, config.model_dump(mode="json"))


def _differing(one: dict[str, Any], other: dict[str, Any], above: str = "") -> list[str]:
    found: list[str] = []
    for key in [*one, *(key for key in other if key not in one)]:
        a, b = one.get(key), other.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differing(a, b, f"{above}{key}.")
        elif a != b:
            found.append(above + key)
    return found


def load_config(path: Path, overrides: dict[str, object] | None = None) -> TrainingConfig:
    """Read and check a training YAML.

    Args:
        path: the file.
        overrides: top-level keys that replace those of the file.

    Raises:
        SsvifError: the file is missing, is no YAML, or a key is unknown or out of range.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SsvifError(f"Cannot read the training configuration {path}: {error}") from error
    if not isinstance(content, dict):
        raise SsvifError(f"{path} must hold a mapping; see config/training/fusion.yaml.")
    try:
        return TrainingConfig.model_validate({**content, **(overrides or {})})
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise SsvifError("\n".join([f"{path} is not a valid configuration:", *lines])) from error
