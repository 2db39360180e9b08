"""The end of a program that was asked to stop: nothing may break it off half-way."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

import rclpy
from rclpy.executors import ExternalShutdownException

__all__ = ["undisturbed", "until_signal"]


def until_signal(run: Callable[[], int], args: list[str] | None) -> int:
    """Rclpy from `init` to `shutdown`, with `run` between them; the exit status.

    A signal ends it quietly and with status 0, wherever it comes: SIGINT raises KeyboardInterrupt,
    and both take ROS away, so that whatever is called next raises (where a node is being made:
    RCLError, NotInitializedException).

    What `run` raises while ROS is there is a failure, and raised: `run` does not shut ROS down.
    """
    try:
        rclpy.init(args=args)
        try:
            return run()
        except Exception:
            if rclpy.ok():
                raise
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        with undisturbed():
            rclpy.try_shutdown()
    return 0


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
