"""Curves of a run, drawn. Knows names and numbers, no files.

Built on `matplotlib.figure.Figure` alone: no window system, no global state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssvif_core.training.config import FUSION_TERMS, HIDDEN_TERMS
from ssvif_core.training.journal import Series

__all__ = ["Panel", "Span", "draw_page", "draw_panels", "panels_of", "save"]

#: Okabe and Ito's colours that everybody can tell apart (jfly.uni-koeln.de/color), yellow last.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#B8A900")
STYLE: dict[Any, Any] = {
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.ymargin": 0.1,  # room for the names of the stages
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "svg.hashsalt": "ssvif",  # the same run gives the same file
}
PANEL_WIDTH, PANEL_HEIGHT = 5.2, 2.9  # inches
PNG_DPI = 100
#: Smoothed lines average this part of a stage's entries; fewer than `ENOUGH` in all are shown bare.
SMOOTHING, ENOUGH = 1 / 25, 30
#: Values that span more than this factor are drawn on a logarithmic axis.
LOG_SPAN = 30.0


class Span(NamedTuple):
    """Steps `start + 1` to `end` of a run belong to a stage of this kind."""

    kind: str
    start: int
    end: int


class _Margins(NamedTuple):
    """Of a panel, in inches: ticks on the left, ticks and a legend of three lines below."""

    left: float = 0.85
    right: float = 0.15
    top: float = 0.3
    bottom: float = 0.75


MARGINS = _Margins()
TITLE_HEIGHT, CAPTION_HEIGHT = 0.5, 0.3  # inches


@dataclass
class Panel:
    """One set of axes.

    Attributes:
        section: heading below which it belongs.
        title: of the axes.
        lines: label -> name in the journal.
        bounds: text -> level of a dashed line.
    """

    section: str
    title: str
    lines: dict[str, str]
    bounds: dict[str, float] = field(default_factory=dict)


def panels_of(figures: Series, config: dict[str, Any]) -> list[Panel]:
    """Which figures go into which axes, in the order of reading."""
    panels = [
        Panel("Losses", "total loss", _named(figures, ["loss/total"])),
        Panel("Losses", "fusion terms", _named(figures, [f"loss/{n}" for n in FUSION_TERMS])),
        Panel("Losses", "hidden blocks", _named(figures, [f"loss/{n}" for n in HIDDEN_TERMS])),
    ]
    placed = {name for panel in panels for name in panel.lines.values()}
    rest = [name for name in figures if name not in placed]
    for section, prefix, title in (
        ("Losses", "loss/", "segmentation terms"),
        ("Weights", "weight/", "weights of the losses"),
    ):
        panels.append(Panel(section, title, _named(figures, _with(rest, prefix))))
    panels.append(Panel("Weights", "learning rate", _named(figures, ["learning_rate"])))
    validated = _with(rest, "validation/")
    for group in dict.fromkeys(name.split("/")[1] for name in validated):
        names = [name for name in validated if name.split("/")[1] == group]
        panels.append(Panel("Validation", f"held-out frames: {group}", _named(figures, names)))
    for name in _with(rest, "collapse/"):
        figure = name.removeprefix("collapse/")
        bounds = _bounds(figure, config.get("collapse") or {})
        title = figure.replace("_", " ")
        panels.append(Panel("Collapse monitors", title, {title: name}, bounds))
    placed = {name for panel in panels for name in panel.lines.values()}
    panels += [Panel("Other", name, {name: name}) for name in figures if name not in placed]
    return [panel for panel in panels if panel.lines]


def _with(names: Sequence[str], prefix: str) -> list[str]:
    return [name for name in names if name.startswith(prefix)]


def _named(figures: Series, names: Sequence[str]) -> dict[str, str]:
    return {name.split("/")[-1].replace("_", " "): name for name in names if name in figures}


def _bounds(name: str, config: dict[str, Any]) -> dict[str, float]:
    """Bounds of the collapse alarm, `min_<figure>` and `max_<figure>` of the configuration."""
    texts = {f"min_{name}": "alarm below", f"max_{name}": "alarm above"}
    return {text: float(config[key]) for key, text in texts.items() if key in config}


def draw_panels(
    panels: Sequence[Panel], figures: Series, stages: Sequence[Span], columns: int
) -> Figure:
    """A grid of panels."""
    height = PANEL_HEIGHT * -(-len(panels) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(PANEL_WIDTH * columns, height))
        _fill(figure, panels, figures, stages, columns, height)
    return figure


def draw_page(
    title: str,
    panels: Sequence[Panel],
    figures: Series,
    stages: Sequence[Span],
    strip: np.ndarray | None,
    caption: str,
) -> Figure:
    """All panels and one picture (H, W, 3) uint8 RGB, or None, on one page."""
    columns = 3 if len(panels) > 6 else 2
    rows, width = -(-len(panels) // columns), PANEL_WIDTH * columns
    picture = 0.0 if strip is None else width * strip.shape[0] / strip.shape[1] + CAPTION_HEIGHT
    top = PANEL_HEIGHT * rows + picture
    height = top + TITLE_HEIGHT
    with rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        figure.text(0.1 / width, (top + 0.1) / height, title, fontsize=13, fontweight="bold")
        _fill(figure, panels, figures, stages, columns, top)
        if strip is not None:
            axes = figure.add_axes((0, 0, 1, (picture - CAPTION_HEIGHT) / height))
            axes.imshow(strip, aspect="auto")
            axes.axis("off")
            figure.text(0.1 / width, (picture - CAPTION_HEIGHT + 0.08) / height, caption)
    return figure


def _fill(
    figure: Figure,
    panels: Sequence[Panel],
    figures: Series,
    stages: Sequence[Span],
    columns: int,
    top: float,
) -> None:
    """Panels row by row, down from `top` inches.

    Margins are fixed: matplotlib's layout engines draw everything three times to find them.
    """
    width, height = figure.get_size_inches()
    for index, panel in enumerate(panels):
        left = PANEL_WIDTH * (index % columns) + MARGINS.left
        bottom = top - PANEL_HEIGHT * (index // columns + 1) + MARGINS.bottom
        inner = (
            PANEL_WIDTH - MARGINS.left - MARGINS.right,
            PANEL_HEIGHT - MARGINS.bottom - MARGINS.top,
        )
        place = (left / width, bottom / height, inner[0] / width, inner[1] / height)
        _draw(figure.add_axes(place), panel, figures, stages)


def save(figure: Figure, target: Path | BinaryIO, kind: str) -> None:
    """Write a figure as `svg` or `png`; the same figure gives the same bytes."""
    metadata = {"svg": {"Date": None}, "png": {"Software": None}}[kind]
    with rc_context(STYLE):  # ticks are made when they are drawn
        figure.savefig(target, format=kind, dpi=PNG_DPI, metadata=metadata)


def _draw(axes: Axes, panel: Panel, figures: Series, stages: Sequence[Span]) -> None:
    axes.set_title(panel.title)
    last = max(int(figures[name][0][-1]) for name in figures)
    axes.set_xlim(0, max(1, last))
    _shade(axes, stages, last)
    for index, (label, name) in enumerate(panel.lines.items()):
        colour = COLOURS[index % len(COLOURS)]
        dashes = "-" if index < len(COLOURS) else "--"
        steps, values = figures[name]
        known = values[np.isfinite(values)]
        ending = f"{known[-1]:.3g}" if len(known) else "never finite"
        _draw_line(axes, steps, values, stages, colour, dashes, f"{label}  {ending}")
    for text, level in panel.bounds.items():
        axes.axhline(
            level, color="#B00020", linestyle=":", linewidth=1.3, label=f"{text} {level:g}"
        )
    _scale(axes, np.concatenate([figures[name][1] for name in panel.lines.values()]))
    columns = 2 if max(map(len, panel.lines)) > 14 else 3
    axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.1), ncols=columns, borderaxespad=0.2)


def _draw_line(
    axes: Axes,
    steps: np.ndarray,
    values: np.ndarray,
    stages: Sequence[Span],
    colour: str,
    dashes: str,
    label: str,
) -> None:
    """One figure over steps: as it is, thin, and smoothed within each stage."""
    order = np.argsort(steps, kind="stable")
    steps, values = steps[order], values[order]
    stage_of = np.searchsorted([span.end for span in stages], steps)
    smooth = np.concatenate([_smoothed(values[stage_of == n]) for n in np.unique(stage_of)])
    # No line is drawn across a stage that has no entries.
    breaks = np.flatnonzero(np.diff(stage_of) > 1) + 1
    steps, values, smooth = (
        np.insert(x.astype(float), breaks, np.nan) for x in (steps, values, smooth)
    )
    few = len(values) < ENOUGH
    if not few:
        axes.plot(steps, values, color=colour, linewidth=0.6, alpha=0.3)
    shown, marker = (values, ".") if few else (smooth, "")
    axes.plot(steps, shown, dashes, color=colour, linewidth=1.6, marker=marker, label=label)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Mean of the finite values in a centred window, shorter at the ends."""
    half = max(1, round(len(values) * SMOOTHING / 2))
    kernel, known = np.ones(2 * half + 1), np.isfinite(values)
    sums = np.convolve(np.where(known, values, 0.0), kernel)[half : half + len(values)]
    counts = np.convolve(known.astype(float), kernel)[half : half + len(values)]
    return np.where(counts > 0.5, sums / np.maximum(counts, 1.0), np.nan)


def _scale(axes: Axes, values: np.ndarray) -> None:
    known = values[np.isfinite(values)]
    if len(known) and known.min() > 0 and known.max() / known.min() > LOG_SPAN:
        axes.set_yscale("log")


def _shade(axes: Axes, stages: Sequence[Span], last: int) -> None:
    """Every second stage grey, each with its name; a narrow one has it upright."""
    for index, span in enumerate(stages):
        end = min(span.end, last)
        if span.start >= last:
            break
        if index % 2:
            axes.axvspan(span.start, end, color="#000000", alpha=0.06, linewidth=0)
        narrow = (end - span.start) / last < 0.14
        axes.text(
            (span.start + end) / 2, 0.98, span.kind.replace("_", " "),
            transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=7.5,
            color="#555555", rotation=90 if narrow else 0, clip_on=True,
        )  # fmt: skip
