"""What decides whether two replays of a recording are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ssvif_core.benchmark.machine import processor
from ssvif_core.models import open_model, shipped_models
from ssvif_core.replay.options import ReplayOptions
from ssvif_core.replay.settings import Parts
from ssvif_core.replay.summary import finite, versions

__all__ = ["asked", "different", "ran_with"]


def asked(path: Path, options: ReplayOptions) -> dict[str, Any]:
    """The files that are read, as they are now, and the options that decide the result.

    As JSON gives it back.
    """
    parameters = options.settings.parameters()
    named = [parameters["registration.file"], parameters["model"], options.labels_folder]
    given = [Path(name).expanduser() for name in named if name]
    shipped = options.settings.model in shipped_models()
    content = {
        "files": _as_they_are(path),
        "given": {str(p): _as_they_are(p) for p in given if p.exists()},
        "shipped": open_model(options.settings.model).card.sha256 if shipped else None,
        "parameters": parameters,
        "topics": vars(options.topics),
        "part": vars(options.part),
        "stamps": options.stamps,
        "labels_folder": str(options.labels_folder) if options.labels_folder else None,
        "label_map": options.label_map,
        "metrics_every": options.metrics_every,
        "video": options.video,
        "bag": options.bag,
        "rerun": options.rerun,
        "pictures": options.pictures,
    }
    return json.loads(json.dumps(finite(content)))


def _as_they_are(path: Path) -> dict[str, list[int]]:
    """Size and time of change of a file, or of those in a folder, by name."""
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    return {p.name: [p.stat().st_size, p.stat().st_mtime_ns] for p in files}


def ran_with(parts: Parts) -> dict[str, Any]:
    """What else figures and times depend on: model, engine, versions, machine."""
    content = {
        "model": parts.model.card.sha256,
        "engine": parts.pipeline.engine.describe(),
        "registration": parts.registration,
        "versions": versions(),
        "machine": processor(),
    }
    return json.loads(json.dumps(content))


def different(one: Any, other: Any) -> list[str]:
    """Names of what is not the same in two dictionaries, or in those that are in them."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return []
    names = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    return [name for key in names for name in different(one.get(key), other.get(key)) or [key]]
