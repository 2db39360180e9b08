"""What the card of a model says of its training; needs no torch."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

__all__ = ["training_section"]


def training_section(command: str, state: dict[str, Any]) -> dict[str, Any]:
    """What the card says of the training: enough to repeat it, run by run."""
    runs = [*state.get("history", []), {"config": state["config"], "step": state["step"]}]
    return {
        "command": command,
        "exported": date.today().isoformat(),
        # What a deployed model that was trained further brought along is a section already.
        "runs": [
            _run_section(json.loads(run["config"]), run["step"]) if "config" in run else run
            for run in runs
        ],
    }


def _run_section(config: dict[str, Any], steps: int) -> dict[str, Any]:
    keys = (
        *("name", "seed", "batch_size", "crop", "modality_dropout", "precision"),
        *("stages", "consistency", "weighting"),
    )
    return {
        **{key: config[key] for key in keys if config.get(key)},
        "steps": steps,
        "loss": config["loss"],
        "data": [
            {key: source[key] for key in ("folder", "origin", "labels", "share") if source.get(key)}
            for source in config["sources"]
        ],
    }
