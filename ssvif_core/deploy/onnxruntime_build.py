"""The engine of ONNX Runtime's TensorRT provider: from the folder of engines, or built, once.

The provider builds when a session is made and its folder holds nothing for the graph, without a
word. So a session is made only where an engine was built before by `ensure_folder` here, for this
very model, ONNX Runtime, TensorRT and GPU, or by `ensure_folder` itself.
"""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import replace
from pathlib import Path

from ssvif_core.deploy.engine_cache import EngineCache
from ssvif_core.deploy.engine_entry import plans_of
from ssvif_core.errors import SsvifError
from ssvif_core.inference.onnxruntime_engine import OnnxRuntimeEngine
from ssvif_core.inference.onnxruntime_providers import require
from ssvif_core.inference.onnxruntime_tensorrt import folder_and_key
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import Model

__all__ = ["ensure_folder", "ensure_loadable"]

logger = logging.getLogger("ssvif.engines")


def ensure_loadable(model: Model, options: EngineOptions) -> None:
    """Build where nothing can be loaded; what can be stays, as it was built."""
    if EngineCache(options.cache).misfit(*folder_and_key(model, options), to_load=True):
        ensure_folder(model, options)


def ensure_folder(model: Model, options: EngineOptions, force: bool = False) -> tuple[Path, bool]:
    """The provider's folder with a fitting engine; others who want it wait meanwhile.

    Args:
        model: verified, in the precision that is wanted.
        options: what to build, for one size, and where engines are kept.
        force: build even if a fitting one is there.

    Returns:
        The folder, and whether the engine was built now.

    Raises:
        SsvifError: the provider is missing or does not start, the build failed, or the folder
            cannot be written to.
    """
    require("tensorrt")
    cache = EngineCache(options.cache)
    path, key = folder_and_key(model, options)
    before = cache.written(path)
    with cache.lock(path):
        why = cache.misfit(path, key)
        # What another process built meanwhile is as new as what is asked for.
        if not why and not (force and cache.written(path) == before):
            return path, False
        if why:
            logger.info("building: %s", why)
        start = time.monotonic()
        with cache.aside(path) as aside:
            built = aside.folder / path.name  # where the provider looks, told that folder
            aside.make_folder(built)
            _build(model, replace(options, cache=aside.folder), built)
            cache.move_in(built, path)
        cache.describe(path, key, time.monotonic() - start, model.path)
        return path, True


def _build(model: Model, options: EngineOptions, path: Path) -> None:
    """Have the provider build into `path`, and run a frame: what it puts off is built as well."""
    engine = OnnxRuntimeEngine(model, replace(options, allow_build=True), "tensorrt")
    with contextlib.closing(engine):
        engine.warm_up(options.height, options.width)
    plans = plans_of(path)
    if not plans:
        raise SsvifError(
            f"TensorRT took nothing of {model.path} from ONNX Runtime, so there is no engine: use "
            "the engine tensorrt or onnxruntime-cuda."
        )
    for plan in plans:
        plan.chmod(0o600)
