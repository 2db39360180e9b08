"""What all ways to pair two streams share: settings, counts, odd stamps, and one camera alone.

Knows stamps only, like `pairing.py`. A policy (a subclass) decides which frames belong together;
that one camera is missing is decided elsewhere (`presence.py`) and told to `go_on_alone`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ssvif_core.errors import SsvifError
from ssvif_core.stamp_stream import StampStream, Verdict, Waiting

__all__ = ["Pair", "Pairing", "PairingCounts"]

V = TypeVar("V")
T = TypeVar("T")


@dataclass(frozen=True)
class Pair(Generic[V, T]):
    """A visible and a thermal frame of the same moment; `delta_ns` = thermal + offset - visible.

    Of a camera that goes on alone there is only its own frame: the other's frame is None, its stamp
    0 and `delta_ns` 0.
    """

    visible: V
    thermal: T
    visible_stamp_ns: int
    thermal_stamp_ns: int
    delta_ns: int


@dataclass(frozen=True)
class PairingCounts:
    """Where every received frame went.

    For each camera: received = paired + single + unpaired + overflowed + late + duplicate +
    unstamped + stale + withheld + pending; for thermal, less `reused_thermal`.

    `paired`: pairs that went out. `reused_thermal`: those of them with a thermal frame that had
    served before (policy hold). `single`: went out alone. `unpaired`: no partner within reach, or a
    better pair had it; of policy hold: a thermal frame that served no visible one. `overflowed`:
    the queue was full. `late`: older than its predecessor. `duplicate`: the stamp of its
    predecessor. `unstamped`: a stamp that is not positive (ROS leaves it 0 when nobody sets it).
    `stale`: from before a jump back of the stamps. `withheld`: of a camera that is taken as missing
    (frozen, or not steady yet), or of the other one where single frames are not wanted. `resets`:
    jumps back that were noticed, one for both streams together.
    """

    received_visible: int = 0
    received_thermal: int = 0
    paired: int = 0
    reused_thermal: int = 0
    single_visible: int = 0
    single_thermal: int = 0
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
    withheld_visible: int = 0
    withheld_thermal: int = 0
    resets: int = 0


_SPLIT = (
    "received", "single", "unpaired", "overflowed", "late", "duplicate", "unstamped", "stale",
    "withheld",
)  # fmt: skip


class Seconds:
    """A setting in seconds, kept in whole nanoseconds as `_{name without _s}_ns`.

    Raises:
        SsvifError: when it is set to something that is not finite, or negative and not `signed`.
    """

    def __init__(self, *, signed: bool = False) -> None:
        self._signed = signed

    def __set_name__(self, owner: type, name: str) -> None:
        self._name, self._slot = name, f"_{name.removesuffix('_s')}_ns"

    def __get__(self, instance: Any, owner: type | None = None) -> float:
        return getattr(instance, self._slot) / 1e9

    def __set__(self, instance: Any, seconds: float) -> None:
        if not math.isfinite(seconds) or (seconds < 0 and not self._signed):
            wanted = "a finite number of seconds" + ("" if self._signed else ", 0 or more")
            raise SsvifError(f"{self._name} is {seconds}: set it to {wanted}")
        setattr(instance, self._slot, round(seconds * 1e9))


class Pairing(ABC, Generic[V, T]):
    """Two streams of stamped frames in, pairs out. Not thread safe.

    Args:
        slop_s: greatest |dt| of a pair (policy nearest).
        queue_size: frames kept of each stream, >= 1.
        max_wait_s: how long a frame that has a partner may wait for a better one (policy nearest).
        max_thermal_age_s: greatest |dt| of a pair (policy hold).
        thermal_offset_s: added to thermal stamps before comparing, any sign.
        reset_after_s: a stamp further back than this behind its predecessor is a jump back (bag
            loop, clock step) that restarts the pairing; less far back is a late frame. 0.5 s:
            shorter than any bag, longer than a transport reorders.

    The settings in seconds may be set at any time; every policy has them all and uses its own.

    Raises:
        SsvifError: a value out of its range.
    """

    slop_s = Seconds()
    max_wait_s = Seconds()
    max_thermal_age_s = Seconds()
    thermal_offset_s = Seconds(signed=True)
    reset_after_s = Seconds()
    _slop_ns: int
    _max_wait_ns: int
    _max_thermal_age_ns: int
    _thermal_offset_ns: int
    _reset_after_ns: int

    def __init__(
        self,
        *,
        slop_s: float = 0.05,
        queue_size: int = 15,
        max_wait_s: float = 0.1,
        max_thermal_age_s: float = 0.3,
        thermal_offset_s: float = 0.0,
        reset_after_s: float = 0.5,
    ) -> None:
        if queue_size < 1:
            raise SsvifError(f"queue_size is {queue_size}: set it to 1 or more")
        self.slop_s = slop_s
        self.max_wait_s = max_wait_s
        self.max_thermal_age_s = max_thermal_age_s
        self.thermal_offset_s = thermal_offset_s
        self.reset_after_s = reset_after_s
        self.queue_size = queue_size
        self.singles = True
        self._alone: str | None = None
        self._visible = StampStream()
        self._thermal = StampStream()
        self._paired = 0
        self._reused = 0
        self._resets = 0

    # -- what a policy decides -----------------------------------------------------------------

    @abstractmethod
    def poll(self, now_ns: int) -> list[Pair[V, T]]:
        """The pairs whose wait has ended at `now_ns`. Cheap: call it as often as you like."""

    @abstractmethod
    def flush(self) -> list[Pair[V, T]]:
        """Decide everything that is queued (the end of a bag)."""

    @abstractmethod
    def _decide(self, now_ns: int) -> list[Pair[V, T]]:
        """The pairs that the frame that was just queued decides, oldest first."""

    @property
    def due_ns(self) -> int | None:
        """When the longest wait ends, so when `poll` will emit; None while no pair waits."""
        return None

    def _notice(self, now_ns: int) -> None:
        """Look at the time of receipt, which may have gone back."""

    # -- what all policies share ---------------------------------------------------------------

    @property
    def counts(self) -> PairingCounts:
        """A snapshot of where all frames went."""
        streams = {"visible": self._visible, "thermal": self._thermal}
        split = {f"{k}_{name}": getattr(s, k) for name, s in streams.items() for k in _SPLIT}
        return PairingCounts(
            paired=self._paired, reused_thermal=self._reused, resets=self._resets, **split
        )

    @property
    def pending(self) -> tuple[int, int]:
        """Frames in the visible and in the thermal queue that have not gone out yet."""
        return self._visible.unused, self._thermal.unused

    @property
    def alone(self) -> str | None:
        """Camera that goes on alone: "visible", "thermal", or None while both are paired."""
        return self._alone

    def go_on_alone(self, camera: str | None) -> list[Pair[V, T]]:
        """From now on each frame of `camera` goes out at once, alone; None: pair again.

        Frames of the other camera are withheld meanwhile, and so are the frames of `camera` itself
        while `singles` is False.

        Returns:
            The pairs that were still queued, if this changes anything.
        """
        if camera == self._alone:
            return []
        self._alone = camera
        return self.flush() if camera is not None else []

    def add_visible(self, stamp_ns: int, frame: V, now_ns: int) -> list[Pair[V, T]]:
        """Take a visible frame received at `now_ns`; the pairs that it decides, oldest first."""
        return self._add(self._visible, self._thermal, stamp_ns, frame, now_ns)

    def add_thermal(self, stamp_ns: int, frame: T, now_ns: int) -> list[Pair[V, T]]:
        """Take a thermal frame received at `now_ns`; the pairs that it decides, oldest first."""
        return self._add(self._thermal, self._visible, stamp_ns, frame, now_ns)

    def reset(self) -> None:
        """Forget both streams; queued frames count as stale, counts are kept."""
        self._visible.restart(jump_expected=False)
        self._thermal.restart(jump_expected=False)

    def _add(
        self, stream: StampStream, other: StampStream, stamp_ns: int, frame: object, now_ns: int
    ) -> list[Pair[V, T]]:
        # A wait that ended before this frame came is decided without it, however late the poll.
        pairs = self.poll(now_ns - 1)
        self._notice(now_ns)
        offset_ns = self._thermal_offset_ns
        other_newest_ns = other.newest_ns
        if other_newest_ns is not None:
            other_newest_ns += offset_ns if stream is self._visible else -offset_ns
        if self._alone is not None and stream is self._stream(self._alone):
            stream.jump_from_ns = None  # it pairs with nothing now, so it need not wait for that
        verdict = stream.judge(stamp_ns, other_newest_ns, self._reset_after_ns)
        if verdict is Verdict.DROP:
            return pairs
        if verdict is Verdict.JUMPED_BACK:
            self._resets += 1
            stream.restart(jump_expected=False)
            other.restart(jump_expected=True)
        stream.append(stamp_ns, frame)
        if self._alone is not None:
            return pairs + self._single(stream)
        return pairs + self._decide(now_ns)

    def _stream(self, camera: str | None) -> StampStream:
        return self._visible if camera == "visible" else self._thermal

    def _single(self, stream: StampStream) -> list[Pair[V, T]]:
        """The frame that was just queued, alone; or nothing where it is not wanted."""
        waiting = stream.queue.pop()
        if stream is not self._stream(self._alone) or not self.singles:
            stream.withheld += 1
            return []
        stream.single += 1
        frame: Any = waiting.frame
        nothing: Any = None
        if stream is self._visible:
            return [Pair(frame, nothing, waiting.stamp_ns, 0, 0)]
        return [Pair(nothing, frame, 0, waiting.stamp_ns, 0)]

    def _pair(self, visible: Waiting, thermal: Waiting) -> Pair[V, T]:
        delta_ns = thermal.stamp_ns + self._thermal_offset_ns - visible.stamp_ns
        return Pair(visible.frame, thermal.frame, visible.stamp_ns, thermal.stamp_ns, delta_ns)  # type: ignore[arg-type]
