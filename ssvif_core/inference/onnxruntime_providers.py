"""What runs an ONNX Runtime session: the CPU, CUDA, or TensorRT through ONNX Runtime."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from typing import Any

import onnxruntime

from ssvif_core.errors import SsvifError
from ssvif_core.inference.onnxruntime_tensorrt import tensorrt_options
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import Model

__all__ = ["PROVIDERS", "advice", "providers", "require"]

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
#: For `_preload`: two engines may be made at the same time, each in a thread of its own.
_preloading = threading.Lock()


#: The provider with its options. As it comes it computes what is fp32 in TF32, as coarse as fp16;
#: files have the precision that their card says. (The option is there from ONNX Runtime 1.18 on.)
CUDA = (PROVIDERS["cuda"], {"use_tf32": "0"})


def require(provider: str) -> None:
    """Raise SsvifError where this ONNX Runtime does not have the provider."""
    if PROVIDERS[provider] not in onnxruntime.get_available_providers():
        raise SsvifError(
            f"this ONNX Runtime has no {PROVIDERS[provider]}: install onnxruntime-gpu in place of "
            "onnxruntime (docs/engines.md)"
        )


@functools.cache
def _preload() -> None:
    """Load CUDA and cuDNN that pip installed, which are found only so; once in a process."""
    if hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on
        # It prints what is missing. Of two that turn it at once, one would leave it turned.
        with contextlib.redirect_stdout(sys.stderr):
            onnxruntime.preload_dlls()


#: Of what ONNX Runtime says of a file that is no model, or is not there; of full memory.
OF_THE_FILE = ("invalid_protobuf", "invalid_graph", "no_suchfile", "parsing failed")
OF_MEMORY = ("out of memory", "insufficient memory", "alloc")


def advice(provider: str, error: Exception) -> str:
    """What to do where a session cannot be made: a GPU has more reasons than the file."""
    said = str(error).lower()
    building = provider == "tensorrt"
    if any(words in said for words in OF_MEMORY):
        limit = ", set --workspace (MiB)" if building else ""
        return f"Memory is full: stop other programs{limit}, or use the model `tiny`."
    if provider == "cpu" or any(words in said for words in OF_THE_FILE):
        return "Export the model again."
    names = "CUDA, cuDNN and TensorRT" if building else "CUDA and cuDNN"
    return (
        f"{names} must be of the versions that this ONNX Runtime was made with, and CUDA not newer "
        "than the driver's (nvidia-smi shows it): docs/engines.md. The engine onnxruntime needs "
        "none of them."
    )


def providers(provider: str, model: Model, options: EngineOptions) -> list[Any]:
    """What `InferenceSession` is given; what a provider cannot do, the next one does.

    Raises:
        SsvifError: this ONNX Runtime does not have the provider, or its TensorRT engine was not
            built and may not be built now.
    """
    require(provider)
    if provider != "cpu":
        with _preloading:
            _preload()
    if provider == "tensorrt":
        return [
            (PROVIDERS["tensorrt"], tensorrt_options(model, options)),
            CUDA,
            PROVIDERS["cpu"],
        ]
    return [CUDA, PROVIDERS["cpu"]] if provider == "cuda" else [PROVIDERS["cpu"]]
