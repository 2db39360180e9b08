"""Reading a rosbag2 .db3 file that is cut short, damaged, or was not closed, as far as it goes.

SQLite refuses a file that is shorter than its header says (lockBtree in its btree.c), unless the
schema may be written: then it takes the file as it is, which is how `.recover` of its shell begins.
The table of messages lies in the order of its ids, so that a scan by id finds all that is left; the
index over receipt times is spread over the file and is not used. Ids need not be in order of
receipt: the scan takes times alone, and messages are then read one by one in their order.

A recorder with rosbag2's preset `resilient` writes ahead: what it recorded last lies in a file
`-wal` beside the database until it closes it. `rosbags` opens databases as immutable, which leaves
that file out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssvif_core.data.salvage import Channel, Note

__all__ = ["SalvagedSqlite", "has_wal", "missing_bytes"]

#: Database file format, https://sqlite.org/fileformat.html, section 1.3.
HEADER, MAGIC = 100, b"SQLite format 3\x00"
#: Largest number of a row, and messages behind a damaged one that are each tried.
LAST_ID, ONE_BY_ONE = 2**63 - 1, 64
#: A write-ahead log that has no frame yet is a header, or nothing.
WAL_HEADER = 32


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


def has_wal(path: Path) -> bool:
    """Whether a write-ahead log with something in it lies beside a database."""
    wal = path.with_name(f"{path.name}-wal")
    return wal.is_file() and wal.stat().st_size > WAL_HEADER


class SalvagedSqlite:
    """One file, open for reading. As `SalvageReader`, but by SQLite's own means.

    Raises:
        sqlite3.Error: not even the table of topics is there.
    """

    is2 = True
    #: Not known before it is read.
    end_time = 0

    def __init__(self, path: Path, types: Any, note: Note) -> None:
        self._types, self._note = types, note
        self._cut = missing_bytes(path)
        if self._cut:
            note(f"is cut short by {self._cut} bytes; what is left is read")
        self._file = _connected(path, note)
        rows = self._file.execute("SELECT id, name, type FROM topics").fetchall()
        self.connections = [Channel(*row) for row in rows]
        self._order: np.ndarray | None = None

    def messages(
        self, connections: Sequence[Channel], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[tuple[Channel, int, bytes]]:
        """Messages in order of receipt; those on damaged pages are left out."""
        wanted = {connection.id: connection for connection in connections}
        if self._order is None:
            rows = np.array([*self._rows()], np.int64).reshape(-1, 3)
            self._order = rows[np.lexsort(rows.T)]
        failed = False
        for topic_id, number, received_ns in self._order.tolist():
            early = start_ns is not None and received_ns < start_ns
            late = stop_ns is not None and received_ns >= stop_ns
            if topic_id not in wanted or early or late:
                continue
            data = self._data(number)
            if data is not None:
                yield wanted[topic_id], received_ns, data
            elif not failed and not self._cut:
                self._note(f"is damaged at message {number}")
            failed = data is None

    def _data(self, number: int) -> bytes | None:
        """A message by its id; None where its pages are damaged."""
        query = "SELECT data FROM messages WHERE id = ?"
        try:
            row = self._file.execute(query, (number,)).fetchone()
        except sqlite3.DatabaseError:
            return None
        return row[0] if row and isinstance(row[0], bytes) else None

    def _rows(self) -> Iterator[tuple[int, int, int]]:
        """Topic, id and time of receipt of each message."""
        query = "SELECT id, topic_id, timestamp FROM messages WHERE id > ? ORDER BY id"
        last, failed = 0, 0
        while last < LAST_ID:
            try:
                for number, topic_id, received_ns in self._file.execute(query, (last,)):
                    if number <= last:  # a damaged tree may lead in a circle
                        raise sqlite3.DatabaseError("rows are out of order")
                    last, failed = number, 0
                    if isinstance(topic_id, int) and isinstance(received_ns, int):
                        yield topic_id, number, received_ns
                return
            except sqlite3.DatabaseError as error:
                if not failed and not self._cut:
                    self._note(f"is damaged behind message {last}: {error}")
                failed += 1
                # One by one over a damaged page, then in strides: the rest of a cut file is gone.
                last += 1 << max(0, failed - ONE_BY_ONE)

    def deserialize(self, raw: bytes, kind: str) -> Any:
        """As `rosbags.highlevel.AnyReader`."""
        return self._types.deserialize_cdr(raw, kind)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _connected(path: Path, note: Note) -> sqlite3.Connection:
    address = path.resolve().as_uri()
    if not has_wal(path):
        file = sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True)
        file.execute("PRAGMA writable_schema=ON")
        return file
    try:
        file = sqlite3.connect(f"{address}?mode=ro", uri=True)
        file.execute("SELECT 1 FROM sqlite_master")
    except sqlite3.OperationalError as error:  # a log can only be read where a file can be made
        note(
            f"was not closed, and what it recorded last (in {path.name}-wal) is left out, because "
            f"its folder cannot be written to ({error}): copy both files to another folder"
        )
        return sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True)
    note(f"was not closed by its recorder; {path.name}-wal is read with it")
    return file
