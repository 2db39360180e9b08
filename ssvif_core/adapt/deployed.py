"""The trained network becomes the new model: exported, checked, with a card of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ssvif_core.adapt.training_pairs import PAIRS
from ssvif_core.data.sources import open_pairs
from ssvif_core.deploy.export import export_model, load_trained
from ssvif_core.models import Model
from ssvif_core.training.card import training_section
from ssvif_core.training.checkpoint import load_checkpoint

__all__ = ["deploy", "note"]

#: Pairs that the file is compared with torch on.
PARITY_FRAMES = 8


def deploy(checkpoint: Path, target: Path, old: Model, about: dict[str, Any]) -> Model:
    """Export a checkpoint of `ssvif adapt`.

    The masks are what the checkpoint says: those of before, in the old card's mode, if nothing that
    they depend on was trained. Where labels taught them, the labels were the old model's masks, so
    they are `distilled` (anonymous clusters stay clusters).

    Args:
        checkpoint: of the finished run.
        target: the ONNX file, see `target.target_path`.
        old: the model that was adapted.
        about: the card's section `adapted`.

    Raises:
        SsvifError: the file does not agree with torch.
    """
    state = load_checkpoint(checkpoint)
    command = f"ssvif adapt {about['recording']} --model {old.card.name}"
    mode = state["mode"]
    if about["masks"] == "trained":
        mode = "clusters" if "clusters" in (mode, old.card.mode) else "distilled"
    frames = list(open_pairs(target.parent / PAIRS, limit=PARITY_FRAMES))
    return export_model(
        load_trained(state),
        target,
        [label.name for label in old.card.classes],
        frames,
        name=target.stem,
        mode=mode,
        notes={"adapted": about, "training": training_section(command, state)},
    )


def note(model: Model, verdict: dict[str, Any]) -> None:
    """Write the verdict into the card, so that it goes where the file goes."""
    card = model.path.with_suffix(".json")
    content = json.loads(card.read_text(encoding="utf-8"))
    content["adapted"] = content["adapted"] | {"verdict": verdict}
    partial = card.with_suffix(".json.partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, card)
