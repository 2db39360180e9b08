"""Trained networks that a run learns from; they do not learn themselves.

`teacher` says what is where (`teacher.py`), `pictures` what the fused image is to look like
(`kept_picture.py`). A checkpoint holds them: a run that goes on needs their files no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssvif_core.deploy.export import load_trained
from ssvif_core.models import open_model, shipped_models
from ssvif_core.network.fusion_network import FusionNetwork
from ssvif_core.training.checkpoint import load_checkpoint
from ssvif_core.training.config import START, TrainingConfig
from ssvif_core.training.reopen import reopen
from ssvif_core.training.teacher import check_teacher

__all__ = ["Guides"]

#: Makes frames to measure the statistics of a deployed model on, see `reopen`.
FirstBatches = Callable[[], list[tuple[Tensor, Tensor]]]


@dataclass
class Guides:
    """The networks of a run that are not trained, on its device."""

    teacher: FusionNetwork | None = None
    pictures: list[FusionNetwork] = field(default_factory=list)

    @classmethod
    def opened(cls, config: TrainingConfig, frames: FirstBatches, device: torch.device) -> Guides:
        """Those that a configuration names.

        Raises:
            SsvifError: there is no such file or model, it is of another version, or its masks are
                none that a teacher of this run can teach.
        """

        def named(source: str) -> tuple[FusionNetwork, str | None, list[str]]:
            start = config.initialise_from
            return _open(start if source == START and start is not None else source, frames)

        guides = cls()
        if config.teacher is not None:
            network, mode, classes = named(config.teacher)
            check_teacher(config.teacher, mode, classes, config.classes)
            guides.teacher = _frozen(network, device)
        guides.pictures = [_frozen(named(source)[0], device) for source in config.picture_of]
        return guides

    def state_dict(self) -> dict[str, Any]:
        """Empty where there are none."""
        state: dict[str, Any] = {}
        if self.teacher is not None:
            state["teacher"] = _kept(self.teacher)
        if self.pictures:
            state["pictures"] = [_kept(network) for network in self.pictures]
        return state

    @classmethod
    def restored(cls, state: dict[str, Any], device: torch.device) -> Guides:
        """Those of a checkpoint, which holds what `state_dict` gave among other things."""
        teacher = state.get("teacher")
        return cls(
            None if teacher is None else _restored(teacher, device),
            [_restored(kept, device) for kept in state.get("pictures", [])],
        )


def _open(source: str, frames: FirstBatches) -> tuple[FusionNetwork, str | None, list[str]]:
    """Network, mask mode and classes of a checkpoint (its averaged weights) or deployed model."""
    if source in shipped_models() or Path(source).suffix == ".onnx":
        model = open_model(str(Path(source).expanduser()))
        classes = [label.name for label in model.card.classes]
        return reopen(model, frames()), model.card.mode, classes
    state = load_checkpoint(Path(source).expanduser())
    return load_trained(state), state["mode"], state["classes"]


def _frozen(network: FusionNetwork, device: torch.device) -> FusionNetwork:
    network = network.eval().requires_grad_(False).to(device)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _kept(network: FusionNetwork) -> dict[str, Any]:
    return {"variant": network.variant, "network": network.state_dict()}


def _restored(kept: dict[str, Any], device: torch.device) -> FusionNetwork:
    weights = kept["network"]
    network = FusionNetwork(kept["variant"], len(weights["labels_quarter.bias"]))
    network.load_state_dict(weights)
    return _frozen(network, device)
