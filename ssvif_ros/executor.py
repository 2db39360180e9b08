"""A single-threaded executor that does not wake itself.

rclpy triggers a guard condition after each callback, so that a thread that waits looks at its
entities anew. Where one thread both runs the callbacks and waits, nobody waits then: the trigger
only makes the next wait return at once, for nothing, and the wait set is built once more.

rclpy's EventsExecutor would need no wait set at all. It is experimental: that of rclpy 9.1.2 never
answered a service of this node, and one that destroys subscriptions may crash (rclpy#1644, open).
"""

from __future__ import annotations

import threading

from rclpy.executors import SingleThreadedExecutor

__all__ = ["QuietExecutor"]


class QuietExecutor(SingleThreadedExecutor):
    """SingleThreadedExecutor that only other threads wake."""

    def __init__(self) -> None:
        super().__init__()
        self._spinner: int | None = None
        # rclpy has no other place for it; a release without this guard is as it was.
        guard = getattr(self, "_guard", None)
        if guard is None:
            return
        trigger = guard.trigger

        def from_elsewhere() -> None:
            if threading.get_ident() != self._spinner:
                trigger()

        guard.trigger = from_elsewhere

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """As that of rclpy, in whichever thread; but in one at a time."""
        self._spinner = threading.get_ident()
        super().spin_once(timeout_sec)
