"""What is common to readers of damaged recordings: blocks of messages, given in order of receipt.

A file is walked record by record, without its index. What lies in blocks (chunks of MCAP and of
ROS 1) is unpacked when its turn comes, and one that cannot be is left out and told of.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["NOT_CLOSED", "Block", "Channel", "Note", "SalvageReader", "broken_off"]

#: Of a file that has all that it should have but its end.
NOT_CLOSED = "was not closed by its recorder; it is read to its last record"
#: Is told what is wrong with a file.
Note = Callable[[str], None]


class Channel(NamedTuple):
    """What `Bag` wants to know of a topic in a file."""

    id: int
    topic: str
    msgtype: str
    msgcount: int = 0  # as the file says, where it does


class Block(NamedTuple):
    """Messages that lie together in a file. Times in nanoseconds, both included.

    `channels` has the ids of the channels in it, or is None where that is not known.
    """

    start_ns: int
    end_ns: int
    position: int
    channels: frozenset[int] | None


def broken_off(position: int, size: int) -> str:
    """Says where a file ends before its time."""
    return f"breaks off in the record at byte {position} of {size}; all that is whole is read"


class SalvageReader(ABC):
    """One file, open for reading. A subclass walks it when it is made, and reads blocks.

    Args:
        path: of the file.
        types: a type store of `rosbags`, for messages that are not images.
        note: is told what is wrong with it.

    Attributes:
        connections: the topics.
    """

    is2 = True

    def __init__(self, path: Path, types: Any, note: Note) -> None:
        self._types, self._note = types, note
        self._size = path.stat().st_size
        self._file = path.open("rb")
        self.connections: list[Channel] = []
        self._blocks: list[Block] = []

    @property
    def end_time(self) -> int:
        """Time after the last message; 0 where there is none."""
        return max((block.end_ns + 1 for block in self._blocks), default=0)

    def messages(
        self, connections: Sequence[Channel], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[tuple[Channel, int, bytes]]:
        """Messages of some topics in order of receipt, from start to before stop."""
        wanted = {connection.id: connection for connection in connections}
        blocks = [
            block
            for block in self._blocks
            if (start_ns is None or block.end_ns >= start_ns)
            and (stop_ns is None or block.start_ns < stop_ns)
            and (block.channels is None or block.channels & wanted.keys())
        ]
        for received_ns, channel, raw in _in_order(blocks, self._read):
            early = start_ns is not None and received_ns < start_ns
            late = stop_ns is not None and received_ns >= stop_ns
            if channel in wanted and not early and not late:
                yield wanted[channel], received_ns, raw

    def deserialize(self, raw: bytes, kind: str) -> Any:
        """As `rosbags.highlevel.AnyReader`."""
        decode = self._types.deserialize_cdr if self.is2 else self._types.deserialize_ros1
        return decode(raw, kind)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @abstractmethod
    def _read(self, block: Block) -> Iterable[tuple[int, int, bytes]]:
        """(time, id of channel, message) of all messages in a block."""

    def _bytes(self, position: int, length: int) -> bytes:
        self._file.seek(position)
        return self._file.read(length)


def _in_order(
    blocks: Iterable[Block], read: Callable[[Block], Iterable[tuple[int, int, bytes]]]
) -> Iterator[tuple[int, int, bytes]]:
    """Messages of blocks that may overlap in time; as few blocks as possible are held."""
    waiting: list[tuple[int, int, int, bytes]] = []
    number = 0
    for block in sorted(blocks, key=lambda block: (block.start_ns, block.position)):
        while waiting and waiting[0][0] < block.start_ns:
            received_ns, _, channel, raw = heapq.heappop(waiting)
            yield received_ns, channel, raw
        for received_ns, channel, raw in read(block):
            heapq.heappush(waiting, (received_ns, number, channel, raw))
            number += 1
    while waiting:
        received_ns, _, channel, raw = heapq.heappop(waiting)
        yield received_ns, channel, raw
