"""Where a run starts: at the weights of another run, or of a model that is deployed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from ssvif_core.errors import SsvifError
from ssvif_core.models import FOLDER, open_model, sha256_of, shipped_models
from ssvif_core.training.checkpoint import load_checkpoint
from ssvif_core.training.reopen import reopen
from ssvif_core.training.stage import Models

__all__ = ["Start", "initialise", "sha256_of_start"]


class Start(NamedTuple):
    """What a run begins with.

    `history`: the runs that led to its weights, for the card of the next model; `mask_mode`: what
    the masks of these weights are, one of `ssvif_core.models.MODES`, None where they are nothing.
    """

    history: list[dict[str, Any]]
    mask_mode: str | None


def initialise(
    models: Models,
    source: str,
    classes: Sequence[str],
    frames: Callable[[], list[tuple[Tensor, Tensor]]],
) -> Start:
    """Take over the weights whose names and shapes agree; the rest stays fresh.

    Args:
        models: to fill.
        source: path of a checkpoint (its averaged weights are taken) or of an exported ONNX model
            with its card, or the name of a shipped model.
        classes: of the models; masks of a source with other classes are not taken for theirs.
        frames: batches to measure the statistics of a deployed model on, see `reopen`.

    Raises:
        SsvifError: there is no such file or model, or it cannot be used.
    """
    if source in shipped_models() or Path(source).suffix == ".onnx":
        model = open_model(str(Path(source).expanduser()))
        _same_variant(models, source, model.card.content.get("variant", models.network.variant))
        _fill(models.network, reopen(model, frames()).state_dict())
        same = [label.name for label in model.card.classes] == list(classes)
        runs = list(model.card.content.get("training", {}).get("runs", []))
        return Start(runs, model.card.mode if same else None)
    state = load_checkpoint(Path(source).expanduser())
    _same_variant(models, source, state["variant"])
    _fill(models.network, state["average"])
    for name, helper in models.helpers().items():
        _fill(helper, state.get(f"{name}_average", {}))
    runs = [*state.get("history", []), {key: state[key] for key in ("config", "step")}]
    return Start(runs, state["mode"] if state["classes"] == list(classes) else None)


def sha256_of_start(source: str) -> str | None:
    """Hexadecimal sha256 of the file that `initialise` takes the weights from; None: it is gone.

    Raises:
        SsvifError: it cannot be read.
    """
    shipped = source in shipped_models()
    path = FOLDER / f"{source}.onnx" if shipped else Path(source).expanduser()
    if not path.exists():
        return None
    try:
        return sha256_of(path)
    except OSError as error:
        raise SsvifError(f"Cannot read {source}, whose weights to start from: {error}") from error


def _same_variant(models: Models, source: str, variant: str) -> None:
    wanted = models.network.variant
    if variant != wanted:
        instead = f" (--initialise-from {wanted})" if wanted in shipped_models() else ""
        raise SsvifError(
            f"{source} is a {variant} network and this run trains a {wanted} one, which has hardly "
            f"a weight in common with it: start from a {wanted} model{instead}."
        )


def _fill(module: nn.Module, weights: dict[str, Tensor]) -> None:
    own = module.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and v.shape == own[k].shape}
    module.load_state_dict(fitting, strict=False)
