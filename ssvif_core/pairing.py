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

import math
from dataclasses import dataclass
from typing import Generic, TypeVar

from ssvif_core.alignment import Alignment, Settled, agreed, proven
from ssvif_core.errors import SsvifError
from ssvif_core.stamp_stream import StampStream, Verdict, Waiting

__all__ = ["NearestPairing", "Pair", "PairingCounts"]

V = TypeVar("V")
T = TypeVar("T")


@dataclass(frozen=True)
class Pair(Generic[V, T]):
    """A visible and a thermal frame of the same moment; `delta_ns` = thermal + offset - visible."""

    visible: V
    thermal: T
    visible_stamp_ns: int
    thermal_stamp_ns: int
    delta_ns: int


@dataclass(frozen=True)
class PairingCounts:
    """Where every received frame went: received = paired + the rest of its stream + pending.

    `unpaired`: no partner within slop, or a better pair had it. `overflowed`: the queue was full.
    `late`: older than its predecessor. `duplicate`: the stamp of its predecessor. `unstamped`: a
    stamp that is not positive (ROS leaves it 0 when nobody sets it). `stale`: from before a jump
    back of the stamps. `resets`: jumps back that were noticed, one for both streams together.
    """

    received_visible: int = 0
    received_thermal: int = 0
    paired: int = 0
    unpaired_visible: int = 0
    unpaired_thermal: int = 0
    overflowed_visible: int = 0
    overflowed_thermal: int = 0
    late_visible: int = 0
    late_thermal: int = 0
    duplicate_visible: int = 0
    duplicate_thermal: int = 0
    unstamped_visible: int = 0
    unstamped_thermal: int = 0
    stale_visible: int = 0
    stale_thermal: int = 0
    resets: int = 0


class NearestPairing(Generic[V, T]):
    """One-to-one nearest-stamp pairing of two streams, online. Not thread safe.

    Args:
        slop_s: greatest |dt| of a pair. 50 ms: at 30 and 9 Hz a thermal frame is never further
            than 16.7 ms from a visible frame, or 33 ms when one is lost; more slop never makes a
            pair worse, as in greedy synchronizers, it only lets poorer ones through.
        queue_size: frames kept of each stream, >= 1. 15 is half a second at 30 Hz: the 222 ms gap
            that a lost 9 Hz frame leaves, and 100 ms of transport delay, with some to spare.
        max_wait_s: how long a frame that has a partner may wait for a better one. 100 ms: one
            period at 30 Hz and transport that takes 60 ms longer for one frame than for another.
            It seldom runs out: a decision falls when the expected frame, or the one after a lost
            one, is there (benchmarks/pairing.py: 0 to 7 ms on average at 30 + 9 and 30 + 30 Hz).
        thermal_offset_s: added to thermal stamps before comparing, any sign.
        reset_after_s: a stamp further back than this behind its predecessor is a jump back (bag
            loop, clock step) that restarts the pairing; less far back is a late frame. 0.5 s:
            shorter than any bag, longer than a transport reorders.
        anticipate: expect the next frames at the streams' own periods (module docstring).

    `slop_s`, `max_wait_s` and `thermal_offset_s` may be set at any time.

    Raises:
        SsvifError: a value out of its range.
    """

    def __init__(
        self,
        *,
        slop_s: float = 0.05,
        queue_size: int = 15,
        max_wait_s: float = 0.1,
        thermal_offset_s: float = 0.0,
        reset_after_s: float = 0.5,
        anticipate: bool = True,
    ) -> None:
        if queue_size < 1:
            raise SsvifError(f"queue_size is {queue_size}: set it to 1 or more")
        self.slop_s = slop_s
        self.max_wait_s = max_wait_s
        self.thermal_offset_s = thermal_offset_s
        self.queue_size = queue_size
        self._reset_after_ns = _nanoseconds("reset_after_s", reset_after_s)
        self._anticipate = anticipate
        self._visible = StampStream()
        self._thermal = StampStream()
        self._paired = 0
        self._resets = 0
        self._waiting_since_ns: int | None = None
        self._now_ns: int | None = None

    @property
    def slop_s(self) -> float:
        """Greatest |dt| of a pair, in seconds."""
        return self._slop_ns / 1e9

    @slop_s.setter
    def slop_s(self, seconds: float) -> None:
        self._slop_ns = _nanoseconds("slop_s", seconds)

    @property
    def max_wait_s(self) -> float:
        """Longest wait for a better partner, in seconds."""
        return self._max_wait_ns / 1e9

    @max_wait_s.setter
    def max_wait_s(self, seconds: float) -> None:
        self._max_wait_ns = _nanoseconds("max_wait_s", seconds)

    @property
    def thermal_offset_s(self) -> float:
        """Added to thermal stamps before comparing, in seconds."""
        return self._offset_ns / 1e9

    @thermal_offset_s.setter
    def thermal_offset_s(self, seconds: float) -> None:
        self._offset_ns = _nanoseconds("thermal_offset_s", seconds, signed=True)

    @property
    def counts(self) -> PairingCounts:
        """A snapshot of where all frames went."""
        streams = {"visible": self._visible, "thermal": self._thermal}
        kinds = ["received", "unpaired", "overflowed", "late", "duplicate", "unstamped", "stale"]
        split = {f"{k}_{name}": getattr(s, k) for name, s in streams.items() for k in kinds}
        return PairingCounts(paired=self._paired, resets=self._resets, **split)

    @property
    def pending(self) -> tuple[int, int]:
        """Frames in the visible and in the thermal queue."""
        return len(self._visible.queue), len(self._thermal.queue)

    @property
    def due_ns(self) -> int | None:
        """When the longest wait ends, so when `poll` will emit; None while no pair waits."""
        since = self._waiting_since_ns
        return None if since is None else since + self._max_wait_ns

    def add_visible(self, stamp_ns: int, frame: V, now_ns: int) -> list[Pair[V, T]]:
        """Take a visible frame received at `now_ns`; the pairs that it decides, oldest first."""
        return self._add(self._visible, self._thermal, stamp_ns, frame, now_ns)

    def add_thermal(self, stamp_ns: int, frame: T, now_ns: int) -> list[Pair[V, T]]:
        """Take a thermal frame received at `now_ns`; the pairs that it decides, oldest first."""
        return self._add(self._thermal, self._visible, stamp_ns, frame, now_ns)

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
        self._visible.restart(jump_expected=False)
        self._thermal.restart(jump_expected=False)
        self._waiting_since_ns = None

    def _add(
        self, stream: StampStream, other: StampStream, stamp_ns: int, frame: object, now_ns: int
    ) -> list[Pair[V, T]]:
        # A wait that ended before this frame came is decided without it, however late the poll.
        pairs = self.poll(now_ns - 1)
        self._notice(now_ns)
        other_newest_ns = other.newest_ns
        if other_newest_ns is not None:
            other_newest_ns += self._offset_ns if stream is self._visible else -self._offset_ns
        verdict = stream.judge(stamp_ns, other_newest_ns, self._reset_after_ns)
        if verdict is Verdict.DROP:
            return pairs
        if verdict is Verdict.JUMPED_BACK:
            self._resets += 1
            stream.restart(jump_expected=False)
            other.restart(jump_expected=True)
        stream.append(stamp_ns, frame)
        return pairs + self._decide(now_ns)

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
        offset_ns = self._offset_ns
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
        if self._anticipate:
            newest = [s.newest_ns or 0 for s in (self._visible, self._thermal)]
            until_ns = max(newest[0], newest[1] + self._offset_ns) + 2 * self._slop_ns
            later_visible = self._visible.expected_ns(until_ns)
            later_thermal = self._thermal.expected_ns(until_ns - self._offset_ns)
            if later_visible and later_thermal:
                shifted = [[t + self._offset_ns for t in later] for later in later_thermal]
                futures = [(v, t) for v in later_visible for t in shifted]
                return agreed(visible, thermal, self._slop_ns, futures)
        next_thermal = self._thermal.earliest_next_ns()
        return proven(
            Alignment(visible, thermal, self._slop_ns),
            self._visible.earliest_next_ns(),
            None if next_thermal is None else next_thermal + self._offset_ns,
        )

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

    def _pair(self, visible: Waiting, thermal: Waiting) -> Pair[V, T]:
        delta_ns = thermal.stamp_ns + self._offset_ns - visible.stamp_ns
        return Pair(visible.frame, thermal.frame, visible.stamp_ns, thermal.stamp_ns, delta_ns)  # type: ignore[arg-type]


def _nanoseconds(name: str, seconds: float, *, signed: bool = False) -> int:
    if not math.isfinite(seconds) or (seconds < 0 and not signed):
        wanted = "a finite number of seconds" + ("" if signed else ", 0 or more")
        raise SsvifError(f"{name} is {seconds}: set it to {wanted}")
    return round(seconds * 1e9)
