"""The journal of a run: what was measured at which step, pictures, and where it was made.

    metrics.jsonl             one JSON object a line: step, stage, and any number of figures; or
                              step and `event`: finished, stopped, collapsed
    pictures/<step>_<name>.png
    environment.json          code, versions, device, command line; not the name of the machine

Each entry is written whole and at once, so that a run which is killed loses at most a line.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ssvif_core.errors import SsvifError

__all__ = [
    "RunJournal",
    "Series",
    "describe_environment",
    "list_pictures",
    "read_entries",
    "read_environment",
    "replace_file",
    "series",
]

METRICS, ENVIRONMENT, PICTURES = "metrics.jsonl", "environment.json", "pictures"
PACKAGES = ("ssvif_ros", "torch", "numpy", "opencv-python-headless", "onnx", "pydantic")
NOT_GIT = "not a git checkout"

#: Figures over steps: name -> (steps int64, values float64), both of the same length.
Series = dict[str, tuple[np.ndarray, np.ndarray]]


class RunJournal:
    """Writes the journal of one run; one process at a time.

    Args:
        folder: of the run; made if it does not exist.
        resume_step: the step that training goes on from. What was written of later steps, and
            that the run ended, is taken out. 0 begins anew. None keeps everything.
        device: that the run computes on, for `environment.json`.
    """

    def __init__(
        self,
        folder: Path,
        resume_step: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        entries = read_entries(folder)
        if resume_step is not None:
            last = -1 if resume_step == 0 else resume_step
            entries = [e for e in entries if e["step"] <= last and "event" not in e]
            for path, step in list_pictures(folder):
                if step > last:
                    path.unlink()
        # Always: a line that a crash cut short must not swallow the next one.
        text = "".join(_line(entry) for entry in entries)
        replace_file(folder / METRICS, text)
        self._record_environment(resume_step, device)

    def append(self, step: int, stage: str, values: Mapping[str, float]) -> None:
        """Write down figures, such as {"loss/total": 1.5}, of a step of a stage.

        What is not finite is kept as null, and read as NaN.
        """
        self._write({"step": step, "stage": stage, **{n: float(v) for n, v in values.items()}})

    def picture(self, step: int, name: str, image: np.ndarray) -> Path:
        """Keep an image (H, W, 3) RGB or (H, W), uint8. Returns its path.

        Raises:
            SsvifError: it cannot be written.
        """
        path = self.folder / PICTURES / f"{step:07d}_{name}.png"
        path.parent.mkdir(exist_ok=True)
        if not cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image):
            raise SsvifError(f"Cannot write {path}: check the space and the permissions there.")
        return path

    def finish(self, step: int) -> None:
        """Say that the run is complete."""
        self._write({"step": step, "event": "finished"})

    def stop(self, step: int, reason: str, collapsed: bool = False) -> None:
        """Say that the run ended early, and why."""
        event = "collapsed" if collapsed else "stopped"
        self._write({"step": step, "event": event, "reason": reason})

    def read(self) -> Series:
        """All figures so far; see `series`."""
        return series(read_entries(self.folder))

    def _write(self, entry: dict[str, Any]) -> None:
        with (self.folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(_line(entry))

    def _record_environment(
        self, resume_step: int | None, device: torch.device | str | None
    ) -> None:
        """Once for a run; a resumed run adds what has changed since."""
        path, now = self.folder / ENVIRONMENT, describe_environment(device)
        begun = read_environment(self.folder)
        if begun is None or resume_step == 0:
            replace_file(path, json.dumps(now, indent=2) + "\n")
        elif resume_step is not None:
            changed = {name: value for name, value in now.items() if begun.get(name) != value}
            begun.setdefault("resumed", []).append({"step": resume_step, **changed})
            replace_file(path, json.dumps(begun, indent=2) + "\n")


def read_entries(folder: Path) -> list[dict[str, Any]]:
    """Entries of `metrics.jsonl` in order; lines that are no whole entry are left out."""
    path, entries = folder / METRICS, []
    if not path.exists():
        return []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            entries.append(entry)
    return entries


def series(entries: list[dict[str, Any]]) -> Series:
    """Figures of entries, by name."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for entry in entries:
        if "event" in entry:
            continue
        for name, value in entry.items():
            if name in ("step", "stage"):
                continue
            steps, values = found.setdefault(name, ([], []))
            steps.append(entry["step"])
            values.append(math.nan if value is None else float(value))
    return {
        name: (np.array(steps, np.int64), np.array(values, np.float64))
        for name, (steps, values) in found.items()
    }


def read_environment(folder: Path) -> dict[str, Any] | None:
    """What `environment.json` holds, or None if there is none that can be read."""
    try:
        content = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None
    return content if isinstance(content, dict) else None


def describe_environment(device: torch.device | str | None = None) -> dict[str, Any]:
    """Code, versions, device, date and command line, as plain values."""
    commit, dirty = _git_state(Path(__file__).resolve())
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "git_commit": commit,
        "git_dirty": dirty,
        "device": _device_name(device),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _device_name(device: torch.device | str | None) -> str:
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(device)
    if device.type == "cuda":
        return f"{device}: {torch.cuda.get_device_name(device)}"
    return str(device)


def _git_state(source: Path) -> tuple[str, bool | None]:
    """Commit that a source file belongs to, and whether its package differs from it."""
    package = source.parents[1]
    # A package that is installed below some other checkout is not of that checkout's commit.
    if _git(package, "ls-files", "--", "errors.py") != "errors.py":
        return NOT_GIT, None
    commit, changes = (
        _git(package, "rev-parse", "HEAD"),
        _git(package, "status", "--porcelain", "."),
    )
    return commit or NOT_GIT, None if changes is None else bool(changes)


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def list_pictures(folder: Path) -> list[tuple[Path, int]]:
    """Pictures with their steps, oldest first."""
    found = []
    for path in sorted((folder / PICTURES).glob("*_*.png")):
        step = path.name.split("_", 1)[0]
        if step.isdigit():
            found.append((path, int(step)))
    return sorted(found, key=lambda item: item[1])


def _line(entry: Mapping[str, Any]) -> str:
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in entry.items()
    }
    return json.dumps(finite, allow_nan=False) + "\n"


def replace_file(path: Path, text: str) -> None:
    """Write a text file whole, or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
