"""The table of `ssvif bench` on the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

__all__ = ["number", "screen_table", "what_ran"]

COLUMNS = ("p50\nms", "p99\nms", "frames\n/s", "CPU\nms", "peak\nMiB")


def screen_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows of `summarise`, a section for each model and size, the fastest of each bold."""
    with_gpu = any(row["gpu_mib"] is not None for row in rows)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True)
    table.add_column("engine", overflow="fold")  # on a narrow terminal, instead of figures
    table.add_column("precision", no_wrap=True)
    for name in (*COLUMNS, *(["GPU\nMiB"] if with_gpu else []), "speed\nup"):
        table.add_column(name, justify="right", no_wrap=True)
    for (model, size), group in groupby(rows, lambda row: (row["model"], row["size"])):
        table.add_row(f"[bold cyan]{escape(model)}, {size}[/]")
        for index, row in enumerate(group):
            table.add_row(*_cells(row, with_gpu), style="" if index else "bold")
        table.add_section()
    return table


def _cells(row: Mapping[str, Any], with_gpu: bool) -> list[str]:
    figures = [number(row[key]) for key in ("p50_ms", "p99_ms", "fps", "cpu_ms")]
    memory = [row["peak_mib"], *([row["gpu_mib"]] if with_gpu else [])]
    megabytes = ["-" if value is None else str(value) for value in memory]
    return [row["engine"], row["precision"], *figures, *megabytes, f"{row['speed_up']:.2f}"]


def number(value: float) -> str:
    """Three digits that say something, and all those before the point."""
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def what_ran(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each engine: version, device and threads, as the engine describes itself."""
    lines = (
        "{engine}: version {version}, {device}, threads: {threads}".format(**row["describe"])
        for row in rows
    )
    return list(dict.fromkeys(lines))
