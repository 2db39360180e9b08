"""Which engine a configured node runs, while the parameters `engine` and `precision` are live.

The engine that is asked for is made and warmed up in a thread here, beside the one that runs, and
takes over between two frames. One that cannot be made changes nothing: the parameters go back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ssvif_core.errors import SsvifError
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.models import Model
from ssvif_ros.engines import begin_upgrade, engine_without_building
from ssvif_ros.parameters import Settings
from ssvif_ros.worker import LatestWorker

__all__ = ["EngineSwitch"]

logger = logging.getLogger("ssvif.engines")


class EngineSwitch:
    """Makes engines and hands them over, the newest that is asked for; blocks nobody.

    Args:
        model: that the engines run.
        settings: of the node at configure; the pipeline runs their engine.
        why: that engine, see `create_engine`.
        pipeline: receives engines.
        go_back: called, in a thread of this object, with the settings whose engine goes on and
            those whose engine could not be made; sets the parameters from these to those.

    Attributes:
        why: which engine runs and why, in one sentence; set by who makes one, too.
    """

    def __init__(
        self,
        model: Model,
        settings: Settings,
        why: str,
        pipeline: Pipeline,
        go_back: Callable[[Settings, Settings], None],
    ) -> None:
        self._model, self._pipeline, self._go_back = model, pipeline, go_back
        self._runs = self._asked = self._tried = settings
        self._state, self.why = "", why
        self._upgrade = begin_upgrade(model, settings, pipeline.engine.name, pipeline, self._built)
        self._worker: LatestWorker[Settings] | None = None  # most nodes never need one
        self._stopped = False
        self._lock = threading.Lock()  # for what is asked while another is given up

    @property
    def state(self) -> str:
        """One of none, building, loading, done, stopped, or "failed: " with the reason."""
        return self._state or (self._upgrade.state if self._upgrade else "none")

    @property
    def problem(self) -> str:
        """Why an engine that the parameters still ask for was not built; "" if nothing is wrong."""
        state = self._upgrade.state if self._upgrade else ""
        return state if state.startswith("failed") else ""

    def configure(self, settings: Settings) -> None:
        """Take live parameters."""
        with self._lock:
            if _wanted(settings) == _wanted(self._asked):
                return
            self._asked, self._state = settings, "loading"
        self._worker = self._worker or LatestWorker(self._make, self._failed)
        self._worker.offer(settings)

    def _make(self, settings: Settings) -> None:
        self._tried = settings
        engine, why = engine_without_building(self._model, settings)
        width, height = (settings.warm_up_width, settings.warm_up_height)
        if self._pipeline.sizes is not None:
            width, height = self._pipeline.sizes[0]
        try:
            engine.warm_up(height, width)
            if reason := engine.describe().get("engine_fallback"):
                raise SsvifError(reason)  # the one that runs is better than a spare of this one
        except Exception:
            engine.close()
            raise
        if self._stopped:  # `stop` does not wait for ever
            engine.close()
            return
        if self._upgrade is not None:
            self._upgrade.stop()
        name, said = engine.name, engine.describe()
        self._pipeline.replace_engine(engine)
        self._runs, self.why = settings, why
        logger.info("engine %s (%s) takes over: %s", said["engine"], said["precision"], why)
        self._upgrade = begin_upgrade(self._model, settings, name, self._pipeline, self._built)
        if self._tried is self._asked:  # else another one is tried next
            self._state = "" if self._upgrade else "done"

    def _built(self) -> None:
        self.why = "tensorrt, built while the node ran"

    def _failed(self, error: Exception) -> None:
        if self._stopped:  # the parameters are those of another configuration by now
            return
        logger.error("the engine was not changed: %s", error)
        with self._lock:
            if self._tried is not self._asked:  # another one is tried next
                return
            self._asked, self._state = self._runs, f"failed: {error}"
        self._go_back(self._runs, self._tried)

    def stop(self) -> None:
        """End what is under way; an engine that is being made for longer comes to nothing."""
        self._stopped = True
        if self._worker is not None:
            self._worker.stop()
        if self._upgrade is not None:
            self._upgrade.stop()


def _wanted(settings: Settings) -> tuple[str, str]:
    return settings.engine, settings.precision
