"""The one progress bar that all long work shows."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["progress_bar"]


def progress_bar(*columns: str, disable: bool = False) -> Progress:
    """A bar with count, elapsed and remaining time; `columns` are task fields shown at its end."""
    return Progress(
        TextColumn("{task.description}", markup=False),  # names may look like markup
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        *(TextColumn(f"{{task.fields[{name}]}}", markup=False) for name in columns),
        console=Console(stderr=True),
        disable=disable,
    )
