"""Shipped models, and the one way to find and open a model file.

A model is an ONNX file with a JSON card of the same name beside it. The card says what the masks
mean and carries the sha256 of the file; a model whose card is missing or whose hash differs is
refused, because a mask with the wrong class names is worse than no mask.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ssvif_core.errors import SsvifError

__all__ = [
    "MODES",
    "PRECISIONS",
    "LabelClass",
    "Model",
    "ModelCard",
    "in_precision",
    "open_model",
    "shipped_models",
]

logger = logging.getLogger("ssvif.models")
_said: set[str] = set()

FOLDER = Path(__file__).resolve().parent
CARD_FORMAT = 1
#: What the masks are: trained on labels or weak labels (names are true), on a teacher's
#: pseudo-labels, or label-free clusters (anonymous ids, never given names).
MODES = ("finetuned", "distilled", "clusters")

#: What a model computes in. The fp32 file of a model is NAME.onnx, the others NAME.fp16.onnx, ...
PRECISIONS = ("fp32", "fp16", "int8")
#: Larger files are refused unread: a model is data from outside, and the largest here has 2 MB.
MAX_MODEL_BYTES = 256 << 20
#: Key by which an ONNX file names another file that holds its weights (onnx.proto,
#: TensorProto.external_data). Alone, for lengths before it can be written in many ways, and a
#: tensor can be anywhere; no file of `ssvif export` has the word in it for another reason.
ELSEWHERE = b"location"


@dataclass(frozen=True)
class LabelClass:
    """One id of the label mask: its name and its colour (RGB, 0..255)."""

    id: int
    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class ModelCard:
    """What a model's JSON card says.

    Attributes:
        name: of the model.
        mode: one of `MODES`.
        classes: in the order of their ids.
        sha256: of the ONNX file, hexadecimal.
        content: the whole card, for reports.
    """

    name: str
    mode: str
    classes: tuple[LabelClass, ...]
    sha256: str
    content: dict[str, Any] = field(repr=False)

    @property
    def legend(self) -> dict[str, tuple[int, int, int]]:
        """Colours of the classes that have names, without background; none of clusters."""
        if self.mode == "clusters":
            return {}
        return {label.name: label.color for label in self.classes if label.id}

    @property
    def palette(self) -> np.ndarray:
        """(256, 3) uint8 RGB: colour of each label id; ids without a class are black."""
        palette = np.zeros((256, 3), np.uint8)
        for label in self.classes:
            palette[label.id] = label.color
        return palette

    @classmethod
    def read(cls, path: Path) -> ModelCard:
        """Read and check a card. Raises SsvifError naming what is wrong with it."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise SsvifError(
                f"The model has no card {path}: `ssvif export` writes one beside the ONNX file."
            ) from error
        except (OSError, ValueError) as error:
            raise SsvifError(f"Cannot read the model card {path}: {error}") from error
        try:
            if content["format"] != CARD_FORMAT:
                raise ValueError(f"format {content['format']} is not {CARD_FORMAT}")
            ids = [int(c["id"]) for c in content["classes"]]
            if ids != [*range(len(ids))] or not 0 < len(ids) < 255:
                raise ValueError(f"classes have the ids {ids}: not 0, 1, ... and at most 254")
            if content["mode"] not in MODES:
                raise ValueError(f"mode '{content['mode']}' is none of {MODES}")
            classes = tuple(
                LabelClass(int(c["id"]), str(c["name"]), _color(c["color"]))
                for c in content["classes"]
            )
            if content.get("precision", "fp32") not in PRECISIONS:
                raise ValueError(f"precision '{content['precision']}' is none of {PRECISIONS}")
            name, digest = str(content["name"]), str(content["sha256"])
            return cls(name, content["mode"], classes, digest, content)
        except (KeyError, TypeError, ValueError) as error:
            raise SsvifError(
                f"The model card {path} is not valid ({error!r}): export the model again."
            ) from error


def _color(values: Any) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in values)
    if not all(0 <= v <= 255 for v in (red, green, blue)):
        raise ValueError(f"colour {values} is outside 0..255")
    return red, green, blue


@dataclass(frozen=True)
class Model:
    """A model file that was found, with its verified card."""

    path: Path
    card: ModelCard

    @property
    def precision(self) -> str:
        """One of `PRECISIONS`; cards of before say nothing and mean fp32."""
        return str(self.card.content.get("precision", "fp32"))


def shipped_models() -> list[str]:
    """Names of the models that the package ships, such as ["base", "tiny"]."""
    return sorted(path.stem for path in FOLDER.glob("*.onnx") if "." not in path.stem)


def open_model(name_or_path: str | Path) -> Model:
    """Find a model by the name of a shipped one or by the path of an ONNX file, and verify it.

    Raises:
        SsvifError: there is no such model, its card is missing or not valid, or the file is not
            the one that the card describes.
    """
    name = str(name_or_path)
    path = FOLDER / f"{name}.onnx" if name in shipped_models() else Path(os.path.expanduser(name))
    if not path.is_file():
        raise SsvifError(
            f"There is no model '{name}': give the path of an ONNX file made by `ssvif export`, "
            f"or one of the shipped models {shipped_models()}."
        )
    if path.suffix != ".onnx":
        raise SsvifError(
            f"{path} is no ONNX model: make one from a checkpoint with `ssvif export {path} "
            f"{path.with_suffix('.onnx')} --frames FOLDER`."
        )
    if path.stat().st_size > MAX_MODEL_BYTES:
        raise SsvifError(
            f"{path} has {path.stat().st_size >> 20} MiB, more than any model of this program "
            f"({MAX_MODEL_BYTES >> 20} MiB at most): it is another file."
        )
    card = ModelCard.read(path.with_suffix(".json"))
    digest = sha256_of(path)
    if digest != card.sha256:
        raise SsvifError(
            f"{path} is not the file that its card describes (sha256 {digest[:12]}..., card says "
            f"{card.sha256[:12]}...): it is damaged or was replaced. Restore it, or export again."
        )
    if ELSEWHERE in path.read_bytes():
        raise SsvifError(
            f"{path} keeps weights in another file, which its sha256 does not cover (it has the "
            "word 'location' in it): export it with `ssvif export`, which writes one file."
        )
    return Model(path, card)


def in_precision(model: Model, precision: str, or_given: bool = False) -> Model:
    """The same model in another precision: the file beside it, opened and verified.

    Args:
        model: any file of the model.
        precision: one of `PRECISIONS`.
        or_given: a wish, not a demand: take the model as it is where there is no such file or
            none that can be used, and where it is not fp32 and so was chosen on purpose.

    Raises:
        SsvifError: there is no such file, or it is damaged, of another model, or computes in
            another precision than its name says; says what to do.
    """
    if model.precision == precision or (or_given and model.precision != "fp32"):
        return model
    root = model.path.stem.removesuffix(f".{model.precision}")
    suffix = "" if precision == "fp32" else f".{precision}"
    path = model.path.with_name(f"{root}{suffix}.onnx")
    if path.is_file():
        try:
            return _beside(path, model, precision)
        except SsvifError as error:
            if not or_given:
                raise
            if str(error) not in _said:  # each engine that is tried asks
                _said.add(str(error))
                text = "%s goes on without its %s file: %s"
                logger.warning(text, model.path.name, precision, error)
    if or_given:
        return model
    raise SsvifError(
        f"{model.path} has no {precision} file {path.name} beside it. Make it with: ssvif export "
        f"{model.path} {path} --precision {precision} --frames FOLDER"
    )


def _beside(path: Path, model: Model, precision: str) -> Model:
    """The file of another precision, if it is one of the same model."""
    found = open_model(path)
    if found.precision != precision:
        problem = f"is {found.precision}, not {precision} as its name says"
    elif _origin(found) != _origin(model):
        problem = f"is of another model than {model.path.name}, perhaps of an earlier training"
    else:
        return found
    raise SsvifError(f"{path} {problem}: export it again, or delete it.")


def _origin(model: Model) -> list[Any]:
    """What all precisions of one model have in common, whenever each was exported."""
    card = model.card
    runs = (card.content.get("training") or {}).get("runs")
    return [card.mode, [(c.id, c.name) for c in card.classes], card.content.get("variant"), runs]


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
