"""Rows of the table: made when a pair is decided, written when its fate at real time is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ssvif_core.replay.frame_table import FrameTable
from ssvif_core.replay.pairs import DecidedPair
from ssvif_core.replay.real_time import Fate, Mailbox
from ssvif_core.replay.recording import Arrival
from ssvif_core.replay.timeline import Timeline

__all__ = ["Costs", "Rows"]


class Costs:
    """How long the node's worker is busy with a pair: as long as it took where it was timed, and
    else as long as the last one of its kind that was.
    """

    def __init__(self) -> None:
        self._decode_ms: dict[str, float] = {}
        self._total_ms: dict[str, float] = {}

    def timed(self, cameras: str, stages_ms: dict[str, float], *, failed: bool) -> None:
        """Take note of the times of a pair of these cameras ("both", or the one alone).

        Of one that failed there is only the decoding.
        """
        self._decode_ms[cameras] = stages_ms.get("decode_ms", 0.0)
        if not failed:
            self._total_ms[cameras] = sum(stages_ms.values())

    def of_ns(self, cameras: str, *, failed: bool) -> int:
        """Cost of a pair."""
        return round((self._decode_ms if failed else self._total_ms).get(cameras, 0.0) * 1e6)


class Rows:
    """Makes rows in the order of their pairs, and hands them to the table in that order.

    Args:
        table: open.
        timeline: counts what real time would have dropped.
        start_ns: beginning of the recording.
        offset_ns: added to the stamps of a thermal frame alone, as the node does.
        also: gets each row after the table.
    """

    def __init__(
        self, table: FrameTable, timeline: Timeline, start_ns: int, offset_ns: int,
        also: Callable[[dict[str, Any]], None] = lambda row: None,
    ) -> None:  # fmt: skip
        self._table, self._timeline = table, timeline
        self._start_ns, self._offset_ns = start_ns, offset_ns
        self._also = also
        self._mailbox = Mailbox()
        self._open: dict[int, dict[str, Any]] = {}
        self._made = 0

    def make(self, pair: DecidedPair) -> dict[str, Any]:
        """What is known of a pair when it is decided."""
        arrivals = pair.arrivals
        first, later_ns = arrivals[0], max(a.received_ns for a in arrivals)
        # Of the thermal camera alone: its stamp on the visible camera's clock, as the node does.
        offset_ns = self._offset_ns if pair.visible is None else 0
        stamp_ns = pair.visible_ns if pair.visible_ns is not None else pair.thermal_ns
        assert stamp_ns is not None
        row = {
            "index": self._made,
            "time_s": (first.received_ns - self._start_ns) * 1e-9,
            "cameras": pair.cameras,
            "visible_stamp_ns": pair.visible_ns,
            "thermal_stamp_ns": pair.thermal_ns,
            "delta_ms": None if pair.delta_ns is None else pair.delta_ns * 1e-6,
            "wait_ms": (pair.decided_ns - later_ns) * 1e-6,
            # For the fate and the outputs; no columns.
            "_stamp_ns": stamp_ns + offset_ns,
            "_header_ns": first.header_ns + offset_ns,
            "_lag_ns": _lag_ns(first, offset_ns),
            "_received_ns": first.received_ns,
            "_decided_ns": pair.decided_ns,
        }
        self._made += 1
        return row

    def close(self, row: dict[str, Any], decided_ns: int, cost_ns: int) -> None:
        """All is known of a row but its fate: let the mailbox have its pair."""
        self._open[row["index"]] = row
        self._settle(self._mailbox.offer(row["index"], decided_ns, cost_ns))

    def flush(self) -> None:
        """The end of the recording."""
        self._settle(self._mailbox.flush())

    def _settle(self, fates: list[Fate]) -> None:
        for fate in fates:
            row = self._open.pop(fate.index)
            received_ns, lag_ns = row.pop("_received_ns"), row.pop("_lag_ns")
            decided_ns = row.pop("_decided_ns")
            del row["_stamp_ns"], row["_header_ns"]
            row["dropped"] = int(fate.dropped)
            if fate.finished_ns is not None and "error" not in row:
                after_ns = fate.finished_ns - received_ns
                row["after_receipt_ms"] = after_ns * 1e-6
                row["latency_ms"] = None if lag_ns is None else (after_ns + lag_ns) * 1e-6
            elif fate.dropped:
                self._timeline.count("dropped", decided_ns)
            self._table.append(row)
            self._also(row)


def _lag_ns(arrival: Arrival, offset_ns: int) -> int | None:
    """Receipt minus header stamp; None where there is none."""
    if arrival.header_ns <= 0:
        return None
    return arrival.received_ns + arrival.step_ns - arrival.header_ns - offset_ns
