"""What is measured: one engine on one model in one precision at one size."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AUTO", "Case"]

AUTO = "auto"


@dataclass(frozen=True)
class Case:
    """One engine on one model in one precision at one size, batch 1.

    Attributes:
        model: name of a shipped model or path of an ONNX file.
        engine: key of `ssvif_core.inference.engine.ENGINES`.
        precision: of the file, one of `ssvif_core.models.PRECISIONS`; or auto, what the engine
            does when it is not told.
        width, height: of the frames, pixels.
        threads: as in `EngineOptions`.
        frames: that are timed.
        build: whether a TensorRT engine that is missing is built.
    """

    model: str
    engine: str
    precision: str
    width: int
    height: int
    threads: int
    frames: int
    build: bool = False

    @property
    def size(self) -> str:
        """Such as 640x480."""
        return f"{self.width}x{self.height}"
