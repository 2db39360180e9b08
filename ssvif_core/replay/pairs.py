"""The pairs that the node would have made of a recording, each with the moment of its decision.

Uses the node's own pairing, told the recorded times of receipt. Nothing is decoded here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from ssvif_core.pairing import NearestPairing, Pair
from ssvif_core.replay.recording import Arrival, Recording

__all__ = ["STAMPS", "DecidedPair", "Stamps", "decided_pairs"]

Stamps = Literal["header", "receive"]
STAMPS: tuple[Stamps, Stamps] = ("header", "receive")


class DecidedPair(NamedTuple):
    """Two messages that belong together; times in nanoseconds.

    `visible_ns` and `thermal_ns` are the stamps that they were paired by, `delta_ns` is thermal +
    offset - visible, `decided_ns` the time of receipt at which the pairing let them go.
    """

    visible: Arrival
    thermal: Arrival
    visible_ns: int
    thermal_ns: int
    delta_ns: int
    decided_ns: int


def decided_pairs(
    recording: Recording,
    pairing: NearestPairing[Any, Any],
    stamps: Stamps,
    observe: Callable[[Arrival], None],
) -> Iterator[DecidedPair]:
    """Play a recording through a pairing.

    Waits end when they would have ended live, also between two messages.

    Args:
        recording: open.
        pairing: fresh.
        stamps: pair by header stamps, as the node does, or by times of receipt.
        observe: is told of every message, of any role, before it is used.
    """
    last_ns = recording.start_ns
    for arrival in recording.arrivals():
        observe(arrival)
        if arrival.role not in ("visible", "thermal"):
            continue
        last_ns = arrival.received_ns
        yield from _ended_waits(pairing, last_ns)
        stamp_ns = arrival.header_ns if stamps == "header" else arrival.received_ns
        add = pairing.add_visible if arrival.role == "visible" else pairing.add_thermal
        for pair in add(stamp_ns, arrival, arrival.received_ns):
            yield _decided(pair, arrival.received_ns)
    end_ns = max(last_ns, pairing.due_ns or last_ns)
    for pair in pairing.flush():
        yield _decided(pair, end_ns)


def _ended_waits(pairing: NearestPairing[Any, Any], until_ns: int) -> Iterator[DecidedPair]:
    due_ns = pairing.due_ns
    while due_ns is not None and due_ns < until_ns:
        pairs = pairing.poll(due_ns)
        for pair in pairs:
            yield _decided(pair, due_ns)
        if not pairs:
            return
        due_ns = pairing.due_ns


def _decided(pair: Pair[Arrival, Arrival], decided_ns: int) -> DecidedPair:
    return DecidedPair(
        pair.visible, pair.thermal, pair.visible_stamp_ns, pair.thermal_stamp_ns, pair.delta_ns,
        decided_ns,
    )  # fmt: skip
