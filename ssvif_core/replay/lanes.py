"""Where pairs are fused: the node's own pipeline, and beside it others with engines of one thread.

One engine on n threads makes less of n cores than n engines on one thread each, and all give the
same bytes. But what a pair costs on the robot only the node's own engine tells, on the node's own
number of threads and with nothing beside it: so some pairs are timed in that one, alone.
"""

from __future__ import annotations

from dataclasses import replace
from queue import SimpleQueue

import numpy as np

from ssvif_core.imaging.registration import Registration
from ssvif_core.inference.pipeline import Followed, FusionResult, Pipeline
from ssvif_core.replay.settings import NodeSettings, Parts, engine_for

__all__ = ["Lanes"]

#: Engines of which several run side by side. The others have a device of their own (or, torch, one
#: pool of threads for the process): one of them serves all workers in turn.
SIDE_BY_SIDE = ("onnxruntime",)


class Lanes:
    """Fuses pairs for several threads.

    Args:
        parts: with the node's pipeline.
        settings: of the node.
        workers: threads that will ask.
        size: (height, width) of the visible frames.
    """

    def __init__(
        self, parts: Parts, settings: NodeSettings, workers: int, size: tuple[int, int]
    ) -> None:
        self._own = parts.pipeline
        self._passthrough = settings.on_missing == "passthrough"
        self._made: list[Pipeline] = []
        self._free: SimpleQueue[Pipeline] = SimpleQueue()
        if workers > 1 and self._own.engine.name in SIDE_BY_SIDE:
            alone = replace(settings, engine=self._own.engine.name, threads=1)
            for _ in range(workers):
                engine, _ = engine_for(parts.model, alone, size)
                aligned = None if parts.alignment is None else Registration(parts.alignment)
                self._made.append(Pipeline(engine, self._own.gain, aligned))
        for pipeline in self._made or [self._own]:
            self._free.put(pipeline)

    def follow(
        self, visible: np.ndarray | None, thermal: np.ndarray | None, stamp_s: float
    ) -> Followed:
        """See `Pipeline.follow`: in order, one at a time."""
        return self._own.follow(visible, thermal, stamp_s)

    def fuse(self, followed: Followed, *, timed: bool) -> FusionResult:
        """See `Pipeline.fuse`: in any thread. What is given is the caller's.

        Args:
            followed: of `follow`.
            timed: in the node's own pipeline; the caller sees to it that nothing runs beside it.
        """
        if timed:
            return self._fused(self._own, followed)
        lane = self._free.get()
        try:
            return self._fused(lane, followed)
        finally:
            self._free.put(lane)

    def close(self) -> None:
        """Free the engines but the node's own."""
        for pipeline in self._made:
            pipeline.close()

    def _fused(self, pipeline: Pipeline, followed: Followed) -> FusionResult:
        result = pipeline.fuse(followed, passthrough=self._passthrough)
        # The engine and the registration overwrite theirs; what was not warped is nobody's buffer.
        kept = result.thermal is followed.thermal
        thermal = result.thermal if kept else result.thermal.copy()
        return FusionResult(result.fused.copy(), result.labels.copy(), thermal, result.times)
