"""Pairs in folders of images: checked once, then kept in memory or read again when needed."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ssvif_core.data.collection import SkippedPair
from ssvif_core.data.image_files import image_size
from ssvif_core.data.layouts import Layout
from ssvif_core.data.matching import Candidate
from ssvif_core.data.pairs import (
    FramePair,
    make_pair,
    read_labels,
    read_packed,
    read_pair,
)
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.pinhole import same_shape

__all__ = ["CACHE_BYTES", "FolderPairs", "PairCache", "decode"]

#: Decoded pairs kept of one folder. 1 GiB holds 700 pairs of 640x480 with labels.
CACHE_BYTES = 2**30
#: Files are opened and decoded with the interpreter's lock released; a disk serves a few at once.
READERS = 4

T = TypeVar("T")


class PairCache:
    """The pairs that were used last, up to a number of bytes. Thread safe."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes, self.bytes = limit_bytes, 0
        self._pairs: OrderedDict[int, FramePair] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, index: int, read: Callable[[int], FramePair]) -> FramePair:
        """The pair `index`, from `read` if it is not here; what `read` raises is passed on."""
        with self._lock:
            if index in self._pairs:
                self._pairs.move_to_end(index)
                return self._pairs[index]
        pair = read(index)  # outside of the lock: threads decode side by side, rarely the same pair
        self.put(index, pair)
        return pair

    def put(self, index: int, pair: FramePair) -> None:
        """Keep a pair; those unused for longest make place."""
        with self._lock:
            if index in self._pairs:
                return
            self._pairs[index] = pair
            self.bytes += _bytes(pair)
            while self.bytes > self.limit_bytes and self._pairs:
                self.bytes -= _bytes(self._pairs.popitem(last=False)[1])


@dataclass(frozen=True)
class FolderPairs:
    """The usable pairs among candidates.

    Attributes:
        usable: their files.
        skipped: the others, with reasons.
        layout: how the files are packed.
        label_map: see `pairs.read_labels`.
        cache: what has been read.
    """

    usable: list[Candidate]
    skipped: list[SkippedPair]
    layout: Layout
    label_map: Mapping[int, int] | None
    cache: PairCache

    @classmethod
    def checked(
        cls,
        candidates: Sequence[Candidate],
        layout: Layout,
        label_map: Mapping[int, int] | None,
        cache_bytes: int = CACHE_BYTES,
    ) -> FolderPairs:
        """Look at every file once.

        Sizes and ends of files are always checked. If all pairs fit into the cache they are decoded
        too, which shows damage in the middle and is work that the first epoch need not do again.
        """
        pairs = cls([], [], layout, label_map, PairCache(cache_bytes))
        outcomes = _in_threads(lambda c: _sizes(c, layout.packed), candidates)
        total = 0
        sound = []
        for candidate, size in zip(candidates, outcomes, strict=True):
            if isinstance(size, SsvifError):
                pairs.skipped.append(SkippedPair(candidate.name, str(size)))
                continue
            sound.append(candidate)
            total += size[0] * size[1] * (4 if candidate.labels is None else 5)
        if total > cache_bytes:
            pairs.usable.extend(sound)
            return pairs
        read = functools.partial(decode, layout=layout, label_map=label_map)
        for candidate, pair in zip(sound, _in_threads(read, sound), strict=True):
            if isinstance(pair, SsvifError):
                pairs.skipped.append(SkippedPair(candidate.name, str(pair)))
            else:
                pairs.cache.put(len(pairs.usable), pair)
                pairs.usable.append(candidate)
        return pairs

    def read(self, index: int) -> FramePair:
        """Pair `index` of the usable ones. Raises SsvifError if it is damaged by now."""
        return self.cache.get(index, lambda i: self._read_again(self.usable[i]))

    def _read_again(self, candidate: Candidate) -> FramePair:
        _sizes(candidate, self.layout.packed)
        return decode(candidate, self.layout, self.label_map)


def decode(
    candidate: Candidate, layout: Layout, label_map: Mapping[int, int] | None = None
) -> FramePair:
    """The frames of a complete candidate; errors as `pairs.read_pair`.

    16-bit thermal is stretched by its own percentiles: the frames of a folder are in no order
    in time, and must not depend on what was read before them.
    """
    assert candidate.visible is not None
    name, labels = candidate.name, candidate.labels
    if layout.packed:
        ids = None if labels is None else read_labels(labels, label_map)
        return make_pair(name, *read_packed(candidate.visible), ids)
    assert candidate.thermal is not None
    return read_pair(name, candidate.visible, candidate.thermal, labels, label_map)


def _sizes(candidate: Candidate, packed: bool) -> tuple[int, int]:
    """Rows and columns of the pair, from the files' headers. Raises SsvifError if it is no pair."""
    if candidate.reason:
        raise SsvifError(candidate.reason)
    files: dict[str, Path | None] = {"visible": candidate.visible, "thermal": candidate.thermal}
    missing = [part for part, path in files.items() if path is None]
    if missing:
        raise SsvifError(f"there is no {' and no '.join(missing)} image of this name")
    assert candidate.visible is not None and candidate.thermal is not None
    size = image_size(candidate.visible)
    thermal_size = size if packed else image_size(candidate.thermal)
    if not same_shape(size, thermal_size):
        raise SsvifError(f"visible is {_text(size)}, thermal {_text(thermal_size)}: other views")
    if candidate.labels is not None and (labels_size := image_size(candidate.labels)) != size:
        raise SsvifError(f"visible is {_text(size)}, the labels are {_text(labels_size)}")
    return size


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def _bytes(pair: FramePair) -> int:
    return (
        pair.visible.nbytes
        + pair.thermal.nbytes
        + (0 if pair.labels is None else pair.labels.nbytes)
    )


def _in_threads(
    work: Callable[[Candidate], T], candidates: Iterable[Candidate]
) -> Iterator[T | SsvifError]:
    """Results in the order of the candidates; a SsvifError is a result."""

    def outcome(candidate: Candidate) -> T | SsvifError:
        try:
            return work(candidate)
        except SsvifError as error:
            return error

    with ThreadPoolExecutor(READERS, "pairs") as pool:
        yield from pool.map(outcome, candidates)
