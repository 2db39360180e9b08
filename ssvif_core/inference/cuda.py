"""The few calls of the CUDA runtime that an engine needs, without torch. Knows no TensorRT.

Through `cuda-python` (https://nvidia.github.io/cuda-python/): its module is
`cuda.bindings.runtime`, up to 11.8.3 and 12.5 `cuda.cudart`; both return (error, value, ...). All
calls here exist in CUDA 11.4 (JetPack 5) to 13, with the same arguments; where CUDA changed a call,
the one that stayed is used (`cudaGraphInstantiateWithFlags`; `cudaGraphInstantiate` lost arguments
in CUDA 12). Compared in the wheels of 11.8.7, 12.2.1, 12.6.2, 12.9.10, 13.0.3 and 13.5.0.
"""

from __future__ import annotations

import ctypes
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssvif_core.errors import SsvifError

__all__ = ["Buffer", "Gpu", "Graph", "Stream", "find_gpu"]

logger = logging.getLogger("ssvif.cuda")

MISSING = (
    "CUDA cannot be called from Python: pip install cuda-python, in the version of the CUDA that "
    "is installed (docs/engines.md)."
)
NO_GPU = (
    "Check that `nvidia-smi` (Jetson: `tegrastats`) sees a GPU; in a container, that the GPU is "
    "passed in; on a Jetson, that the user is in the groups video and render."
)


def _runtime() -> Any:
    try:
        from cuda.bindings import runtime

        return runtime
    except ImportError:
        pass
    try:
        from cuda import cudart  # type: ignore[attr-defined]  # an older cuda-python

        return cudart
    except ImportError as error:
        raise SsvifError(MISSING) from error


def _call(what: str, function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
    """The value of a CUDA call, or an error that says what failed and what may help."""
    try:
        error, *values = function(*arguments)
    except RuntimeError as missing:  # cuda-python before 12.9, where there is no driver
        raise SsvifError(f"{what} failed: {missing}. {NO_GPU}") from missing
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


def _release(what: str, function: Callable[..., tuple[Any, ...]], *arguments: Any) -> None:
    """Give something back. After some errors CUDA refuses that too, and closing must go on."""
    try:
        _call(what, function, *arguments)
    except SsvifError as error:
        logger.warning("%s", error)


def _advice(name: str) -> str:
    if name == "cudaErrorInsufficientDriver":
        return f"{NO_GPU} If it is there, cuda-python is made for a newer CUDA than its driver: "\
               "install the one for the driver's CUDA (docs/engines.md)."  # fmt: skip
    if name in ("cudaErrorNoDevice", "cudaErrorInitializationError"):
        return NO_GPU
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
    if not _call("Looking for a GPU", runtime.cudaGetDeviceCount):
        raise SsvifError(f"CUDA shows no GPU. {NO_GPU}")
    about = _call("Asking for the GPU's properties", runtime.cudaGetDeviceProperties, 0)
    name = about.name.decode() if isinstance(about.name, bytes) else str(about.name)
    return Gpu(name.rstrip("\0"), f"{about.major}.{about.minor}", bool(about.integrated))


class Buffer:
    """One input or output: an array that the CPU sees, and the address of it on the GPU.

    Host memory is page-locked, so that copies run on their own. On an integrated GPU both are the
    same memory, and a copy is none. (Managed memory would be none either, but on a Jetson the CPU
    may not touch it while the GPU computes anything.)

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
        allocate, flags = self._runtime.cudaHostAlloc, self._runtime.cudaHostAllocMapped
        self._host = int(_call("Allocating page-locked memory", allocate, self.bytes, flags))
        raw = (ctypes.c_uint8 * self.bytes).from_address(self._host)
        # It goes with the last array that shows it: an answer that somebody kept stays readable.
        free = "Freeing page-locked memory", self._runtime.cudaFreeHost, self._host
        weakref.finalize(raw, _release, *free).atexit = False
        self.array = np.frombuffer(raw, dtype).reshape(shape)
        self.device: int | None = int(self._address())

    def _address(self) -> Any:
        if self._shared:
            map_to = self._runtime.cudaHostGetDevicePointer
            return _call("Mapping memory to the GPU", map_to, self._host, 0)
        return _call("Allocating memory on the GPU", self._runtime.cudaMalloc, self.bytes)

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
        copy = self._runtime.cudaMemcpyAsync
        _call("Copying between CPU and GPU", copy, target, source, self.bytes, kind, stream.handle)

    def free(self) -> None:
        """Give the memory back: the GPU's now, the array's when nobody refers to it any more."""
        if self.device is not None and not self._shared:
            _release("Freeing memory of the GPU", self._runtime.cudaFree, self.device)
        self.device, self.array = None, self.array[:0].copy()


class Stream:
    """A queue of work on the GPU that waits for no other."""

    def __init__(self) -> None:
        self._runtime = _runtime()
        flags = self._runtime.cudaStreamNonBlocking
        make = self._runtime.cudaStreamCreateWithFlags
        self.handle: Any = _call("Making a stream", make, flags)

    def wait(self) -> None:
        """Wait until all that was queued is done; errors of queued work appear here."""
        _call("Computing on the GPU", self._runtime.cudaStreamSynchronize, self.handle)

    def record(self, work: Callable[[], None]) -> Graph:
        """What `work` queues, as a graph that is launched with one call. Nothing is computed yet.

        Other threads may go on using CUDA meanwhile (capture mode "thread local").
        """
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        begin, end = self._runtime.cudaStreamBeginCapture, self._runtime.cudaStreamEndCapture
        _call("Recording a CUDA graph", begin, self.handle, mode)
        try:
            work()
        except BaseException:  # the stream must leave capture, whatever happened
            end(self.handle)
            raise
        return Graph(_call("Recording a CUDA graph", end, self.handle))

    def free(self) -> None:
        """Destroy the stream."""
        if self.handle is not None:
            _release("Freeing a stream", self._runtime.cudaStreamDestroy, self.handle)
            self.handle = None


class Graph:
    """Recorded work; made by `Stream.record`."""

    def __init__(self, recorded: Any) -> None:
        self._runtime = _runtime()
        try:
            make = self._runtime.cudaGraphInstantiateWithFlags
            self._executable: Any = _call("Preparing a CUDA graph", make, recorded, 0)
        finally:
            _release("Freeing a recording", self._runtime.cudaGraphDestroy, recorded)

    def launch(self, stream: Stream) -> None:
        """Queue all of it."""
        launch = self._runtime.cudaGraphLaunch
        _call("Launching a CUDA graph", launch, self._executable, stream.handle)

    def free(self) -> None:
        """Destroy the graph."""
        if self._executable is not None:
            _release("Freeing a CUDA graph", self._runtime.cudaGraphExecDestroy, self._executable)
            self._executable = None
