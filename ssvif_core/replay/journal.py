"""journal.jsonl: what each pair of a replay gave, so that a run that was stopped can go on.

The first line says what was asked and what ran. Then there is a line for each pair, in order, with
what cannot be had again without fusing it: times, figures, and its picture where it is one of the
best or worst. The file lies in the folder of a run until that is whole.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.segmentation_metrics import ConfusionMatrix
from ssvif_core.replay.measures import Measured

__all__ = ["JOURNAL", "Entry", "Journal", "read_entries", "read_head"]

JOURNAL = "journal.jsonl"
#: Of the lines; another one is not gone on from.
FORMAT = 1
#: What was done in the last moments before a run is killed is done again.
FLUSHED_EVERY_S = 1.0


@dataclass(frozen=True)
class Entry:
    """One pair that is done.

    Attributes:
        index: of the pair.
        stamp_ns: that its outputs are ordered by.
        header_ns: that they carry.
        timed: see `work.Job`; so are `stages_ms`, `error`, `sizes`, `shape` and `truth_error`.
        measured: figures and counts, or None.
        jpeg: its row of panels, or nothing.
        taken_s: wall time from the beginning of the first run to here, without pauses.
    """

    index: int
    stamp_ns: int
    header_ns: int
    timed: bool
    stages_ms: dict[str, float] = field(default_factory=dict)
    error: str = ""
    sizes: dict[str, list[int]] = field(default_factory=dict)
    shape: list[int] | None = None
    measured: Measured | None = None
    truth_error: str = ""
    jpeg: bytes = b""
    taken_s: float = 0.0

    @property
    def fused(self) -> bool:
        """Whether it went to video and recording."""
        return self.shape is not None and not self.error


class Journal:
    """Writes the journal; use it as a context manager.

    Args:
        folder: existing.
        head: content of the first line.
        length: bytes of the file that are gone on from; 0: a new one.

    Raises:
        SsvifError: it cannot be written, here or later.
    """

    def __init__(self, folder: Path, head: dict[str, Any], length: int = 0) -> None:
        self.path = folder / JOURNAL
        self._flushed = monotonic()
        try:
            self._file = self.path.open("r+b" if length else "wb")
            self._file.truncate(length)
            self._file.seek(length)
            if not length:
                self._file.write(_line({"format": FORMAT, **head}))
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._file.close()
        except OSError as failed:
            if error[0] is None:  # else what went wrong before says it
                raise self._failed(failed) from failed

    def add(self, entry: Entry) -> None:
        """Write the next pair; what is written reaches the system within about a second."""
        try:
            self._file.write(_line(_content(entry)))
            if monotonic() - self._flushed > FLUSHED_EVERY_S:
                self._file.flush()
                self._flushed = monotonic()
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> SsvifError:
        return SsvifError(
            f"Cannot write {self.path}: {error}. Make room or give permission, and go on with "
            "--resume."
        )


def read_head(folder: Path) -> dict[str, Any] | None:
    """What the journal in a folder was begun with; None where there is none of this format."""
    try:
        with (folder / JOURNAL).open("rb") as file:
            head = json.loads(file.readline())
    except (OSError, ValueError):
        return None
    if not isinstance(head, dict) or head.pop("format", None) != FORMAT:
        return None
    return head


def read_entries(folder: Path) -> Iterator[tuple[Entry, int]]:
    """The pairs from the first on, each with where its line ends, up to a line that is damaged."""
    with (folder / JOURNAL).open("rb") as file:
        end = len(file.readline())
        for index, line in enumerate(file):
            end += len(line)
            try:
                entry = _entry(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError):
                return
            if not line.endswith(b"\n") or entry.index != index:
                return
            yield entry, end


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), default=float).encode() + b"\n"


def _content(entry: Entry) -> dict[str, Any]:
    """As JSON has it; what says nothing is left out."""
    content = {**vars(entry), "jpeg": base64.b64encode(entry.jpeg).decode()}
    if entry.measured is not None:
        matrix = entry.measured.matrix
        counts = None if matrix is None else matrix.counts.tolist()
        content["measured"] = {**vars(entry.measured), "matrix": counts}
    return {key: value for key, value in content.items() if value or value == 0}


def _entry(content: dict[str, Any]) -> Entry:
    measured = content.pop("measured", None)
    if measured is not None:
        counts = measured.pop("matrix")
        measured = Measured(**measured, matrix=None if counts is None else _matrix(counts))
    jpeg = base64.b64decode(content.pop("jpeg", ""), validate=True)
    return Entry(**content, measured=measured, jpeg=jpeg)


def _matrix(counts: list[list[int]]) -> ConfusionMatrix:
    matrix = ConfusionMatrix(len(counts))
    matrix.counts[:] = np.array(counts, np.int64)
    return matrix
