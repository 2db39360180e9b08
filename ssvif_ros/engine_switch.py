"""Which engine a configured node runs, while the parameters `engine` and `precision` are live.

The engine that is asked for is made and warmed up in a thread here, beside the one that runs, and
takes over between two frames. While the node is inactive none is made, for it holds none: that is
for the next activation. One that cannot be made changes nothing: the parameters go back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ssvif_core.errors import SsvifError
from ssvif_core.inference.engine import Engine
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.models import Model
from ssvif_ros.engines import begin_upgrade, engine_without_building, warm_up
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
        go_back: called, in any thread, with the settings whose engine goes on and those whose
            engine could not be made; sets the parameters from these to those.

    Attributes:
        why: which engine runs and why, in one sentence.
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
        self._runs = self._asked = settings
        self._state, self.why = "", why
        self._upgrade = begin_upgrade(model, settings, pipeline.engine.name, pipeline, self._built)
        self._worker: LatestWorker[Settings] | None = None  # most nodes never need one
        self._stopped = False
        self._lock = threading.Lock()  # for what is asked while another is given up
        self._making = threading.Lock()  # one engine at a time, here or in `resume`

    @property
    def state(self) -> str:
        """One of none, building, loading, done, stopped, or "failed: " with the reason."""
        if _wanted(self._asked) != _wanted(self._runs):
            return "loading"
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
            self._asked, self._state = settings, ""
        self._worker = self._worker or LatestWorker(self._make, self._failed)
        self._worker.offer(settings)

    def resume(self) -> None:
        """Make the engine that is asked for, for a pipeline that was released; at an activation.

        Raises:
            SsvifError: neither this one can be made nor the one that ran before.
        """
        with self._making:
            if _wanted(self._asked) != _wanted(self._runs) and self._change(self._asked):
                return
            settings = self._runs
            engine, self.why = engine_without_building(self._model, settings)
            self._warm_up(engine, settings)
            self._pipeline.resume(engine)

    def _make(self, settings: Settings) -> None:
        """In the worker's thread."""
        with self._making:
            # Inactive: `resume` makes it, and may have done so, or given it up, by now.
            still_asked = settings is self._asked and _wanted(settings) != _wanted(self._runs)
            if still_asked and not self._pipeline.released:
                self._change(settings, beside=True)

    def _change(self, settings: Settings, *, beside: bool = False) -> bool:
        """Make another engine, for now or `beside` the one that runs; whether it was taken."""
        try:
            engine, why = self._engine(settings)
        except Exception as error:  # whatever its library raises
            self._give_up(settings, error)
            return False
        if self._stopped:  # `stop` does not wait for ever
            engine.close()
            return False
        if self._upgrade is not None:
            self._upgrade.stop()
        name, said = engine.name, engine.describe()
        if not beside:
            self._pipeline.resume(engine)
        elif not self._pipeline.replace_engine(engine):  # deactivated meanwhile
            return False
        self._runs, self.why = settings, why
        logger.info("engine %s (%s) takes over: %s", said["engine"], said["precision"], why)
        self._upgrade = begin_upgrade(self._model, settings, name, self._pipeline, self._built)
        if settings is self._asked:  # else another one is tried next
            self._state = "" if self._upgrade else "done"
        return True

    def _engine(self, settings: Settings) -> tuple[Engine, str]:
        """An engine that is ready for the frames that come, and why that one."""
        engine, why = engine_without_building(self._model, settings)
        self._warm_up(engine, settings)
        if reason := engine.describe().get("engine_fallback"):
            engine.close()
            raise SsvifError(reason)  # the one that runs is better than a spare of this one
        return engine, why

    def _warm_up(self, engine: Engine, settings: Settings) -> None:
        """For frames of the size that came last; before the first, of that of the parameters."""
        width, height = (settings.warm_up_width, settings.warm_up_height)
        if self._pipeline.sizes is not None:
            width, height = self._pipeline.sizes[0]
        warm_up(engine, height, width)

    def _built(self) -> None:
        self.why = "tensorrt, built while the node ran"

    def _failed(self, error: Exception) -> None:
        if not self._stopped:  # else the parameters are those of another configuration by now
            logger.error("the engine was not changed: %s", error)

    def _give_up(self, tried: Settings, error: Exception) -> None:
        self._failed(error)
        with self._lock:
            if self._stopped or tried is not self._asked:  # another one is tried next
                return
            self._asked, self._state = self._runs, f"failed: {error}"
        self._go_back(self._runs, tried)

    def stop(self) -> None:
        """End what is under way; an engine that is being made for longer comes to nothing."""
        self._stopped = True
        if self._worker is not None:
            self._worker.stop()
        if self._upgrade is not None:
            self._upgrade.stop()


def _wanted(settings: Settings) -> tuple[str, str]:
    return settings.engine, settings.precision
