"""The folder of a replay: what is written there, and whether it is there already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ssvif_core.errors import SsvifError
from ssvif_core.replay.asked import asked
from ssvif_core.replay.earlier import clear_outputs
from ssvif_core.replay.frame_table import write_parquet
from ssvif_core.replay.journal import JOURNAL
from ssvif_core.replay.outputs import BAG, VIDEO
from ssvif_core.replay.report import render
from ssvif_core.replay.run import FRAMES, Replayed, ReplayOptions
from ssvif_core.replay.sinks import RRD
from ssvif_core.replay.summary import summarise

__all__ = ["SUMMARY", "earlier_run", "end_journal", "prepare", "write_run"]

SUMMARY, REPORT = "summary.json", "report.html"
#: What a replay writes whole; of an earlier one in the same folder it is removed.
OURS = (SUMMARY, REPORT, FRAMES, "frames.parquet", RRD)


def prepare(folder: Path, *, resume: bool = False) -> None:
    """Make the folder, or clear it of an earlier replay; other files there are left alone.

    Args:
        folder: to write to.
        resume: leave there what a replay that was stopped can be gone on from.

    Raises:
        SsvifError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in OURS:
            (folder / name).unlink(missing_ok=True)
        if not (resume and (folder / JOURNAL).exists()):
            (folder / JOURNAL).unlink(missing_ok=True)
            clear_outputs(folder)
    except OSError as error:
        raise SsvifError(f"Cannot write to {folder}: {error}") from error


def write_run(
    played: Replayed, folder: Path, *, keep_journal: bool = False
) -> tuple[dict[str, Any], list[Path]]:
    """Write summary and report beside what was written while playing.

    The summary comes last: a folder that has one is whole, and its journal is not needed any more.

    Args:
        played: what was measured.
        folder: where it was played to.
        keep_journal: until `end_journal`, for there is more to do than this run.

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
        if not (played.interrupted or keep_journal):
            end_journal(folder)
    except OSError as error:
        raise SsvifError(f"Cannot write to {folder}: {error}") from error
    names = (REPORT, SUMMARY, FRAMES, "frames.parquet", VIDEO, RRD, BAG)
    return summary, [folder / name for name in names if (folder / name).exists()]


def earlier_run(folder: Path, path: Path, options: ReplayOptions) -> dict[str, Any] | None:
    """The summary of a whole replay of this recording, as it is now and as asked for; or None."""
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = summary.get("complete") and summary.get("asked") == asked(path, options)
    return summary if same else None


def end_journal(folder: Path) -> None:
    """Nothing will go on from this run."""
    (folder / JOURNAL).unlink(missing_ok=True)
