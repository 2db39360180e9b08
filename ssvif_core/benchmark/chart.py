"""The picture of `ssvif bench`: bars, needs matplotlib (extra `train`).

Built on `matplotlib.figure.Figure` alone: no window system, no global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ssvif_core.benchmark.screen import number
from ssvif_core.inference.engine import ENGINES

__all__ = ["draw_chart"]

#: Okabe and Ito's colours that everybody can tell apart (jfly.uni-koeln.de/color).
COLOURS = ("#009E73", "#56B4E9", "#CC79A7", "#0072B2", "#E69F00", "#D55E00")
COLOUR_OF = {engine: COLOURS[i % len(COLOURS)] for i, engine in enumerate(ENGINES)}
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "ytick.left": False,
}
DPI = 110
PANEL_WIDTH, BAR_HEIGHT, PANEL_MARGIN, TITLE_HEIGHT = 5.6, 0.3, 0.75, 0.7  # inches
#: Whiskers longer than this many times the longest bar are cut, so that bars stay readable.
LONGEST = 2.0

Row = Mapping[str, Any]


def draw_chart(path: Path, rows: Sequence[Row], caption: str) -> None:
    """Write a PNG: sizes below each other, models side by side, the fastest on top.

    Args:
        path: to write.
        rows: of `summarise`.
        caption: below the title: machine, threads, frames.
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    panels = {(s, m): _rows_of(rows, s, m) for s in sizes for m in models}
    heights = [max(len(panels[s, m]) for m in models) * BAR_HEIGHT + PANEL_MARGIN for s in sizes]
    inches = (PANEL_WIDTH * max(len(models), 1.4), sum(heights) + TITLE_HEIGHT)
    with rc_context(STYLE):
        figure = Figure(figsize=inches, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06))
        figure.suptitle(
            f"Latency of one frame: bar to the median, line to the 99th percentile\n{caption}",
            ha="left",
            x=0.01,
            fontsize=9.5,
        )
        grid = figure.subplots(len(sizes), len(models), squeeze=False, height_ratios=heights)
        for size, axes_of_size in zip(sizes, grid, strict=True):
            limit = _limit([row for row in rows if row["size"] == size])
            for model, axes in zip(models, axes_of_size, strict=True):
                _draw(axes, panels[size, model], f"{model}, {size}", limit)
        figure.savefig(path, format="png", dpi=DPI)


def _rows_of(rows: Sequence[Row], size: str, model: str) -> list[Row]:
    return [row for row in rows if (row["size"], row["model"]) == (size, model)]


def _limit(rows: Sequence[Row]) -> float:
    """End of the axis [ms], the same for all models of a size."""
    longest = max(row["p50_ms"] for row in rows)
    return 1.03 * min(max(row["p99_ms"] for row in rows), LONGEST * longest)


def _draw(axes: Axes, rows: Sequence[Row], title: str, limit: float) -> None:
    axes.set_title(title)
    places = range(len(rows))
    p50 = [row["p50_ms"] for row in rows]
    to_p99 = [row["p99_ms"] - row["p50_ms"] for row in rows]
    axes.barh(places, p50, 0.72, color=[COLOUR_OF[row["engine"]] for row in rows])
    axes.errorbar(
        p50, places, xerr=[[0.0] * len(rows), to_p99], fmt="none",
        ecolor="#333333", elinewidth=1.0, capsize=3,
    )  # fmt: skip
    for place, row in zip(places, rows, strict=True):
        text = f"{number(row['p50_ms'])} ms   {number(row['fps'])}/s"
        axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center")
    axes.set_yticks(places, [f"{row['engine']}  {row['precision']}" for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, limit)
    axes.set_xlabel("ms")
    axes.grid(axis="x", alpha=0.25, linewidth=0.6)
