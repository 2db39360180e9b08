"""The folder of a replay: what is written there, and whether it is there already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ssvif_core.benchmark.machine import processor
from ssvif_core.errors import SsvifError
from ssvif_core.replay.asked import asked
from ssvif_core.replay.clearing import REPORT, SUMMARY
from ssvif_core.replay.frame_table import FRAMES, PARQUET, write_parquet
from ssvif_core.replay.journal import JOURNAL
from ssvif_core.replay.options import ReplayOptions
from ssvif_core.replay.outputs import BAG, VIDEO
from ssvif_core.replay.replayed import Replayed
from ssvif_core.replay.report import render
from ssvif_core.replay.rerun_file import RRD
from ssvif_core.replay.summary import summarise, versions

__all__ = ["earlier_run", "write_run"]


def write_run(played: Replayed, folder: Path) -> tuple[dict[str, Any], list[Path]]:
    """Write summary and report beside what was written while playing.

    The summary comes last: a folder that has one is whole, and its journal is not needed any more.

    Args:
        played: what was measured.
        folder: where it was played to.

    Returns:
        The summary, and the paths of everything that is there.

    Raises:
        SsvifError: a file cannot be written.
    """
    summary = summarise(played)
    summary["asked"] = asked(played.recording.path, played.options)
    write_parquet(folder / FRAMES)
    try:
        (folder / REPORT).write_text(render(summary, played), encoding="utf-8")
        part = folder / f"{SUMMARY}.part"
        part.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        part.replace(folder / SUMMARY)
        if not played.interrupted:
            (folder / JOURNAL).unlink(missing_ok=True)
    except OSError as error:
        raise SsvifError(f"Cannot write to {folder}: {error}") from error
    names = (REPORT, SUMMARY, FRAMES, PARQUET, VIDEO, RRD, BAG)
    return summary, [folder / name for name in names if (folder / name).exists()]


def earlier_run(
    folder: Path, path: Path, options: ReplayOptions, *, made_here: bool = False
) -> dict[str, Any] | None:
    """The summary of a whole replay of this recording, as it is now and as asked for; or None.

    Args:
        folder: that it would be in.
        path: of the recording.
        options: as asked for.
        made_here: by these versions and on this machine, too, for its times are to be compared.
    """
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = summary.get("complete") and summary.get("asked") == asked(path, options)
    if made_here:
        here = {"versions": versions(), "machine": processor()}
        same = same and all(summary.get(key) == value for key, value in here.items())
    return summary if same else None
