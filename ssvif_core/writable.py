"""Whether a file can be written, found out before the work whose result it is to hold."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ssvif_core.errors import SsvifError

__all__ = ["check_writable"]


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be made, by making another one, without a name, where it would be.

    Permissions do not tell: root has them all, also on a disk that is read-only, and in /proc.

    Args:
        path: of the file; folders above it need not be there yet.

    Raises:
        SsvifError: nothing may be written in its folder, or in the first one that is there.
    """
    there = next(folder for folder in path.parents if folder.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as why:
        raise SsvifError(f"Nothing may be written in {there}: put {path.name} elsewhere.") from why
