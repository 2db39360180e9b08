"""The top of the report: the questions that one has, each with a word, a figure and the details."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ssvif_core.replay.events import Event, events
from ssvif_core.replay.tables import answers

__all__ = ["Card", "card_grid", "cards", "event_list", "file_list", "subtitle"]

#: A share of at least this is called yes, and of at least that in part; below it is no.
YES, PARTLY = 0.95, 0.7
#: Events beyond this many are counted only.
LISTED = 200
#: File of a run -> what is in it.
CONTENTS = {
    "summary.json": "every figure but those of single pairs",
    "frames.csv.gz": "a row for each pair",
    "frames.parquet": "the same table",
    "fused.mp4": "the fused images",
    "run.rrd": "images, masks and figures for the rerun viewer",
    "bag": "fused images, masks and diagnostics, for Foxglove and ros2 bag",
    "compare.json": "every difference, with its interval",
    "adapt.json": "the verdict and all that it rests on",
}
MARKS = {"good": "✓", "warn": "!", "poor": "✕", "": ""}
Level = Literal["good", "warn", "poor", ""]


class Card(NamedTuple):
    """A question and its answer; `level` is also said by the word and by a mark, not by colour."""

    question: str
    word: str
    detail: str
    level: Level = ""


def cards(summary: dict[str, Any]) -> list[Card]:
    """The answers, most asked first."""
    said = answers(summary)
    return [
        _paired(summary, said),
        _fast(summary, said),
        _wrong(summary),
        _fused(summary, said),
        _segmented(summary, said),
        Card("Is it steady?", _steady(summary), said["Flicker"]),
    ]


def card_grid(shown: Sequence[Card]) -> str:
    """As HTML."""
    items = "".join(
        f'<article class="card {card.level}"><h2>{html.escape(card.question)}</h2>'
        f'<div class="word">{MARKS[card.level]} {html.escape(card.word)}</div>'
        f"<p>{html.escape(card.detail)}</p></article>"
        for card in shown
    )
    return f'<div class="cards">{items}</div>'


def _paired(summary: dict[str, Any], said: dict[str, str]) -> Card:
    pairs, possible = (summary["pairing"][key] for key in ("pairs", "possible"))
    word, level = _graded(pairs / possible if possible else 0.0)
    percent = f", {100 * pairs / possible:.0f} % of the possible pairs" if possible else ""
    cameras = said["Cameras"][0].upper() + said["Cameras"][1:]
    return Card("Did the cameras pair?", f"{word}{percent}", f"{said['Pairs']}. {cameras}.", level)


def _fast(summary: dict[str, Any], said: dict[str, str]) -> Card:
    fused, dropped = summary["real_time"]["fused"], summary["real_time"]["dropped"]
    question = "Is this machine fast enough?"
    if dropped is None:
        median = summary["stages_ms"]["total_ms"].get("p50")
        word = "not measured" if median is None else f"a pair takes {median:.1f} ms, the median"
        return Card(question, word, f"{said['At real time here']}. {said['Time of a pair']}.")
    if not fused + dropped:
        return Card(question, "not measured", "Nothing was fused.")
    word, level = _graded(fused / (fused + dropped))
    share = f"{100 * dropped / (fused + dropped):.0f} % of the pairs dropped at real time"
    details = f"{said['At real time here']}. A pair: {said['Time of a pair']}."
    return Card(question, f"{word}, {share}", details, level)


def _wrong(summary: dict[str, Any]) -> Card:
    broken, stopped = summary["recording"]["broken"], summary["interrupted"]
    warnings, question = summary["warnings"], "What went wrong?"
    if broken or stopped:
        reasons = [f"{name} {why}" for name, why in broken.items()] + [stopped] * bool(stopped)
        return Card(question, "not the whole recording", "; ".join(reasons) + ".", "poor")
    if not warnings:
        return Card(
            question, "nothing to warn of", "No pause, no frozen image, no bad frame.", "good"
        )
    count = "one thing" if len(warnings) == 1 else f"{len(warnings)} things"
    return Card(
        question, f"{count} to know", f"{warnings[0]} All of it, and when, is below.", "warn"
    )


def _fused(summary: dict[str, Any], said: dict[str, str]) -> Card:
    if not summary["fusion"]["measured"]:
        return Card("How well was it fused?", "not measured", "See --metrics-every.")
    metrics = summary["fusion"]["metrics"]
    word = ", ".join(f"{m} {metrics[m]['mean']:.3f}" for m in ("Qabf", "VIF", "SSIM"))
    more = "More is better; --compare says whether another model is."
    return Card("How well was it fused?", word, f"{said['Fusion']}. {more}")


def _segmented(summary: dict[str, Any], said: dict[str, str]) -> Card:
    segmentation = summary["segmentation"]
    if segmentation is None:
        return Card("How well was it segmented?", "not measured", said["Masks"])
    objects = segmentation["iou"].get("objects")
    word = "no object in the truth" if objects is None else f"mean IoU of objects {objects:.3f}"
    return Card("How well was it segmented?", word, said["Masks"])


def _steady(summary: dict[str, Any]) -> str:
    fused = summary["stability"]["flicker_fused"]
    if not fused["measured"]:
        return "not measured"
    visible = summary["stability"]["flicker_visible"]["mean"]
    return f"flicker {fused['mean']:.2f} levels, the visible camera's own {visible:.2f}"


def _graded(share: float) -> tuple[str, Level]:
    if share >= YES:
        return "yes", "good"
    return ("in part", "warn") if share >= PARTLY else ("no", "poor")


def subtitle(summary: dict[str, Any]) -> str:
    """What was played through what, in one line of HTML."""
    engine, recording = summary["engine"], summary["recording"]
    sizes = ", ".join(f"{c} {w} × {h}" for c, (w, h) in recording["sizes"].items())
    parts = [
        f"{recording['seconds']:.1f} s, {sizes}",
        f"model {summary['model']['name']} ({engine.get('precision', '?')})",
        f"{engine.get('engine', '?')} {engine.get('version', '')}".strip(),
        str(summary["machine"]),
    ]
    return html.escape(" · ".join(parts))


def event_list(summary: dict[str, Any]) -> str:
    """Warnings, and a table of spans with a button that shows each in the plots."""
    found = events(summary)
    pieces = []
    if summary["warnings"]:
        items = "".join(f"<li>{html.escape(text)}</li>" for text in summary["warnings"])
        poor = summary["recording"]["broken"] or summary["interrupted"]
        pieces.append(f'<ul class="verdict {"poor" if poor else "bad"}">{items}</ul>')
    else:
        pieces.append('<p class="verdict good">Nothing to warn of.</p>')
    if found:
        rows = "".join(_row(event) for event in found[:LISTED])
        pieces.append(
            '<div class="log" tabindex="0" role="region" aria-label="Events"><table><thead><tr>'
            '<th class="number">from [s]</th><th class="number">to [s]</th><th>where</th>'
            f"<th>what</th><th></th></tr></thead><tbody>{rows}</tbody></table></div>"
        )
    if len(found) > LISTED:
        pieces.append(f"<p>and {len(found) - LISTED} more, in summary.json.</p>")
    return "".join(pieces)


def _row(event: Event) -> str:
    start, end = event.start_s, event.end_s
    return (
        f'<tr><td class="number">{start:.2f}</td><td class="number">{end:.2f}</td>'
        f"<td>{event.lane}</td><td>{html.escape(event.what)}</td><td>"
        f'<button class="small" data-from="{start:.3f}" data-to="{end:.3f}" '
        f'aria-label="show {start:.1f} s in the plots">show</button></td></tr>'
    )


def file_list(folder: Path, summary: str) -> str:
    """Links to the files beside the report, and a button that needs none of them.

    `summary` is the name of the file that is written after the report.
    """
    links = "".join(
        f'<li><a href="{name}{"/" if (folder / name).is_dir() else ""}">{name}</a>: {what}</li>'
        for name, what in CONTENTS.items()
        if name == summary or (folder / name).exists()
    )
    return (
        "<p>The page holds what it shows; each plot has a button that saves its figures. "
        f'<button id="save" data-name="{summary}">save {summary}</button></p>'
        f"<p>Beside it in the folder of the run:</p><ul>{links}</ul>"
    )
