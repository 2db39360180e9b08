"""Opening recordings, whole or broken: rosbag2 folders, .mcap and .db3 files, ROS 1 .bag files.

Uses `rosbags`, which needs no ROS. A recorder that lost its power leaves no metadata.yaml and an
MCAP file that ends in the middle of a record; both are read as far as they go.
"""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ssvif_core.data.cut_sqlite import CutSqlite, missing_bytes
from ssvif_core.data.image_fields import RecordedCompressed, RecordedImage, image_fields
from ssvif_core.errors import SsvifError

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader

__all__ = ["BAG_SUFFIXES", "Bag", "Recorded", "is_bag"]

BAG_SUFFIXES = {".mcap", ".db3", ".bag"}

# MCAP, https://mcap.dev/spec: a magic, records (opcode, length, content), a footer, the magic.
MAGIC = b"\x89MCAP0\r\n"
RECORD_HEADER_BYTES = 9
FOOTER, DATA_END = 0x02, 0x0F
#: An end of data without a checksum, and a footer that points to no summary: then readers scan.
PLAIN_END = bytes([DATA_END]) + (4).to_bytes(8, "little") + bytes(4)
PLAIN_END += bytes([FOOTER]) + (20).to_bytes(8, "little") + bytes(20) + MAGIC


class Recorded(NamedTuple):
    """One message as it was recorded; `message` in `Bag` decodes it."""

    topic: str
    kind: str
    received_ns: int
    raw: bytes
    part: _Part


@dataclass(frozen=True)
class _Part:
    """One file (or a whole rosbag2 folder) that could be opened."""

    path: Path
    reader: AnyReader
    #: The file has no index, and its messages are taken in the order in which they lie in it.
    in_file_order: bool

    def messages(
        self, connections: Sequence[Any], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[tuple[Any, int, bytes]]:
        if not self.in_file_order:
            return self.reader.messages(connections, start_ns, stop_ns)
        storage: Any = self.reader.readers[0].storage  # type: ignore[union-attr]
        return storage.messages_scan(connections, start_ns, stop_ns)


class Bag:
    """A recording, open for reading. Use it as a context manager.

    Attributes:
        path: file or folder.
        broken: file name -> what is wrong with it. Grows while messages are read.

    Raises:
        SsvifError: `rosbags` is not installed, or nothing at `path` can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.broken = path, dict[str, str]()
        self._parts: list[_Part] = []

    def __enter__(self) -> Bag:
        whole = _opened(self.path, self.broken)
        if whole is None and self.path.is_dir():
            files = sorted(p for p in self.path.iterdir() if p.suffix in BAG_SUFFIXES)
            self._parts = [part for p in files if (part := _opened(p, self.broken))]
            if self._parts:  # without its metadata.yaml, or with a file that is not whole
                self.broken.pop(self.path.name, None)
        else:
            self._parts = [whole] if whole else []
        if not self._parts:
            why = "; ".join(f"{name}: {reason}" for name, reason in self.broken.items())
            raise SsvifError(
                f"{self.path} is no readable recording ({why}). Try `ros2 bag reindex`, or for a "
                "ROS 1 bag `rosbag reindex`."
            )
        return self

    def __exit__(self, *_: object) -> None:
        for part in self._parts:
            part.reader.close()

    def topics(self) -> dict[str, str]:
        """Topics with their message types, sorted."""
        found = {c.topic: c.msgtype for part in self._parts for c in part.reader.connections}
        return dict(sorted(found.items()))

    @property
    def end_ns(self) -> int | None:
        """When the last message was received, where the files say so without being read."""
        ends = [part.reader.end_time for part in self._parts if not part.in_file_order]
        return max(ends) if len(ends) == len(self._parts) and all(ends) else None

    def messages(
        self, topics: Sequence[str], start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[Recorded]:
        """Messages of some topics in the order of their receipt, from start to before stop.

        Where a file breaks off, its messages end; `broken` says where.
        """
        parts = (self._of_part(part, topics, start_ns, stop_ns) for part in self._parts)
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
        self, part: _Part, topics: Sequence[str], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[Recorded]:
        connections = [c for c in part.reader.connections if c.topic in topics]
        if not connections:
            return
        count = 0
        try:
            for connection, received_ns, raw in part.messages(connections, start_ns, stop_ns):
                yield Recorded(connection.topic, connection.msgtype, received_ns, raw, part)
                count += 1
        except Exception as error:  # of the storage: rosbags', SQLite's or a decompressor's own
            reason = f"breaks off after {count} messages: {error}"
            self.broken.setdefault(part.path.name, reason)


def is_bag(path: Path) -> bool:
    """Whether a path is a recording by its name, or a folder that holds one (maybe as .zstd)."""
    files = path.iterdir() if path.is_dir() else [path]
    return any(BAG_SUFFIXES & set(p.suffixes[-2:]) for p in files)


def _opened(path: Path, broken: dict[str, str]) -> _Part | None:
    """Open one file or folder; notes in `broken` why not, or how much of it is gone."""
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise SsvifError(
            f"Reading {path.name} needs the package rosbags: pip install '.[bags]' ({error})."
        ) from error
    # Old .db3 files hold no message definitions; images have had the same ones since ROS 2 began.
    types = get_typestore(Stores.LATEST)
    source: Any = path
    cut = path.suffix == ".mcap" and path.is_file() and not _ends_with_magic(path)
    if cut:
        source = _MendedMcap(path)
        broken[path.name] = (
            f"breaks off in the record at byte {source.end} of {path.stat().st_size}; what comes "
            "before it is read"
        )
    try:
        if path.suffix == ".db3" and path.is_file() and missing_bytes(path):
            broken[path.name] = f"is cut short by {missing_bytes(path)} bytes; what is left is read"
            return _Part(path, CutSqlite(path, types), in_file_order=False)  # type: ignore[arg-type]
        reader = AnyReader([source], default_typestore=types)
        reader.open()
    except Exception as error:  # rosbags' and its parsers' own
        broken[path.name] = f"cannot be opened: {error}"
        return None
    return _Part(path, reader, in_file_order=cut)


def _ends_with_magic(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - len(MAGIC)))
        return file.read() == MAGIC


class _MendedMcap:
    """A truncated MCAP file as `rosbags` would like to see it: whole records, then an end.

    Stands for a path, and gives a file without writing one: recordings may be larger than what is
    left of the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.suffix, self.stem = path, path.suffix, path.stem
        self.end = _end_of_records(path)

    def exists(self) -> bool:
        return self.path.exists()

    def is_dir(self) -> bool:
        return False

    def open(self, *_: object) -> io.BufferedReader:
        return io.BufferedReader(_WithTail(self.path, self.end, PLAIN_END), 2**20)


class _WithTail(io.RawIOBase):
    """The first `end` bytes of a file, followed by `tail`."""

    def __init__(self, path: Path, end: int, tail: bytes) -> None:
        self._file, self._end, self._tail, self._at = path.open("rb"), end, tail, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._at, self._end + len(self._tail))[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at < self._end:
            self._file.seek(self._at)
            data = self._file.read(min(len(buffer), self._end - self._at))
        else:
            start = self._at - self._end
            data = self._tail[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _end_of_records(path: Path) -> int:
    """Where the last record ends that is there as a whole."""
    size, position = path.stat().st_size, len(MAGIC)
    with path.open("rb") as file:
        while position + RECORD_HEADER_BYTES <= size:
            file.seek(position)
            header = file.read(RECORD_HEADER_BYTES)
            behind = position + RECORD_HEADER_BYTES + int.from_bytes(header[1:], "little")
            if behind > size or header[0] in (DATA_END, FOOTER):
                break
            position = behind
    return position
