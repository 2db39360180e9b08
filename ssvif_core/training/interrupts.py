"""Ctrl-C and SIGTERM wait for the end of the step: a checkpoint never holds half of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["between_steps"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def between_steps() -> Iterator[Callable[[], bool]]:
    """Hold signals back; the function that is given says whether one came.

    A second signal ends the process at once, as if this were not here. Outside the main thread,
    where Python handles no signals, nothing is held back.
    """
    came: list[int] = []

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in SIGNALS:
        signal.signal(number, remember)
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
