"""Which visible frame belongs to which thermal frame, decided from stamps while frames come in.

Knows stamps only: a frame is any object. No messages, no threads, no clock; the caller passes the
time of receipt, so a bag that is replayed with its recorded times is paired as it was live.

The pairing aimed at is the best one-to-one pairing as `alignment.py` defines it: greatest sum of
`slop - |dt|`. Within one stream stamps increase, so a decision can be made before the end:

1. *At once*, when what comes later cannot change it: by proof from the stamps alone
   (`anticipate=False`: then everything that is emitted, with `flush` at the end, is a best
   pairing, as long as no wait ran out and no queue overflowed), or, by default, because all
   futures that the streams' own recent periods lead one to expect agree on it. Expecting saves
   waiting for a visible frame that is not due before the thermal one is long gone: up to a period.
2. *After `max_wait_s`* from the moment a frame first had a partner: the best of what is there.
3. *When a queue is full*: the oldest frame is decided.

A frame without any partner in reach waits for free (a transport may delay one topic by 100 ms and
more) until the other stream has passed it, or its queue is full.
"""

from __future__ import annotations

from typing import Any

from ssvif_core.alignment import Alignment, Settled, agreed, proven
from ssvif_core.pairing_base import Pair, Pairing, PairingCounts, T, V

__all__ = ["ExactPairing", "NearestPairing", "Pair", "PairingCounts"]


class NearestPairing(Pairing[V, T]):
    """One-to-one nearest-stamp pairing of two streams, online. Not thread safe.

    Args:
        anticipate: expect the next frames at the streams' own periods (module docstring).
        settings: those of `Pairing`. Their defaults:
            slop 50 ms: at 30 and 9 Hz a thermal frame is never further than 16.7 ms from a visible
            frame, or 33 ms when one is lost; more slop never makes a pair worse, as in greedy
            synchronizers, it only lets poorer ones through.
            queue_size 15: half a second at 30 Hz: the 222 ms gap that a lost 9 Hz frame leaves, and
            100 ms of transport delay, with some to spare.
            max_wait 100 ms: one period at 30 Hz and transport that takes 60 ms longer for one frame
            than for another. It seldom runs out: a decision falls when the expected frame, or the
            one after a lost one, is there (benchmarks/pairing.py: 0 to 7 ms on average at 30 + 9
            and 30 + 30 Hz).
    """

    def __init__(self, *, anticipate: bool = True, **settings: Any) -> None:
        super().__init__(**settings)
        self._anticipate = anticipate
        self._waiting_since_ns: int | None = None
        self._now_ns: int | None = None

    @property
    def due_ns(self) -> int | None:
        """When the longest wait ends, so when `poll` will emit; None while no pair waits."""
        since = self._waiting_since_ns
        return None if since is None else since + self._max_wait_ns

    def poll(self, now_ns: int) -> list[Pair[V, T]]:
        """The pairs whose wait has ended at `now_ns`. Cheap: call it as often as you like."""
        self._notice(now_ns)
        due_ns = self.due_ns
        return self._decide(now_ns) if due_ns is not None and due_ns <= now_ns else []

    def flush(self) -> list[Pair[V, T]]:
        """Decide everything that is queued (the end of a bag)."""
        pairs = Alignment(*self._times(), self._slop_ns).pairs()
        self._waiting_since_ns = None
        return self._commit((pairs, *self.pending))

    def reset(self) -> None:
        """Forget both streams; queued frames count as stale, counts are kept."""
        super().reset()
        self._waiting_since_ns = None

    def _notice(self, now_ns: int) -> None:
        """Let a clock that went back (looping simulated time) not prolong a wait."""
        if self._now_ns is not None and now_ns < self._now_ns - 1:
            for waiting in (*self._visible.queue, *self._thermal.queue):
                if waiting.since_ns is not None:
                    waiting.since_ns = min(waiting.since_ns, now_ns)
            if self._waiting_since_ns is not None:
                self._waiting_since_ns = min(self._waiting_since_ns, now_ns)
        self._now_ns = now_ns

    def _times(self) -> tuple[list[int], list[int]]:
        """Queued stamps of both streams on the visible camera's clock."""
        offset_ns = self._thermal_offset_ns
        return (
            [waiting.stamp_ns for waiting in self._visible.queue],
            [waiting.stamp_ns + offset_ns for waiting in self._thermal.queue],
        )

    def _decide(self, now_ns: int) -> list[Pair[V, T]]:
        """Emit what is settled, then what has waited long enough, then what overflows."""
        pairs = self._commit(self._settled())
        while True:
            best = Alignment(*self._times(), self._slop_ns).pairs()
            due = self._due(best, now_ns)
            if due:
                i, j = best[due - 1]
                pairs += self._commit((best[:due], i + 1, j + 1))
            elif max(self.pending) > self.queue_size:
                pairs += self._overflow(best)
            else:
                return pairs

    def _settled(self) -> Settled:
        visible, thermal = self._times()
        next_visible, next_thermal = (s.earliest_next_ns() for s in (self._visible, self._thermal))
        if next_thermal is not None:
            next_thermal += self._thermal_offset_ns
        if self._anticipate and next_visible is not None and next_thermal is not None:
            newest = [s.newest_ns or 0 for s in (self._visible, self._thermal)]
            until_ns = max(newest[0], newest[1] + self._thermal_offset_ns) + 2 * self._slop_ns
            later_visible = self._visible.expected_ns(until_ns)
            later_thermal = self._thermal.expected_ns(until_ns - self._thermal_offset_ns)
            if later_visible and later_thermal:
                shifted = [[t + self._thermal_offset_ns for t in later] for later in later_thermal]
                futures = [(v, t) for v in later_visible for t in shifted]
                return agreed(visible, thermal, self._slop_ns, futures, next_visible, next_thermal)
        alignment = Alignment(visible, thermal, self._slop_ns)
        return proven(alignment, next_visible, next_thermal)

    def _due(self, best: list[tuple[int, int]], now_ns: int) -> int:
        """How many leading pairs of the best pairing are due, the last by its wait."""
        due = 0
        self._waiting_since_ns = None
        for k, (i, j) in enumerate(best):
            both = self._visible.queue[i], self._thermal.queue[j]
            for waiting in both:
                waiting.since_ns = now_ns if waiting.since_ns is None else waiting.since_ns
            since_ns = min(waiting.since_ns or 0 for waiting in both)
            if since_ns + self._max_wait_ns <= now_ns:
                due = k + 1
            elif self._waiting_since_ns is None or since_ns < self._waiting_since_ns:
                self._waiting_since_ns = since_ns
        return due

    def _overflow(self, best: list[tuple[int, int]]) -> list[Pair[V, T]]:
        """Decide the oldest frame of the queue that is too long: its pair, or its loss."""
        which = 0 if len(self._visible.queue) > self.queue_size else 1
        if best and best[0][which] == 0:
            return self._commit((best[:1], best[0][0] + 1, best[0][1] + 1))
        stream = (self._visible, self._thermal)[which]
        stream.queue.popleft()
        stream.overflowed += 1
        return []

    def _commit(self, settled: Settled) -> list[Pair[V, T]]:
        """Take decided frames off the queues: pairs out, the others counted."""
        indices, visible_count, thermal_count = settled
        visible = [self._visible.queue.popleft() for _ in range(visible_count)]
        thermal = [self._thermal.queue.popleft() for _ in range(thermal_count)]
        self._paired += len(indices)
        self._visible.unpaired += visible_count - len(indices)
        self._thermal.unpaired += thermal_count - len(indices)
        return [self._pair(visible[i], thermal[j]) for i, j in indices]


class ExactPairing(NearestPairing[V, T]):
    """Only frames with the same stamp (after the offset) are a pair, as for cameras on one trigger.

    Nearest pairing with slop 0: nothing that comes later can better an equal stamp, so nothing
    waits and nothing need be anticipated. `slop_s` stays 0 whatever it is set to.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(anticipate=False, **settings)

    @property
    def _slop_ns(self) -> int:
        return 0

    @_slop_ns.setter
    def _slop_ns(self, nanoseconds: int) -> None:
        """The slop of a policy that knows none."""
