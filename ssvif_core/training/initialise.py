"""Where a run starts: at the weights of another run, or of a model that is deployed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ssvif_core.errors import SsvifError
from ssvif_core.models import open_model, sha256_of, shipped_models
from ssvif_core.training.checkpoint import load_checkpoint
from ssvif_core.training.reopen import reopen
from ssvif_core.training.stages import Models

__all__ = ["initialise", "sha256_of_start"]


def initialise(
    models: Models, source: str, frames: Callable[[], list[tuple[Tensor, Tensor]]]
) -> list[dict[str, Any]]:
    """Take over the weights whose names and shapes agree; the rest stays fresh.

    Args:
        models: to fill.
        source: path of a checkpoint (its averaged weights are taken) or of an exported ONNX model
            with its card, or the name of a shipped model.
        frames: batches to measure the statistics of a deployed model on, see `reopen`.

    Returns:
        The runs that led to these weights, for the card of the next model.

    Raises:
        SsvifError: there is no such file or model, or it cannot be used.
    """
    if _is_model(source):
        model = open_model(source)
        _same_variant(models, source, model.card.content.get("variant", models.network.variant))
        _fill(models.network, reopen(model, frames()).state_dict())
        return list(model.card.content.get("training", {}).get("runs", []))
    state = load_checkpoint(Path(source))
    _same_variant(models, source, state["variant"])
    _fill(models.network, state["average"])
    for name, helper in models.helpers().items():
        _fill(helper, state.get(f"{name}_average", {}))
    return [*state.get("history", []), {key: state[key] for key in ("config", "step")}]


def sha256_of_start(source: str) -> str:
    """Hexadecimal sha256 of the file that `initialise` takes the weights from.

    Raises:
        SsvifError: there is no such file or model.
    """
    if _is_model(source):
        return open_model(source).card.sha256
    try:
        return sha256_of(Path(source))
    except OSError as error:
        raise SsvifError(f"Cannot read {source}, whose weights to start from: {error}") from error


def _is_model(source: str) -> bool:
    return source in shipped_models() or Path(source).suffix == ".onnx"


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
