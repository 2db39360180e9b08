"""What `--compare` names: another model, precision or engine for the same pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ssvif_core.errors import SsvifError
from ssvif_core.inference.engine import ENGINES
from ssvif_core.models import PRECISIONS
from ssvif_core.replay.settings import NodeSettings

__all__ = ["file_name", "names_of", "variant"]

AUTO = "auto"


def variant(text: str, first: NodeSettings) -> NodeSettings:
    """The settings that `[MODEL][:PRECISION][@ENGINE]` asks for.

    What is left out is as in `first`: `tiny`, `:fp16`, `@openvino`, `base:int8@onnxruntime`,
    `mine/model.onnx@torch`. A path may hold both signs: what follows them counts only where it is
    a precision or an engine.

    Raises:
        SsvifError: nothing is named, or what follows @ is no engine.
    """
    model, engine, precision = text, first.engine, first.precision
    head, sign, tail = model.rpartition("@")
    if sign and tail in (AUTO, *ENGINES):
        model, engine = head, tail
    elif sign and not Path(text).is_file():
        raise SsvifError(f"--compare {text}: '{tail}' is no engine: use one of {[*ENGINES]}.")
    head, sign, tail = model.rpartition(":")
    if sign and tail in (AUTO, *PRECISIONS):
        model, precision = head, tail
    elif sign and not Path(model).is_file():
        raise SsvifError(f"--compare {text}: '{tail}' is no precision: use one of {[*PRECISIONS]}.")
    if not text:
        raise SsvifError("--compare names nothing: give [MODEL][:PRECISION][@ENGINE], as tiny.")
    return replace(first, model=model or first.model, engine=engine, precision=precision)


def names_of(variants: Sequence[NodeSettings]) -> list[str]:
    """A name for each, of the parts in which they differ; those of one folder get a number."""
    parts = [(Path(v.model).stem, v.precision, v.engine) for v in variants]
    differ = [len(set(column)) > 1 for column in zip(*parts, strict=True)]
    names: list[str] = []
    folders: set[str] = set()
    for model, precision, engine in parts:
        name = model
        if differ[1] and precision != AUTO:
            name += f":{precision}"
        if differ[2] and engine != AUTO:
            name += f"@{engine}"
        number, free = 2, name
        while file_name(free).casefold() in folders:
            free, number = f"{name} ({number})", number + 1
        names.append(free)
        folders.add(file_name(free).casefold())
    return names


def file_name(name: str) -> str:
    """The same as the name of a folder, on any file system and in any link."""
    kept = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)
    return kept.strip("-")
