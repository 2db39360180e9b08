"""Engine on ONNX Runtime: on the CPU, on CUDA, or as a second way to TensorRT.

The session is specialised to one frame size: with fixed sizes ONNX Runtime folds the padding
arithmetic away and plans its memory once. A frame of another size makes a new session.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime

from ssvif_core.errors import SsvifError
from ssvif_core.inference.onnxruntime_providers import PROVIDERS, providers
from ssvif_core.inference.options import EngineOptions
from ssvif_core.memory import give_back_freed
from ssvif_core.models import Model

__all__ = ["OnnxRuntimeEngine"]

INPUTS = {"visible": ["tensor(uint8)", 4], "thermal": ["tensor(uint8)", 3]}
OUTPUTS = {"fused": ["tensor(uint8)", 4], "labels": ["tensor(uint8)", 3]}
#: Of its log: what it calls an error it raises as well, and the caller decides how often to say so.
FATAL_ONLY = 4


class OnnxRuntimeEngine:
    """See `ssvif_core.inference.engine.Engine`.

    Args:
        model: an opened model.
        options: threads, and for TensorRT workspace, cache and whether it may build.
        provider: a key of `PROVIDERS`; what it cannot do runs on the CPU.

    Raises:
        SsvifError: the file is no ONNX model, its inputs and outputs are not the contract's, or the
            provider does not work here.
    """

    def __init__(
        self, model: Model, options: EngineOptions | None = None, provider: str = "cpu"
    ) -> None:
        self.model, self.options, self.provider = model, options or EngineOptions(), provider
        self.name = "onnxruntime" if provider == "cpu" else f"onnxruntime-{provider}"
        self._size = (0, 0)
        # TensorRT builds for the size that is announced; any other session is made in no time.
        announced = (self.options.height, self.options.width) if provider == "tensorrt" else None
        self._session: onnxruntime.InferenceSession | None = self._load(announced)
        for wanted, found in (
            (INPUTS, self._session.get_inputs()),
            (OUTPUTS, self._session.get_outputs()),
        ):
            present = {node.name: [node.type, len(node.shape)] for node in found}
            if present != wanted:
                raise SsvifError(
                    f"{model.path} has {present} where {wanted} is needed: use a model made by "
                    "`ssvif export`."
                )

    def _load(self, size: tuple[int, int] | None) -> onnxruntime.InferenceSession:
        """A session for frames of (height, width), or, to look at it, for any."""
        wanted = replace(self.options, height=size[0], width=size[1]) if size else self.options
        chosen = providers(self.provider, self.model, wanted)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.options.threads
        options.log_severity_level = FATAL_ONLY
        # Threads spin while a frame is computed and stop when it is done; by default they go on
        # spinning, and take the cores from the callbacks that bring the next frame.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if size:
            for dimension, length in zip(("height", "width"), size, strict=True):
                options.add_free_dimension_override_by_name(dimension, length)
        try:
            session = onnxruntime.InferenceSession(str(self.model.path), options, providers=chosen)
        except Exception as error:  # onnxruntime raises a dozen types with no common base
            raise SsvifError(
                f"ONNX Runtime cannot load {self.model.path}: {error}. Export the model again."
            ) from error
        if session.get_providers()[0] != PROVIDERS[self.provider]:
            raise SsvifError(  # it goes on without, and says so in its log alone
                f"{PROVIDERS[self.provider]} does not start: CUDA, cuDNN or TensorRT is missing or "
                "of another version than this ONNX Runtime needs (docs/engines.md)."
            )
        return session

    def _specialise(self, height: int, width: int) -> None:
        self._size = (0, 0)  # until all of it is there, so that a failure half-way is not kept
        self._session = self._load((height, width))
        self._fused = np.empty((1, height, width, 3), np.uint8)
        self._labels = np.empty((1, height, width), np.uint8)
        self._binding = self._session.io_binding()
        for name, buffer in (("fused", self._fused), ("labels", self._labels)):
            self._binding.bind_output(name, "cpu", 0, np.uint8, buffer.shape, buffer.ctypes.data)
        give_back_freed()  # the session before, and what reading and optimising the model took
        self._size = (height, width)

    def infer(self, visible: np.ndarray, thermal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._session is None:
            raise SsvifError("The engine is closed: make a new one.")
        if thermal.shape != self._size:
            self._specialise(*thermal.shape)
        self._binding.bind_cpu_input("visible", visible[None])
        self._binding.bind_cpu_input("thermal", thermal[None])
        self._session.run_with_iobinding(self._binding)
        return self._fused[0], self._labels[0]

    def warm_up(self, height: int, width: int) -> None:
        for _ in range(2):
            self.infer(np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8))

    def describe(self) -> dict[str, str]:
        return {
            "engine": self.name,
            "version": onnxruntime.__version__,
            "precision": self.model.precision,
            "device": "CPU" if self.provider == "cpu" else "GPU",
            "threads": str(self.options.threads or "one for each core"),
            "model": self.model.card.name,
        }

    def close(self) -> None:
        self._session = None
        self._binding = None
