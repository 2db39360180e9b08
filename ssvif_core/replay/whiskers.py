"""Paired differences as a table with a whisker plot in each row."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from ssvif_core.replay.compare import FIGURES, UNITS, Difference

__all__ = ["whisker_table"]

WIDTH, HEIGHT = 190, 18
#: The axis is logarithmic beyond this on both sides of zero, and ends there, in per cent: a tenth
#: of a per cent and a half of the time are both to be seen.
LINEAR_PERCENT, END_PERCENT = 0.1, 200.0
TICKS = (-100, -10, -1, 0, 1, 10, 100)
MARKS = {"better": "▲", "worse": "▼"}


def whisker_table(first: str, second: str, differences: Sequence[Difference]) -> str:
    """HTML: figure, both means, difference, the same in per cent with its interval, verdict.

    All plots have the same axis, in per cent of the first's mean.
    """
    axis = f"lines at {', '.join(map(str, TICKS))} %"
    heads = ("", first, second, "difference", axis, "in per cent (95 % interval)", "", "pairs")
    rows = "".join(_row(d) for d in differences)
    head = "".join(f"<th>{html.escape(h)}</th>" for h in heads)
    title = html.escape(f"{second} against {first}, on the same pairs")
    return (
        f"<h3>{title}</h3><div class='scroll' tabindex='0' role='region' aria-label='{title}'>"
        f"<table class='whiskers'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(d: Difference) -> str:
    sign = "more is better" if FIGURES[d.figure] else "less is better"
    unit = f" [{UNITS[d.figure]}]" if d.figure in UNITS else ""
    numbers = (f"{d.first:.4g}", f"{d.second:.4g}", f"{d.mean:+.4g}")
    cells = "".join(f'<td class="number">{n}</td>' for n in numbers)
    mark = f'<td class="{d.verdict if d.verdict in MARKS else ""}">'
    return (
        f'<tr><td title="{sign}">{html.escape(d.figure.replace("_ms", "").replace("_", " "))}{unit}'
        f"</td>{cells}{_plot(d)}{mark}{MARKS.get(d.verdict, '○')} {d.verdict}</td>"
        f'<td class="number">{d.pairs}</td></tr>'
    )


def _plot(d: Difference) -> str:
    """Two cells: mean and interval in per cent of the first's mean, drawn and in figures."""
    if not math.isfinite(d.low):
        return "<td></td><td></td>"
    if not d.first:
        return f"<td></td><td>{d.low:+.4g} to {d.high:+.4g}, no percentage of 0</td>"
    percent = [100 * value / abs(d.first) for value in (d.low, d.mean, d.high)]
    low, mean, high = map(_place, percent)
    ticks = "".join(
        f'<line x1="{_place(t):.1f}" x2="{_place(t):.1f}" y1="0" y2="{HEIGHT}" '
        f'stroke="var(--{"faint" if t else "soft"})"/>'
        for t in TICKS
    )
    middle = HEIGHT / 2
    return (
        f'<td><svg class="whisker" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{percent[1]:+.2f} %, from {percent[0]:+.2f} to {percent[2]:+.2f} %">'
        f"{ticks}"
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" '
        'stroke="var(--accent)" stroke-width="3"/>'
        f'<circle cx="{mean:.1f}" cy="{middle}" r="4" fill="var(--accent)"/></svg></td>'
        f"<td>{percent[1]:+.2f} ({percent[0]:+.2f} to {percent[2]:+.2f})</td>"
    )


def _place(percent: float) -> float:
    """Where a percentage lies on the plot, in pixels."""
    size = min(abs(percent), END_PERCENT) / LINEAR_PERCENT
    part = math.log1p(size) / math.log1p(END_PERCENT / LINEAR_PERCENT)
    return (1 + math.copysign(part, percent)) * (WIDTH / 2 - 5) + 5
