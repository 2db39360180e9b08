"""Ctrl-C between two steps of a long work, and not in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

__all__ = ["Interrupts"]


class Interrupts:
    """While it is entered, the first signal waits for a good moment: `let_through`, `came`, or the
    end. A second one does at once what it did before. In the main thread only: others get none.

    Args:
        signals: that are held back; one that the process ignores is still ignored.

    Attributes:
        came: whether there was one.
    """

    def __init__(self, signals: Sequence[signal.Signals] = (signal.SIGINT,)) -> None:
        self._signals, self.came = signals, False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                handler = signal.getsignal(number)
                if handler not in (signal.SIG_IGN, None):  # None: not of Python's making
                    self._before[number] = handler
                    signal.signal(number, self._take)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None:
            self.let_through()

    def let_through(self) -> None:
        """Here is a good moment: raises KeyboardInterrupt if a signal came."""
        if self.came:
            self.came = False
            raise KeyboardInterrupt

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self.came:
            self.came = True
        elif callable(handler := self._before[number]):
            handler(number, frame)
        else:
            signal.signal(number, handler)
            signal.raise_signal(number)
