"""What the report draws: the figures of the summary and of the table as plots for report.js.

A plot is a dictionary: title, unit, lines of x and y, and how it is drawn: `kind` is steps,
bars or lanes, and lines where there is none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ssvif_core.evaluation.fusion_metrics import METRICS
from ssvif_core.replay.events import lanes
from ssvif_core.replay.frame_table import STAGES, FrameTable

__all__ = ["line", "plots"]

#: Longer lines are given as mean, least and greatest of so many bins, to keep the file small.
POINTS, BINS = 12000, 6000
LEGEND = (
    "full: well; hollow: nothing came, or nothing was fused; hatched: the same image again (/), "
    "one camera alone (|), dropped at real time (\\)"
)


def plots(summary: dict[str, Any], table: FrameTable) -> list[dict[str, Any]]:
    time_s = table.column("time_s")

    def lines(*columns: str, **names: str) -> list[dict[str, Any]]:
        drawn = [line(names.get(c, c), time_s, table.column(c)) for c in columns]
        return [line for line in drawn if line["x"]]

    seconds = list(range(len(summary["timeline"]["visible"])))
    found = [
        {
            "title": "Health of the cameras and of the pairs",
            "unit": "", "kind": "lanes", "wide": True, "lines": [], "lanes": lanes(summary),
            "note": LEGEND,
        },
        {
            "title": "Messages and pairs in each second",
            "unit": "1/s", "kind": "steps", "wide": True,
            "lines": [
                {"name": name.replace("_", " "), "x": seconds, "y": values}
                for name, values in summary["timeline"].items()
                if name in ("visible", "thermal", "paired") or any(values or ())
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
            "title": "Labels that change on static pixels", "unit": "part of them", "zero": True,
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
    return [plot for plot in found if plot["lines"] or "lanes" in plot]


def line(name: str, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """A line of a plot: finite points, or bins of them with their range."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    label = name.removesuffix("_ms").replace("_", " ")
    if len(x) <= POINTS:  # raw, so that zooming in shows each pair
        return {"name": label, "x": np.round(x, 4).tolist(), "y": [_short(v) for v in y]}
    parts = np.array_split(np.arange(len(x)), BINS)
    return {
        "name": label,
        # The middle one of each, for a mean may lie in a pause.
        "x": [round(float(x[p[len(p) // 2]]), 4) for p in parts],
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
