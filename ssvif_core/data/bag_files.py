"""Recordings, whole or broken: rosbag2 folders, .mcap and .db3 files, ROS 1 .bag files.

Uses `rosbags`, which needs no ROS, and readers of our own (`salvage*.py`) for what it refuses: a
recorder that was killed leaves no metadata.yaml, no index, and a file that ends in the middle of a
record. Each is read as far as it goes.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from ssvif_core.data.bag_parts import Part, is_bag_name, opened, salvaged
from ssvif_core.data.image_fields import RecordedCompressed, RecordedImage, image_fields
from ssvif_core.data.unpack import ZSTD_MAGIC, unpacked
from ssvif_core.errors import SsvifError

__all__ = ["BAG_SUFFIXES", "Bag", "Recorded", "is_bag"]

#: What recordings are called; `.active` or `.zstd` may follow.
BAG_SUFFIXES = {".mcap", ".db3", ".bag"}


class Recorded(NamedTuple):
    """One message as it was recorded; `message` in `Bag` decodes it."""

    topic: str
    kind: str
    received_ns: int
    raw: bytes
    part: Part


class Bag:
    """A recording, open for reading. Use it as a context manager.

    Attributes:
        path: file or folder.
        broken: file name -> what is wrong with it. Grows while messages are read.
        turns: how many files have turned out to be damaged while they were read. From then on
            they are read around the damage, so another pass may find other messages than the one
            in which that happened; two passes without a turn find the same ones.

    Raises:
        SsvifError: `rosbags` is not installed, or nothing at `path` can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.broken, self.turns = path, dict[str, str](), 0
        self._parts: list[Part] = []
        self._open = ExitStack()

    def __enter__(self) -> Bag:
        try:
            self._parts = opened(self.path, self._open, self._note)
        except BaseException:
            self._open.close()
            raise
        if not self._parts:
            self._open.close()
            why = "; ".join(f"{name}: {reason}" for name, reason in self.broken.items())
            raise SsvifError(
                f"{self.path} is no readable recording ({why or 'there is none in it'}). Check "
                "that it is one, and that all of it was copied."
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _note(self, name: str, reason: str) -> None:
        """Something is wrong with a file; it may be found more than once."""
        known = self.broken.setdefault(name, reason)
        if reason not in known:
            self.broken[name] = f"{known}; {reason}"

    def topics(self) -> dict[str, str]:
        """Topics with their message types, sorted."""
        found = {c.topic: c.msgtype for part in self._parts for c in part.reader.connections}
        return dict(sorted(found.items()))

    @property
    def end_ns(self) -> int | None:
        """When the last message was received, where the files say so without being read."""
        ends = [part.reader.end_time for part in self._parts]
        return max(ends) if all(ends) else None

    def count(self, topic: str) -> int | None:
        """Messages of a topic, where the files say so without being read."""
        counts = [
            c.msgcount for part in self._parts for c in part.reader.connections if c.topic == topic
        ]
        return sum(counts) if counts and all(counts) else None

    def messages(
        self, topics: Sequence[str], start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[Recorded]:
        """Messages of some topics in the order of their receipt, from start to before stop.

        Where a file breaks off, its messages end; where some of it is damaged, that is left out.
        `broken` says what.
        """
        parts = [self._of_part(part, topics, start_ns, stop_ns) for part in self._parts]
        return heapq.merge(*parts, key=lambda m: m.received_ns)

    def message(self, recorded: Recorded) -> Any:
        """Decode a message. Raises SsvifError if its bytes are none of its type."""
        try:
            return recorded.part.reader.deserialize(recorded.raw, recorded.kind)
        except Exception as error:  # rosbags lets errors of struct, numpy and codecs through
            raise SsvifError(f"not a {recorded.kind}: {error!r}") from error

    @staticmethod
    def image(recorded: Recorded) -> RecordedImage | RecordedCompressed:
        """The fields of an image message; pixels are neither copied nor decoded.

        Raises SsvifError if its bytes are none of an image.
        """
        return image_fields(recorded.raw, recorded.kind, ros2=recorded.part.reader.is2)

    @staticmethod
    def stamp_ns(recorded: Recorded) -> int:
        """Capture time of a message that begins with a std_msgs/Header, without decoding the rest.

        Raises SsvifError if there are too few bytes.
        """
        raw = recorded.raw
        if len(raw) < 12:
            raise SsvifError(f"{len(raw)} bytes, too few for a header")
        # CDR begins with 4 bytes of which the second tells the byte order; ROS 1 is little-endian
        # and begins with a sequence number of 4 bytes.
        big = recorded.part.reader.is2 and not raw[1] & 1
        order = "big" if big else "little"
        seconds = int.from_bytes(raw[4:8], order, signed=recorded.part.reader.is2)  # type: ignore[arg-type]
        return seconds * 1_000_000_000 + int.from_bytes(raw[8:12], order)  # type: ignore[arg-type]

    def _of_part(
        self, part: Part, topics: Sequence[str], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[Recorded]:
        last_ns, same = start_ns, 0
        counts, rest = Counter[str](), list[Part]()
        try:
            for recorded in self._read(part, topics, start_ns, stop_ns):
                same = same + 1 if recorded.received_ns == last_ns else 1
                last_ns = recorded.received_ns
                counts[recorded.topic] += 1
                yield recorded
        except Exception as error:  # of the storage: rosbags', SQLite's or a decompressor's own
            rest = self._salvaged(part, error)
        # What was given already is not given again.
        parts = [self._read(other, topics, last_ns, stop_ns) for other in rest]
        for recorded in heapq.merge(*parts, key=lambda m: m.received_ns):
            if same and recorded.received_ns == last_ns:
                same -= 1
            else:
                counts[recorded.topic] += 1
                yield recorded
        if start_ns is None and stop_ns is None:
            name = (rest[0] if len(rest) == 1 else part).path.name
            self._compare(part, name, topics, counts)

    def _compare(self, part: Part, name: str, topics: Sequence[str], counts: Counter[str]) -> None:
        """Note what a file says that it holds, and did not give.

        Damage inside a chunk without a checksum makes rosbags leave out messages without a word,
        and what was lost before a reader gave up, no other one looks for.
        """
        promised = Counter[str]()
        for connection in part.reader.connections:
            if connection.topic in topics:
                promised[connection.topic] += connection.msgcount or 0
        for topic, lost in sorted((promised - counts).items()):
            self._note(
                name, f"is damaged: {lost} of {promised[topic]} messages of {topic} are missing"
            )

    def _salvaged(self, part: Part, error: Exception) -> list[Part]:
        """The same files, opened to be read around the damage, from now on."""
        if part.salvaged:  # reads as far as it goes by itself
            self._note(part.path.name, f"breaks off: {error}")
            return []
        self.turns += 1
        rest = salvaged(part.path, self._open, self._note)
        if not rest:
            self._note(part.path.name, f"breaks off: {error}")
        if part in self._parts:
            at = self._parts.index(part)
            self._parts[at : at + 1] = rest
        return rest

    @staticmethod
    def _read(
        part: Part, topics: Sequence[str], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[Recorded]:
        connections = [c for c in part.reader.connections if c.topic in topics]
        if not connections:
            return
        for connection, received_ns, raw in part.reader.messages(connections, start_ns, stop_ns):
            if raw[:4] == ZSTD_MAGIC and part.reader.is2:
                # rosbag2 compresses each message, and only metadata.yaml would say so.
                raw, _ = unpacked(raw, "zstd")
            yield Recorded(connection.topic, connection.msgtype, received_ns, raw, part)


def is_bag(path: Path) -> bool:
    """Whether a path is a recording by its name, or a folder that holds one."""
    return any(map(is_bag_name, path.iterdir())) if path.is_dir() else is_bag_name(path)
