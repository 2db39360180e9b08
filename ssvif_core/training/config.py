"""What a training run is: one YAML file, checked before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssvif_core.errors import SsvifError

__all__ = ["DataSource", "LossWeights", "TrainingConfig", "load_config"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSource(_Strict):
    """A paired folder (`visible/ thermal/`) and how much of each batch comes from it."""

    folder: Path
    origin: str = Field("", description="where the data comes from, for the model card")
    share: float = Field(gt=0, description="part of every batch that is drawn from this source")
    labels: str | None = Field(None, description="sub-folder of label images, if any")
    label_map: dict[int, int] | None = Field(None, description="ids in the file -> class ids")
    holdout_every: int = Field(0, ge=0, description="keep each n-th pair out to validate")


class LossWeights(_Strict):
    """Weights of the loss terms; see `ssvif_core.training.losses`."""

    intensity: float = 4.0
    contrast: float = Field(1.0, ge=0.5, le=2, description="contrast asked for, over the sources'")
    gradient: float = 10.0
    sharpness: float = Field(1.0, ge=0.5, le=2, description="edges asked for, over the sources'")
    ssim: float = 1.0
    decomposition: float = 0.3
    cross_entropy: float = 1.0
    dice: float = 0.5
    fusion: float = Field(default=1.0, description="scale of the four fusion terms")


class TrainingConfig(_Strict):
    """A whole run. Paths are relative to `data_root`."""

    name: str
    variant: Literal["base", "tiny"]
    classes: list[str] = Field(min_length=2)
    data_root: Path
    sources: list[DataSource] = Field(min_length=1)
    initialise_from: Path | None = Field(None, description="checkpoint whose weights to start from")
    train_only: list[str] = Field([], description="parts of the network to train; empty: all")
    seed: int = 0
    steps: int = Field(gt=0)
    batch_size: int = Field(8, gt=0)
    crop: tuple[int, int] = Field((256, 320), description="rows, columns; multiples of 16")
    object_crops: float = Field(0.6, ge=0, le=1, description="crops centred on a labelled object")
    learning_rate: float = Field(2e-3, gt=0)
    warmup_steps: int = Field(200, ge=0)
    weight_decay: float = Field(0.02, ge=0)
    gradient_clip: float = Field(5.0, gt=0)
    ema_decay: float = Field(0.998, ge=0, lt=1)
    class_weights: list[float] | None = None
    loss: LossWeights = LossWeights.model_validate({})
    validate_every: int = Field(500, gt=0)
    checkpoint_every: int = Field(250, gt=0)
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves it to torch")


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
    except (OSError, yaml.YAMLError) as error:
        raise SsvifError(f"Cannot read the training configuration {path}: {error}") from error
    if not isinstance(content, dict):
        raise SsvifError(f"{path} must hold a mapping; see config/training/fusion.yaml.")
    try:
        return TrainingConfig.model_validate({**content, **(overrides or {})})
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise SsvifError("\n".join([f"{path} is not a valid configuration:", *lines])) from error
