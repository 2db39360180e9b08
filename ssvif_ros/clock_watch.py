"""Whether the node's clock goes on. Rates and silences are counted by it: if it stands still, so do
they, and a bag that has ended would look like two cameras that send.
"""

from __future__ import annotations

import time

from rclpy.clock import Clock

__all__ = ["ClockWatch"]


class ClockWatch:
    """Looks at a clock beside one that only goes on. Args: clock: of the node."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen_ns = clock.now().nanoseconds
        self._since_s = time.monotonic()

    def trouble(self, after_s: float) -> str:
        """What is wrong with the clock and what to do; "" if nothing is. Ask it once a second.

        Args:
            after_s: time for which a clock may stand still.
        """
        now_ns, steady_s = self._clock.now().nanoseconds, time.monotonic()
        if now_ns != self._seen_ns:
            self._seen_ns, self._since_s = now_ns, steady_s
        still_s = steady_s - self._since_s
        if now_ns == 0:
            return (
                "use_sim_time is true and no time comes on /clock: start the simulator or the bag "
                "(ros2 bag play --clock), or set use_sim_time to false."
            )
        if still_s > after_s:
            return (
                f"no new time on /clock for {still_s:.0f} s: the bag ended, is paused, or the "
                "simulator died."
            )
        return ""
