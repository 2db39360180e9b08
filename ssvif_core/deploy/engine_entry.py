"""One engine on disk: its plans, what is written down of it, and whether it is whole.

An engine is code, so nothing is believed of a file but what this program wrote beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssvif_core.models import sha256_of

__all__ = [
    "FORMAT",
    "PROVIDER_SUFFIX",
    "SUFFIX",
    "Entry",
    "digest_of",
    "lock_of",
    "look_at",
    "next_of",
    "others_may_write",
    "plans_of",
    "sidecar_of",
    "unreadable",
]

FORMAT = 1
SUFFIX = ".engine"
#: Of the folder in which ONNX Runtime's TensorRT provider keeps what it builds.
PROVIDER_SUFFIX = ".onnxruntime"


@dataclass(frozen=True)
class Entry:
    """One engine.

    Attributes:
        path: of the plan, or of the provider's folder.
        about: content of the JSON file beside it; empty where there is none.
        problem: why it cannot be used, whatever is wanted; empty if it is whole.
        building: whether a process builds it at present, for the first time or anew.
    """

    path: Path
    about: dict[str, Any]
    problem: str
    building: bool = False

    @property
    def key(self) -> dict[str, Any]:
        """What it was built from."""
        return dict(self.about.get("key", {}))

    @property
    def by_provider(self) -> bool:
        """Whether ONNX Runtime's TensorRT provider built it."""
        return self.path.suffix == PROVIDER_SUFFIX


def look_at(path: Path) -> Entry:
    """Read what is known of an engine, and check that it is the one that was written."""
    entry = _described_in(sidecar_of(path), path)
    if entry.problem and next_of(path).is_file():  # the end came between the plan and this
        after = _described_in(next_of(path), path)
        return entry if after.problem else after
    return entry


def _described_in(file: Path, path: Path) -> Entry:
    """The engine in `path`, if it is what this file describes."""
    about: dict[str, Any] = {}
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
        if read["format"] != FORMAT:
            return Entry(path, {}, "another version of this program built it")
        if not dict(read["key"]):
            raise ValueError("no key")
        about, wanted = read, str(read["sha256"])
        plans = plans_of(path)
        if not plans:
            return Entry(path, about, "the file is missing")
        if any(map(others_may_write, {path, *plans})):
            return Entry(path, about, "others may write to it, and an engine is code")
        if digest_of(path) != wanted:
            return Entry(path, about, "its content is not what was written: damaged or replaced")
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Entry(path, {}, "nothing says what it was built from")
    except OSError as error:
        return Entry(path, about, unreadable(error))
    return Entry(path, about, "")


def plans_of(path: Path) -> list[Path]:
    """The files that TensorRT would run: the plan, or those in the provider's folder."""
    if path.suffix == PROVIDER_SUFFIX:
        return sorted(path.glob(f"*{SUFFIX}"))
    return [path] if path.is_file() else []


def digest_of(path: Path) -> str:
    """sha256 of the plan; for a folder, of a list with the sha256 and name of each in it."""
    if path.suffix != PROVIDER_SUFFIX:
        return sha256_of(path)
    lines = "".join(f"{sha256_of(plan)}  {plan.name}\n" for plan in plans_of(path))
    return hashlib.sha256(lines.encode()).hexdigest()


def sidecar_of(path: Path) -> Path:
    """What says what an engine was built from."""
    return path.with_name(path.name + ".json")


def next_of(path: Path) -> Path:
    """What says it of a plan that is about to take this place, until it is there."""
    return path.with_name(path.name + ".json.next")


def lock_of(path: Path) -> Path:
    """What is locked while an engine is built."""
    return path.with_name(path.name + ".lock")


def others_may_write(path: Path) -> bool:
    """Whether a file or folder is another user's (other than root's), or may be written by all."""
    status = path.stat()
    return status.st_uid not in (os.getuid(), 0) or bool(status.st_mode & stat.S_IWOTH)


def unreadable(error: OSError) -> str:
    """Why an engine cannot be read."""
    return f"it cannot be read ({error.strerror}); engines are for the user who built them"
