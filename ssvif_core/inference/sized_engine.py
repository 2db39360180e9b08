"""Engines for frames of many sizes, of which one at a time is held.

A set may have as many sizes as frames, and each size has an engine that is made for it, as one of
TensorRT must be.
"""

from __future__ import annotations

from collections.abc import Callable

from ssvif_core.inference.engine import Engine
from ssvif_core.memory import give_back_freed

__all__ = ["SizedEngine"]


class SizedEngine:
    """Makes engines as sizes come. Belongs to one thread.

    Args:
        make: an engine for frames of (height, width).
    """

    def __init__(self, make: Callable[[tuple[int, int]], Engine]) -> None:
        self._make = make
        self._size: tuple[int, int] | None = None
        self._engine: Engine | None = None

    def of(self, size: tuple[int, int]) -> Engine:
        """For (height, width). Closes that of another size; raises what `make` raises."""
        if self._engine is None or size != self._size:
            self.close()
            self._engine, self._size = self._make(size), size
        return self._engine

    def close(self) -> None:
        """Free the engine that is held; another one may be asked for."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
            give_back_freed()
