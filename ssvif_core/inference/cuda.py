"""The few calls of the CUDA runtime that an engine needs, without torch. Knows no TensorRT.

Through `cuda-python` (https://nvidia.github.io/cuda-python/): from version 12.8 the module is
`cuda.bindings.runtime`, before it was `cuda.cudart`; both return (error, value, ...). All calls
here exist in CUDA 11.4 (JetPack 5) to 13, with the same arguments; where CUDA changed a call, the
one that stayed is used (`cudaGraphInstantiateWithFlags`; `cudaGraphInstantiate` lost arguments in
CUDA 12).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssvif_core.errors import SsvifError

__all__ = ["Buffer", "Gpu", "Graph", "Stream", "find_gpu"]

MISSING = (
    "CUDA cannot be called from Python: pip install cuda-python, in the version of the CUDA that "
    "is installed (docs/engines.md)."
)


def _runtime() -> Any:
    try:
        from cuda.bindings import runtime

        return runtime
    except ImportError:
        pass
    try:
        from cuda import cudart  # type: ignore[attr-defined]  # cuda-python before 12.8

        return cudart
    except ImportError as error:
        raise SsvifError(MISSING) from error


def _call(what: str, answer: tuple[Any, ...]) -> Any:
    """The value of a CUDA call, or an error that says what failed and what may help."""
    error, *values = answer
    if int(error):
        runtime = _runtime()
        name, text = (
            found.decode() if isinstance(found, bytes) else str(found)
            for found in (
                runtime.cudaGetErrorName(error)[1],
                runtime.cudaGetErrorString(error)[1],
            )
        )
        raise SsvifError(f"{what} failed: {text} ({name}). {_advice(name)}")
    return values[0] if len(values) == 1 else tuple(values)


def _advice(name: str) -> str:
    if name in ("cudaErrorInsufficientDriver", "cudaErrorNoDevice", "cudaErrorInitializationError"):
        return "Check that `nvidia-smi` (Jetson: `tegrastats`) sees a GPU and that its driver is "\
               "not older than CUDA; in a container, that the GPU is passed in."  # fmt: skip
    if name == "cudaErrorMemoryAllocation":
        return "The GPU's memory is full: stop other programs, or use the model `tiny`."
    return "If it goes on, restart the node; CUDA cannot recover from some errors in a process."


@dataclass(frozen=True)
class Gpu:
    """The GPU that engines are built for and run on: device 0 of those that CUDA shows.

    Attributes:
        name: such as "Orin" or "NVIDIA RTX A2000".
        compute_capability: such as "8.7".
        integrated: shares its memory with the CPU (Jetson): nothing needs to be copied.
    """

    name: str
    compute_capability: str
    integrated: bool


def find_gpu() -> Gpu:
    """Look for a GPU.

    Raises:
        SsvifError: cuda-python, the driver or the GPU is missing; says which.
    """
    runtime = _runtime()
    _call("Looking for a GPU", runtime.cudaGetDeviceCount())
    about = _call("Asking for the GPU's properties", runtime.cudaGetDeviceProperties(0))
    name = about.name.decode() if isinstance(about.name, bytes) else str(about.name)
    return Gpu(name.rstrip("\0"), f"{about.major}.{about.minor}", bool(about.integrated))


class Buffer:
    """One input or output: an array that the CPU sees, and the address of it on the GPU.

    Host memory is page-locked, so that copies run on their own. On an integrated GPU both are the
    same memory, and a copy is none.

    Args:
        shape, dtype: of the array.
        integrated: `Gpu.integrated`.

    Attributes:
        array: the host side.
        device: address for TensorRT.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, integrated: bool) -> None:
        self._runtime, self._shared = _runtime(), integrated
        self.bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        flags = self._runtime.cudaHostAllocMapped
        self._host: int | None = int(
            _call("Allocating page-locked memory", self._runtime.cudaHostAlloc(self.bytes, flags))
        )
        raw = (ctypes.c_uint8 * self.bytes).from_address(self._host)
        self.array = np.frombuffer(raw, dtype).reshape(shape)
        self.device = int(self._address())

    def _address(self) -> Any:
        if self._shared:
            found = self._runtime.cudaHostGetDevicePointer(self._host, 0)
            return _call("Mapping memory to the GPU", found)
        return _call("Allocating memory on the GPU", self._runtime.cudaMalloc(self.bytes))

    def upload(self, stream: Stream) -> None:
        """Queue the copy of the array to the GPU."""
        if not self._shared:
            kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
            self._copy(self.device, self._host, kind, stream)

    def download(self, stream: Stream) -> None:
        """Queue the copy back to the array."""
        if not self._shared:
            kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
            self._copy(self._host, self.device, kind, stream)

    def _copy(self, target: int | None, source: int | None, kind: Any, stream: Stream) -> None:
        queued = self._runtime.cudaMemcpyAsync(target, source, self.bytes, kind, stream.handle)
        _call("Copying between CPU and GPU", queued)

    def free(self) -> None:
        """Give the memory back; `array` must not be touched any more."""
        if self._host is None:
            return
        if not self._shared:
            _call("Freeing memory of the GPU", self._runtime.cudaFree(self.device))
        _call("Freeing page-locked memory", self._runtime.cudaFreeHost(self._host))
        self._host = None


class Stream:
    """A queue of work on the GPU that waits for no other."""

    def __init__(self) -> None:
        self._runtime = _runtime()
        flags = self._runtime.cudaStreamNonBlocking
        self.handle: Any = _call("Making a stream", self._runtime.cudaStreamCreateWithFlags(flags))

    def wait(self) -> None:
        """Wait until all that was queued is done; errors of queued work appear here."""
        _call("Computing on the GPU", self._runtime.cudaStreamSynchronize(self.handle))

    def record(self, work: Callable[[], None]) -> Graph:
        """What `work` queues, as a graph that is launched with one call. Nothing is computed yet.

        Other threads may go on using CUDA meanwhile (capture mode "thread local").
        """
        modes = self._runtime.cudaStreamCaptureMode
        begun = self._runtime.cudaStreamBeginCapture(
            self.handle, modes.cudaStreamCaptureModeThreadLocal
        )
        _call("Recording a CUDA graph", begun)
        try:
            work()
        finally:  # the stream must leave capture, whatever happened
            ended = self._runtime.cudaStreamEndCapture(self.handle)
        return Graph(_call("Recording a CUDA graph", ended))

    def free(self) -> None:
        """Destroy the stream."""
        if self.handle is not None:
            _call("Freeing a stream", self._runtime.cudaStreamDestroy(self.handle))
            self.handle = None


class Graph:
    """Recorded work; made by `Stream.record`."""

    def __init__(self, recorded: Any) -> None:
        self._runtime = _runtime()
        made = self._runtime.cudaGraphInstantiateWithFlags(recorded, 0)
        self._executable: Any = _call("Preparing a CUDA graph", made)
        _call("Freeing a recording", self._runtime.cudaGraphDestroy(recorded))

    def launch(self, stream: Stream) -> None:
        """Queue all of it."""
        launched = self._runtime.cudaGraphLaunch(self._executable, stream.handle)
        _call("Launching a CUDA graph", launched)

    def free(self) -> None:
        """Destroy the graph."""
        if self._executable is not None:
            _call("Freeing a CUDA graph", self._runtime.cudaGraphExecDestroy(self._executable))
            self._executable = None
