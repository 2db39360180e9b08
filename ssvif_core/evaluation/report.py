"""What an evaluation leaves behind: metrics.csv, summary.csv, summary.json, grid.png."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2

from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.evaluate import Evaluation
from ssvif_core.evaluation.frame_scores import CLUSTERS
from ssvif_core.evaluation.segmentation_metrics import ConfusionMatrix
from ssvif_core.imaging.panels import contact_sheet

__all__ = ["plain", "write_report"]


def write_report(
    folder: Path, evaluation: Evaluation, notes: Mapping[str, Any], more: Mapping[str, Any]
) -> list[Path]:
    """Write all files.

    Args:
        folder: made where it is missing; files of an earlier report are replaced.
        evaluation: what came out.
        notes: on what and how, for summary.json.
        more: further tables for both summaries, title -> method -> name -> value.

    Returns:
        The files. The grid is missing where no picture was asked for.

    Raises:
        SsvifError: the folder or a file cannot be written.
    """
    tables = {
        "fusion": evaluation.fusion() if evaluation.frames[0].metrics else {},
        "segmentation": evaluation.segmentation(),
        "clusters": evaluation.clusters(),
        **more,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = [
            _write_csv(folder / "metrics.csv", _frame_rows(evaluation)),
            _write_csv(folder / "summary.csv", _summary_rows(tables)),
        ]
        summary = folder / "summary.json"
        summary.write_text(json.dumps(plain({**notes, **tables}), indent=1) + "\n", "utf-8")
        written.append(summary)
    except OSError as error:
        raise SsvifError(f"Cannot write to {folder}: {error}. Choose another folder.") from error
    pictures = [frame.picture for frame in evaluation.frames if frame.picture is not None]
    if pictures:
        grid = folder / "grid.png"
        if not cv2.imwrite(str(grid), cv2.cvtColor(contact_sheet(pictures), cv2.COLOR_RGB2BGR)):
            raise SsvifError(f"Cannot write {grid}: check free space and permissions.")
        written.append(grid)
    return written


def plain(value: Any) -> Any:
    """The same with numbers rounded to 4 digits, and None for NaN, which JSON does not know."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def _frame_rows(evaluation: Evaluation) -> Iterable[dict[str, Any]]:
    """One row for each image and method, with the IoU of each class where it has labels."""
    for frame in evaluation.frames:
        for method, values in frame.metrics.items():
            row: dict[str, Any] = {"image": frame.name, "part": evaluation.parts.get(frame.name)}
            row |= {"method": method, **values}
            card = evaluation.cards.get(method)
            if card is not None and card.mode != CLUSTERS and method in frame.counts:
                matrix = ConfusionMatrix(len(card.classes))
                matrix.counts = frame.counts[method]
                iou = matrix.iou()
                row |= {f"IoU {c.name}": float(iou[i]) for i, c in enumerate(card.classes)}
            yield row


def _summary_rows(tables: Mapping[str, Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    """One row for each table, method and part: long form, for spreadsheets and data frames."""
    for table, methods in tables.items():
        for method, values in methods.items():
            nested = any(isinstance(value, Mapping) for value in values.values())
            for part, figures in (values if nested else {"all": values}).items():
                yield {"table": table, "method": method, "part": part, **figures}


def _write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(plain(rows))
    return path
