"""A timer that polls the pairing when a wait ends, and seldom otherwise.

A timer of 10 ms would do, but every wake-up of rclpy's executor builds its wait set anew, which
takes up to a millisecond: a hundred a second cost a tenth of a core, nearly always for nothing.
What else must be looked at now and then is looked at with it, for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rclpy.node import Node
from rclpy.timer import Timer

from ssvif_ros.synchronizer import PairSynchronizer

__all__ = ["IDLE_PERIOD_S", "create_poll_timer"]

#: Between polls while nothing waits: enough to notice a silent camera, or a clock set back.
IDLE_PERIOD_S = 0.1
_SHORTEST_NS = 5_000_000


def create_poll_timer(
    node: Node,
    synchronizer: PairSynchronizer,
    sources: Iterable[Any],
    after: Callable[[], None] = lambda: None,
) -> tuple[Timer, Callable[[], None]]:
    """A timer of `node` that polls `synchronizer` on time; end it with `node.destroy_timer`.

    Args:
        node: its clock is the one that the synchronizer goes by.
        synchronizer: to poll.
        sources: the filters that feed it, which it must have been given already: what they bring
            may have to be decided before the next poll.
        after: called after each poll.

    Returns:
        The timer, and what it does: for others to do once a second on a clock that only goes on,
        where that of `node` may stand still or be set back.
    """
    idle_ns = int(IDLE_PERIOD_S * 1e9)
    clock = node.get_clock()

    def aim(*_messages: Any) -> None:
        due_ns = synchronizer.due_ns
        wait_ns = idle_ns
        if due_ns is not None:
            wait_ns = min(max(due_ns - clock.now().nanoseconds, _SHORTEST_NS), idle_ns)
        left_ns = timer.time_until_next_call()
        if left_ns is None or left_ns > wait_ns:
            timer.timer_period_ns = wait_ns
            timer.reset()

    def poll() -> None:
        synchronizer.poll()
        if timer.timer_period_ns != idle_ns:
            timer.timer_period_ns = idle_ns
            timer.reset()  # which wakes the executor
        aim()
        after()

    timer = node.create_timer(IDLE_PERIOD_S, poll)
    for source in sources:
        source.registerCallback(aim)
    return timer, poll
