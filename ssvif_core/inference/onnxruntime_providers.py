"""What runs an ONNX Runtime session: the CPU, CUDA, or TensorRT through ONNX Runtime."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import onnxruntime

from ssvif_core.errors import SsvifError
from ssvif_core.inference.onnxruntime_tensorrt import tensorrt_options
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import Model

__all__ = ["PROVIDERS", "providers", "require"]

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


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


def providers(provider: str, model: Model, options: EngineOptions) -> list[Any]:
    """What `InferenceSession` is given; what a provider cannot do, the next one does.

    Raises:
        SsvifError: this ONNX Runtime does not have the provider, or its TensorRT engine was not
            built and may not be built now.
    """
    require(provider)
    if provider != "cpu" and hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on
        with contextlib.redirect_stdout(sys.stderr):  # it prints what is missing
            onnxruntime.preload_dlls()  # CUDA and cuDNN that pip installed are found only so
    if provider == "tensorrt":
        return [
            (PROVIDERS["tensorrt"], tensorrt_options(model, options)),
            CUDA,
            PROVIDERS["cpu"],
        ]
    return [CUDA, PROVIDERS["cpu"]] if provider == "cuda" else [PROVIDERS["cpu"]]
