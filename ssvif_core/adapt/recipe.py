"""How `ssvif adapt` trains: config/training/adapt.yaml, filled in for one recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssvif_core.adapt.training_pairs import PAIRS
from ssvif_core.errors import SsvifError
from ssvif_core.models import Model
from ssvif_core.network.fusion_network import FUSION_PATH, SEGMENTATION_HEAD
from ssvif_core.training.config import TrainingConfig, load_config
from ssvif_core.training.stages import masks_after, trained_parts

__all__ = ["RECIPE", "configuration", "trains_masks"]

#: config/training/adapt.yaml without what `ssvif adapt` fills in; a test keeps them in step.
RECIPE: dict[str, Any] = {
    "name": "adapt",
    "stages": [
        {
            "kind": "fusion",
            "steps": 200,
            "learning_rate": 0.001,
            "warmup_steps": 20,
            "train_only": list(FUSION_PATH),
        }
    ],
    "consistency": {"mode": "distilled", "targets": "soft"},
    "seed": 0,
    "batch_size": 4,
    "crop": [192, 256],
    "object_crops": 0.0,
    "photometric": False,
    "modality_dropout": 0.1,
    "ema_decay": 0.98,
    "loss": {
        "intensity": 40.0,
        "contrast": 1.32,
        "gradient": 40.0,
        "sharpness": 2.0,
        "ssim": 16.0,
        "decomposition": 2.0,
        "edges": 18.0,
        "flat": 5.0,
        "consistency": 0.5,
        "anchor": 1.0,
    },
    "validate_every": 1000,
    "checkpoint_every": 50,
}


def configuration(
    output: Path, model: Model, recording: str, recipe: Path | None, steps: int | None
) -> TrainingConfig:
    """The run for the pairs in `output/pairs`.

    Args:
        output: folder of the adaptation.
        model: the old one: its variant, classes and weights.
        recording: its name, for the card.
        recipe: another training file instead of the recipe here; what follows from the model and
            the pairs is replaced in it.
        steps: of all stages together, instead of the recipe's.

    Raises:
        SsvifError: the recipe is not valid, or leaves masks that nothing taught.
    """
    card = model.card
    filled: dict[str, Any] = {
        "variant": card.content.get("variant", "base"),
        "classes": [label.name for label in card.classes],
        "data_root": output.resolve(),
        "sources": [
            {"folder": PAIRS, "share": 1, "labels": "labels", "origin": f"recording {recording}"}
        ],
        "initialise_from": str(model.path.resolve()),
    }
    if recipe is None:
        config = TrainingConfig.model_validate({**RECIPE, **filled})
    else:
        config = load_config(recipe, filled)
    if masks_after(config, card.mode) is None:
        raise SsvifError(
            f"{recipe} trains the trunk and not the segmentation head above it, which then reads "
            "features that it never saw: the masks would be nothing. Give the stages `train_only` "
            "with parts of the fusion path, as config/training/adapt.yaml does, or add a stage "
            "warm_up or joint, which trains the head."
        )
    return config if steps is None else config.with_steps(steps)


def trains_masks(config: TrainingConfig) -> bool:
    """Whether a stage trains anything that masks depend on; the head is trained then, too."""
    return bool(trained_parts(config) & set(SEGMENTATION_HEAD))
