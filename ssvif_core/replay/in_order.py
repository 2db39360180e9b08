"""Several threads at work on things that have an order. Knows nothing of frames.

`Crew` starts work first in, first out and bounds what is under way; `Relay` hands a value from each
piece of work to the next one, where the order matters in its middle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

__all__ = ["Crew", "Leg", "Relay"]

T = TypeVar("T")
#: Pieces of work that may wait while every thread is at one: they hold their images.
WAITING = 1


class Crew:
    """Threads that work, and the results in the order of the work. A context manager.

    Args:
        threads: how many.
        beside: whether they work beside the one that gives the work; else it is done at once, in
            that one. None: where there are several.
    """

    def __init__(self, threads: int, *, beside: bool | None = None) -> None:
        beside = threads > 1 if beside is None else beside
        self._most = threads + WAITING if beside else 1
        self._pool = ThreadPoolExecutor(threads, "replay") if beside else None
        self._going: deque[Future[Any]] = deque()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what was begun; a piece may wait for the one before it, so none is left out."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)

    def __len__(self) -> int:
        return len(self._going)

    @property
    def full(self) -> bool:
        """Whether a result has to be taken before more is given: the back-pressure."""
        return len(self._going) >= self._most

    def give(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Have something done. Does not wait: take a result before, where the crew is full."""
        if self._pool is not None:
            self._going.append(self._pool.submit(work, *arguments))
            return
        done: Future[Any] = Future()
        done.set_result(work(*arguments))
        self._going.append(done)

    def take(self) -> Any:
        """The oldest result that was not taken yet. Waits for it; raises what the work raised."""
        return self._going.popleft().result()


class Relay(Generic[T]):
    """A value that goes from each piece of work to the next, whichever threads they run in.

    Args:
        first: what the first one gets.
    """

    def __init__(self, first: T) -> None:
        self._last: Future[T] = Future()
        self._last.set_result(first)

    def leg(self) -> Leg[T]:
        """The part of the next piece of work. Ask in order; each must be closed."""
        before, self._last = self._last, Future()
        return Leg(before, self._last)


class Leg(Generic[T]):
    """One piece's part of a relay."""

    def __init__(self, before: Future[T], after: Future[T]) -> None:
        self._before, self._after = before, after

    def take(self) -> T:
        """The value of the one before; waits for it."""
        return self._before.result()

    def hand_on(self, value: T) -> None:
        """Give the next one its value."""
        self._after.set_result(value)

    def close(self) -> None:
        """Hand on what came, if nothing else was handed on."""
        if not self._after.done():
            self._after.set_result(self.take())
