"""The report of a run: what became of it, its curves and its pictures, for people.

`report.html` holds everything in itself and needs no network; `report.png` is the same curves on
one page. Both are made from the run folder alone, finished or not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.training.journal import (
    Series,
    list_pictures,
    read_entries,
    read_environment,
    replace_file,
    series,
)
from ssvif_core.training.report_figures import Panel, Span, draw_page, panels_of, save

__all__ = ["Run", "Verdict", "read_run", "write_report"]

CONFIG = "config.json"


@dataclass(frozen=True)
class Verdict:
    """What became of a run: `kind` is finished, stopped, collapsed or unfinished."""

    kind: str
    text: str


@dataclass(frozen=True)
class Run:
    """What a run folder holds.

    Attributes:
        title: name and variant of the configuration, or the folder's name.
        verdict: what became of it.
        config: `config.json`; empty if there is none.
        environment: `environment.json`; empty if there is none.
        figures: the journal's.
        stages: in order.
        pictures: (path, step), oldest first.
    """

    title: str
    verdict: Verdict
    config: dict[str, Any]
    environment: dict[str, Any]
    figures: Series
    stages: list[Span]
    pictures: list[tuple[Path, int]]

    @property
    def panels(self) -> list[Panel]:
        """The axes to draw, in order."""
        return panels_of(self.figures, self.config)


def write_report(folder: Path) -> Path:
    """Write `report.html` and `report.png` into a run folder.

    Args:
        folder: with `metrics.jsonl`, and with `config.json`, `environment.json` and `pictures/`
            where there are any.

    Returns:
        Path of `report.html`.

    Raises:
        SsvifError: the folder has no journal with figures in it.
    """
    from ssvif_core.training.report_html import render

    run = read_run(folder)
    _write_page(run, folder / "report.png")
    path = folder / "report.html"
    replace_file(path, render(run))
    return path


def read_run(folder: Path) -> Run:
    """Gather what a run folder holds. Raises SsvifError as `write_report` does."""
    entries = read_entries(folder)
    figures = series(entries)
    if not figures:
        raise SsvifError(
            f"{folder} holds no figures of a training run (metrics.jsonl): name the run folder of "
            "`ssvif train`, or let the run make its first steps."
        )
    config = _read_config(folder / CONFIG)
    names = [str(config[key]) for key in ("name", "variant") if key in config]
    return Run(
        title=" / ".join(names) or folder.resolve().name,
        verdict=_verdict(entries, config),
        config=config,
        environment=read_environment(folder) or {},
        figures=figures,
        stages=_stages(entries, config),
        pictures=list_pictures(folder),
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def _verdict(entries: list[dict[str, Any]], config: dict[str, Any]) -> Verdict:
    last = entries[-1]
    total = sum(stage["steps"] for stage in config.get("stages", []))
    step = f"step {last['step']}" + (f" of {total}" if total else "")
    reason = str(last.get("reason", ""))
    match last.get("event"):
        case "finished":
            return Verdict("finished", f"Finished at {step}.")
        case "collapsed":
            return Verdict("collapsed", f"Collapsed at {step}. {reason}")
        case "stopped":
            return Verdict("stopped", f"Stopped at {step}. {reason}".strip())
    return Verdict("unfinished", f"Stopped at {step}, or still running: no end is written down.")


def _stages(entries: list[dict[str, Any]], config: dict[str, Any]) -> list[Span]:
    """Of the configuration; without one, as the entries tell them apart."""
    spans: list[Span] = []
    for stage in config.get("stages", []):
        start = spans[-1].end if spans else 0
        spans.append(Span(stage["kind"], start, start + stage["steps"]))
    if spans:
        return spans
    for entry in entries:
        kind, step = entry.get("stage"), entry["step"]
        if kind is None:
            continue
        if spans and spans[-1].kind == kind:
            spans[-1] = spans[-1]._replace(end=step)
        else:
            spans.append(Span(kind, spans[-1].end if spans else 0, step))
    return spans


def _write_page(run: Run, path: Path) -> None:
    strip, caption = None, ""
    if run.pictures:
        newest, step = run.pictures[-1]
        strip, caption = _read_picture(newest), f"{newest.stem.split('_', 1)[1]}, step {step}"
    title = f"{run.title}: {_first_sentence(run.verdict.text)}"
    figure = draw_page(title, run.panels, run.figures, run.stages, strip, caption)
    partial = path.with_suffix(".partial")
    save(figure, partial, "png")
    partial.replace(path)


def _first_sentence(text: str) -> str:
    """Up to the first end of a sentence; the HTML has the rest."""
    return text.split(". ", 1)[0].rstrip(".")


def _read_picture(path: Path) -> np.ndarray | None:
    """(H, W, 3) uint8 RGB, or None if it is damaged."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
