"""What recordings are called: in texts, and as the folders of their replays."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["folder_names", "name_of"]


def name_of(path: Path) -> str:
    """The name of a file or folder, also of `.` and `..`; bytes that are no UTF-8 become `�`."""
    name = os.path.basename(os.path.abspath(path))  # not resolved: a link has a name of its own
    return os.fsencode(name).decode("utf-8", "replace")


def folder_names(paths: Iterable[Path]) -> dict[Path, str]:
    """A name for each, without what says its kind; those of the same name get a number."""
    names: dict[Path, str] = {}
    for path in paths:
        stem = Path(name_of(path)).stem
        name, number = stem, 2
        while name in names.values():
            name, number = f"{stem}_{number}", number + 1
        names[path] = name
    return names
