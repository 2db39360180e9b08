"""A sequence of frame pairs of which some could not be used. Knows pairs, no files or formats."""

from __future__ import annotations

import logging
import operator
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, overload

from ssvif_core.data.pairs import FramePair
from ssvif_core.errors import SsvifError

__all__ = ["PairCollection", "SkippedPair"]

log = logging.getLogger("ssvif.data")
#: Skipped pairs that a log line or an error names.
NAMED = 5


class SkippedPair(NamedTuple):
    """What could not be used, and why."""

    name: str
    reason: str


class PairCollection(Sequence[FramePair]):
    """Frame pairs, read when they are asked for. May be used by several threads.

    A pair that can no longer be read when its turn comes (a disk that went away, a file that was
    overwritten) is replaced by the next one that can, for good, and noted in `skipped`: a long run
    goes on, its length and the meaning of all other indices stay.

    Attributes:
        name: of the source, for logs and reports.
        skipped: pairs that were left out, with reasons.
        labelled: indices of the pairs that have labels, in order.
    """

    def __init__(
        self,
        name: str,
        names: Sequence[str],
        read: Callable[[int], FramePair],
        skipped: Sequence[SkippedPair],
        labelled: Sequence[int] = (),
    ) -> None:
        self.name, self.skipped, self.labelled = name, list(skipped), list(labelled)
        self._names, self._read = list(names), read
        self._broken: set[int] = set()
        self._lock = threading.Lock()
        if self.skipped:
            log.warning(
                "%s: %d pairs, %d skipped: %s", name, len(self), len(skipped), summary(self.skipped)
            )

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> FramePair: ...
    @overload
    def __getitem__(self, index: slice) -> list[FramePair]: ...
    def __getitem__(self, index: int | slice) -> FramePair | list[FramePair]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"{self.name} has {len(self)} pairs, no number {position}")
        return self.readable(range(len(self)), position % len(self))[1]

    def readable(self, indices: Sequence[int], place: int) -> tuple[int, FramePair]:
        """Pair number `indices[place]`, or the next of these that can be read, and its number.

        Raises:
            SsvifError: none of them can be read any longer.
        """
        broken = []
        for step in range(len(indices)):
            index = indices[(place + step) % len(indices)]
            if index in self._broken:
                continue
            try:
                pair = self._read(index)
            except SsvifError as error:
                self._note(index, str(error))
                broken.append(index)
                continue
            self._broken.update(broken)
            return index, pair
        raise SsvifError(
            f"No pair of {self.name} can be read any longer: {summary(self.skipped)}. "
            "Check that the disk is still there."
        )

    def _note(self, index: int, reason: str) -> None:
        skipped = SkippedPair(self._names[index], reason)
        with self._lock:
            if skipped in self.skipped:
                return
            self.skipped.append(skipped)
        log.warning("%s: %s is replaced by another pair: %s", self.name, *skipped)


def summary(skipped: Sequence[SkippedPair]) -> str:
    """The first few of them with their reasons, and how many more there are."""
    text = "; ".join(f"{name}: {reason}" for name, reason in skipped[:NAMED])
    return text + (f"; and {len(skipped) - NAMED} more" if len(skipped) > NAMED else "")
