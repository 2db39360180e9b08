"""Video and output recording of a run that was stopped, set aside and read again.

They lie as `fused.before.mp4` and `bag.before` while they are copied into new ones.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.data.bag_files import Bag, Recorded
from ssvif_core.errors import SsvifError
from ssvif_core.replay.outputs import CAMERA_INFO, DIAGNOSTICS, FUSED, LABELS

__all__ = [
    "aside", "forget", "frames_in", "let_go", "pairs_in", "remove", "set_aside", "whole_pairs",
]  # fmt: skip

METADATA = "metadata.yaml"


def aside(path: Path) -> Path:
    """Where a file or folder is while it is copied."""
    return path.with_name(f"{path.stem}.before{path.suffix}")


def set_aside(path: Path) -> Path | None:
    """Move a file or folder out of the way; where it is now, or None where there is none."""
    old = aside(path)
    if old.exists():
        remove(path)  # a copy that was not finished
    elif path.exists():
        path.rename(old)
    return old if old.exists() else None


def let_go(path: Path) -> None:
    """Remove what was set aside: all of it is in the new file or folder now."""
    if aside(path).exists() and path.exists():
        for file in path.iterdir() if path.is_dir() else [path]:
            with file.open("rb") as copy:
                os.fsync(copy.fileno())  # not before it would survive a power cut
    forget(path)


def forget(path: Path) -> None:
    """Remove what was set aside, if there is anything."""
    remove(aside(path))


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def frames_in(video: Path) -> Iterator[np.ndarray]:
    """The frames, (H, W, 3) uint8 RGB."""
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG)
    try:
        there, frame = capture.read()
        while there:
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            there, frame = capture.read()
    finally:
        capture.release()


def pairs_in(bag: Path) -> Iterator[list[Recorded]]:
    """The messages of each pair: those of one time, but diagnostics."""
    with Bag(bag) as recording:
        topics = [topic for topic in recording.topics() if topic != DIAGNOSTICS]
        for _, messages in groupby(recording.messages(topics), lambda m: m.received_ns):
            yield list(messages)


def whole_pairs(bag: Path) -> Iterator[int]:
    """Header stamps of the pairs that are there in full, up to the first one that is not."""
    closed = (bag / METADATA).is_file()
    needed = {FUSED, LABELS}
    before: int | None = None
    try:
        for messages in pairs_in(bag):
            if before is not None:
                yield before
            topics = {message.topic for message in messages}
            if not needed <= topics:
                return
            needed |= topics & {CAMERA_INFO}  # once it has come, every pair has one
            before = next(Bag.stamp_ns(m) for m in messages if m.topic == FUSED)
    except SsvifError:  # nothing of it can be read
        return
    if closed and before is not None:  # else the last may lack something
        yield before
