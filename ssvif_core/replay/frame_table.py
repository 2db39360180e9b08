"""One row for each pair: frames.csv.gz, and frames.parquet where pyarrow is installed.

Rows are written as they come. The figures are also kept in memory, 8 bytes each, for summary and
report: about a third of a megabyte for a thousand pairs.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from array import array
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.fusion_metrics import METRICS
from ssvif_core.inference.pipeline import StageTimes
from ssvif_core.replay.stability import STABILITY

__all__ = [
    "COLUMNS",
    "FRAMES",
    "PARQUET",
    "STAGES",
    "FrameTable",
    "Figures",
    "read_figures",
    "write_parquet",
]

FRAMES, PARQUET = "frames.csv.gz", "frames.parquet"
#: What a pair's time goes to, in the order in which it happens.
STAGES = ("decode_ms", *(field.name for field in fields(StageTimes)))
#: Name: what it holds. Empty cells were not measured.
COLUMNS: dict[str, str] = {
    "index": "number of the pair, from 0",
    "time_s": "receipt of the visible frame (the thermal one alone), since the start",
    "cameras": "both, or the one that went on alone",
    "visible_stamp_ns": "stamps that the pair was made by",
    "thermal_stamp_ns": "",
    "delta_ms": "thermal + offset - visible",
    "wait_ms": "from the receipt of the later frame to the decision of the pairing",
    **dict.fromkeys(STAGES, "measured here; with several workers on some pairs"),
    "total_ms": "sum of the stages",
    "dropped": "1: at real time a newer pair would have replaced this one",
    "latency_ms": "visible header stamp to fused image at real time; empty if dropped or unstamped",
    "after_receipt_ms": "receipt of the visible frame to fused image at real time",
    "fused_mean": "mean of the fused luminance, 0..255",
    "fused_deviation": "its standard deviation",
    **dict.fromkeys(STABILITY, "see stability.py"),
    **dict.fromkeys(METRICS, "fusion metric, on every n-th pair, where thermal looks"),
    "iou_objects": "mean IoU of the classes but background that the frame holds",
    "pixel_accuracy": "part of labelled pixels with the right class",
    "error": "why the pair could not be fused",
}
TEXT = {"cameras", "error"}


class Figures:
    """The columns of numbers of a table, 8 bytes for each cell."""

    def __init__(self) -> None:
        self._numbers = {name: array("d") for name in COLUMNS if name not in TEXT}
        self._fused = array("b")

    def __len__(self) -> int:
        return len(self._fused)

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep the numbers of a row; a cell that is not there, None or empty is NaN."""
        self._fused.append(not row.get("error"))
        for name, numbers in self._numbers.items():
            value = row.get(name)
            numbers.append(math.nan if value is None or value == "" else float(value))

    @property
    def fused(self) -> np.ndarray:
        """Which rows are of pairs that could be fused, bool."""
        return np.array(self._fused, bool)

    def column(self, name: str) -> np.ndarray:
        """A column of numbers as float64; NaN where nothing was measured."""
        return np.array(self._numbers[name], np.float64)


def read_figures(path: Path) -> Figures:
    """The figures of a table that was written. Raises SsvifError if it cannot be read."""
    figures = Figures()
    try:
        with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                figures.add(row)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise SsvifError(f"Cannot read {path}: {error}. Replay without --resume.") from error
    return figures


class FrameTable(Figures):
    """Writes the table; use it as a context manager.

    Args:
        path: of frames.csv.gz.

    Raises:
        SsvifError: it cannot be written, here or later.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            self._file = gzip.open(path, "wt", newline="", encoding="utf-8", compresslevel=4)  # noqa: SIM115
        except OSError as error:
            raise _failed(path, error) from error
        self.path = path
        self._rows = csv.DictWriter(self._file, [*COLUMNS])
        self._rows.writeheader()

    def __enter__(self) -> FrameTable:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._file.close()
        except OSError as failed:
            if error[0] is None:  # else what went wrong before says it
                raise _failed(self.path, failed) from failed

    def append(self, row: Mapping[str, Any]) -> None:
        """Write a row; a key that is no column raises ValueError."""
        try:
            self._rows.writerow({key: _cell(value) for key, value in row.items()})
        except OSError as error:
            raise _failed(self.path, error) from error
        self.add(row)


def _failed(path: Path, error: OSError) -> SsvifError:
    return SsvifError(
        f"Cannot write {path}: {error}. Make room or give permission, and go on with --resume."
    )


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.7g}"
    return "" if value is None else value


def write_parquet(table: Path) -> Path | None:
    """Write frames.parquet beside the table, in batches; None where pyarrow is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        return None
    path = table.with_name(PARQUET)
    whole = {"index", "visible_stamp_ns", "thermal_stamp_ns", "dropped"}
    kinds = {
        name: pa.string() if name in TEXT else pa.int64() if name in whole else pa.float64()
        for name in COLUMNS
    }
    options = pyarrow.csv.ConvertOptions(column_types=kinds, strings_can_be_null=True)
    with (
        pyarrow.csv.open_csv(table, convert_options=options) as reader,
        pyarrow.parquet.ParquetWriter(path, reader.schema) as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)
    return path
