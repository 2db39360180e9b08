"""An engine with a spare: when it fails frame after frame, a slower one that works takes its place.

Engines on a GPU can fail where the frames are of a size that they were not built for, or for good
(a driver that is gone, memory that is taken). One frame that fails is dropped and counted by the
caller; after some in a row there is no reason to expect better.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from ssvif_core.inference.engine import Engine

__all__ = ["FAILURES_IN_ROW", "FallbackEngine"]

logger = logging.getLogger("ssvif.engines")

FAILURES_IN_ROW = 5
"""Frames that may fail one after another before the spare is made: a sixth of a second at 30 Hz."""


class FallbackEngine:
    """See `ssvif_core.inference.engine.Engine`; raises what the engine that runs raises.

    When frames have another size than the one at which `engine` failed, it is tried again: a
    camera that goes back to the size that a TensorRT engine was built for has it back.

    `_failures` counts those of `engine` in a row; `_failing_size` is what the spare computes.

        engine runs     _failing_size None. A frame that fails is raised, as long as they are few;
                        the one that makes them FAILURES_IN_ROW is given to the spare.
        spare runs      Frames of _failing_size are the spare's alone, and `engine` is not asked.
        another size    `engine` is asked. If it computes the frame it runs again, and both are
                        forgotten; if not, the spare has this size at once, its failures
                        being many already (after a warm-up that failed they are counted anew).

    `_running` is whose turn it was last, for the name and for what is described.

    Args:
        engine: runs as long as it works.
        make_spare: makes the engine that takes over; called once, at the first need, by the
            thread that infers or warms up.
    """

    def __init__(self, engine: Engine, make_spare: Callable[[], Engine]) -> None:
        self._engine, self._make_spare = engine, make_spare
        self._spare: Engine | None = None
        self._failures = 0
        self._reason = ""
        self._failing_size: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        return self._running.name

    @property
    def _running(self) -> Engine:
        return self._spare if self._spare is not None and self._failing_size else self._engine

    def infer(
        self,
        visible: np.ndarray,
        thermal: np.ndarray,
        on_fused: Callable[[np.ndarray], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        if self._spare is not None and thermal.shape == self._failing_size:
            return self._spare.infer(visible, thermal, on_fused)
        try:
            result = self._engine.infer(visible, thermal, on_fused)
        except Exception as error:  # engines raise their runtime's own types
            self._failures += 1
            if self._failures < FAILURES_IN_ROW:
                raise
            return self._take_over(error, thermal.shape).infer(visible, thermal, on_fused)
        if self._failing_size is not None:
            logger.info("%s computes frames again", self._engine.name)
        self._failures, self._failing_size = 0, None
        return result

    def _take_over(self, error: Exception, size: tuple[int, ...]) -> Engine:
        """The spare, from now on for frames of this (height, width)."""
        if self._spare is None:
            self._spare = self._make_spare()
        self._failing_size = size
        self._reason = f"{self._engine.name} fails at {size[1]}x{size[0]}: {error}"
        logger.error("%s takes over: %s", self._spare.name, self._reason)
        return self._spare

    def warm_up(self, height: int, width: int) -> None:
        """Also finds out whether the engine works: a GPU whose memory is taken says so only now."""
        try:
            self._engine.warm_up(height, width)
        except Exception as error:
            self._take_over(error, (height, width)).warm_up(height, width)

    def describe(self) -> dict[str, str]:
        """As of the engine that runs; `engine_fallback` says why it is the spare, or is empty."""
        spare = self._running is self._spare
        return {**self._running.describe(), "engine_fallback": self._reason if spare else ""}

    def close(self) -> None:
        self._engine.close()
        if self._spare is not None:
            self._spare.close()
