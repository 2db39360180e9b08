"""The end of a program that was asked to stop: nothing may break it off half-way."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

__all__ = ["undisturbed"]


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Around the last things that a program does: from here on Ctrl-C is ignored.

    Under `ros2 launch` it comes twice, from the terminal and once more from launch. The second one
    would raise KeyboardInterrupt in the middle of the clean-up, and the process would end as killed
    by a signal (exit code -2). What hangs can still be ended: launch sends SIGTERM next.
    """
    # A function, for rclpy puts back its predecessor's handler when it shuts down, and that one
    # complains of a signal that is to be ignored; SIG_IGN afterwards, for it alone outlasts Python.
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
