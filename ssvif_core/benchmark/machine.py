"""Which machine figures are of."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ssvif_core import __version__
from ssvif_core.benchmark.nvidia_smi import gpu_names

__all__ = ["describe_machine", "installed", "processor"]

PACKAGES = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "torch"),
    *("tensorrt", "cuda-python", "cuda-bindings"),
)


def describe_machine() -> dict[str, Any]:
    """Machine, GPU (None: there is none), load before measuring, and versions."""
    return {
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "gpu": ", ".join(gpu_names()) or None,
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "packages": {"ssvif": __version__, **installed(PACKAGES)},
    }


def processor() -> str:
    """Name of the CPU, as the kernel gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):  # Model: boards with Arm CPUs
            return value.strip()
    return platform.processor() or platform.machine()


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
