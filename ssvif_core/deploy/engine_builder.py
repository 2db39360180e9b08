"""One way to get a built engine: from the cache if it fits, otherwise built, once, and kept."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Any

from ssvif_core.deploy.engine_cache import EngineCache
from ssvif_core.deploy.engine_key import EngineKey
from ssvif_core.deploy.tensorrt_build import Report, build_plan
from ssvif_core.errors import SsvifError
from ssvif_core.inference.cuda import Gpu
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import Model

__all__ = [
    "UnfitEngineError",
    "build_arguments",
    "build_command",
    "cached_or_built_plan",
    "cached_plan",
    "ensure_plan",
    "refuse",
]

logger = logging.getLogger("ssvif.engines")


class UnfitEngineError(SsvifError):
    """One that is here cannot be used: built for something else, damaged, or computing nothing."""


def build_arguments(model: Model, options: EngineOptions, engine: str = "tensorrt") -> list[str]:
    """Arguments of `ssvif` that build the engine that these options ask for."""
    words = ["engine", "build", str(model.path), "--size", f"{options.width}x{options.height}"]
    words += ["--precision", model.precision]
    for name, size in (("smallest", options.smallest), ("largest", options.largest)):
        if size is not None:
            words += [f"--{name}", f"{size[1]}x{size[0]}"]
    if options.workspace_mib:
        words += ["--workspace", str(options.workspace_mib)]
    if options.dla_core >= 0:
        words += ["--dla-core", str(options.dla_core)]
    if options.cache is not None:
        words += ["--cache", str(options.cache)]
    return words if engine == "tensorrt" else [*words, "--engine", engine]


def build_command(model: Model, options: EngineOptions, engine: str = "tensorrt") -> str:
    """The same as a user types it."""
    return shlex.join(["ssvif", *build_arguments(model, options, engine)])


def cached_plan(trt: Any, model: Model, options: EngineOptions, gpu: Gpu) -> bytes:
    """The plan from the cache, for this size or a range around it, and never a build.

    Raises:
        SsvifError: there is none; says the command that builds it.
        UnfitEngineError: there is one that does not fit; says why, and the command.
    """
    cache = EngineCache(options.cache)
    key, path = EngineKey.of(model, options, trt.__version__, gpu), cache.path_of(model, options)
    plan, why = cache.find(path, key, to_load=True)
    if plan is None:
        raise refuse(path, model, options, why)
    return plan


def cached_or_built_plan(trt: Any, model: Model, options: EngineOptions, gpu: Gpu) -> bytes:
    """The plan that can be loaded; where there is none and the options allow it, built now.

    What can be loaded stays, as it was built: a robot may need its range of sizes.

    Raises:
        SsvifError: as `cached_plan` does, or `ensure_plan`.
    """
    try:
        return cached_plan(trt, model, options, gpu)
    except SsvifError:
        if not options.allow_build:
            raise
    return ensure_plan(trt, model, options, gpu)[1]


def refuse(
    path: Path, model: Model, options: EngineOptions, why: str, engine: str = "tensorrt"
) -> SsvifError:
    """The error for an engine that may not be loaded: why, and the command that builds it."""
    built = EngineCache(options.cache).alike(path)
    kind = UnfitEngineError if built else SsvifError
    return kind(f"{why}. Build it with: {build_command(model, options, engine)}")


def ensure_plan(
    trt: Any,
    model: Model,
    options: EngineOptions,
    gpu: Gpu,
    report: Report | None = None,
    force: bool = False,
) -> tuple[Path, bytes, bool]:
    """The plan from the cache, or built now and stored; others who want it wait meanwhile.

    Args:
        trt: the module `tensorrt`.
        model: verified, in the precision that is wanted.
        options: what to build, and where engines are kept.
        gpu: that it is for.
        report: progress of a build, see `tensorrt_api.make_progress`.
        force: build even if a fitting one is there.

    Returns:
        Path of the engine, the plan, and whether it was built now.

    Raises:
        SsvifError: the build failed, or the folder cannot be written to.
    """
    cache = EngineCache(options.cache)
    key, path = EngineKey.of(model, options, trt.__version__, gpu), cache.path_of(model, options)
    before = cache.written(path)
    with cache.lock(path):
        plan, why = cache.find(path, key)
        # What another process built meanwhile is as new as what is asked for.
        if plan is not None and not (force and cache.written(path) == before):
            return path, plan, False
        if plan is None:
            logger.info("building: %s", why)
        built = build_plan(trt, model, options, cache.load_timing(key), report)
        cache.store(path, key, built.plan, built.seconds, model.path)
        cache.store_timing(key, built.timing_cache)
        return path, built.plan, True
