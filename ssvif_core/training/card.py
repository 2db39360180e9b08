"""What the card of a model says of its training; needs no torch."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

__all__ = ["training_section"]

#: Of a configuration: what is said elsewhere in the card, or only true on the machine of the run.
ELSEWHERE = ("sources", "data_root", "initialise_from", "threads")


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
    """The whole configuration, defaults too, for they may be others one day; no place on a disk."""
    return {
        **_given({key: value for key, value in config.items() if key not in ELSEWHERE}),
        "steps": steps,
        "data": [_given(source) for source in config["sources"]],
    }


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if value not in (None, "", [])}
