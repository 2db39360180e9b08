"""What ONNX Runtime's TensorRT provider is told, and which of its engines may be loaded.

Options: https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
The provider builds what its folder lacks, and asks for nothing but the folder's content and the
GPU's compute capability. Whether that is an engine for what is wanted is asked here.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from pathlib import Path

import onnxruntime

from ssvif_core.deploy.engine_builder import refuse
from ssvif_core.deploy.engine_cache import EngineCache
from ssvif_core.deploy.engine_entry import PROVIDER_SUFFIX
from ssvif_core.deploy.engine_key import EngineKey
from ssvif_core.errors import SsvifError
from ssvif_core.inference.cuda import Gpu, find_gpu
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import Model

__all__ = ["folder_and_key", "library_and_gpu", "tensorrt_options"]

#: Names of TensorRT's library that ONNX Runtime may be linked to.
LIBRARIES = ("libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so.8")
#: Without cuda-python the GPU is taken for the one that was there.
UNKNOWN = Gpu("unknown", "unknown", integrated=False)


def folder_and_key(model: Model, options: EngineOptions) -> tuple[Path, EngineKey]:
    """Where the engine for these options lies, or would, and what it depends on here."""
    folder = EngineCache(options.cache).path_of(model, options, PROVIDER_SUFFIX)
    return folder, EngineKey.of(model, options, *library_and_gpu())


def library_and_gpu() -> tuple[str, Gpu]:
    """Versions of TensorRT and ONNX Runtime in one text, and the GPU, as far as it is known."""
    gpu = UNKNOWN
    with contextlib.suppress(SsvifError):
        gpu = find_gpu()
    return f"{_library_version()} of ONNX Runtime {onnxruntime.__version__}", gpu


def _library_version() -> str:
    """Of the TensorRT that is installed, by its getInferLibVersion (NvInferRuntimeBase.h)."""
    with contextlib.suppress(Exception):  # one that pip installed is found when this loaded it
        importlib.import_module("tensorrt")
    for name in LIBRARIES:
        with contextlib.suppress(OSError, AttributeError):
            number = int(ctypes.CDLL(name).getInferLibVersion())
            # 8601 is 8.6.1; from 10 on there are two digits more: 100300 is 10.3.0.
            major, rest = divmod(number, 10000 if number >= 100000 else 1000)
            return f"{major}.{rest // 100}.{rest % 100}"
    return "none"


def tensorrt_options(model: Model, options: EngineOptions) -> dict[str, str]:
    """Options of the provider. Precision comes from the file; what was built is kept.

    Raises:
        SsvifError: there is no engine that fits, and none may be built; says the command. Or a DLA
            is asked for: the provider gives it nothing where precision comes from the file.
    """
    if options.dla_core >= 0:
        raise SsvifError(
            "The DLA is for the engine tensorrt: onnxruntime-tensorrt would leave it idle. Take "
            "that engine, or dla_core -1 for the GPU."
        )
    folder, key = folder_and_key(model, options)
    if not options.allow_build:
        why = EngineCache(options.cache).misfit(folder, key, to_load=True)
        if why:
            raise refuse(folder, model, options, why, "onnxruntime-tensorrt")
    chosen = {  # it takes no other words for yes
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
    }
    if options.workspace_mib:
        chosen["trt_max_workspace_size"] = str(options.workspace_mib << 20)
    return chosen
