"""The report of a replay: one HTML file with its data in it, no network, plots that can be zoomed.

The page is `report_template.html` with report.css and report.js, which draws what it is handed as
JSON.
"""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

import yaml

from ssvif_core.models import ModelCard
from ssvif_core.replay.pictures import EXTREMES, Picture
from ssvif_core.replay.replayed import Replayed
from ssvif_core.replay.report_head import card_grid, cards, event_list, file_list, subtitle
from ssvif_core.replay.report_plots import plots
from ssvif_core.replay.report_video import video_figure
from ssvif_core.replay.summary import finite

__all__ = ["fill", "pictures_of", "render", "table_of"]

HERE = Path(__file__).parent
TEMPLATE, STYLE, SCRIPT = (HERE / n for n in ("report_template.html", "report.css", "report.js"))


def render(summary: dict[str, Any], played: Replayed) -> str:
    """The whole file as text."""
    content = {
        "TITLE": html.escape(f"Replay of {summary['bag']}"),
        "SUBTITLE": subtitle(summary),
        "ANSWERS": card_grid(cards(summary)),
        "EVENTS_TITLE": "What went wrong, and when",
        "WARNINGS": event_list(summary),
        "PICTURES_TITLE": "Fused images, best and worst pairs",
        "PICTURES": _pictures(played),
        "TABLES": _tables(summary),
        "CONFIGURATION": _configuration(summary),
        "FILES": file_list(played.table.path.parent, "summary.json"),
    }
    return fill(content, plots(summary, played.table), summary)


def fill(content: dict[str, str], drawn: list[dict[str, Any]], summary: dict[str, Any]) -> str:
    """The page with HTML for each of its marks, and with plots as report.js draws them.

    Args:
        content: mark -> HTML.
        drawn: plots, see report_plots.py.
        summary: what the button saves.
    """
    shared, drawn = _shared(finite(drawn))
    content = content | {
        "STYLE": STYLE.read_text(encoding="utf-8"),
        "SCRIPT": SCRIPT.read_text(encoding="utf-8"),
        "XS": _json(shared),
        "DATA": _json(drawn),
        "SUMMARY": _json(finite(summary)),
    }
    # Split, not replaced one after the other: a text that is put in may look like a mark.
    parts = TEMPLATE.read_text(encoding="utf-8").split("@@")
    page = "".join(content[p] if i % 2 else p for i, p in enumerate(parts))
    # Paths may hold bytes that are no text; only how they are shown may suffer from that.
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def _json(value: Any) -> str:
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("</", "<\\/")  # a closing tag in a text must not end the script


def _shared(drawn: list[dict[str, Any]]) -> tuple[list[list[float]], list[dict[str, Any]]]:
    """Each list of x once, and plots whose lines name it by its number: most lines share one."""
    numbers: dict[tuple[float, ...], int] = {}
    found = []
    for plot in drawn:
        lines = [
            each | {"x": numbers.setdefault(tuple(each["x"]), len(numbers))}
            for each in plot["lines"]
        ]
        found.append(plot | {"lines": lines})
    return [[*x] for x in numbers], found


def _pictures(played: Replayed) -> str:
    sections = [
        pictures_of(title, column, played.extremes[title].pictures())
        for title, (column, _) in EXTREMES.items()
    ]
    folder = played.table.path.parent
    video = video_figure(folder, folder, "All fused images, at the rate of the first ones")
    if not any(sections):
        return video + "<p>None: no figure to choose them by was measured.</p>"
    return video + _classes(played.parts.model.card) + "".join(sections)


def _classes(card: ModelCard) -> str:
    """What the colours of the masks mean; the background has none."""
    spans = "".join(
        f'<span><i style="background:rgb{c.color}"></i>{html.escape(c.name)}</span>'
        for c in card.classes
        if c.id
    )
    return f'<p class="classes">Masks: {spans}</p>'


def pictures_of(title: str, figure: str, pictures: list[Picture], timed: bool = True) -> str:
    """A heading and the pictures, each with its time and the value of the figure; "" for none.

    Without times (`timed` false), `time_s` of a picture is the number of its pair.
    """
    if not pictures:
        return ""

    def place(picture: Picture) -> str:
        if timed:
            return f"{picture.time_s:.2f} s, pair {picture.pair}"
        return f"pair {picture.time_s:.0f}"

    figures = "".join(
        f"<figure><figcaption>{place(picture)}: {figure} "
        f'{picture.value:.3f} <button class="small" data-from="{picture.time_s:.3f}" '
        f'data-to="{picture.time_s:.3f}">show in the plots</button></figcaption>'
        f'<img alt="{html.escape(title)}, pair {picture.pair}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(picture.jpeg).decode("ascii")}">'
        "</figure>"
        for picture in pictures
    )
    return f"<h3>{html.escape(title)}</h3>{figures}"


def _tables(summary: dict[str, Any]) -> str:
    heads = ("mean", "p5", "p50", "p95", "p99", "max", "measured")
    rows: dict[str, dict[str, Any]] = {
        "|dt| [ms]": summary["pairing"]["delta_ms"],
        "pairing waits [ms]": summary["pairing"]["wait_ms"],
        **{f"{n.removesuffix('_ms')} [ms]": s for n, s in summary["stages_ms"].items()},
        "latency at real time [ms]": summary["real_time"]["latency_ms"],
        **summary["stability"],
        **summary["fusion"]["metrics"],
    }
    table = table_of(("", *heads), [[n, *(s.get(h) for h in heads)] for n, s in rows.items()])
    counts = [[name.replace("_", " "), n] for name, n in summary["pairing"]["counts"].items()]
    pieces = [f"<h3>Spread</h3>{table}", f"<h3>Where the frames went</h3>{table_of((), counts)}"]
    segmentation = summary["segmentation"]
    if segmentation:
        names = segmentation["iou"]
        listed = [
            [
                n,
                segmentation["iou"][n],
                segmentation["precision"].get(n),
                segmentation["recall"].get(n),
            ]
            for n in names
        ]
        pieces.append(f"<h3>Masks</h3>{table_of(('', 'IoU', 'precision', 'recall'), listed)}")
    return "".join(pieces)


def table_of(heads: tuple[str, ...], rows: list[list[Any]]) -> str:
    """An HTML table; the first cell of a row is text."""
    head = "".join(f'<th class="number">{html.escape(h)}</th>' for h in heads)
    body = "".join(
        "<tr>"
        + f"<td>{html.escape(str(row[0]))}</td>"
        + "".join(f'<td class="number">{_cell(value)}</td>' for value in row[1:])
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))


def _configuration(summary: dict[str, Any]) -> str:
    keys = (
        "recording",
        "stamps",
        "registration",
        "model",
        "engine",
        "parameters",
        "versions",
        "machine",
    )
    shown = {key: summary[key] for key in keys}
    shown["time taken"] = {
        "seconds": round(summary["seconds_taken"], 1),
        "pairs per second, measuring included": summary["pairs_per_second"],
    }
    if summary["resumed_from"]:
        shown["time taken"]["resumed from pair"] = summary["resumed_from"]
    text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)
    return f"<pre>{html.escape(text)}</pre>"
