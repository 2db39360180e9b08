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
from ssvif_core.models import open_model
from ssvif_core.replay.clearing import check_earlier_run, clear_earlier_run
from ssvif_core.replay.compare_report import (
    FILE,
    PAGE,
    Run,
    comparison_lines,
    forget_comparison,
    is_compared,
    refuse_other_files,
    write_comparison,
)
from ssvif_core.replay.folder import earlier_run, write_run
from ssvif_core.replay.frame_table import FRAMES, read_figures
from ssvif_core.replay.names import name_of
from ssvif_core.replay.options import ReplayOptions
from ssvif_core.replay.player import Progress
from ssvif_core.replay.run import replay
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
        failed: why nothing was made of it, or nothing of it could be fused, or "".
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
        if task.models:
            summary = _compared(task, progress, lines)
        else:
            summary, _ = _one(task, name_of(task.path), task.folder, task.options, progress, lines)
    except SsvifError as error:
        return Outcome(tuple(lines), failed=str(error))
    except KeyboardInterrupt:
        return Outcome(tuple(lines), failed="stopped before it was written", interrupted=True)
    except Exception as error:  # ours to mend, but the other recordings shall not suffer
        logger.exception("%s", task.path)
        return Outcome(tuple(lines), failed=f"{type(error).__name__}: {error}")
    broken = summary["recording"]["broken"].items()
    damaged = "; ".join(f"{name} {why}" for name, why in broken)
    stopped = bool(summary["interrupted"])
    nothing = "" if summary["fused"] or stopped else _why_nothing(summary)
    return Outcome(tuple(lines), failed=nothing, damaged=damaged, interrupted=stopped)


def _why_nothing(summary: dict[str, Any]) -> str:
    why = summary["last_error"] or "there was no pair, see the counts of the pairing and the stamps"
    return f"nothing was fused: {why}"


def _one(
    task: Task, name: str, folder: Path, options: ReplayOptions, progress: Progress,
    lines: list[str],
) -> tuple[dict[str, Any], bool]:  # fmt: skip
    """Replay into a folder, unless that was done already; the summary, and whether it is new."""
    compared = bool(task.models)
    if task.resume:
        earlier = earlier_run(folder, task.path, options, made_here=compared)
        if earlier is not None:
            lines.append(escape(f"{name}: done already, see {folder}"))
            return earlier, False
    played = replay(task.path, folder, options, progress, resume=task.resume)
    summary, written = write_run(played, folder)
    if played.resumed_from:
        lines.append(f"resumed: {played.resumed_from} pairs were done already")
    if played.begun_anew:
        lines.append(escape(f"begun anew, not resumed: {played.begun_anew}"))
    if options.video and (note := why_not_h264()):
        lines.append(escape(note))
    lines += summary_lines(summary)
    names = ", ".join(path.name for path in written)
    lines.append(escape(f"written to {folder}: {names}"))
    return summary, True


def _compared(task: Task, progress: Progress, lines: list[str]) -> dict[str, Any]:
    """Replay with each model, one after the other, and compare; the first summary."""
    first = task.options.settings
    settings = [first, *(variant(text, first) for text in task.models)]
    variants = {
        name: (task.folder / file_name(name), replace(task.options, settings=each))
        for name, each in zip(names_of(settings), settings, strict=True)
    }
    for _, options in variants.values():
        open_model(options.settings.model)  # one that is not there, before hours of the first
    if task.resume and is_compared(task.folder, [*variants]):
        earlier = [earlier_run(folder, task.path, options) for folder, options in variants.values()]
        if earlier[0] is not None and None not in earlier:
            lines.append(escape(f"{name_of(task.path)}: done already, see {task.folder}"))
            return earlier[0]
    refuse_other_files(task.folder)
    check_earlier_run(task.path, task.folder)
    runs: list[Run] = []
    for name, (folder, options) in variants.items():
        model = options.settings
        lines.append(f"{name}: model {model.model}, {model.precision}, {model.engine}")
        summary, anew = _one(task, name, folder, options, progress, lines)
        clear_earlier_run(task.path, task.folder)
        if anew:
            forget_comparison(task.folder)  # it was of other runs
        if summary["interrupted"]:
            return summary
        runs.append(Run(name, folder, summary, read_figures(folder / FRAMES)))
    found = write_comparison(task.folder, runs)
    lines += [escape(line) for line in comparison_lines(runs[0].name, found)]
    lines.append(escape(f"written to {task.folder}: {PAGE}, {FILE}"))
    return runs[0].summary
