"""A single-threaded executor that does not wake itself, and looks at what is rare more rarely.

rclpy triggers a guard condition after each callback, so that a thread that waits looks at its
entities anew. Where one thread both runs the callbacks and waits, nobody waits then: the trigger
only makes the next wait return at once, for nothing, and the wait set is built once more.

That wait set is built in Python, for every wake-up, and nineteen of the fusion node's twenty-six
entities are services and QoS events, which bring nothing for hours. They are left out of most wait
sets, and so are heard up to `RARELY_S` late.

rclpy's EventsExecutor would need no wait set at all. It is experimental: that of rclpy 9.1.2 never
answered a service of this node, and one that destroys subscriptions may crash (rclpy#1644, open).
"""

from __future__ import annotations

import threading
import time
import traceback
from typing import Any

from rclpy.clock import ROSClock
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.service import Service
from rclpy.timer import Timer
from rclpy.waitable import Waitable

__all__ = ["RARELY_S", "QuietExecutor", "spin_on"]

#: Between looks at services and QoS events while other things wake the executor.
RARELY_S = 0.1
#: A node without timers, as one that is not configured, looks this often whether ROS has ended:
#: rclpy wakes the executor just before a SIGTERM takes ROS away, and who looks in between sees
#: nothing and waits for ever.
LOOK_FOR_END_S = 1.0
#: Between two lines in the log for what a callback raises at the same place.
REPEAT_S = 30.0
_RARE = (Service, Waitable)


class QuietExecutor(SingleThreadedExecutor):
    """SingleThreadedExecutor that only other threads wake, with services looked at now and then.

    Where nothing wakes it, it waits for everything. A wait without the services is one that a timer
    ends within `RARELY_S`, of a clock that does not stand still, as a simulated one may; where no
    timer is due so soon, the wait is for everything.
    """

    def __init__(self) -> None:
        super().__init__()
        self._spinner: int | None = None
        self._without_rare, self._looked = False, 0.0
        # rclpy has no other place for it; a release without this guard is as it was.
        guard = getattr(self, "_guard", None)
        if guard is None:
            return
        trigger = guard.trigger

        def from_elsewhere() -> None:
            if threading.get_ident() != self._spinner:
                trigger()

        guard.trigger = from_elsewhere

    def wait_for_ready_callbacks(self, timeout_sec: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As that of rclpy, in whichever thread; but in one at a time.

        rclpy documents it for executors of others, and each of its releases comes here for every
        callback; `spin` calls `spin_once` no more since 7.1.9 (jazzy) and 9.1.5 (kilted).
        """
        self._spinner = threading.get_ident()
        recently = time.monotonic() - self._looked < RARELY_S
        self._without_rare = recently and self._ends_soon()
        if timeout_sec is None and not any(True for node in self.get_nodes() for _ in node.timers):
            timeout_sec = LOOK_FOR_END_S
        return super().wait_for_ready_callbacks(timeout_sec, *args, **kwargs)

    def can_execute(self, entity: Any) -> bool:
        """Whether to wait for `entity`: rclpy asks it of each, for every wait set."""
        if isinstance(entity, _RARE):
            if self._without_rare:
                return False
            self._looked = time.monotonic()
        return super().can_execute(entity)

    def _ends_soon(self) -> bool:
        return any(_due_soon(timer) for node in self.get_nodes() for timer in node.timers)


def _due_soon(timer: Timer) -> bool:
    clock = timer.clock
    if isinstance(clock, ROSClock) and clock.ros_time_is_active:
        return False
    left_ns = timer.time_until_next_call()  # None: it was cancelled
    return left_ns is not None and left_ns <= RARELY_S * 1e9


def spin_on(node: Node, executor: SingleThreadedExecutor) -> None:
    """Spin until ROS ends, and go on where a callback raises: the node must live, and say it.

    On kilted a message that is being converted when a signal comes raises RuntimeError: the end
    follows then, and nothing is said.

    Raises:
        ExternalShutdownException: the end came while it waited.
    """
    said_s: dict[tuple[object, ...], float] = {}
    while node.context.ok():
        try:
            executor.spin()
        except ExternalShutdownException:
            raise
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__, limit=-1)[0]
            kind, now_s = (type(error), place.filename, place.lineno), time.monotonic()
            if node.context.ok() and now_s - said_s.get(kind, -REPEAT_S) >= REPEAT_S:
                said_s[kind] = now_s
                node.get_logger().error("a callback failed: " + traceback.format_exc())
