"""Reading a rosbag2 .db3 file that was cut short, as far as it goes. Stands for rosbags' reader.

SQLite refuses a file that is shorter than its header says (lockBtree in its btree.c), unless the
schema may be written: then it takes the file as it is, which is how `.recover` of its shell begins.
The table of messages lies in the order of its ids, so that a scan by id finds all that is left; the
index over receipt times is spread over the file and is not used.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CutSqlite", "missing_bytes"]

#: Database file format, https://sqlite.org/fileformat.html, section 1.3.
HEADER, MAGIC = 100, b"SQLite format 3\x00"


def missing_bytes(path: Path) -> int:
    """How many bytes a database file lacks of what its header promises; 0 for other files."""
    with path.open("rb") as file:
        header = file.read(HEADER)
    if len(header) < HEADER or not header.startswith(MAGIC):
        return 0
    page = int.from_bytes(header[16:18], "big")
    page = 65536 if page == 1 else page
    pages = int.from_bytes(header[28:32], "big")
    return max(0, page * pages - path.stat().st_size)


@dataclass(frozen=True)
class Topic:
    """What `Bag` wants to know of a connection."""

    id: int
    topic: str
    msgtype: str


class CutSqlite:
    """One cut file, open for reading.

    Args:
        path: of the file.
        types: a type store of `rosbags`; message definitions in the file are not looked for.

    Raises:
        sqlite3.Error: not even the table of topics is there.
    """

    is2 = True
    start_time, end_time = 0, 0

    def __init__(self, path: Path, types: Any) -> None:
        self._types = types
        self._file = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        self._file.execute("PRAGMA writable_schema=ON")
        rows = self._file.execute("SELECT id, name, type FROM topics").fetchall()
        self.connections = [Topic(*row) for row in rows]

    def messages(
        self, connections: Sequence[Topic], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[tuple[Topic, int, bytes]]:
        """Messages by id. Raises sqlite3.DatabaseError where the file ends."""
        wanted = {connection.id: connection for connection in connections}
        query = "SELECT topic_id, timestamp, data FROM messages ORDER BY id"
        for topic_id, received_ns, data in self._file.execute(query):
            early = start_ns is not None and received_ns < start_ns
            late = stop_ns is not None and received_ns >= stop_ns
            if topic_id in wanted and not early and not late:
                yield wanted[topic_id], received_ns, data

    def deserialize(self, raw: bytes, kind: str) -> Any:
        """As `rosbags.highlevel.AnyReader`."""
        return self._types.deserialize_cdr(raw, kind)

    def close(self) -> None:
        self._file.close()
