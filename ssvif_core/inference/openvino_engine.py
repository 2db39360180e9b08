"""Engine on OpenVINO: another way to run on x86 CPUs.

The graph is compiled for one frame size: with fixed sizes the padding arithmetic is folded away
and memory is planned once. A frame of another size compiles anew, which takes part of a second.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import Model

__all__ = ["OpenVinoEngine"]

#: Type and number of dimensions.
INPUTS = {"visible": ["u8", 4], "thermal": ["u8", 3]}
OUTPUTS = {"fused": ["u8", 4], "labels": ["u8", 3]}
TELEMETRY = "openvino_telemetry"
#: For the import: two engines may be made at the same time, each in a thread of its own.
_importing = threading.Lock()


class OpenVinoEngine:
    """See `ssvif_core.inference.engine.Engine`.

    Computes in fp32, also on a CPU that would take bf16 by itself: docs/engines.md says why.

    Args:
        model: an opened model.
        options: threads, precision, and the frame size to be ready for.

    Raises:
        SsvifError: OpenVINO is missing, the file is int8 or no ONNX model that it can run, or its
            inputs and outputs are not the contract's.
    """

    name = "openvino"

    def __init__(self, model: Model, options: EngineOptions | None = None) -> None:
        self.model, self.options = model, options or EngineOptions()
        if model.precision == "int8":
            # Measured without VNNI: 2 grey levels off on average where ONNX Runtime is 0.3 off.
            raise SsvifError(
                f"{model.path} is int8, which OpenVINO computes less exactly than its card says: "
                "use the fp32 file, or the engine onnxruntime."
            )
        self._openvino = _import_openvino()
        self._core: Any = self._openvino.Core()
        self._graph: Any = self._read()
        self._check_contract()
        self._compile(self.options.height, self.options.width)

    def _read(self) -> Any:
        # Not `Core.read_model`: what is no ONNX it hands to the readers of six other formats.
        reader = self._openvino.frontend.FrontEndManager().load_by_framework("onnx")
        try:
            return reader.convert(reader.load(str(self.model.path)))
        except Exception as error:  # openvino raises half a dozen types with no common base
            raise self._cannot_load(error) from error

    def _cannot_load(self, error: Exception) -> SsvifError:
        *_, reason = str(error).strip().split("\n")  # before it: where in the source of OpenVINO
        reason = reason.lstrip("- ")
        return SsvifError(
            f"OpenVINO cannot load {self.model.path}: {reason}. Export the model again."
        )

    def _check_contract(self) -> None:
        for wanted, found in ((INPUTS, self._graph.inputs), (OUTPUTS, self._graph.outputs)):
            present = {port.any_name: _type_and_rank(port) for port in found}
            if present != wanted:
                raise SsvifError(
                    f"{self.model.path} has {present} where {wanted} is needed: use a model made "
                    "by `ssvif export`."
                )

    # -- one frame size ------------------------------------------------------------------------

    def _compile(self, height: int, width: int) -> None:
        shapes = {
            "visible": (1, height, width, 3),
            "thermal": (1, height, width),
            "fused": (1, height, width, 3),
            "labels": (1, height, width),
        }
        graph = self._graph.clone()
        try:
            graph.reshape({name: shapes[name] for name in INPUTS})
            compiled = self._core.compile_model(graph, "CPU", self._settings())
        except RuntimeError as error:
            raise self._cannot_load(error) from error
        self._request: Any = compiled.create_infer_request()
        # Inputs are copied into buffers: OpenVINO refuses arrays that cannot be written to, which
        # is what frames out of messages are.
        self._buffers = {name: np.empty(shape, np.uint8) for name, shape in shapes.items()}
        for name, buffer in self._buffers.items():
            self._request.set_tensor(name, self._openvino.Tensor(buffer, shared_memory=True))
        self._size = (height, width)

    def _settings(self) -> dict[str, Any]:
        properties, types = self._openvino.properties, self._openvino.Type
        return {
            properties.inference_num_threads: self.options.cpu_threads,
            properties.hint.performance_mode: properties.hint.PerformanceMode.LATENCY,
            properties.hint.inference_precision: types.f32,
            # Pinned threads of two engines, or two processes, end up on the same cores.
            properties.hint.enable_cpu_pinning: False,
        }

    # -- Engine --------------------------------------------------------------------------------

    def infer(
        self,
        visible: np.ndarray,
        thermal: np.ndarray,
        on_fused: Callable[[np.ndarray], None] | None = None,  # the labels come with it
    ) -> tuple[np.ndarray, np.ndarray]:
        if self._request is None:
            raise SsvifError("The engine is closed: make a new one.")
        if thermal.shape != self._size:
            self._compile(*thermal.shape)
        np.copyto(self._buffers["visible"][0], visible)
        np.copyto(self._buffers["thermal"][0], thermal)
        self._request.infer(share_outputs=True)
        return self._buffers["fused"][0], self._buffers["labels"][0]

    def warm_up(self, height: int, width: int) -> None:
        for _ in range(2):
            self.infer(np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8))

    def describe(self) -> dict[str, str]:
        return {
            "engine": self.name,
            "version": self._openvino.__version__.split("-")[0],
            "precision": "fp32",
            "device": "CPU",
            "threads": str(self.options.threads or "one for each core"),
            "model": self.model.card.name,
        }

    def close(self) -> None:
        self._request = None
        self._graph = None
        self._core = None


def _type_and_rank(port: Any) -> list[Any]:
    rank = port.partial_shape.rank
    return [port.element_type.get_type_name(), rank.get_length() if rank.is_static else "any"]


def _import_openvino() -> Any:
    """The package, without its telemetry: importing it reports to its makers otherwise.

    It goes without where that module is missing, which is what it is made to be here.
    """
    with _importing:
        loaded = sys.modules.get(TELEMETRY)
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # documented: "not found"
        try:
            import openvino
        except ImportError as error:
            raise SsvifError(
                "OpenVINO is not installed: pip install openvino (x86 CPUs, docs/engines.md)."
            ) from error
        finally:
            sys.modules.pop(TELEMETRY, None)
            if loaded is not None:
                sys.modules[TELEMETRY] = loaded
        return openvino
