"""The report of a run: what became of it, its curves and its pictures, for people.

`report.html` holds everything in itself and needs no network; `report.png` is the same curves on
one page. Both are made from the run folder alone, finished or not.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ssvif_core.training.journal import replace_file
from ssvif_core.training.report_figures import draw_page, save
from ssvif_core.training.report_html import render
from ssvif_core.training.run_folder import Run, read_run

__all__ = ["write_report"]


def write_report(folder: Path) -> Path:
    """Write `report.html` and `report.png` into a run folder.

    Args:
        folder: with `metrics.jsonl`, and with `config.json`, `environment.json` and `pictures/`
            where there are any.

    Returns:
        Path of `report.html`.

    Raises:
        SsvifError: the folder has no journal with figures in it.
    """
    run = read_run(folder)
    _write_page(run, folder / "report.png")
    path = folder / "report.html"
    replace_file(path, render(run))
    return path


def _write_page(run: Run, path: Path) -> None:
    strip, caption = None, ""
    if run.pictures:
        newest, step = run.pictures[-1]
        strip, caption = _read_picture(newest), f"{newest.stem.split('_', 1)[1]}, step {step}"
    title = f"{run.title}: {_first_sentence(run.verdict.text)}"
    figure = draw_page(title, run.panels, run.figures, run.stages, strip, caption)
    partial = path.with_suffix(".partial")
    save(figure, partial, "png")
    partial.replace(path)


def _first_sentence(text: str) -> str:
    """Up to the first end of a sentence; the HTML has the rest."""
    return text.split(". ", 1)[0].rstrip(".")


def _read_picture(path: Path) -> np.ndarray | None:
    """(H, W, 3) uint8 RGB, or None if it is damaged."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
