"""One thread behind a one-slot mailbox: the newest item wins, the older is counted as dropped.

A camera does not wait. If the work takes longer than a frame period, a queue would only add delay,
so what waits is replaced by what is newer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["LatestWorker"]

T = TypeVar("T")

#: The interpreter runs one thread at a time, and who has it keeps it for 5 ms or until it waits. So
#: who offers stands back for so long, in which the worker takes its many small steps up to the
#: engine, which leaves the interpreter to others. Measured with 1280x1024: 0.3 ms earlier there.
STAND_BACK_S = 1e-3


class LatestWorker(Generic[T]):
    """Runs `work` on the newest item, in its own thread.

    Args:
        work: called with each item that is taken.
        on_error: called with whatever `work` raises; the thread goes on.
    """

    def __init__(self, work: Callable[[T], None], on_error: Callable[[Exception], None]) -> None:
        self._work, self._on_error = work, on_error
        self._ready = threading.Condition()
        self._slot: list[T] = []
        self._busy = False
        self._stopping = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="fusion", daemon=True)
        self._thread.start()

    def offer(self, item: T) -> None:
        """Hand over an item; never blocks on the work, but lets the worker begin it."""
        with self._ready:
            begins = not self._busy
            self.dropped += len(self._slot)
            self._slot = [item]
            self._ready.notify()
        if begins:
            time.sleep(STAND_BACK_S)

    @property
    def in_work(self) -> int:
        """Items that were offered and are neither done nor dropped: 0, 1 or 2."""
        with self._ready:
            return len(self._slot) + self._busy

    def stop(self) -> bool:
        """Finish the item at hand, drop one that waits, end the thread. True if it ended."""
        with self._ready:
            self._stopping = True
            self.dropped += len(self._slot)
            self._slot = []
            self._ready.notify()
        self._thread.join(timeout=10.0)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._slot or self._stopping)
                if self._stopping:
                    return
                item = self._slot.pop()
                self._busy = True
            try:
                self._work(item)
            except Exception as error:  # one frame must never end the thread
                self._on_error(error)
            finally:
                with self._ready:
                    self._busy = False
