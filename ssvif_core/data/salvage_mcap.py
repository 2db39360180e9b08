"""Reading MCAP files that are cut short, have no index or no chunks, or have damaged chunks.

Format: https://mcap.dev/spec. A recorder that was killed leaves no footer and no summary; the file
is walked record by record. Schemas and channels may lie within chunks, so a chunk is unpacked at
once only where the message indexes behind it name a channel that is not known yet.

Without chunks (rosbag2's preset `fastwrite`) messages lie as they came to the recorder, a little
out of the order of their times, which `rosbags` refuses in the middle of the file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssvif_core.data.salvage import NOT_CLOSED, Block, Channel, Note, SalvageReader, broken_off
from ssvif_core.data.unpack import unpacked
from ssvif_core.errors import SsvifError

__all__ = ["SalvagedMcap", "ends_with_magic", "has_no_chunks"]

MAGIC = b"\x89MCAP0\r\n"
#: Of a record: opcode and length of its content.
HEADER = struct.Struct("<BQ")
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX = 2, 3, 4, 5, 6, 7
STATISTICS, DATA_END = 11, 15
#: Fixed part of a message: channel, sequence, log time, publish time.
MESSAGE_HEAD = struct.Struct("<HIQQ")
#: Fixed part of a chunk: times of its first and last message, size unpacked, CRC-32.
CHUNK_HEAD = struct.Struct("<QQQI")
#: Fixed part of statistics, before messages by channel: channel and count.
STATISTICS_HEAD, COUNT = struct.Struct("<QHIIIIQQI"), struct.Struct("<HQ")
#: How ROS 2 writes messages; an MCAP file may hold any other encoding.
CDR = "cdr"
#: Messages outside chunks are taken together up to this many bytes.
RUN_BYTES = 2**20


def ends_with_magic(path: Path) -> bool:
    """Whether a file ends as a whole MCAP file does."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - len(MAGIC)))
        return file.read() == MAGIC


def has_no_chunks(path: Path) -> bool:
    """Whether the first message of an MCAP file lies outside of chunks."""
    with path.open("rb") as file:
        file.seek(len(MAGIC))
        while len(head := file.read(HEADER.size)) == HEADER.size:
            opcode, length = HEADER.unpack(head)
            if opcode in (MESSAGE, CHUNK, DATA_END, FOOTER) or length > path.stat().st_size:
                return bool(opcode == MESSAGE)
            file.seek(length, 1)
    return False


class SalvagedMcap(SalvageReader):
    """See `SalvageReader`.

    Raises:
        SsvifError: it is no MCAP file, or holds no message of ROS 2.
    """

    def __init__(self, path: Path, types: Any, note: Note) -> None:
        super().__init__(path, types, note)
        self._schemas: dict[int, str] = {}
        self._encodings: set[str] = set()
        self._run: list[int] = []  # begin, end, first and last time of messages outside chunks
        self._ends: dict[int, int] = {}  # of runs, by their beginnings
        self._counts: dict[int, int] = {}  # of messages, by channels, as the file says
        if self._bytes(0, len(MAGIC)) != MAGIC:
            self.close()
            raise SsvifError("it does not begin as an MCAP file")
        self._walk()
        self.connections = [
            c._replace(msgcount=self._counts.get(c.id, 0)) for c in self.connections
        ]
        if self._encodings and CDR not in self._encodings:
            self.close()
            raise SsvifError(f"its messages are {sorted(self._encodings)}, not ROS 2's ('{CDR}')")

    def _walk(self) -> None:
        position, chunk, ids = len(MAGIC), -1, set[int]()
        whole = False
        while position + HEADER.size <= self._size:
            opcode, length = HEADER.unpack(self._bytes(position, HEADER.size))
            behind = position + HEADER.size + length
            if opcode != MESSAGE_INDEX and chunk >= 0:
                self._add_chunk(chunk, ids)
                chunk, ids = -1, set()
            whole = whole or opcode in (DATA_END, FOOTER)
            if opcode in (0, FOOTER) or (behind > self._size and opcode != CHUNK):
                break
            if opcode == CHUNK:
                chunk = position
            elif opcode == MESSAGE_INDEX:
                ids.add(int.from_bytes(self._bytes(position + HEADER.size, 2), "little"))
            elif opcode == MESSAGE:
                self._add_message(position, behind)
            else:
                self._define(opcode, self._bytes(position + HEADER.size, length))
            if behind > self._size:
                break
            position = behind
        if chunk >= 0:
            self._add_chunk(chunk, ids)
        self._end_run()
        if not whole:
            self._note(broken_off(position, self._size) if position < self._size else NOT_CLOSED)

    def _define(self, opcode: int, content: bytes) -> None:
        try:
            if opcode == SCHEMA:
                self._schemas[_number(content, 0)] = _text(content, 2)[0]
            elif opcode == CHANNEL and _number(content, 0) not in {c.id for c in self.connections}:
                topic, at = _text(content, 4)
                encoding, _ = _text(content, at)
                kind = self._schemas.get(_number(content, 2), "") if encoding == CDR else ""
                self.connections.append(Channel(_number(content, 0), topic, kind))
                self._encodings.add(encoding)
            elif opcode == STATISTICS:
                pairs = content[STATISTICS_HEAD.size :]
                self._counts = dict(
                    COUNT.iter_unpack(pairs[: len(pairs) // COUNT.size * COUNT.size])
                )
        except (struct.error, UnicodeDecodeError) as error:
            self._note(f"names a topic or a type that cannot be read ({error})")

    def _add_chunk(self, position: int, ids: set[int]) -> None:
        head = self._bytes(position + HEADER.size, CHUNK_HEAD.size)
        if len(head) < CHUNK_HEAD.size:
            return
        start_ns, end_ns, _, _ = CHUNK_HEAD.unpack(head)
        if ids and ids <= {channel.id for channel in self.connections}:
            self._blocks.append(Block(start_ns, end_ns, position, frozenset(ids)))
            return
        for opcode, content in _records(self._unpacked(position)):
            if opcode == MESSAGE:
                ids.add(_number(content, 0))
            elif opcode in (SCHEMA, CHANNEL):
                self._define(opcode, content)
        if ids:
            self._blocks.append(Block(start_ns, end_ns, position, frozenset(ids)))

    def _add_message(self, position: int, behind: int) -> None:
        head = self._bytes(position + HEADER.size, MESSAGE_HEAD.size)
        if len(head) < MESSAGE_HEAD.size:
            return
        time_ns = MESSAGE_HEAD.unpack(head)[2]
        if self._run and (self._run[1] != position or position - self._run[0] > RUN_BYTES):
            self._end_run()
        if not self._run:
            self._run = [position, behind, time_ns, time_ns]
        begin, _, first_ns, last_ns = self._run
        self._run = [begin, behind, min(first_ns, time_ns), max(last_ns, time_ns)]

    def _end_run(self) -> None:
        if self._run:
            begin, end, first_ns, last_ns = self._run
            self._blocks.append(Block(first_ns, last_ns, begin, None))
            self._ends[begin] = end
            self._run = []

    def _read(self, block: Block) -> Iterator[tuple[int, int, bytes]]:
        end = self._ends.get(block.position)
        if end is None:
            data = self._unpacked(block.position)
        else:
            data = self._bytes(block.position, end - block.position)
        for opcode, content in _records(data):
            if opcode == MESSAGE and len(content) >= MESSAGE_HEAD.size:
                channel, _, time_ns, _ = MESSAGE_HEAD.unpack_from(content)
                yield time_ns, channel, content[MESSAGE_HEAD.size :]

    def _unpacked(self, position: int) -> bytes:
        """What is in a chunk; nothing, and a note, where it is damaged."""
        opcode, length = HEADER.unpack(self._bytes(position, HEADER.size))
        cut = position + HEADER.size + length > self._size
        content = self._bytes(position + HEADER.size, length)
        try:
            _, _, size, crc = CHUNK_HEAD.unpack_from(content)
            compression, at = _text(content, CHUNK_HEAD.size)
            packed = struct.unpack_from("<Q", content, at)[0]
            data, why = unpacked(content[at + 8 : at + 8 + packed], compression)
        except (struct.error, UnicodeDecodeError, SsvifError) as error:
            data, why = b"", str(error)
        else:
            if not cut and not why and crc and zlib.crc32(data) != crc:
                data, why = b"", "its checksum is wrong"
            elif not cut and not why and len(data) != size:
                why = f"it has {len(data)} bytes of {size}"
        if why and not cut:
            self._note(f"the chunk at byte {position} is damaged and left out: {why}")
            return b""
        if not cut and (lost := len(data) - _readable(data)):
            self._note(
                f"the chunk at byte {position} is damaged: {lost} of its {len(data)} bytes are "
                "left out"
            )
        return data


def _readable(data: bytes) -> int:
    """Where the records end that `_records` gives."""
    return sum(HEADER.size + len(content) for _, content in _records(data))


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Opcode and content of the records that are whole."""
    at = 0
    while at + HEADER.size <= len(data):
        opcode, length = HEADER.unpack_from(data, at)
        at += HEADER.size
        if not opcode or at + length > len(data):
            return
        yield opcode, data[at : at + length]
        at += length


def _number(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 2], "little")


def _text(content: bytes, at: int) -> tuple[str, int]:
    """A string with its length before it, and where it ends."""
    end = at + 4 + int(struct.unpack_from("<I", content, at)[0])
    return content[at + 4 : end].decode(), end
