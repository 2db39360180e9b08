"""The report of a replay: one HTML file with its data in it, no network, plots that can be zoomed.

The page is `report_template.html`; its script draws what `render` hands it as JSON.
"""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ssvif_core.evaluation.fusion_metrics import METRICS
from ssvif_core.replay.frame_table import STAGES, FrameTable
from ssvif_core.replay.pictures import Picture
from ssvif_core.replay.run import EXTREMES, Replayed
from ssvif_core.replay.summary import finite
from ssvif_core.replay.tables import answers

__all__ = ["fill", "line", "pictures_of", "render", "table_of"]

TEMPLATE = Path(__file__).with_name("report_template.html")
#: More points of a line than this are drawn as the mean, least and greatest of bins.
POINTS = 1500


def render(summary: dict[str, Any], played: Replayed) -> str:
    """The whole file as text."""
    content = {
        "TITLE": html.escape(f"Replay of {summary['bag']}"),
        "ANSWERS": _answers(summary),
        "WARNINGS": _warnings(summary),
        "PICTURES_TITLE": "Best and worst",
        "PICTURES": _pictures(played),
        "TABLES": _tables(summary),
        "CONFIGURATION": _configuration(summary),
    }
    return fill(content, _plots(summary, played.table))


def fill(content: dict[str, str], plots: list[dict[str, Any]]) -> str:
    """The page with HTML for each of its marks, and with plots as `report_template.html` draws."""
    data = json.dumps(finite(plots), allow_nan=False, separators=(",", ":"))
    # A closing tag in a text must not end the script.
    content = content | {"DATA": data.replace("</", "<\\/")}
    # Split, not replaced one after the other: a text that is put in may look like a mark.
    parts = TEMPLATE.read_text(encoding="utf-8").split("@@")
    return "".join(content[p] if i % 2 else p for i, p in enumerate(parts))


def _answers(summary: dict[str, Any]) -> str:
    rows = [
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
        for name, text in answers(summary).items()
    ]
    return f'<table class="answers"><tbody>{"".join(rows)}</tbody></table>'


def _warnings(summary: dict[str, Any]) -> str:
    if not summary["warnings"]:
        return '<p class="verdict good">Nothing to warn of.</p>'
    items = "".join(f"<li>{html.escape(text)}</li>" for text in summary["warnings"])
    return f'<ul class="verdict bad">{items}</ul>'


def _plots(summary: dict[str, Any], table: FrameTable) -> list[dict[str, Any]]:
    time_s = table.column("time_s")

    def lines(*columns: str, **names: str) -> list[dict[str, Any]]:
        drawn = [line(names.get(c, c), time_s, table.column(c)) for c in columns]
        return [line for line in drawn if line["x"]]

    seconds = list(range(len(summary["timeline"]["visible"])))
    bands = _bands(summary)
    plots = [
        {
            "title": "Timeline of health: messages and pairs in each second",
            "unit": "1/s", "kind": "steps", "bands": bands, "wide": True,
            "lines": [
                {"name": name.replace("_", " "), "x": seconds, "y": values}
                for name, values in summary["timeline"].items()
                if name in ("visible", "thermal", "paired") or any(values)
            ],
        },
        {
            "title": "Distance of the two frames of a pair, thermal - visible", "unit": "ms",
            "lines": lines("delta_ms"), "dots": True,
        },
        _histogram(summary["pairing"]["delta_histogram"]),
        {
            "title": "Time of each stage", "unit": "ms",
            "lines": lines(*STAGES, "total_ms"), "zero": True,
        },
        {
            "title": "Latency at real time, from the visible stamp and from its receipt",
            "unit": "ms", "lines": lines("latency_ms", "after_receipt_ms"), "zero": True,
        },
        {
            "title": "Flicker on static pixels", "unit": "grey levels", "zero": True,
            "lines": lines("flicker_fused", "flicker_visible", "flicker_thermal"),
        },
        {
            "title": "Labels that change on static pixels", "unit": "part", "zero": True,
            "lines": lines("flicker_labels"),
        },
        {
            "title": "Fused luminance: mean and deviation", "unit": "grey levels",
            "lines": lines("fused_mean", "fused_deviation"), "zero": True,
        },
        {
            "title": "Masks against the truth", "unit": "", "zero": True,
            "lines": lines("iou_objects", "pixel_accuracy"),
        },
        *({"title": f"Fusion metric {m}", "unit": "", "lines": lines(m), "small": True}
          for m in METRICS),
    ]  # fmt: skip
    return [plot for plot in plots if plot["lines"]]


def line(name: str, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """A line of a plot: finite points, or bins of them with their range."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    label = name.removesuffix("_ms").replace("_", " ")
    if len(x) <= POINTS:
        return {"name": label, "x": np.round(x, 4).tolist(), "y": [_short(v) for v in y]}
    parts = np.array_split(np.arange(len(x)), POINTS)
    return {
        "name": label,
        "x": [round(float(x[p].mean()), 4) for p in parts],
        "y": [_short(y[p].mean()) for p in parts],
        "low": [_short(y[p].min()) for p in parts],
        "high": [_short(y[p].max()) for p in parts],
    }


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _histogram(histogram: dict[str, list[float]]) -> dict[str, Any]:
    edges, counts = histogram["edges"], histogram["counts"]
    lines = [{"name": "pairs", "x": edges, "y": counts}] if counts else []
    title = "How often each distance occurs"
    return {"title": title, "unit": "pairs", "x_unit": "ms", "kind": "bars", "lines": lines}


def _bands(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Spans of trouble, drawn behind the timeline."""
    bands = [
        {"from": s["start_s"], "to": s["start_s"] + s["seconds"], "name": f"{s['mode']} alone"}
        for s in summary["presence"]
        if s["mode"] in summary["streams"]
    ]
    for camera, stream in summary["streams"].items():
        for what, key in (("paused", "gaps"), ("frozen", "frozen")):
            bands += [
                {
                    "from": s["start_s"],
                    "to": s["start_s"] + s["seconds"],
                    "name": f"{camera} {what}",
                }
                for s in stream[key]
            ]
    return bands


def _pictures(played: Replayed) -> str:
    sections = [
        pictures_of(title, column, played.extremes[title].pictures())
        for title, (column, _) in EXTREMES.items()
    ]
    return "".join(sections) or "<p>None: no figure to choose them by was measured.</p>"


def pictures_of(title: str, figure: str, pictures: list[Picture]) -> str:
    """A heading and the pictures, each with its time and the value of the figure; "" for none."""
    if not pictures:
        return ""
    figures = "".join(
        f"<figure><figcaption>{picture.time_s:.2f} s, pair {picture.pair}: {figure} "
        f"{picture.value:.3f}</figcaption>"
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
        return ""
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
    text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)
    return f"<pre>{html.escape(text)}</pre>"
