"""What a run folder holds, read back: configuration, figures, stages, pictures, how it ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssvif_core.errors import SsvifError
from ssvif_core.training.journal import (
    Series,
    list_pictures,
    read_entries,
    read_environment,
    series,
)
from ssvif_core.training.report_figures import Panel, Span, panels_of

__all__ = ["Run", "Verdict", "read_run"]

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
