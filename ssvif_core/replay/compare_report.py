"""compare.html and compare.json: two or more replays of one recording beside each other."""

from __future__ import annotations

import functools
import html
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.replay.compare import Difference, differences, frames_of_both, interval_text
from ssvif_core.replay.frame_table import Figures
from ssvif_core.replay.pictures import Extremes, jpeg_of
from ssvif_core.replay.report import fill, pictures_of, table_of
from ssvif_core.replay.report_head import Card, Level, card_grid, file_list, subtitle
from ssvif_core.replay.report_plots import line
from ssvif_core.replay.report_video import video_figure
from ssvif_core.replay.summary import finite
from ssvif_core.replay.whiskers import whisker_table

__all__ = [
    "FILE", "PAGE", "Run", "comparison_lines", "forget_comparison", "is_compared",
    "refuse_other_files", "write_comparison",
]  # fmt: skip

PAGE, FILE = "compare.html", "compare.json"
SHOWN = "Fused images, and the pairs that differ most"
PICTURES = 4
#: The difference is drawn this many times as large, about mid-gray.
MAGNIFIED = 4.0
#: Part of the first's mean: a smaller difference may be sure, and still does not matter.
MATTERS = 0.01
#: Verdicts of a difference that is sure.
SURE = ("better", "worse")
#: Figures that compare only between models with the same classes.
OF_CLASSES = ("iou_objects", "pixel_accuracy", "flicker_labels")
PLOTTED = ("Qabf", "VIF", "SSIM", "iou_objects", "flicker_fused", "flicker_labels", "engine_ms")


class Run(NamedTuple):
    """One whole replay: its name, its folder, and what it gave."""

    name: str
    folder: Path
    summary: dict[str, Any]
    table: Figures


def write_comparison(folder: Path, runs: Sequence[Run]) -> dict[str, list[Difference]]:
    """Compare each run with the first.

    Args:
        folder: existing, to write to.
        runs: two or more, of the same recording and the same part of it.

    Returns:
        Name of a run -> its differences from the first.

    Raises:
        SsvifError: the runs are not of the same pairs, or a file cannot be written.
    """
    first = runs[0]
    found: dict[str, list[Difference]] = {}
    plots: list[dict[str, Any]] = []
    pictures = ""
    for run in runs[1:]:
        if run.summary["pairing"]["counts"] != first.summary["pairing"]["counts"]:
            raise SsvifError(
                f"{first.name} and {run.name} did not get the same pairs: the recording changed."
            )
        found[run.name] = differences(first.table, run.table)
        if run.summary["model"]["classes"] != first.summary["model"]["classes"]:
            found[run.name] = [d for d in found[run.name] if d.figure not in OF_CLASSES]
        shown, plot = _images(first, run)
        pictures += shown
        plots += plot + _plots(first, run)
    content = {
        "bag": first.summary["bag"],
        "first": first.name,
        "differences": {name: [_row(d) for d in list_] for name, list_ in found.items()},
        "models": {run.name: run.summary["model"] for run in runs},
        "engines": {run.name: run.summary["engine"] for run in runs},
        "parameters": first.summary["parameters"],
        "versions": first.summary["versions"],
    }
    page = fill(
        {
            "TITLE": html.escape(f"{' and '.join(run.name for run in runs)} on {content['bag']}"),
            "SUBTITLE": subtitle(first.summary),
            "ANSWERS": card_grid([_card(first, run, found[run.name]) for run in runs[1:]])
            + "".join(whisker_table(first.name, name, list_) for name, list_ in found.items()),
            "EVENTS_TITLE": "How to read it",
            "WARNINGS": _notes(runs),
            "PICTURES_TITLE": SHOWN,
            "PICTURES": _videos(folder, runs) + pictures
            or "<p>None: the replays wrote no video.</p>",
            "TABLES": _engines(runs),
            "CONFIGURATION": "<p>Each has its own report, with its configuration: "
            + ", ".join(_link(folder, run) for run in runs)
            + ".</p>",
            "FILES": file_list(folder, FILE),
        },
        plots,
        content,
    )
    try:
        (folder / PAGE).write_text(page, encoding="utf-8")
        text = json.dumps(finite(content), indent=2, allow_nan=False) + "\n"
        (folder / FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SsvifError(f"Cannot write to {folder}: {error}") from error
    return found


def is_compared(folder: Path, names: Sequence[str]) -> bool:
    """Whether there is a comparison of runs of these names, the first with the others."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return [content["first"], *content["differences"]] == [*names]
    except (OSError, ValueError, TypeError, KeyError):
        return False


def refuse_other_files(folder: Path) -> None:
    """Raise SsvifError where files of a comparison's names are something else."""
    for name, sign in ((FILE, '"differences":'), (PAGE, SHOWN)):
        path = folder / name
        if path.exists() and sign not in path.read_text(encoding="utf-8", errors="replace"):
            raise SsvifError(f"{path} is there, and no comparison wrote it: name another folder.")


def forget_comparison(folder: Path) -> None:
    """Remove a comparison whose runs are made anew. Raises SsvifError if it cannot be."""
    try:
        for name in (PAGE, FILE):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise SsvifError(f"Cannot write to {folder}: {error}") from error


def comparison_lines(first: str, found: dict[str, list[Difference]]) -> list[str]:
    """For the terminal."""
    lines = []
    for name, list_ in found.items():
        lines.append(f"{name} against {first}, paired differences with 95 % intervals:")
        for d in list_:
            interval = interval_text(d.low, d.high, ".4g")
            small = d.verdict in SURE and not _matters(d)
            lines.append(
                f"  {d.figure:15} {d.first:10.4g} -> {d.second:10.4g}   {d.mean:+.4g} {interval}"
                f"   {f'less than {MATTERS:.0%}' if small else d.verdict}"
            )
    return lines


def _matters(difference: Difference) -> bool:
    return abs(difference.mean) > MATTERS * abs(difference.first)


def _row(difference: Difference) -> dict[str, Any]:
    return {**asdict(difference), "verdict": difference.verdict}


def _card(first: Run, run: Run, list_: list[Difference]) -> Card:
    """What is better and what is worse, by enough to matter; of the times, by how much."""
    shown = [d for d in list_ if d.verdict in SURE]
    large = [d for d in shown if _matters(d)]
    named = {word: [d.figure for d in large if d.verdict == word] for word in SURE}
    word = ", ".join(f"{len(figures)} {word}" for word, figures in named.items() if figures)
    details = [f"{word}: {', '.join(figures)}" for word, figures in named.items() if figures]
    if len(shown) > len(large):
        details.append(f"{len(shown) - len(large)} more differ by less than {MATTERS:.0%}")
    time = next((d for d in list_ if d.figure == "total_ms"), None)
    if time and time.first > 0 and not np.isnan(time.low):  # of a few pairs it is chance
        details.append(f"a pair takes {time.second / time.first:.2f} times as long")
    level: Level = "warn" if named["worse"] else "good" if named["better"] else ""
    question = f"{run.name} against {first.name}"
    answer = word or f"no difference of {MATTERS:.0%} or more shown"
    return Card(question, answer, "; ".join(details) + "." if details else "", level)


def _notes(runs: Sequence[Run]) -> str:
    notes = [
        "Many figures are looked at, and each has a chance of 1 in 20 to seem different by "
        "chance alone.",
        "A metric of fusion that is higher is not by itself a better image: look at the pictures.",
        "The replays ran one after the other: a machine that got busier meanwhile shows as a "
        "difference of times.",
        "Pictures and their distance come from fused.mp4, whose coding adds a little to it.",
    ]
    notes += list(dict.fromkeys(w for run in runs for w in run.summary["warnings"]))
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f'<ul class="verdict bad">{items}</ul>'


def _engines(runs: Sequence[Run]) -> str:
    """What ran, beside each other: the engines' own words."""
    keys = list(dict.fromkeys(key for run in runs for key in run.summary["engine"]))
    rows = [[key, *(run.summary["engine"].get(key) for run in runs)] for key in keys]
    return table_of(("", *(run.name for run in runs)), rows)


def _link(folder: Path, run: Run) -> str:
    target = (run.folder / "report.html").relative_to(folder).as_posix()
    return f'<a href="{html.escape(target)}">{html.escape(run.name)}</a>'


def _plots(first: Run, second: Run) -> list[dict[str, Any]]:
    plots = []
    for figure in PLOTTED:
        lines = [
            line(run.name, run.table.column("time_s"), run.table.column(figure))
            for run in (first, second)
        ]
        if all(drawn["x"] for drawn in lines):
            title = f"{figure.replace('_', ' ')}: {first.name} and {second.name}"
            plots.append({"title": title, "unit": "", "lines": lines})
    return plots


def _images(first: Run, second: Run) -> tuple[str, list[dict[str, Any]]]:
    """Pictures of the pairs that differ most, and a plot of how much each pair does."""
    videos = [run.folder / "fused.mp4" for run in (first, second)]
    if not all(path.is_file() for path in videos):
        return "", []
    table = first.table
    order = np.argsort(table.column("index"))
    fused = table.fused[order]
    times, indices = (table.column(c)[order][fused] for c in ("time_s", "index"))
    apart: list[float] = []
    most = Extremes(PICTURES, greatest=True)
    both = frames_of_both(videos[0], videos[1])
    for time_s, index, images in zip(times, indices, both, strict=False):
        a, b = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images)
        apart.append(float(cv2.absdiff(a, b).mean()))
        names = (first.name, second.name)
        picture = functools.partial(_picture, dict(zip(names, images, strict=True)))
        most.offer(apart[-1], int(index), float(time_s), picture)
    title = f"How far the fused images of {first.name} and {second.name} are apart"
    plot = {
        "title": title, "unit": "grey levels", "zero": True, "wide": True,
        "lines": [line("mean difference", times[: len(apart)], np.array(apart))],
    }  # fmt: skip
    heading = f"{second.name} against {first.name}, and the difference x {MAGNIFIED:g}"
    return pictures_of(heading, "mean difference", most.pictures()), [plot]


def _videos(folder: Path, runs: Sequence[Run]) -> str:
    figures = "".join(video_figure(folder, run.folder, run.name) for run in runs)
    return f'<div class="videos">{figures}</div>' if figures else ""


def _picture(images: dict[str, np.ndarray]) -> bytes:
    """Both images, and their difference about mid-gray, as JPEG."""
    a, b = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images.values())
    apart = np.clip(128 + MAGNIFIED * (b.astype(np.float32) - a), 0, 255).astype(np.uint8)
    return jpeg_of({**images, "difference": apart})
