"""The pairs that the node would have made of a recording, each with the moment of its decision.

Uses the node's own pairing and its watch on the two cameras, told the recorded times of receipt,
and looks at the clock between messages as often as the node does. Nothing is decoded here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from ssvif_core.pairing_base import Pair, Pairing
from ssvif_core.presence import CAMERAS, Presence
from ssvif_core.replay.recording import Arrival, Recording

__all__ = ["STAMPS", "DecidedPair", "ModeSpan", "NodePairing", "Stamps"]

Stamps = Literal["header", "receive"]
STAMPS: tuple[Stamps, Stamps] = ("header", "receive")
#: The node polls when a wait is due (ssvif_ros/poll_timer.py); looking this often, a decision falls
#: at most this much later, and is the same one.
LOOK_NS = 10_000_000
#: After this long without any message nothing changes any more.
LONGEST_SILENCE_NS = 60_000_000_000


class DecidedPair(NamedTuple):
    """Two messages that belong together, or one of a camera that goes on alone; in nanoseconds.

    `visible_ns` and `thermal_ns` are the stamps that they were paired by, `delta_ns` is thermal +
    offset - visible, `decided_ns` the time of receipt at which the pairing let them go. Of a
    camera that is missing there is neither message nor stamp, and no `delta_ns`.
    """

    visible: Arrival | None
    thermal: Arrival | None
    visible_ns: int | None
    thermal_ns: int | None
    delta_ns: int | None
    decided_ns: int

    @property
    def cameras(self) -> str:
        """The camera that goes on alone, or "both"."""
        if self.visible is not None and self.thermal is not None:
            return "both"
        return "thermal" if self.visible is None else "visible"

    @property
    def arrivals(self) -> list[Arrival]:
        """The messages that are there."""
        return [a for a in (self.visible, self.thermal) if a is not None]


class ModeSpan(NamedTuple):
    """From when on which cameras went on: "both", "visible", "thermal", or "none"."""

    start_ns: int
    mode: str


class NodePairing:
    """The pairing and the presence of one node, on the clock of a recording.

    Args:
        pairing: fresh.
        presence: fresh.
        stamps: pair by header stamps, as the node does, or by times of receipt.

    Attributes:
        modes: when the cameras that go on have changed.
    """

    def __init__(self, pairing: Pairing[Any, Any], presence: Presence, stamps: Stamps) -> None:
        self.pairing, self._presence, self._stamps = pairing, presence, stamps
        self.modes: list[ModeSpan] = []

    def play(
        self, recording: Recording, observe: Callable[[Arrival], None]
    ) -> Iterator[DecidedPair]:
        """All pairs of a recording, in the order of their decision.

        Args:
            recording: open.
            observe: is told of every message, of any role, before it is used; also of images that
                the node would refuse, which are left out.
        """
        last_ns: int | None = None
        for arrival in recording.arrivals():
            observe(arrival)
            if arrival.image is None or arrival.refused or arrival.role not in CAMERAS:
                continue
            if last_ns is not None:
                yield from self._looks(last_ns, arrival.received_ns)
            last_ns = arrival.received_ns
            yield from self._take(arrival)
        if last_ns is not None:
            end_ns = max(last_ns, self.pairing.due_ns or last_ns)
            yield from (_decided(pair, end_ns) for pair in self.pairing.flush())

    def _looks(self, from_ns: int, to_ns: int) -> Iterator[DecidedPair]:
        """What the clock alone decides between two messages."""
        to_ns = min(to_ns, from_ns + LONGEST_SILENCE_NS)
        for now_ns in range(from_ns + LOOK_NS, to_ns, LOOK_NS):
            self._presence.check(now_ns)
            yield from self._go_on(lambda now_ns=now_ns: self.pairing.poll(now_ns), now_ns)  # type: ignore[misc]

    def _take(self, arrival: Arrival) -> Iterator[DecidedPair]:
        now_ns = arrival.received_ns
        stamp_ns = arrival.header_ns if self._stamps == "header" else arrival.recorded.received_ns
        self._presence.seen(arrival.role, stamp_ns, now_ns, arrival.picture)
        visible = arrival.role == "visible"
        add = self.pairing.add_visible if visible else self.pairing.add_thermal
        return self._go_on(lambda: add(stamp_ns, arrival, now_ns), now_ns)

    def _go_on(
        self, decide: Callable[[], list[Pair[Any, Any]]], now_ns: int
    ) -> Iterator[DecidedPair]:
        """As PairSynchronizer._go_on of the node."""
        mode = self._presence.mode
        if not self.modes or self.modes[-1].mode != mode:
            self.modes.append(ModeSpan(now_ns, mode))
        pairs = self.pairing.go_on_alone(self._presence.alone) + decide()
        if pairs:
            self._presence.went_out()
        return (_decided(pair, now_ns) for pair in pairs)


def _decided(pair: Pair[Any, Any], decided_ns: int) -> DecidedPair:
    visible, thermal = pair.visible, pair.thermal
    return DecidedPair(
        visible,
        thermal,
        None if visible is None else pair.visible_stamp_ns,
        None if thermal is None else pair.thermal_stamp_ns,
        None if visible is None or thermal is None else pair.delta_ns,
        decided_ns,
    )
