"""A single-threaded executor that does not wake itself.

rclpy triggers a guard condition after each callback, so that a thread that waits looks at its
entities anew. Where one thread both runs the callbacks and waits, nobody waits then: the trigger
only makes the next wait return at once, for nothing, and the wait set is built once more.
"""

from __future__ import annotations

import threading

from rclpy.executors import SingleThreadedExecutor

__all__ = ["QuietExecutor"]


class QuietExecutor(SingleThreadedExecutor):
    """SingleThreadedExecutor that is made and spun by one thread; others may wake it."""

    def __init__(self) -> None:
        super().__init__()
        # rclpy has no other place for it; a release without this guard is as it was.
        guard = getattr(self, "_guard", None)
        if guard is None:
            return
        trigger, spinner = guard.trigger, threading.get_ident()

        def from_elsewhere() -> None:
            if threading.get_ident() != spinner:
                trigger()

        guard.trigger = from_elsewhere
