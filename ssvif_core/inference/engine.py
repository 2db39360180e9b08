"""What an engine is, and how one is chosen. Knows no frames, gains or messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.inference.onnxruntime_engine import OnnxRuntimeEngine
from ssvif_core.models import Model

__all__ = ["ENGINES", "Engine", "create_engine"]


class Engine(Protocol):
    """Runs one model. Not thread safe: one thread owns an engine."""

    @property
    def name(self) -> str: ...

    def infer(self, visible: np.ndarray, thermal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fuse and segment one pair.

        Args:
            visible: (H, W, 3) uint8 RGB, C-contiguous.
            thermal: (H, W) uint8, C-contiguous, the same H and W.

        Returns:
            fused (H, W, 3) uint8 RGB and labels (H, W) uint8. Both are buffers of the engine and
            hold this answer only until the next call: copy what is kept.
        """
        ...

    def warm_up(self, height: int, width: int) -> None:
        """Do now what the first frame of this size would have to wait for."""
        ...

    def describe(self) -> dict[str, str]:
        """What runs, for logs and diagnostics: engine, version, precision, device, threads."""
        ...

    def close(self) -> None:
        """Free memory and threads; the engine cannot be used afterwards."""
        ...


#: Engines that this version has, fastest first: `auto` takes the first that works.
ENGINES: dict[str, Callable[[Model, int], Engine]] = {"onnxruntime": OnnxRuntimeEngine}


def create_engine(model: Model, engine: str = "auto", threads: int = 2) -> tuple[Engine, str]:
    """Make the engine for a model.

    Args:
        model: an opened model.
        engine: "auto" or a key of `ENGINES`.
        threads: CPU threads for engines that run on the CPU; 0 takes one for each core.

    Returns:
        The engine, and one sentence that says which it is and why.

    Raises:
        SsvifError: the name is unknown, or no engine could load the model.
    """
    if engine != "auto":
        if engine not in ENGINES:
            raise SsvifError(f"Unknown engine '{engine}': use auto or one of {list(ENGINES)}.")
        return ENGINES[engine](model, threads), f"{engine}, as asked for"
    failures = []
    for name, make in ENGINES.items():
        try:
            return make(model, threads), f"{name}, the fastest that works here"
        except SsvifError as error:
            failures.append(f"{name}: {error}")
    raise SsvifError(f"No engine can run {model.path}. " + " ".join(failures))
