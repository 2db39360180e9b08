"""What the node would have dropped: its one-slot mailbox on a simulated clock.

Pairs are offered when the recording decides them, and each takes as long as it took here. The rule
is that of `ssvif_ros/worker.py`: the newest pair waits, an older one that still waits is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fate", "Mailbox"]


@dataclass(frozen=True)
class Fate:
    """What became of a pair.

    Attributes:
        index: of the pair.
        dropped: a newer one replaced it before the worker was free.
        finished_ns: when its fused image is there, on the recording's clock; None if dropped.
    """

    index: int
    dropped: bool
    finished_ns: int | None


@dataclass(frozen=True)
class _Offer:
    index: int
    offered_ns: int
    cost_ns: int


class Mailbox:
    """The mailbox and its worker. Offers come in the order of their times."""

    def __init__(self) -> None:
        self._free_ns = -(2**62)
        self._waiting: _Offer | None = None

    def offer(self, index: int, offered_ns: int, cost_ns: int) -> list[Fate]:
        """Hand a pair over at a time; the fates that this settles, oldest first.

        Args:
            index: of the pair.
            offered_ns: when it was decided, on the recording's clock.
            cost_ns: how long the worker is busy with it.
        """
        settled: list[Fate] = []
        offer = _Offer(index, offered_ns, cost_ns)
        if self._waiting is not None and self._free_ns <= offered_ns:
            settled.append(self._run(self._waiting))
            self._waiting = None
        if self._waiting is None and self._free_ns <= offered_ns:
            settled.append(self._run(offer))
            return settled
        if self._waiting is not None:
            settled.append(Fate(self._waiting.index, True, None))
        self._waiting = offer
        return settled

    def flush(self) -> list[Fate]:
        """The end of the recording: what waits is worked on."""
        waiting, self._waiting = self._waiting, None
        return [self._run(waiting)] if waiting else []

    def _run(self, offer: _Offer) -> Fate:
        self._free_ns = max(self._free_ns, offer.offered_ns) + offer.cost_ns
        return Fate(offer.index, False, self._free_ns)
