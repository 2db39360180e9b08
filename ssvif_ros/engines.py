"""Parameters -> the engine that runs now, and the TensorRT engine that may take over later.

Nothing here waits for a build: that takes minutes, and a lifecycle transition must not.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ssvif_core.deploy.engine_builder import build_arguments
from ssvif_core.errors import SsvifError
from ssvif_core.inference.engine import Engine, EngineOptions, choose_file, create_engine
from ssvif_core.inference.fallback import FallbackEngine
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.inference.upgrade import EngineUpgrade, how_it_ended
from ssvif_core.models import Model, in_precision, open_model
from ssvif_ros.parameters import Settings

__all__ = ["begin_upgrade", "build_now", "engine_options", "engine_without_building", "warm_up"]

logger = logging.getLogger("ssvif.engines")


def engine_options(settings: Settings) -> EngineOptions:
    """What the parameters ask of an engine."""
    return EngineOptions(
        threads=settings.threads,
        precision=settings.precision,
        height=settings.warm_up_height,
        width=settings.warm_up_width,
        workspace_mib=settings.tensorrt__workspace_mib,
        dla_core=settings.tensorrt__dla_core,
        cache=Path(settings.tensorrt__cache) if settings.tensorrt__cache else None,
    )


def engine_without_building(model: Model, settings: Settings) -> tuple[Engine, str]:
    """The engine to start with, and why that one.

    Raises:
        SsvifError: it cannot be made; for a TensorRT engine that was not built, with the command
            that builds it.
    """
    options = engine_options(settings)
    try:
        engine, why = create_engine(model, settings.engine, options)
    except SsvifError as error:
        if settings.engine != "tensorrt" or not settings.tensorrt__build_on_start:
            raise
        engine, _ = create_engine(model, "onnxruntime", replace(options, precision="auto"))
        why = f"onnxruntime for now ({error})"
    return _with_spare(engine, model, options), why


def warm_up(engine: Engine, height: int, width: int) -> None:
    """Warm an engine up, or leave nothing of it behind."""
    try:
        engine.warm_up(height, width)
    except Exception:
        engine.close()
        raise


def _with_spare(engine: Engine, model: Model, options: EngineOptions) -> Engine:
    """The engine, with the one that works everywhere as its spare, unless it is that one."""
    usual = replace(options, precision="auto")

    def spare() -> Engine:
        try:
            chosen = in_precision(model, "fp32")
        except SsvifError:  # there is this one file
            chosen = model
        return create_engine(chosen, "onnxruntime", usual)[0]

    about = engine.describe()
    if (about["engine"], about["precision"]) == ("onnxruntime", "fp32"):
        return engine
    return FallbackEngine(engine, spare)


def build_now(settings: Settings) -> int:
    """Build the engine that these parameters ask for and wait; the status of the build.

    `ros2 launch ssvif_ros fusion.launch.py build_only:=true`: before the robot drives.

    Raises:
        SsvifError: the model cannot be opened, or the build was killed.
    """
    engine = "tensorrt" if settings.engine == "auto" else settings.engine
    if engine not in ("tensorrt", "onnxruntime-tensorrt"):
        logger.info("the engine %s needs no building", engine)
        return 0
    options = engine_options(settings)
    chosen = choose_file(open_model(settings.model), options, "fp16")
    with contextlib.suppress(SsvifError):  # a range of sizes fits as well, and stays
        create_engine(chosen, engine, options)[0].close()
        logger.info("up to date: the engine that the node would load")
        return 0
    status = subprocess.call(_command(chosen, options, engine))
    if status < 0:  # otherwise it has said why itself
        raise SsvifError(f"The build ended without an engine: {how_it_ended(status)}.")
    return status


def _command(model: Model, options: EngineOptions, engine: str = "tensorrt") -> list[str]:
    return [sys.executable, "-m", "ssvif_core.cli", *build_arguments(model, options, engine)]


def begin_upgrade(
    model: Model,
    settings: Settings,
    running: str,
    pipeline: Pipeline,
    built: Callable[[], None],
) -> EngineUpgrade | None:
    """Build a TensorRT engine in the background, and hand it to the pipeline when it is there.

    Calls `built`, in another thread, when that is done. None where nothing of the kind is asked
    for, or TensorRT is the engine that is `running`.
    """
    wanted = settings.tensorrt__build_on_start and settings.engine in ("auto", "tensorrt")
    if not wanted or running == "tensorrt":
        return None
    options = engine_options(settings)
    chosen = choose_file(model, options, "fp16")

    def load() -> Engine:
        engine, _ = create_engine(chosen, "tensorrt", options)
        warm_up(engine, options.height, options.width)
        return _with_spare(engine, model, options)

    def hand_over(engine: Engine) -> None:
        said = engine.describe()
        when = "now" if pipeline.replace_engine(engine) else "at the next activation"
        built()
        logger.info("TensorRT takes over %s: %s", when, said)

    logger.info("a TensorRT engine is being built in the background")
    return EngineUpgrade(_command(chosen, options), load, hand_over)
