"""What every benchmark writes: its figures with the command, the machine and the date."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from ssvif_core.benchmark.machine import installed, processor

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("numpy", "onnxruntime", "opencv-python-headless", "torch")


def write_result(name: str, content: dict[str, object]) -> Path:
    """Write `benchmarks/results/<name>.json`, whole or not at all; returns its path."""
    about = {
        **made(),
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "packages": installed(PACKAGES),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    # Others read while this one writes: several processes may share the work.
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({**about, **content}, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def made() -> dict[str, str]:
    """The command, as a shell takes it, and the day."""
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    return {"command": command, "date": date.today().isoformat()}


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Alone with `benchmarks/results/<name>.json`, from reading it to writing it again."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def earlier(name: str) -> dict[str, Any]:
    """What `benchmarks/results/<name>.json` holds; nothing where there is no such file."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def earlier_runs(name: str) -> list[dict[str, Any]]:
    """The runs that `benchmarks/results/<name>.json` holds; none where there is no such file."""
    return earlier(name).get("runs", [])


def add_run(name: str, run: dict[str, Any]) -> list[dict[str, Any]]:
    """Add a run to those in the file, also while another process does; returns all of them.

    Each run carries its own command and date, for the file is filled by many.
    """
    with locked(name):
        runs = [*earlier_runs(name), {**run, **made()}]
        write_result(name, {"runs": runs})
    return runs


def mean_and_spread(values: Sequence[float]) -> str:
    """Mean over the seeds and their standard deviation, for a table; empty for no value."""
    if not values:
        return ""
    spread = f" ±{statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"
