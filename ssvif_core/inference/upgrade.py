"""A faster engine is built beside a running one, and takes over between two frames.

Building an engine takes minutes and much memory. It runs in a process of its own, so that neither
its hunger nor its end can take the node along; when it is done, the engine is loaded and warmed up
in a thread here, and handed over.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence

from ssvif_core.inference.engine import Engine

__all__ = ["EngineUpgrade", "how_it_ended"]

logger = logging.getLogger("ssvif.engines")


def how_it_ended(status: int) -> str:
    """What the status of a build's process means; of one that was killed, what to do."""
    if status >= 0:
        return f"status {status}"
    said = signal.strsignal(-status) or f"signal {-status}"
    if -status != signal.SIGKILL:
        return said
    return (
        f"{said}, probably because memory ran out: close other programs, set "
        "tensorrt.workspace_mib, or add swap"
    )


class EngineUpgrade:
    """Build, load, hand over; in the background, from the moment it is made.

    Args:
        command: program and arguments that build the engine; status 0 says that it is there.
        make: loads it, ready for the first frame; called in this object's thread.
        hand_over: given the engine; called in this object's thread.

    Attributes:
        state: "building", "loading", "done", "stopped" or "failed: ..." with the reason.
    """

    def __init__(
        self,
        command: Sequence[str],
        make: Callable[[], Engine],
        hand_over: Callable[[Engine], None],
    ) -> None:
        self._command, self._make, self._hand_over = list(command), make, hand_over
        self._lock = threading.Lock()
        self._stopped = False
        self._process: subprocess.Popen[str] | None = None
        self.state = "building"
        self._thread = threading.Thread(target=self._run, name="engine upgrade", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the build; nothing is handed over after this returns."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.terminate()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._build()
            self.state = "loading"
            engine = self._make()
            with self._lock:
                if self._stopped:
                    engine.close()
                    self.state = "stopped"
                    return
                self._hand_over(engine)
            self.state = "done"
        except Exception as error:  # the engine that runs goes on, whatever happened here
            self.state = "stopped" if self._stopped else f"failed: {error}"
            if not self._stopped:
                logger.error("no faster engine: %s", error)

    def _build(self) -> None:
        with self._lock:
            if self._stopped:
                raise RuntimeError("stopped before it began")
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # a Ctrl-C is for the node, which then stops the build
            )
        _, errors = self._process.communicate()
        if self._process.returncode:
            said = " ".join(errors.split())[-500:]
            if self._process.returncode < 0 or not said:  # who was ended did not say why
                said = ". ".join(filter(None, (said, how_it_ended(self._process.returncode))))
            raise RuntimeError(f"the build ended without an engine ({said})")
