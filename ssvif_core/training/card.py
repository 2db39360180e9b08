"""What the card of a model says of its training; needs no torch."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

__all__ = ["same_runs", "training_section"]

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


def same_runs(one: Any, other: Any) -> bool:
    """Whether two cards' `runs` are of one training, of which the last run may have gone on.

    What only one of them says is not compared: cards of before say less.
    """
    if not (isinstance(one, list) and isinstance(other, list) and len(one) == len(other) > 0):
        return False
    last = len(one) - 1
    return all(
        a[key] == b[key]
        for i, (a, b) in enumerate(zip(one, other, strict=True))
        for key in a.keys() & b.keys() - {"data", *(("steps",) if i == last else ())}
    )


def _run_section(config: dict[str, Any], steps: int) -> dict[str, Any]:
    """The whole configuration, defaults too, for they may be others one day; no place on a disk."""
    said = {key: value for key, value in config.items() if key not in ELSEWHERE}
    if said.get("teacher"):
        said["teacher"] = Path(said["teacher"]).name
    if said.get("picture_of"):
        said["picture_of"] = [Path(model).name for model in said["picture_of"]]
    return {
        **_given(said),
        "steps": steps,
        "data": [_given(_nowhere(source)) for source in config["sources"]],
    }


def _nowhere(source: dict[str, Any]) -> dict[str, Any]:
    """A source without the folders above an absolute path."""
    paths = {key: Path(source[key]) for key in ("folder", "thermal") if source.get(key)}
    return source | {key: p.name for key, p in paths.items() if p.is_absolute()}


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if value not in (None, "", [])}
