"""One recording from the command's point of view: the function that is the same in this process, in
one of several, and on a cluster. Prints nothing; what is to be said is in the outcome.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
from rich.markup import escape

from ssvif_core.data.video_writer import why_not_h264
from ssvif_core.errors import SsvifError
from ssvif_core.memory import keep_image_buffers
from ssvif_core.replay.compare_report import Run, comparison_lines, write_comparison
from ssvif_core.replay.folder import earlier_run, end_journal, prepare, write_run
from ssvif_core.replay.player import Progress
from ssvif_core.replay.run import Replayed, ReplayOptions, replay
from ssvif_core.replay.tables import summary_lines
from ssvif_core.replay.variants import file_name, names_of, variant

__all__ = ["Outcome", "Task", "Watch", "do_task", "tune_process"]

logger = logging.getLogger("ssvif.replay")
#: Told the number of a task, seconds done, seconds in all where known, and a remark.
Watch = Callable[[int, float, "float | None", str], None]


@dataclass(frozen=True)
class Task:
    """A recording to be replayed.

    Attributes:
        path: of the recording.
        folder: to write to.
        options: of the replay.
        models: others on the same pairs, to compare with; see variants.py.
        resume: leave it alone if it was done already; go on with it if it was begun.
    """

    path: Path
    folder: Path
    options: ReplayOptions
    models: tuple[str, ...] = ()
    resume: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        lines: to be shown, with rich markup.
        failed: why nothing was made of it, or "".
        damaged: what of the recording could not be read, or "".
        interrupted: it was stopped before its end.
    """

    lines: tuple[str, ...] = ()
    failed: str = ""
    damaged: str = ""
    interrupted: bool = False


def tune_process() -> None:
    """Set up this process for replays: once, early."""
    cv2.setNumThreads(1)  # as in the node, so that times compare
    keep_image_buffers()


def do_task(task: Task, progress: Progress) -> Outcome:
    """Replay one recording and write its folder. Nothing that goes wrong leaves this function."""
    lines: list[str] = []
    try:
        earlier = earlier_run(task.folder, task.path, task.options) if task.resume else None
        if earlier is not None and not task.models:
            lines.append(escape(f"{task.path.name}: done already, see {task.folder}"))
            summary = earlier
        elif task.models:
            summary = _compared(task, progress, lines)
        else:
            summary, _ = _one(task, task.folder, task.options, progress, lines)
    except SsvifError as error:
        return Outcome(tuple(lines), failed=str(error))
    except KeyboardInterrupt:
        return Outcome(tuple(lines), failed="stopped before it was written", interrupted=True)
    except Exception as error:  # ours to mend, but the other recordings shall not suffer
        logger.exception("%s", task.path)
        return Outcome(tuple(lines), failed=f"{type(error).__name__}: {error}")
    broken = summary["recording"]["broken"].items()
    damaged = "; ".join(f"{name} {why}" for name, why in broken)
    return Outcome(tuple(lines), damaged=damaged, interrupted=bool(summary["interrupted"]))


def _one(
    task: Task, folder: Path, options: ReplayOptions, progress: Progress, lines: list[str]
) -> tuple[dict[str, Any], Replayed]:
    prepare(folder, resume=task.resume)
    played = replay(task.path, folder, options, progress, resume=task.resume)
    summary, written = write_run(played, folder, keep_journal=bool(task.models))
    if played.resumed_from:
        lines.append(f"resumed: {played.resumed_from} pairs were done already")
    if played.begun_anew:
        lines.append(escape(f"begun anew, not resumed: {played.begun_anew}"))
    if options.video and (note := why_not_h264()):
        lines.append(escape(note))
    lines += summary_lines(summary)
    names = ", ".join(path.name for path in written)
    lines.append(escape(f"written to {folder}: {names}"))
    return summary, played


def _compared(task: Task, progress: Progress, lines: list[str]) -> dict[str, Any]:
    """Replay with each model, one after the other, and compare; the first summary."""
    first = task.options.settings
    variants = [first, *(variant(text, first) for text in task.models)]
    runs: list[Run] = []
    for name, settings in zip(names_of(variants), variants, strict=True):
        lines.append(f"{name}: model {settings.model}, {settings.precision}, {settings.engine}")
        each = replace(task.options, settings=settings)
        folder = task.folder / file_name(name)
        runs.append(Run(name, folder, *_one(task, folder, each, progress, lines)))
        if runs[-1].summary["interrupted"]:
            return runs[-1].summary
    found = write_comparison(task.folder, runs)
    for run in runs:
        end_journal(run.folder)
    lines += [escape(line) for line in comparison_lines(runs[0].name, found)]
    lines.append(escape(f"written to {task.folder}: compare.html, compare.json"))
    return runs[0].summary
