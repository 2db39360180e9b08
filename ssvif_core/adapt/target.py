"""Where the new model goes: never in the place of another one."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from ssvif_core.errors import SsvifError
from ssvif_core.models import Model, shipped_models

__all__ = ["digest", "files_of", "target_path"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
#: Endings by which engines find other precisions of a model.
PRECISION_ENDINGS = (".fp16", ".int8", ".fp32")


def target_path(output: Path, name: str | None, model: Model, material: Path, asked: str) -> Path:
    """The ONNX file to write.

    Args:
        output: folder of the adaptation.
        name: of the model; None: that of the old one and that of the recording.
        model: the old one.
        material: recording or folder.
        asked: digest of what was asked for; an earlier run of the same has it in its card.

    Raises:
        SsvifError: the name cannot be one, or a file of that name is there that is not from an
            earlier run of the same command.
    """
    if name is None:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", material.resolve().name.split(".", 1)[0]).strip("_")
        name = f"{model.card.name}-{stem or 'adapted'}"
    name = name.removesuffix(".onnx")
    if not NAME.fullmatch(name) or name.endswith(PRECISION_ENDINGS):
        raise SsvifError(f"--name {name!r} is no name of a model: use letters, digits, - and _.")
    if name in shipped_models() or name == model.card.name:
        raise SsvifError(
            f"--name {name} is the name of the old model: the new one needs another, so that "
            "nobody takes one for the other."
        )
    path = output / f"{name}.onnx"
    for existing in (path, path.with_suffix(".json")):
        if existing.exists() and not _ours(path.with_suffix(".json"), asked):
            raise SsvifError(
                f"{existing} exists, and is not from an earlier run of this command: it is not "
                "overwritten. Give another --name or --output."
            )
    return path


def _ours(card: Path, asked: str) -> bool:
    try:
        content = json.loads(card.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    adapted = content.get("adapted") if isinstance(content, dict) else None
    return isinstance(adapted, dict) and adapted.get("asked") == asked


def digest(asked: dict[str, Any]) -> str:
    """One word for what was asked for: the same if all of it is the same."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()


def files_of(path: Path) -> dict[str, list[int]]:
    """Name -> size and time of change, of a recording's or a folder's files."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {
        str(p.relative_to(path)) if path.is_dir() else p.name: [
            p.stat().st_size,
            p.stat().st_mtime_ns,
        ]
        for p in files
    }
