"""Engine on ONNX Runtime: on the CPU, on CUDA, or as a second way to TensorRT.

The session is specialised to one frame size: with fixed sizes ONNX Runtime folds the padding
arithmetic away and plans its memory once. A frame of another size makes a new session.

On the CPU the model runs in two halves, so that the fused image can be handed on before the labels
are there: at 1280x1024 they take the last 7 % of the time. With more than one thread both happen at
once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnxruntime

from ssvif_core.cores import cores
from ssvif_core.errors import SsvifError
from ssvif_core.inference.labels_half import LabelsHalf, bound, run
from ssvif_core.inference.onnx_halves import split
from ssvif_core.inference.onnxruntime_providers import PROVIDERS, advice, providers
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
        self._size, self._closed = (0, 0), False
        # This session tells whether the provider starts and the file keeps the contract. It runs no
        # frame: the first one makes another, of its own size and on the CPU in two halves. TensorRT
        # builds for the size that is announced; any other session is made in no time.
        announced = (self.options.height, self.options.width) if provider == "tensorrt" else None
        self._session: onnxruntime.InferenceSession | None = self._load(announced)
        self._binding: Any = None
        self._labels_half: LabelsHalf | None = None
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

    def _load(
        self, size: tuple[int, int] | None, half: bytes | None = None, threads: int | None = None
    ) -> onnxruntime.InferenceSession:
        """A session for frames of (height, width), or, to look at it, for any.

        Args:
            size: (height, width), or None.
            half: of the model, instead of all of it.
            threads: instead of those of the options.
        """
        wanted = replace(self.options, height=size[0], width=size[1]) if size else self.options
        chosen = providers(self.provider, self.model, wanted)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or self.options.cpu_threads
        options.log_severity_level = FATAL_ONLY
        # Threads spin while a frame is computed and stop when it is done; by default they go on
        # spinning, and take the cores from the callbacks that bring the next frame.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if size:
            for dimension, length in zip(("height", "width"), size, strict=True):
                options.add_free_dimension_override_by_name(dimension, length)
        try:
            content = str(self.model.path) if half is None else half
            session = onnxruntime.InferenceSession(content, options, providers=chosen)
        except Exception as error:  # onnxruntime raises a dozen types with no common base
            raise self._cannot_load(error) from error
        if session.get_providers()[0] != PROVIDERS[self.provider]:
            raise SsvifError(  # it goes on without, and says so in its log alone
                f"{PROVIDERS[self.provider]} does not start: CUDA, cuDNN or TensorRT is missing or "
                "of another version than this ONNX Runtime needs (docs/engines.md)."
            )
        return session

    def _cannot_load(self, error: Exception) -> SsvifError:
        said = str(error).rstrip(".")
        return SsvifError(
            f"ONNX Runtime cannot load {self.model.path}: {said}. {advice(self.provider, error)}"
        )

    def _forget(self) -> None:
        """Free the sessions; a binding holds the one that it is of."""
        if self._labels_half is not None:
            self._labels_half.close()
        self._session = self._binding = self._labels_half = None

    def _specialise(self, height: int, width: int) -> None:
        self._size = (0, 0)  # until all of it is there, so that a failure half-way is not kept
        self._forget()
        self._fused = np.empty((1, height, width, 3), np.uint8)
        self._labels = np.empty((1, height, width), np.uint8)
        if not (self.provider == "cpu" and self._prepare_halves((height, width))):
            self._session = self._load((height, width))
            self._binding = bound(self._session, fused=self._fused, labels=self._labels)
        give_back_freed()  # the session before, and what reading and optimising the model took
        self._size = (height, width)

    def _prepare_halves(self, size: tuple[int, int]) -> bool:
        """A session up to the fused image and one for the rest; False: it runs as a whole."""
        try:
            halves = split(self.model.path.read_bytes())
        except (OSError, ValueError) as error:  # the file was there and whole when it was opened
            raise self._cannot_load(error) from error
        if halves is None:
            return False
        session = self._load(size, halves.first)
        kinds = {node.name: node.type for node in session.get_outputs()}
        second = halves.second(kinds[halves.scores])
        if second is None:
            return False
        # Whoever takes the fused image needs a core as well.
        rest = self._load(size, second, max(min(self.options.cpu_threads, cores() - 1), 1))
        self._session, self._binding = session, bound(session, fused=self._fused)
        self._binding.bind_output(halves.scores, "cpu")
        beside = self.options.cpu_threads > 1
        self._labels_half = LabelsHalf(
            rest, halves.scores, halves.inputs_of_second, self._labels, beside
        )
        return True

    def infer(
        self,
        visible: np.ndarray,
        thermal: np.ndarray,
        on_fused: Callable[[np.ndarray], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        if self._closed:
            raise SsvifError("The engine is closed: make a new one.")
        if thermal.shape != self._size:
            self._specialise(*thermal.shape)
        assert self._session is not None
        inputs = {"visible": visible[None], "thermal": thermal[None]}
        for name, array in inputs.items():
            self._binding.bind_cpu_input(name, array)
        run(self._session, self._binding)
        hand_on = partial(on_fused, self._fused[0]) if on_fused is not None else None
        if self._labels_half is not None:
            self._labels_half.bind(self._binding.get_outputs()[-1], inputs)
            self._labels_half.run(hand_on)
        elif hand_on is not None:
            hand_on()
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
        self._closed = True
        self._forget()
