"""Reading ROS 1 bags that have no index: the recorder was killed, or the file is cut short.

Format: http://wiki.ros.org/Bags/Format/2.0. The index at the end of a bag is what `rosbag reindex`
would make; here chunks are walked instead. An open chunk of a killed recorder (`.bag.active`) has
the length 0 in its header: what follows it are its records, or compressed bytes up to the end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssvif_core.data.salvage import NOT_CLOSED, Block, Channel, Note, SalvageReader, broken_off
from ssvif_core.data.unpack import unpacked
from ssvif_core.errors import SsvifError

__all__ = ["SalvagedRos1"]

MAGIC = b"#ROSBAG V2.0\n"
LENGTH = struct.Struct("<I")
MESSAGE, INDEX, CHUNK, CONNECTION = 2, 4, 5, 7
#: Headers of records are some ten to hundred bytes long, with a topic's name in them.
LONGEST_HEADER = 2**16


class _Record(NamedTuple):
    fields: dict[str, bytes]
    data_at: int
    length: int

    @property
    def behind(self) -> int:
        return self.data_at + self.length

    @property
    def opcode(self) -> int:
        return int.from_bytes(self.fields.get("op", b""), "little")

    @property
    def connection(self) -> int:
        return int.from_bytes(self.fields.get("conn", b""), "little")


class SalvagedRos1(SalvageReader):
    """See `SalvageReader`.

    Raises:
        SsvifError: it is no bag of ROS 1.
    """

    is2 = False

    def __init__(self, path: Path, types: Any, note: Note) -> None:
        super().__init__(path, types, note)
        if self._bytes(0, len(MAGIC)) != MAGIC:
            self.close()
            raise SsvifError("it does not begin as a bag of ROS 1, version 2.0")
        self._ends: dict[int, int] = {}  # of blocks, by their beginnings
        self._walk()

    def _walk(self) -> None:
        position, chunk, index = len(MAGIC), -1, list[tuple[int, np.ndarray]]()
        while position < self._size:
            record = self._record(position)
            if chunk >= 0 and (record is None or record.opcode != INDEX):
                self._add_chunk(chunk, index)
                chunk, index = -1, []
            if record is None or (record.behind > self._size and record.opcode != CHUNK):
                break
            if record.opcode == CHUNK:
                chunk = position
                if not record.length:  # it was open when the recorder ended
                    self._ends[position] = position = self._size
                    break
            elif record.opcode == INDEX:
                index.append(self._index(record))
            elif record.opcode == CONNECTION:
                self._define(record, self._bytes(record.data_at, record.length))
            if record.behind > self._size:
                break
            position = record.behind
        if chunk >= 0:
            self._add_chunk(chunk, index)
        if position < self._size:
            self._note(broken_off(position, self._size))
        elif self._unindexed():
            self._note(NOT_CLOSED)

    def _index(self, record: _Record) -> tuple[int, np.ndarray]:
        """Connection, and (N, 3) uint32 seconds, nanoseconds, offsets of its messages."""
        entries = self._bytes(record.data_at, record.length // 12 * 12)
        return record.connection, np.frombuffer(entries, "<u4").reshape(-1, 3)

    def _unindexed(self) -> bool:
        """Whether the header of the bag still says that there is no index."""
        header = self._record(len(MAGIC))
        return header is not None and not any(header.fields.get("index_pos", b""))

    def _record(self, position: int) -> _Record | None:
        """The record at a position; its data may be cut. None where there is none."""
        length = self._bytes(position, LENGTH.size)
        if len(length) < LENGTH.size or LENGTH.unpack(length)[0] > LONGEST_HEADER:
            return None
        head = length + self._bytes(position + LENGTH.size, LENGTH.unpack(length)[0] + LENGTH.size)
        found = _record_in(head, 0, headless=True)
        return None if found is None else found._replace(data_at=position + found.data_at)

    def _define(self, record: _Record, data: bytes) -> None:
        if record.connection in {channel.id for channel in self.connections}:
            return
        fields = _fields(data)
        topic, kind = (part.decode(errors="replace") for part in (
            record.fields.get("topic", b""), fields.get("type", b"")
        ))  # fmt: skip
        package, _, name = kind.partition("/")
        kind = f"{package}/msg/{name}" if name and not name.startswith("msg/") else kind
        topic = "/" * topic.startswith("/") + "/".join(part for part in topic.split("/") if part)
        self.connections.append(Channel(record.connection, topic, kind))

    def _add_chunk(self, position: int, index: list[tuple[int, np.ndarray]]) -> None:
        ids = {connection for connection, _ in index}
        if ids and ids <= {channel.id for channel in self.connections}:
            times = np.concatenate([times for _, times in index]).astype(np.int64)
            received = times[:, 0] * 1_000_000_000 + times[:, 1]
        else:  # names are in it, or it was cut before its index
            contents = [(ns, connection) for ns, connection, _ in self._contents(position)]
            ids = {connection for _, connection in contents}
            received = np.array([ns for ns, _ in contents], np.int64)
        if len(received):
            times_ns = int(received.min()), int(received.max())
            self._blocks.append(Block(*times_ns, position, frozenset(ids)))

    def _read(self, block: Block) -> Iterator[tuple[int, int, bytes]]:
        return self._contents(block.position)

    def _contents(self, position: int) -> Iterator[tuple[int, int, bytes]]:
        """(time, connection, message) of the whole messages in a chunk; connections are noted."""
        data = self._unpacked(position)
        at = 0
        while (record := _record_in(data, at)) is not None:
            content = data[record.data_at : record.behind]
            if record.opcode == CONNECTION:
                self._define(record, content)
            elif record.opcode == MESSAGE and len(record.fields.get("time", b"")) == 8:
                seconds, nanoseconds = struct.unpack("<II", record.fields["time"])
                yield seconds * 1_000_000_000 + nanoseconds, record.connection, content
            at = record.behind

    def _unpacked(self, position: int) -> bytes:
        record = self._record(position)
        assert record is not None  # it was there when the file was walked
        end = self._ends.get(position, record.behind)
        try:
            data, why = unpacked(
                self._bytes(record.data_at, end - record.data_at),
                record.fields.get("compression", b"").decode(errors="replace"),
            )
        except SsvifError as error:
            data, why = b"", str(error)
        size = record.fields.get("size", b"")
        if not why and len(size) == LENGTH.size and len(data) != LENGTH.unpack(size)[0]:
            why = f"it has {len(data)} bytes of {LENGTH.unpack(size)[0]}"
        if why and end <= self._size and position not in self._ends:
            self._note(f"the chunk at byte {position} is damaged: {why}")
        return data


def _record_in(data: bytes, at: int, *, headless: bool = False) -> _Record | None:
    """The record at a place in bytes, or None if it is not whole.

    With `headless`, its data need not be there.
    """
    if at + LENGTH.size > len(data):
        return None
    data_at = at + LENGTH.size + int(LENGTH.unpack_from(data, at)[0]) + LENGTH.size
    if data_at > len(data):
        return None
    length = int(LENGTH.unpack_from(data, data_at - LENGTH.size)[0])
    fields = _fields(data[at + LENGTH.size : data_at - LENGTH.size])
    if "op" not in fields or (not headless and data_at + length > len(data)):
        return None
    return _Record(fields, data_at, length)


def _fields(header: bytes) -> dict[str, bytes]:
    """Fields of a header, as far as they are well formed."""
    fields, at = dict[str, bytes](), 0
    while at + LENGTH.size <= len(header):
        length = int(LENGTH.unpack_from(header, at)[0])
        name, _, value = header[at + LENGTH.size : at + LENGTH.size + length].partition(b"=")
        fields[name.decode(errors="replace")] = value
        at += LENGTH.size + length
    return fields
