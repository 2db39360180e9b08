"""Checkpoints: written whole or not at all, read without running any code in them."""

from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from ssvif_core.errors import SsvifError

__all__ = ["load_checkpoint", "save_checkpoint"]

#: What every checkpoint of `ssvif train` has, whatever its stages.
KEYS = ("config", "variant", "classes", "mode", "step", "average")


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` to a temporary file beside `path`, then rename: a kill leaves the old one.

    Raises:
        SsvifError: it cannot be written; a checkpoint that was there is as it was.
    """
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, partial)
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # RuntimeError is how torch says that a disk is full
        kept = " The one of before is as it was." if path.exists() else ""
        raise SsvifError(
            f"Cannot write the checkpoint {path}: make room on the disk, or name another folder."
            f"{kept} ({str(error).splitlines()[0]})"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; tensors and plain values only (`weights_only=True`).

    Raises:
        SsvifError: the file is missing, truncated, holds anything else, or is of something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise SsvifError(f"There is no checkpoint {path}: run `ssvif train` first.") from error
    except pickle.UnpicklingError as error:  # whose text says how to run the code in it
        raise SsvifError(
            f"{path} is no checkpoint of this program, or is damaged: it holds something other "
            "than tensors and plain values, which could run code, so it was not opened. Take the "
            "checkpoint.pt of a run of `ssvif train`."
        ) from error
    # What torch meets in other files that are none of its own: EOFError, KeyError ...
    except Exception as error:
        raise SsvifError(
            f"{path} is no checkpoint of this program, or is damaged: {error}"
        ) from error
    if not isinstance(state, dict) or (missing := [key for key in KEYS if key not in state]):
        lacks = f"it lacks {', '.join(missing)}" if isinstance(state, dict) else "it holds no run"
        raise SsvifError(
            f"{path} is no checkpoint of this program: {lacks}. Take the checkpoint.pt of a run of "
            "`ssvif train`, or an exported ONNX model."
        )
    return state
