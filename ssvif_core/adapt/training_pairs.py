"""The pairs that are trained on, as a folder: visible/ thermal/ labels/, and how they were chosen.

Neighbouring frames of a drive are alike: a hundred copies of one view teach no more than one. So
pairs are taken some time apart, and of those, one is left out in which nothing has changed since
the last that was kept (a robot that stands still): no cell of 32 x 24 differs by more than 8 of
255 levels in either camera.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.adapt.material import Frame
from ssvif_core.adapt.split import LEAST_PAIRS
from ssvif_core.errors import SsvifError

__all__ = ["PAIRS", "PairCounts", "write_pairs"]

#: Name of the folder, and of the file in it that says what it was made of.
PAIRS, ORIGIN = "pairs", "pairs.json"
CELLS, ALIKE_LEVELS = (32, 24), 8
PARTS = ("visible", "thermal", "labels")
#: Little compression: the files are read a few times and are no archive.
PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


@dataclass(frozen=True)
class PairCounts:
    """Pairs that were kept, and those left out because nothing had changed."""

    kept: int
    alike: int


def write_pairs(
    output: Path, frames: Callable[[], Iterator[Frame]], asked: str,
    kept: Callable[[int], None] = lambda count: None,
    advice: Callable[[], str] = lambda: "take more.",
) -> PairCounts:  # fmt: skip
    """Write `output/pairs`, or leave it as it is if it was made of the same before.

    The labels are the old model's own masks. The folder appears whole or not at all.

    Args:
        output: existing folder.
        frames: gives the frames to choose from.
        asked: digest of what decides whether an earlier folder is the same.
        kept: told after each how many there are.
        advice: what to do where there are too few; asked at the end.

    Raises:
        SsvifError: the folder is of something else, there are too few pairs, or it cannot be
            written.
    """
    folder, partial = output / PAIRS, output / f"{PAIRS}.partial"
    if folder.exists():
        return _earlier(folder, asked)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        for part in PARTS:
            (partial / part).mkdir(parents=True)
        counts = _write(partial, frames(), kept)
        if counts.kept < LEAST_PAIRS:
            raise SsvifError(
                f"Only {counts.kept} pairs to train on, {LEAST_PAIRS} are needed ({counts.alike} "
                f"more show the same view as the one before): {advice()}"
            )
        content = {"asked": asked, "kept": counts.kept, "alike": counts.alike}
        (partial / ORIGIN).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(output / "training", ignore_errors=True)  # it was of other pairs
        partial.rename(folder)
    except OSError as error:
        raise SsvifError(f"Cannot write to {folder}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return counts


def _earlier(folder: Path, asked: str) -> PairCounts:
    try:
        content = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = {}
    if content.get("asked") != asked:
        raise SsvifError(
            f"{folder} holds pairs of another recording, model or setting: name another --output, "
            "or delete it."
        )
    return PairCounts(content["kept"], content["alike"])


def _write(folder: Path, frames: Iterator[Frame], kept: Callable[[int], None]) -> PairCounts:
    last: tuple[np.ndarray, np.ndarray] | None = None
    count = alike = 0
    for frame in frames:
        seen = _cells(frame.visible), _cells(frame.thermal)
        if last is not None and all(_same(a, b) for a, b in zip(seen, last, strict=True)):
            alike += 1
            continue
        last = seen
        name = f"{count:06d}"
        images = (cv2.cvtColor(frame.visible, cv2.COLOR_RGB2BGR), frame.thermal, frame.labels)
        for part, image in zip(PARTS, images, strict=True):
            if not cv2.imwrite(str(folder / part / f"{name}.png"), image, PNG):
                raise SsvifError(f"Cannot write {folder / part / name}.png: is the disk full?")
        count += 1
        kept(count)
    return PairCounts(count, alike)


def _cells(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, CELLS, interpolation=cv2.INTER_AREA).astype(np.int16)


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    return bool(np.abs(first - second).max() <= ALIKE_LEVELS)
