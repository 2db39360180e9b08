"""What a run that was stopped has left in its folder, and how far another one can go on from it.

Journal, video and output recording are buffered, each in its own way: of a run that was killed, one
holds some pairs more than another. The pairs that all of them hold are not fused again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ssvif_core.data.bag_files import Recorded
from ssvif_core.errors import SsvifError
from ssvif_core.replay import set_aside
from ssvif_core.replay.asked import different
from ssvif_core.replay.clearing import clear_outputs
from ssvif_core.replay.journal import JOURNAL, Entry, read_entries, read_head
from ssvif_core.replay.options import ReplayOptions
from ssvif_core.replay.outputs import BAG, VIDEO

__all__ = ["Earlier", "look_for_earlier"]


@dataclass
class Earlier:
    """What a run goes on from.

    Attributes:
        folder: of the run that was stopped, and of this one.
        pairs: how many, from the first on, need not be fused again.
        look: index of the last of them that was measured: the next one is compared with it. Or -1.
        length: bytes of the journal that are of them.
        seconds: wall time that they took.
        video: with their frames, or None.
        bag: with their messages, or None.
        why_anew: why there are no pairs although a run was stopped here, or "".
    """

    folder: Path
    pairs: int = 0
    look: int = -1
    length: int = 0
    seconds: float = 0.0
    video: Path | None = None
    bag: Path | None = None
    why_anew: str = ""

    def entries(self) -> Iterator[Entry]:
        """The pairs as the journal has them."""
        return (entry for entry, _ in islice(read_entries(self.folder), self.pairs))

    def frames(self) -> Iterator[np.ndarray]:
        """Frames of the video, (H, W, 3) uint8 RGB."""
        return iter(()) if self.video is None else set_aside.frames_in(self.video)

    def messages(self) -> Iterator[list[Recorded]]:
        """Messages of the output recording but diagnostics, pair by pair."""
        return iter(()) if self.bag is None else set_aside.pairs_in(self.bag)

    def let_go(self) -> None:
        """All of it was copied into new files."""
        for name in (VIDEO, BAG):
            set_aside.let_go(self.folder / name)


def look_for_earlier(folder: Path, head: dict[str, Any], options: ReplayOptions) -> Earlier:
    """How far a run can go on from what is in its folder; video and recording are set aside for it.

    Args:
        folder: existing.
        head: of the journal of this run.
        options: of this run.

    Raises:
        SsvifError: the folder cannot be written to.
    """
    found, why_anew = Earlier(folder), ""
    try:
        if (folder / JOURNAL).exists():
            why_anew = _why_not(read_head(folder), head, options)
            if not why_anew:
                _take(found, options)
                why_anew = "" if found.pairs else "too little of it had reached the disk"
        if not found.pairs:
            clear_outputs(folder)
            return Earlier(folder, why_anew=why_anew)
    except OSError as error:
        raise SsvifError(f"Cannot write to {folder}: {error}") from error
    return found


def _why_not(was: dict[str, Any] | None, now: dict[str, Any], options: ReplayOptions) -> str:
    if was is None:
        return f"its {JOURNAL} cannot be read"
    if names := different(was, now):
        return f"not the same as then: {', '.join(names)}"
    return "run.rrd cannot be gone on with" if options.rerun else ""


def _take(found: Earlier, options: ReplayOptions) -> None:
    """Find how many pairs are everywhere."""
    folder = found.folder
    found.bag = set_aside.set_aside(folder / BAG) if options.bag else None
    found.video = set_aside.set_aside(folder / VIDEO) if options.video else None
    frames = sum(1 for _ in found.frames())
    stamps = iter(()) if found.bag is None else set_aside.whole_pairs(found.bag)
    for entry, end in read_entries(folder):
        if entry.fused:
            frames -= 1
            if (options.video and frames < 0) or (
                options.bag and next(stamps, None) != entry.header_ns
            ):
                break
        if entry.measured is not None:
            found.look = entry.index
        found.pairs, found.length, found.seconds = entry.index + 1, end, entry.taken_s
