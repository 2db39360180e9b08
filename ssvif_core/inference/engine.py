"""What an engine is, and how one is chosen. Knows no frames, gains or messages."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np

from ssvif_core.deploy.engine_builder import UnfitEngineError
from ssvif_core.errors import SsvifError
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import PRECISIONS, Model, in_precision

__all__ = ["AUTO_ENGINES", "ENGINES", "Engine", "EngineOptions", "choose_file", "create_engine"]

logger = logging.getLogger("ssvif.engines")


class Engine(Protocol):
    """Runs one model. Not thread safe: one thread owns an engine."""

    @property
    def name(self) -> str: ...

    def infer(
        self,
        visible: np.ndarray,
        thermal: np.ndarray,
        on_fused: Callable[[np.ndarray], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fuse and segment one pair.

        Args:
            visible: (H, W, 3) uint8 RGB, C-contiguous.
            thermal: (H, W) uint8, C-contiguous, the same H and W.
            on_fused: called with the fused image by an engine that has it before the labels, in
                the caller's thread, while the labels may be computed in another; and again if the
                frame had to be computed anew. It must not raise.

        Returns:
            fused (H, W, 3) uint8 RGB and labels (H, W) uint8. Both are buffers of the engine and
            hold this answer only until the next call: copy what is kept.

        Raises:
            SsvifError: this frame could not be computed, such as a size that the engine was not
                built for; the engine can go on with the next frame. Arrays that are not as said
                above are a bug of the caller's, and raise what they raise: `Pipeline.process`
                checks what comes from outside.
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


# Engines are imported when they are made: each needs packages that another machine does not have.


def choose_file(model: Model, options: EngineOptions, usual: str) -> Model:
    """The file of the precision that is asked for; `usual`: what auto means for the engine."""
    if options.precision == "auto":
        return in_precision(model, usual, or_given=True)
    if options.precision not in PRECISIONS:
        raise SsvifError(
            f"Unknown precision '{options.precision}': use auto or one of {list(PRECISIONS)}."
        )
    return in_precision(model, options.precision)


def _tensorrt(model: Model, options: EngineOptions) -> Engine:
    from ssvif_core.inference.tensorrt_engine import TensorRtEngine

    return TensorRtEngine(choose_file(model, options, "fp16"), options)


def _onnxruntime_tensorrt(model: Model, options: EngineOptions) -> Engine:
    from ssvif_core.inference.onnxruntime_engine import OnnxRuntimeEngine

    chosen = choose_file(model, options, "fp16")
    if options.allow_build:
        from ssvif_core.deploy.onnxruntime_build import ensure_loadable

        ensure_loadable(chosen, options)
    return OnnxRuntimeEngine(chosen, replace(options, allow_build=False), "tensorrt")


def _onnxruntime_cuda(model: Model, options: EngineOptions) -> Engine:
    from ssvif_core.inference.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(choose_file(model, options, "fp16"), options, "cuda")


def _onnxruntime(model: Model, options: EngineOptions) -> Engine:
    from ssvif_core.inference.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(choose_file(model, options, "fp32"), options)


def _openvino(model: Model, options: EngineOptions) -> Engine:
    from ssvif_core.inference.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(choose_file(model, options, "fp32"), options)


def _torch(model: Model, options: EngineOptions) -> Engine:
    from ssvif_core.inference.torch_engine import TorchEngine

    return TorchEngine(choose_file(model, options, "fp32"), options)


#: Engines that this version has, fastest first.
ENGINES: dict[str, Callable[[Model, EngineOptions], Engine]] = {
    "tensorrt": _tensorrt,
    "onnxruntime-tensorrt": _onnxruntime_tensorrt,
    "onnxruntime-cuda": _onnxruntime_cuda,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "torch": _torch,
}
#: Those that `auto` tries, in this order. It builds nothing, so it takes TensorRT, in either way,
#: only where an engine was built before. OpenVINO has to be asked for: it may be faster and
#: answers a little differently (docs/engines.md), and installing a package should not do that.
AUTO_ENGINES = ("tensorrt", "onnxruntime-tensorrt", "onnxruntime-cuda", "onnxruntime")


def _tried(engine: Engine, options: EngineOptions) -> Engine:
    """The engine, after a frame where it is on a GPU: what it lacks there may be said only then.

    Kernels for this GPU, such as those of cuDNN, are looked for when one is to run.

    Raises:
        UnfitEngineError: it cannot compute one, and is closed.
    """
    if engine.describe()["device"] != "CPU":
        try:
            engine.warm_up(options.height, options.width)
        except Exception as error:
            engine.close()
            raise UnfitEngineError(f"it starts and cannot compute a frame: {error}") from error
    return engine


def create_engine(
    model: Model, engine: str = "auto", options: EngineOptions | None = None
) -> tuple[Engine, str]:
    """Make the engine for a model.

    Args:
        model: an opened model; the file of another precision beside it is used where one is asked
            for.
        engine: "auto" or a key of `ENGINES`.
        options: see `EngineOptions`.

    Returns:
        The engine, and one sentence that says which it is and why.

    Raises:
        SsvifError: the name is unknown, or no engine could load the model.
    """
    options = options or EngineOptions()
    if engine != "auto":
        if engine not in ENGINES:
            raise SsvifError(f"Unknown engine '{engine}': use auto or one of {list(ENGINES)}.")
        return ENGINES[engine](model, options), f"{engine}, as asked for"
    if options.precision != "auto":
        choose_file(model, options, "fp32")  # if there is none, it is said once and not by each
    failures: dict[str, str] = {}
    for name in AUTO_ENGINES:
        try:
            made = _tried(ENGINES[name](model, options), options)
        except Exception as error:  # a broken package must not keep the next engine from running
            failures[name] = str(error)
            if isinstance(error, UnfitEngineError):  # somebody meant it to run
                logger.warning("%s: %s", name, error)
            elif not isinstance(error, SsvifError):
                logger.warning("%s is broken here: %r", name, error)
            continue
        why = f"{name}, the fastest that works here"
        return (
            made,
            f"{why}; `ssvif doctor` says why not {', '.join(failures)}" if failures else why,
        )
    reasons = " ".join(f"{name}: {reason}" for name, reason in failures.items())
    raise SsvifError(f"No engine can run {model.path}. {reasons}")
