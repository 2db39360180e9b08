"""What `nvidia-smi` says of the GPUs, where there is one."""

from __future__ import annotations

import shutil
import subprocess

__all__ = ["gpu_names", "sum_of_mib", "used_mib"]


def _query(field: str) -> str:
    """One line for each GPU; empty where there is no GPU or no driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    command = [tool, f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def gpu_names() -> list[str]:
    """Such as ["NVIDIA RTX A2000"]; empty where there is none."""
    return [line.strip() for line in _query("name").splitlines() if line.strip()]


def used_mib() -> int | None:
    """Memory in use on all GPUs together, by whatever program; None where nothing says so."""
    return sum_of_mib(_query("memory.used"))


def sum_of_mib(answer: str) -> int | None:
    """Sum of the lines; None if there are none, or one is no number (Jetson: `[N/A]`)."""
    try:
        values = [int(line) for line in answer.split("\n") if line.strip()]
    except ValueError:
        return None
    return sum(values) if values else None
