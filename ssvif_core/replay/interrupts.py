"""Ctrl-C between two steps of a long work, and not in the middle of one."""

from __future__ import annotations

import signal
import threading
from types import FrameType

__all__ = ["Interrupts"]


class Interrupts:
    """While it is entered, the first Ctrl-C waits for `let_through`, or for the exit; a second one
    does not wait. In the main thread only: others get no signals.
    """

    def __init__(self) -> None:
        self._before: object = None
        self._waiting = False

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
            if callable(self._before):  # else Ctrl-C is nobody's, or ends the process
                signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        if callable(self._before):
            signal.signal(signal.SIGINT, self._before)
        self.let_through()

    def let_through(self) -> None:
        """Here is a good moment: raises KeyboardInterrupt if there was a Ctrl-C."""
        if self._waiting:
            self._waiting = False
            raise KeyboardInterrupt

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._waiting and callable(self._before):
            self._before(number, frame)
        self._waiting = True
