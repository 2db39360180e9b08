"""Tables of methods and figures for the screen; the best of each column is bold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from ssvif_core.evaluation.artefacts import ARTEFACTS
from ssvif_core.evaluation.evaluate import MEAN_RANK
from ssvif_core.evaluation.segmentation_metrics import SPREAD

__all__ = ["screen_table"]

#: Columns in which less is better, and columns in which no value is the best.
LOWER_IS_BETTER = {*ARTEFACTS, MEAN_RANK}
NEITHER = {SPREAD}
#: Characters; no table needs more.
WIDEST = 10_000


def screen_table(
    title: str, rows: Mapping[str, Mapping[str, float]], console: Console
) -> RichTable:
    """Methods below each other, one column for each figure; "-" where there is none.

    On a terminal that is too narrow for that, figures stand below each other instead.

    Args:
        title: above the table.
        rows: method -> figure -> value.
        console: where the table will be printed.
    """
    figures = list(dict.fromkeys(name for values in rows.values() for name in values))
    best = {name: _best(name, [v.get(name, math.nan) for v in rows.values()]) for name in figures}
    cells = {
        method: [_text(values.get(name, math.nan), best[name]) for name in figures]
        for method, values in rows.items()
    }
    table = _table(title, "method", figures, cells)
    unlimited = console.options.update(max_width=WIDEST)
    if console.measure(table, options=unlimited).maximum > console.width:
        columns = zip(*cells.values(), strict=True)
        by_figure = {name: list(column) for name, column in zip(figures, columns, strict=True)}
        return _table(title, "", list(rows), by_figure)
    return table


def _table(
    title: str, corner: str, header: Sequence[str], rows: Mapping[str, Sequence[str]]
) -> RichTable:
    table = RichTable(title=title, title_justify="left")
    table.add_column(corner, no_wrap=True)
    for name in header:
        table.add_column(escape(name), justify="right")
    for name, cells in rows.items():
        table.add_row(escape(name), *cells)
    return table


def _best(name: str, values: list[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    if name in NEITHER or len(known) < 2:
        return None
    return min(known) if name in LOWER_IS_BETTER else max(known)


def _text(value: float, best: float | None) -> str:
    if math.isnan(value):
        return "-"
    text = f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"
    return f"[bold]{text}[/]" if value == best else text
