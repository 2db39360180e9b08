"""What runs an ONNX Runtime session: the CPU, CUDA, or TensorRT through ONNX Runtime."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path
from typing import Any

import onnxruntime

from ssvif_core.deploy.engine_builder import build_command
from ssvif_core.deploy.engine_cache import default_folder, others_may_write
from ssvif_core.errors import SsvifError
from ssvif_core.inference.cuda import find_gpu
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import Model

__all__ = ["PROVIDERS", "providers", "tensorrt_folder"]

#: Names of TensorRT's library that ONNX Runtime may be linked to.
LIBRARIES = ("libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so.8")

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


def providers(provider: str, model: Model, options: EngineOptions) -> list[Any]:
    """What `InferenceSession` is given; what a provider cannot do, the next one does.

    Raises:
        SsvifError: this ONNX Runtime does not have the provider, or its TensorRT engine was not
            built and may not be built now.
    """
    if PROVIDERS[provider] not in onnxruntime.get_available_providers():
        raise SsvifError(
            f"this ONNX Runtime has no {PROVIDERS[provider]}: install onnxruntime-gpu in place of "
            "onnxruntime (docs/engines.md)"
        )
    if provider != "cpu" and hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on
        with contextlib.redirect_stdout(sys.stderr):  # it prints what is missing
            onnxruntime.preload_dlls()  # CUDA and cuDNN that pip installed are found only so
    if provider == "tensorrt":
        return [
            (PROVIDERS["tensorrt"], _tensorrt(model, options)),
            PROVIDERS["cuda"],
            PROVIDERS["cpu"],
        ]
    return [PROVIDERS["cuda"], PROVIDERS["cpu"]] if provider == "cuda" else [PROVIDERS["cpu"]]


def tensorrt_folder(model: Model, options: EngineOptions) -> Path:
    """Where ONNX Runtime keeps the TensorRT engine for this model, size, TensorRT and GPU.

    On another of these it would build anew, and not where a build may happen: but then the folder
    is another one, with no engine in it, and the error names the command.
    """
    parts = [f"onnxruntime-{onnxruntime.__version__}", f"tensorrt-{_library_version()}"]
    with contextlib.suppress(SsvifError):  # without cuda-python the GPU is taken for the same
        parts.append(f"sm{find_gpu().compute_capability}")
    parts += [model.card.sha256[:12], f"{options.width}x{options.height}"]
    if options.dla_core >= 0:
        parts.append(f"dla{options.dla_core}")
    return (options.cache or default_folder()) / ".".join(parts)


def _library_version() -> str:
    """Of the TensorRT that is installed, by its getInferLibVersion (NvInferRuntimeBase.h)."""
    for name in LIBRARIES:
        with contextlib.suppress(OSError, AttributeError):
            return str(ctypes.CDLL(name).getInferLibVersion())
    return "none"


def _tensorrt(model: Model, options: EngineOptions) -> dict[str, str]:
    """Precision comes from the file; what was built is kept.

    Options: https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
    """
    folder = tensorrt_folder(model, options)
    built = list(folder.glob("*.engine"))  # timings alone lie there after a build that failed
    if not options.allow_build and not built:
        command = build_command(model, options, "onnxruntime-tensorrt")
        raise SsvifError(f"no engine was built yet ({folder}). Build it with: {command}")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in (folder, *built):
        if others_may_write(path):
            raise SsvifError(f"Others may write to {path}, and an engine is code: delete it.")
    chosen = {  # it takes no other words for yes
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
    }
    if options.workspace_mib:
        chosen["trt_max_workspace_size"] = str(options.workspace_mib << 20)
    if options.dla_core >= 0:
        chosen |= {"trt_dla_enable": "True", "trt_dla_core": str(options.dla_core)}
    return chosen
