"""What engines can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ssvif_core.cores import cores
from ssvif_core.errors import SsvifError

__all__ = ["EngineOptions"]

#: Some engines try to start as many threads as they are told, and would never be done with it.
MOST_THREADS = 256


@dataclass(frozen=True)
class EngineOptions:
    """What engines can be told; each takes what concerns it.

    Raises SsvifError if `threads` is out of range.

    Attributes:
        threads: CPU threads of engines that run on the CPU, 256 at most; 0 takes one for each core
            that this process may use.
        precision: auto (fp16 on a GPU where the model has such a file, otherwise fp32), or one of
            `ssvif_core.models.PRECISIONS`.
        height, width: frame size that a TensorRT engine is built for.
        smallest, largest: (height, width) of the range of sizes that it can run; None: that one
            size alone, which is faster and lets a CUDA graph be recorded.
        workspace_mib: limit of TensorRT's scratch memory; 0 leaves it to TensorRT.
        dla_core: core of the deep learning accelerator (Jetson) to build for; -1: the GPU.
        cache: folder of built engines; None: `deploy.engine_cache.default_folder()`.
        allow_build: whether making an engine may build it, which takes minutes.
    """

    threads: int = 2
    precision: str = "auto"
    height: int = 480
    width: int = 640
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None
    workspace_mib: int = 0
    dla_core: int = -1
    cache: Path | None = None
    allow_build: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.threads <= MOST_THREADS:
            raise SsvifError(
                f"{self.threads} threads: give 0, which is one for each core, to {MOST_THREADS}."
            )

    @property
    def cpu_threads(self) -> int:
        """How many that is here: told 0, ONNX Runtime pins a thread to each core of the machine."""
        return self.threads or min(cores(), MOST_THREADS)
