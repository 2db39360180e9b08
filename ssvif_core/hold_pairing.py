"""Policy hold: every visible frame goes out at once, with a thermal frame that is already there.

For a slow thermal core beside a fast camera: 30 Hz out with 9 Hz in. A thermal frame serves every
visible frame that it is nearest to; nothing ever waits, so the price is the age of the thermal
picture (at most its period and its transport, against half a visible period when both are paired
one to one).
"""

from __future__ import annotations

from ssvif_core.pairing_base import Pair, Pairing, T, V

__all__ = ["HoldPairing"]


class HoldPairing(Pairing[V, T]):
    """Each visible frame with the nearest thermal frame received so far, used any number of times.

    The nearest one is the newest, unless visible frames take longer on their way than thermal ones.
    A visible frame with none within `max_thermal_age_s` (before or after it) is unpaired. `slop_s`
    and `max_wait_s` are not used. Not thread safe.
    """

    def poll(self, now_ns: int) -> list[Pair[V, T]]:
        """Nothing: nothing waits."""
        return []

    def flush(self) -> list[Pair[V, T]]:
        """Forget the thermal frames that are held; those that never served count as unpaired."""
        self._forget_thermal(len(self._thermal.queue))
        return []

    def _decide(self, now_ns: int) -> list[Pair[V, T]]:
        if not self._visible.queue:
            if len(self._thermal.queue) > self.queue_size:
                self._thermal.overflowed += not self._thermal.queue.popleft().used
            return []
        visible = self._visible.queue.popleft()
        apart = [
            (abs(thermal.stamp_ns + self._thermal_offset_ns - visible.stamp_ns), -index)
            for index, thermal in enumerate(self._thermal.queue)
        ]
        nearest_ns, index = min(apart, default=(0, 1))
        if not apart or nearest_ns > self._max_thermal_age_ns:
            self._visible.unpaired += 1
            return []
        self._forget_thermal(-index)  # visible stamps increase: no later one is nearer to these
        thermal = self._thermal.queue[0]
        self._paired += 1
        self._reused += thermal.used
        thermal.used = True
        return [self._pair(visible, thermal)]

    def _forget_thermal(self, count: int) -> None:
        for _ in range(count):
            self._thermal.unpaired += not self._thermal.queue.popleft().used
