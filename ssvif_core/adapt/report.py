"""adapt.html and adapt.json: the verdict, what it rests on, and pictures before and after."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ssvif_core.adapt.judge import FIGURES, Judged, Measured, means
from ssvif_core.adapt.verdict import Verdict
from ssvif_core.errors import SsvifError
from ssvif_core.replay.compare import interval_text
from ssvif_core.replay.report import fill, pictures_of, table_of
from ssvif_core.replay.report_head import Card, Level, card_grid, file_list
from ssvif_core.replay.report_plots import line
from ssvif_core.replay.summary import finite

__all__ = ["REPORT", "lines", "write_report"]

REPORT, SUMMARY = "adapt.html", "adapt.json"


def write_report(
    folder: Path,
    verdict: Verdict,
    advice: str,
    judged: Sequence[Judged],
    measured: Measured,
    about: dict[str, Any],
    timed: bool = True,
) -> None:
    """Write both files.

    Args:
        folder: existing.
        verdict: the answer.
        advice: what to do now.
        judged: what the answer rests on.
        measured: the frames.
        about: what was trained and how, for the reader and for adapt.json.
        timed: whether frames have times, or, of a folder, numbers of pairs.

    Raises:
        SsvifError: a file cannot be written.
    """
    content = {
        "verdict": verdict.answer,
        "why": verdict.why,
        "advice": advice,
        "figures": [asdict(j) | {"change": j.change} for j in judged],
        "not_judged": {"old": means(measured.old), "new": means(measured.new)},
        **about,
    }
    page = fill(
        {
            "TITLE": html.escape(f"{about['new']} against {about['old']} on {about['recording']}"),
            "SUBTITLE": html.escape(
                f"Measured on a part that was not trained on: {about['split']}"
            ),
            "ANSWERS": _answer(verdict, advice),
            "EVENTS_TITLE": "How to read it",
            "WARNINGS": _notes(),
            "PICTURES_TITLE": "Before and after: held-out pairs that differ most",
            "PICTURES": pictures_of("Fused images", "mean difference", measured.pictures, timed)
            or "<p>None.</p>",
            "TABLES": _tables(judged, measured),
            "CONFIGURATION": _links(folder)
            + f"<pre>{html.escape(yaml.safe_dump(finite(about), sort_keys=False))}</pre>",
            "FILES": file_list(folder, SUMMARY),
        },
        _plots(measured, timed),
        content,
    )
    try:
        (folder / REPORT).write_text(page, encoding="utf-8")
        text = json.dumps(finite(content), indent=2, allow_nan=False) + "\n"
        (folder / SUMMARY).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SsvifError(f"Cannot write to {folder}: {error}") from error


def lines(verdict: Verdict, advice: str, judged: Sequence[Judged]) -> list[str]:
    """For the terminal."""
    shown = [
        f"  {j.name:15} {j.old:9.3f} -> {j.new:9.3f}   {j.mean:+.4f} "
        f"{interval_text(j.low, j.high, '.4f')}  {j.change}"
        + (" (guard)" if FIGURES[j.name].guard else "")
        for j in judged
    ]
    return [*shown, f"{verdict.answer}: {verdict.why}.", advice]


def _answer(verdict: Verdict, advice: str) -> str:
    level: Level = {"better": "good", "worse": "poor"}.get(verdict.answer, "warn")  # type: ignore[assignment]
    return card_grid(
        [
            Card("Is the new model better?", verdict.answer, verdict.why, level),
            Card("What now?", "use it" if verdict.use else "keep the old model", advice, level),
        ]
    )


def _notes() -> str:
    notes = (
        "Qabf, SSIM and SCD are close to what the training asks for; VIF is not asked for. All of "
        "them are measured on pairs that were not trained on.",
        "A figure that is higher is not by itself a better image: look at the pictures.",
        "The recording is one place and one time. It says nothing of others.",
    )
    return "<ul>" + "".join(f"<li>{html.escape(note)}</li>" for note in notes) + "</ul>"


def _tables(judged: Sequence[Judged], measured: Measured) -> str:
    heads = ("", "old", "new", "difference", "from", "to", "pairs", "")
    rows = [
        [f"{j.name}: {FIGURES[j.name].meaning}", j.old, j.new, j.mean, j.low, j.high, j.frames,
         j.change]
        for j in judged
    ]  # fmt: skip
    quality = [row for row, j in zip(rows, judged, strict=True) if not FIGURES[j.name].guard]
    guards = [row for row, j in zip(rows, judged, strict=True) if FIGURES[j.name].guard]
    old, new = means(measured.old), means(measured.new)
    rest = [[name, old[name], new[name]] for name in old if name not in FIGURES]
    hint = (
        '<p class="hint">Paired differences with 95 % intervals (block bootstrap). "same": not '
        "shown, or too small to matter.</p>"
    )
    return (
        f"{hint}<h3>Quality</h3>{table_of(heads, quality)}"
        f"<h3>Guards: must not get worse</h3>{table_of(heads, guards)}"
        f"<h3>Not judged</h3>{table_of(('', 'old', 'new'), rest)}"
    )


def _links(folder: Path) -> str:
    there = {
        "held_out/compare.html": "the held-out part replayed with both models",
        "training/report.html": "the training",
    }
    items = [
        f'<li><a href="{path}">{text}</a></li>'
        for path, text in there.items()
        if (folder / path).is_file()
    ]
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _plots(measured: Measured, timed: bool) -> list[dict[str, Any]]:
    times = np.array(measured.times_s)
    plots = []
    for name in FIGURES:
        if name not in measured.old or name == "masks_kept":
            continue
        drawn = [line("before", times, measured.old[name]),
                 line("after", times, measured.new[name])]  # fmt: skip
        if all(one["x"] for one in drawn):
            plots.append({"title": f"{name}, held out", "unit": "", "lines": drawn})
            if not timed:
                plots[-1]["x_unit"] = "pairs"
    return plots
