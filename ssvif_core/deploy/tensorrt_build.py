"""An ONNX model becomes a TensorRT plan. Knows neither files of engines nor how they run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ssvif_core.deploy import tensorrt_api as api
from ssvif_core.errors import SsvifError
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import Model

__all__ = ["Built", "build_plan"]

logger = logging.getLogger("ssvif.tensorrt")

Report = Callable[[str, int, int], bool]


@dataclass(frozen=True)
class Built:
    """What a build gives.

    Attributes:
        plan: the serialized engine.
        timing_cache: measured tactics, which make the next build shorter; empty if there are none.
        seconds: how long it took.
        skipped_tactics: kernels that were not tried because they need more memory than there is.
    """

    plan: bytes
    timing_cache: bytes
    seconds: float
    skipped_tactics: int


def build_plan(
    trt: Any,
    model: Model,
    options: EngineOptions,
    timing_cache: bytes = b"",
    report: Report | None = None,
) -> Built:
    """Build the engine of a model; takes seconds to twenty minutes.

    Args:
        trt: the module `tensorrt`, or one with its API.
        model: verified; its precision is what is built.
        options: frame sizes, workspace and DLA core.
        timing_cache: of earlier builds; one of another GPU or version is left out.
        report: see `tensorrt_api.make_progress`.

    Raises:
        SsvifError: TensorRT refuses the model, or the build failed or was ended by `report`.
    """
    start = time.monotonic()
    log = api.make_logger(trt)
    builder = api.make(trt.Builder, log)
    network = api.create_network(trt, builder)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model.path.read_bytes()):
        problems = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise SsvifError(
            f"TensorRT {trt.__version__} cannot read {model.path}: {problems}. Export the model "
            "again with this version of the program."
        )
    config = builder.create_builder_config()
    if options.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    if options.dla_core >= 0:  # which takes no size that is left open, even to be one alone
        _fix_size(network, options)
    config.add_optimization_profile(_profile(builder, network, options))
    api.set_precision(trt, network, config, model.precision)
    if options.dla_core >= 0:
        api.use_dla(trt, builder, config, options.dla_core, model.precision)
        api.warn_of_idle_dla(trt, network, config)
    _use_timing_cache(config, timing_cache)
    monitor = api.make_progress(trt, report) if report else None
    if monitor is not None:
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        reason = log.errors[-1] if log.errors else "it was ended before it was done"
        raise SsvifError(
            f"TensorRT could not build {model.path.name}: {reason}. {_advice(log, options)}"
        )
    if log.out_of_memory:
        logger.warning(
            "%d kernels were not tried because they need more memory than there is: close other "
            "programs and build again if the engine is slow.",
            log.out_of_memory,
        )
    return Built(bytes(plan), _timing(config), time.monotonic() - start, log.out_of_memory)


def _advice(log: Any, options: EngineOptions) -> str:
    said = " ".join(log.errors).lower()
    if log.out_of_memory or "memory" in said or "workspace" in said:
        if options.workspace_mib:  # TensorRT says the same of its limit and of the machine's
            return (
                f"--workspace {options.workspace_mib} (MiB) is too little for it, or the machine "
                "has less: give more, or 0 for no limit; close other programs, or add swap."
            )
        return "It ran out of memory: close other programs, set --workspace (MiB), or add swap."
    return "Run it again with -v to see all that TensorRT says."


def _fix_size(network: Any, options: EngineOptions) -> None:
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        tensor.shape = (1, options.height, options.width, *tuple(tensor.shape)[3:])


def _profile(builder: Any, network: Any, options: EngineOptions) -> Any:
    """Smallest, usual and largest frame. One size for all three makes the fastest engine."""
    usual = (options.height, options.width)
    sizes = options.smallest or usual, usual, options.largest or usual
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        tail = tuple(tensor.shape)[3:]
        profile.set_shape(tensor.name, *[(1, *size, *tail) for size in sizes])
    return profile


def _use_timing_cache(config: Any, content: bytes) -> None:
    cache = config.create_timing_cache(content)  # None, or refused: of another GPU or version
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _timing(config: Any) -> bytes:
    cache = config.get_timing_cache()
    return bytes(cache.serialize()) if cache is not None else b""
