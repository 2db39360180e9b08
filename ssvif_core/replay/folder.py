"""The folder of a replay: what is written there, and whether it is there already."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ssvif_core.errors import SsvifError
from ssvif_core.replay.frame_table import write_parquet
from ssvif_core.replay.report import render
from ssvif_core.replay.run import FRAMES, Replayed, ReplayOptions
from ssvif_core.replay.sinks import RRD
from ssvif_core.replay.summary import finite, summarise

__all__ = ["SUMMARY", "earlier_run", "prepare", "write_run"]

SUMMARY, REPORT = "summary.json", "report.html"
#: What a replay writes; of an earlier one in the same folder it is removed.
OURS = (SUMMARY, REPORT, FRAMES, "frames.parquet", "fused.mp4", RRD)


def prepare(folder: Path) -> None:
    """Make the folder, or clear it of an earlier replay; other files there are left alone.

    Raises:
        SsvifError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in OURS:
            (folder / name).unlink(missing_ok=True)
        if (folder / "bag" / "metadata.yaml").is_file():
            shutil.rmtree(folder / "bag")
    except OSError as error:
        raise SsvifError(f"Cannot write to {folder}: {error}") from error


def write_run(played: Replayed, folder: Path) -> tuple[dict[str, Any], list[Path]]:
    """Write summary and report beside what was written while playing.

    The summary comes last: a folder that has one is whole.

    Returns:
        The summary, and the paths of everything that is there.

    Raises:
        SsvifError: a file cannot be written.
    """
    summary = summarise(played)
    summary["asked"] = _asked(played.recording.path, played.options)
    write_parquet(folder / FRAMES)
    try:
        (folder / REPORT).write_text(render(summary, played), encoding="utf-8")
        part = folder / f"{SUMMARY}.part"
        part.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        part.replace(folder / SUMMARY)
    except OSError as error:
        raise SsvifError(f"Cannot write to {folder}: {error}") from error
    names = (REPORT, SUMMARY, FRAMES, "frames.parquet", "fused.mp4", RRD, "bag")
    return summary, [folder / name for name in names if (folder / name).exists()]


def earlier_run(folder: Path, path: Path, options: ReplayOptions) -> dict[str, Any] | None:
    """The summary of a whole replay of this recording, as it is now and as asked for; or None."""
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = summary.get("complete") and summary.get("asked") == _asked(path, options)
    return summary if same else None


def _asked(path: Path, options: ReplayOptions) -> dict[str, Any]:
    """What decides whether two replays are the same, as it comes back from JSON."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    asked = {
        "files": {p.name: [p.stat().st_size, p.stat().st_mtime_ns] for p in files},
        "parameters": options.settings.parameters(),
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
    return json.loads(json.dumps(finite(asked)))
