"""Where TensorRT 8.6, 10 and 11 differ, and how each is asked: all of it is in this file.

Every function takes the module, so that `tensorrt_rtx_bindings` (TensorRT-RTX, whose wheels parse
and build without a GPU and have almost the same API) can be given for checking.

Read against the documentation of the Python API of 8.6.1, 10.3 and 11.4
(docs.nvidia.com/deeplearning/tensorrt, "Builder", "BuilderConfig", "Network", "OnnxParser" and the
migration guides 8.x to 10.x and 10.x to 11.x), and against what the bindings' wheels of 8.6.1,
10.0.1, 10.3.0 and 11.4.0 say of each call's arguments:

    what                      8.6             10.x              11.x
    explicit batch flag       needed          ignored           gone
    strongly typed flag       not there       to be set         ignored: always so
    BuilderFlag FP16, INT8    needed          not allowed with  gone
                                              strong typing
    IProgressMonitor          not there       there             there
    DLA                       there           up to 10.7        from 11.4.1, AGX Orin

The calls that all have are used directly where they are needed: `set_memory_pool_limit`,
`build_serialized_network`, `create_timing_cache`, `get_timing_cache`, optimisation profiles; and to
run, `deserialize_cuda_engine`, `set_input_shape`, `set_tensor_address`, `execute_async_v3`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from ssvif_core.errors import SsvifError

__all__ = [
    "create_network",
    "is_strongly_typed",
    "last_error",
    "load",
    "make",
    "make_logger",
    "make_progress",
    "set_precision",
    "use_dla",
]

logger = logging.getLogger("ssvif.tensorrt")

#: Oldest version whose Python API has `execute_async_v3` and uint8 inputs; JetPack 5 has it.
OLDEST = (8, 5)


def load() -> Any:
    """The module `tensorrt`.

    Raises:
        SsvifError: it is not installed, or is too old.
    """
    try:
        import tensorrt

        found = tensorrt.__version__
    except (ImportError, OSError, AttributeError) as error:  # or half of it is not there
        raise SsvifError(
            f"TensorRT is not installed ({error}): it comes with JetPack (apt install tensorrt "
            "python3-libnvinfer), elsewhere from NVIDIA (docs/engines.md)."
        ) from error
    if tuple(int(part) for part in found.split(".")[:2]) < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise SsvifError(f"TensorRT {found} is too old: {needed} or newer is needed.")
    return tensorrt


def make_logger(trt: Any) -> Any:
    """The logger for TensorRT: hands lines on, and keeps errors and skipped tactics until asked.

    There is one in a process: TensorRT goes on with the first that it was given, whatever a later
    builder or runtime brings. Each call forgets what was kept before.

    Attributes of the result:
        errors: the last texts of what TensorRT called an error.
        out_of_memory: how many tactics were skipped because they need more memory than there is.
    """
    if trt.__name__ not in _LOGGERS:
        _LOGGERS[trt.__name__] = _logger_class(trt)()
    found = _LOGGERS[trt.__name__]
    found.errors, found.out_of_memory = deque(maxlen=20), 0
    return found


_LOGGERS: dict[str, Any] = {}


def _logger_class(trt: Any) -> Any:
    class Forward(trt.ILogger):  # type: ignore[misc]
        errors: deque[str]
        out_of_memory: int

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(text)
            elif _is_out_of_memory(text):
                self.out_of_memory += 1
            level = logging.WARNING if severity == trt.ILogger.WARNING else logging.DEBUG
            logger.log(level, "TensorRT: %s", text)  # errors are raised by who asked for the work

    return Forward


def _is_out_of_memory(text: str) -> bool:
    low = text.lower()
    return "insufficient memory" in low or "out of memory" in low or "outofmemory" in low


def last_error(log: Any) -> str:
    """What TensorRT said last of what went wrong."""
    return log.errors[-1] if log.errors else "it does not say why"


def make(kind: Any, log: Any) -> Any:
    """A `Builder` or `Runtime`.

    Raises:
        SsvifError: TensorRT does not start.
    """
    try:
        return kind(log)
    except TypeError as error:  # pybind11's, for the null pointer that TensorRT answers with
        raise SsvifError(
            f"TensorRT does not start: {last_error(log)}. Its CUDA must not be newer than the "
            "driver's (nvidia-smi shows it): install the TensorRT for that (docs/engines.md)."
        ) from error


def create_network(trt: Any, builder: Any) -> Any:
    """An empty network: explicit batch, strongly typed wherever the version has it."""
    flags = 0
    for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):
        flag = getattr(trt.NetworkDefinitionCreationFlag, name, None)
        if flag is not None:
            flags |= 1 << int(flag)
    return builder.create_network(flags)


def is_strongly_typed(trt: Any) -> bool:
    """Whether this version can follow the types of the graph alone.

    One that knows no flag for half precision can do nothing else, whatever it calls that.
    """
    strong = hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    return strong or not hasattr(trt.BuilderFlag, "FP16")


def set_precision(trt: Any, network: Any, config: Any, precision: str) -> None:
    """Have TensorRT follow the precision that is in the graph.

    Strongly typed, the graph alone decides, but for fp32, which is TF32 by default: as coarse as
    fp16. 8.x computes in half precision or int8 only where a flag allows it, and may then do so
    anywhere: the arithmetic on grey levels, which the file keeps in fp32, is held there layer by
    layer.
    """
    if precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)
    if is_strongly_typed(trt) or precision == "fp32":
        return
    config.set_flag(trt.BuilderFlag.FP16)
    if precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for layer in _on_grey_levels(trt, network):
        layer.precision = trt.float32
        for index in range(layer.num_outputs):
            if layer.get_output(index).dtype == trt.float32:
                layer.set_output_type(index, trt.float32)


#: Layers that compute nothing: a type that is asked of them can make a build fail
#: (NVIDIA/TensorRT#2407), and what they move has that of the layer that it comes from.
MOVING = ("CAST", "CONCATENATION", "CONSTANT", "IDENTITY", "SHUFFLE", "SLICE")


def _on_grey_levels(trt: Any, network: Any) -> list[Any]:
    """Layers that compute in fp32 and of which nothing comes to a convolution.

    What comes to one is the network, which in an int8 file is fp32 between its Q/DQ pairs as well
    and would not become int8 if it were held.
    """
    found, before_convolutions = [], set()
    for index in reversed(range(network.num_layers)):  # in the order of their making: sorted
        layer = network.get_layer(index)
        outputs = [layer.get_output(i) for i in range(layer.num_outputs)]
        if layer.type == trt.LayerType.CONVOLUTION or any(
            tensor.name in before_convolutions for tensor in outputs
        ):
            inputs = [layer.get_input(i) for i in range(layer.num_inputs)]
            before_convolutions |= {tensor.name for tensor in inputs if tensor is not None}
        elif layer.type.name not in MOVING and any(t.dtype == trt.float32 for t in outputs):
            found.append(layer)
    return found


def use_dla(trt: Any, builder: Any, config: Any, core: int, precision: str) -> None:
    """Build for the deep learning accelerator of a Jetson; what it cannot do runs on the GPU.

    Raises:
        SsvifError: there is no such core, or it would have nothing to do. Up to TensorRT 10 a DLA
            knows int8 by calibration tables alone, not by the Q/DQ pairs of our files
            (NVIDIA/TensorRT#2222, NVIDIA/Model-Optimizer#1661).
    """
    if precision == "fp32" or (precision == "int8" and _major(trt) < 11):
        raise SsvifError(
            f"The DLA cannot compute a file of precision {precision} with TensorRT "
            f"{trt.__version__}: take precision fp16, or core -1 for the GPU."
        )
    cores = getattr(builder, "num_DLA_cores", 0)
    if core >= cores:
        raise SsvifError(
            f"There is no DLA core {core}: this machine has {cores}. Use -1 for the GPU."
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def warn_of_idle_dla(trt: Any, network: Any, config: Any) -> None:
    """Say so where no convolution can run on the DLA: TensorRT would quietly take the GPU."""
    layers = (network.get_layer(index) for index in range(network.num_layers))
    convolutions = [layer for layer in layers if layer.type == trt.LayerType.CONVOLUTION]
    on_dla = sum(bool(config.can_run_on_DLA(layer)) for layer in convolutions)
    if not on_dla:
        logger.warning(
            "none of the %d convolutions runs on the DLA: all on the GPU; use core -1",
            len(convolutions),
        )
    else:
        logger.info("%d of %d convolutions run on the DLA", on_dla, len(convolutions))


def _major(trt: Any) -> int:
    return int(trt.__version__.split(".")[0])


def make_progress(trt: Any, report: Callable[[str, int, int], bool]) -> Any | None:
    """A progress monitor, or None where the version has none (8.x).

    Args:
        trt: the module.
        report: called with phase, step and number of steps, from threads of TensorRT; returning
            False ends the build. Exceptions are kept from TensorRT, which would end the process.
    """
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._steps[phase] = steps

        def phase_finish(self, phase: str) -> None:
            self._steps.pop(phase, None)

        def step_complete(self, phase: str, step: int) -> bool:
            try:
                return report(phase, step + 1, self._steps.get(phase, 0))
            except BaseException:
                logger.exception("progress of the build")
                return False

    return Monitor()
