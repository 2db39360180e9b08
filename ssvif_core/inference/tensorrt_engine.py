"""Engine on TensorRT: what runs on Jetson and on desktop GPUs.

Loads what `ssvif engine build` made; building is `deploy/engine_builder.py`. Buffers are allocated
when the frame size becomes known and used for every frame after; copies and kernels are queued on a
stream of its own and, where the engine has one fixed size, recorded once as a CUDA graph, so that a
frame costs one launch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ssvif_core.deploy import tensorrt_api as api
from ssvif_core.deploy.engine_builder import (
    UnfitEngineError,
    build_command,
    cached_or_built_plan,
)
from ssvif_core.errors import SsvifError
from ssvif_core.inference.cuda import Buffer, Graph, Stream, find_gpu
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import Model

__all__ = ["TensorRtEngine"]

logger = logging.getLogger("ssvif.tensorrt")

INPUTS, OUTPUTS = ("visible", "thermal"), ("fused", "labels")


class TensorRtEngine:
    """See `ssvif_core.inference.engine.Engine`.

    Args:
        model: an opened model, in the precision that is to run.
        options: frame size or range, DLA core, cache, and whether it may be built now.

    Raises:
        SsvifError: TensorRT, CUDA or a GPU is missing, or there is no fitting engine and none may
            be built; says what to do.
        UnfitEngineError: there is one, and TensorRT cannot load or run it.
    """

    name = "tensorrt"

    def __init__(self, model: Model, options: EngineOptions | None = None) -> None:
        self.model, self.options = model, options or EngineOptions()
        self._trt = api.load()
        self.gpu = find_gpu()
        plan = cached_or_built_plan(self._trt, model, self.options, self.gpu)
        self._log = api.make_logger(self._trt)
        self._runtime = api.make(self._trt.Runtime, self._log)
        if self.options.dla_core >= 0:  # the plan says that it is for a DLA, not for which
            self._runtime.DLA_core = self.options.dla_core
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise UnfitEngineError(
                f"TensorRT cannot load its engine: {api.last_error(self._log)}. Build it anew "
                f"with: {build_command(model, self.options)} --force"
            )
        self._check_contract()
        self._context: Any = self._engine.create_execution_context()
        if self._context is None:
            raise UnfitEngineError(
                f"TensorRT cannot make room for a frame: {api.last_error(self._log)}. The GPU's "
                "memory may be full: stop other programs, or use the model `tiny`."
            )
        self._stream = Stream()
        self._buffers: dict[str, Buffer] = {}
        self._graph: Graph | None = None
        self._size = (0, 0)

    def _check_contract(self) -> None:
        count = self._engine.num_io_tensors
        names = {self._engine.get_tensor_name(index) for index in range(count)}
        bytes_only = all(self._engine.get_tensor_dtype(n) == self._trt.uint8 for n in names)
        if names != {*INPUTS, *OUTPUTS} or not bytes_only:
            raise SsvifError(
                f"The engine of {self.model.path} has {sorted(names)} where {INPUTS + OUTPUTS}, "
                "all uint8, are needed: use a model made by `ssvif export`."
            )

    # -- one frame size ------------------------------------------------------------------------

    def _prepare(self, height: int, width: int) -> None:
        """Buffers and shapes for a frame size, and the CUDA graph where the size is fixed."""
        low, _, high = (
            tuple(shape)[1:3] for shape in self._engine.get_tensor_profile_shape("visible", 0)
        )
        if not (low[0] <= height <= high[0] and low[1] <= width <= high[1]):
            raise _unfit_size(self.model, self.options, _range(low, high), height, width)
        self._forget()
        shapes = {
            "visible": (1, height, width, 3),
            "thermal": (1, height, width),
            "fused": (1, height, width, 3),
            "labels": (1, height, width),
        }
        for name, shape in shapes.items():
            self._buffers[name] = Buffer(shape, np.uint8, self.gpu.integrated)
            if name in INPUTS:
                self._context.set_input_shape(name, shape)
            self._context.set_tensor_address(name, self._buffers[name].device)
        self._queue()  # what TensorRT puts off until the first run must not be recorded
        self._stream.wait()
        if low == high:
            self._record()
        self._size = (height, width)

    def _record(self) -> None:
        try:
            self._graph = self._stream.record(self._queue)
        except SsvifError as error:  # some tactics, and loops on DLA, cannot be captured
            logger.info("without a CUDA graph: %s", error)
            self._graph = None

    def _queue(self) -> None:
        """Copies and kernels of one frame onto the stream."""
        for name in INPUTS:
            self._buffers[name].upload(self._stream)
        if not self._context.execute_async_v3(int(self._stream.handle)):
            raise SsvifError(
                f"TensorRT could not run: {api.last_error(self._log)}. If it goes on, build the "
                f"engine anew with: {build_command(self.model, self.options)} --force"
            )
        for name in OUTPUTS:
            self._buffers[name].download(self._stream)

    def _forget(self) -> None:
        if self._graph is not None:
            self._graph.free()
            self._graph = None
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers.clear()
        self._size = (0, 0)

    # -- Engine --------------------------------------------------------------------------------

    def infer(
        self,
        visible: np.ndarray,
        thermal: np.ndarray,
        on_fused: Callable[[np.ndarray], None] | None = None,  # the labels come with it
    ) -> tuple[np.ndarray, np.ndarray]:
        if self._context is None:
            raise SsvifError("The engine is closed: make a new one.")
        if thermal.shape != self._size:
            self._prepare(*thermal.shape)
        np.copyto(self._buffers["visible"].array[0], visible)
        np.copyto(self._buffers["thermal"].array[0], thermal)
        if self._graph is not None:
            self._graph.launch(self._stream)
        else:
            self._queue()
        self._stream.wait()
        return self._buffers["fused"].array[0], self._buffers["labels"].array[0]

    def warm_up(self, height: int, width: int) -> None:
        for _ in range(2):
            self.infer(np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8))

    def describe(self) -> dict[str, str]:
        dla = self.options.dla_core
        return {
            "engine": self.name,
            "version": self._trt.__version__,
            "precision": self.model.precision,
            "device": f"{self.gpu.name}, DLA core {dla}" if dla >= 0 else self.gpu.name,
            "threads": "none",
            "model": self.model.card.name,
        }

    def close(self) -> None:
        if self._context is None:
            return
        self._forget()
        self._stream.free()
        # In this order: a context must not outlive its engine, nor that its runtime.
        self._context = None
        self._engine = None
        self._runtime = None


def _unfit_size(
    model: Model, options: EngineOptions, built_for: str, height: int, width: int
) -> SsvifError:
    wanted = replace(options, height=height, width=width, smallest=None, largest=None)
    return SsvifError(
        f"The engine was built for {built_for} and the frame is {width}x{height}. Build one for "
        "this size, or add --smallest and --largest for a range, with: "
        f"{build_command(model, wanted)}"
    )


def _range(low: tuple[int, ...], high: tuple[int, ...]) -> str:
    sizes = [f"{columns}x{rows}" for rows, columns in (low, high)]
    return sizes[0] if low == high else " to ".join(sizes)
