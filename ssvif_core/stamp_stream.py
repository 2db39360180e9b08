"""One stream of stamped frames: its queue, which frames are no use, and when the next is expected.

Knows stamps and one stream; what the other stream has to do with it is told by `pairing.py`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from statistics import median_low

__all__ = ["StampStream", "Verdict", "Waiting"]

PERIODS_KEPT = 16
"""Frame periods remembered: half a second at 30 Hz, 1.8 s at 9 Hz."""
PERIODS_NEEDED = 2
"""Fewer than this say nothing about the next frame."""
EXPECTED_MAX = 32
"""More expected frames than this up to the other stream: a clock step; nothing is expected then."""

JUMP_WITHIN_NS = 1_000_000_000
"""A stream that has not followed the other's jump back within this, by its own stamps, never will:
the two topics of a bag loop at nearly the same moment, but a driver's clock may be wrong alone."""


class Verdict(Enum):
    """What to do with a new frame."""

    TAKE = "take"
    DROP = "drop"
    JUMPED_BACK = "jumped back"


@dataclass
class Waiting:
    """A frame in a queue.

    `since_ns` is when it first had a partner in the best pairing, `used` whether it went out
    already and may serve again (policy hold).
    """

    stamp_ns: int
    frame: object
    since_ns: int | None = None
    used: bool = False


@dataclass
class StampStream:
    """Queue and counts of one stream (the counts are explained at `PairingCounts`)."""

    queue: deque[Waiting] = field(default_factory=deque)
    newest_ns: int | None = None
    periods_ns: deque[int] = field(default_factory=lambda: deque(maxlen=PERIODS_KEPT))
    jump_from_ns: int | None = None  # where this one was when the other jumped back, until it does
    received: int = 0
    single: int = 0
    unpaired: int = 0
    overflowed: int = 0
    late: int = 0
    duplicate: int = 0
    unstamped: int = 0
    stale: int = 0
    withheld: int = 0

    @property
    def jump_expected(self) -> bool:
        """Whether the other stream has jumped back, and this one not yet."""
        return self.jump_from_ns is not None

    @property
    def unused(self) -> int:
        """Frames in the queue that have not gone out yet."""
        return sum(not waiting.used for waiting in self.queue)

    def judge(self, stamp_ns: int, other_newest_ns: int | None, reset_after_ns: int) -> Verdict:
        """Count a new frame, and as what if it is no use.

        Args:
            stamp_ns: of the new frame.
            other_newest_ns: newest stamp of the other stream, on this stream's clock.
            reset_after_ns: a stamp further back than this behind its predecessor is a jump.
        """
        self.received += 1
        if stamp_ns <= 0:
            self.unstamped += 1
            return Verdict.DROP
        if self.newest_ns is None:
            return Verdict.TAKE
        back_ns = self.newest_ns - stamp_ns
        if self.jump_from_ns is not None and stamp_ns - self.jump_from_ns > JUMP_WITHIN_NS:
            self.jump_from_ns = None
        if self.jump_expected:
            # The two topics of a bag loop at slightly different moments. A frame still far ahead
            # of the stream that has jumped can pair with nothing now: it must not stay in the
            # queue, and the jump that follows is the second half of one that was counted.
            ahead_ns = stamp_ns - (other_newest_ns or 0)
            if back_ns > reset_after_ns or ahead_ns <= reset_after_ns:
                return Verdict.TAKE
            self.stale += 1
            self.newest_ns = max(self.newest_ns, stamp_ns)
            return Verdict.DROP
        if back_ns < 0:
            return Verdict.TAKE
        if back_ns > reset_after_ns:
            return Verdict.JUMPED_BACK
        if back_ns == 0:
            self.duplicate += 1
        else:
            self.late += 1
        return Verdict.DROP

    def append(self, stamp_ns: int, frame: object) -> None:
        """Queue a frame and learn from its stamp."""
        if self.newest_ns is not None and not self.jump_expected:
            self.periods_ns.append(stamp_ns - self.newest_ns)
        self.newest_ns = stamp_ns
        self.jump_from_ns = None
        self.queue.append(Waiting(stamp_ns, frame))

    def restart(self, *, jump_expected: bool) -> None:
        """Forget everything but the counts; with `jump_expected` remember where stamps were."""
        self.stale += self.unused
        self.queue.clear()
        self.periods_ns.clear()
        self.jump_from_ns = self.newest_ns if jump_expected else None
        if not self.jump_expected:
            self.newest_ns = None

    def earliest_next_ns(self) -> int | None:
        """No later frame has an earlier stamp; None: no bound is known."""
        return None if self.newest_ns is None or self.jump_expected else self.newest_ns + 1

    def expected_ns(self, until_ns: int) -> list[list[int]] | None:
        """Stamps to come until `until_ns` and one more, as lists to choose from.

        One list is at the usual (median) period, one has the first frame as early as it lately
        was at the earliest. None where too little is known, or `until_ns` is too far away.
        """
        if self.newest_ns is None or len(self.periods_ns) < PERIODS_NEEDED:
            return None
        usual, shortest = median_low(self.periods_ns), min(self.periods_ns)
        if until_ns - self.newest_ns > EXPECTED_MAX * usual:
            return None
        firsts = {self.newest_ns + usual, self.newest_ns + shortest}
        return [[first, *range(first + usual, until_ns + usual + 1, usual)] for first in firsts]
