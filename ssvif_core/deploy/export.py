"""A trained network becomes an ONNX file with its card, checked against torch before it is kept."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch

from ssvif_core.data.pairs import FramePair
from ssvif_core.deploy.graph import DeployedGraph
from ssvif_core.deploy.parity import Step, check_parity
from ssvif_core.deploy.precision import known_precision, quantise
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.palettes import label_colors
from ssvif_core.models import CARD_FORMAT, Model, ModelCard, sha256_of
from ssvif_core.network.fusion_network import FusionNetwork

__all__ = ["export_model", "load_trained"]

OPSET = 17
CONTRACT = {
    "inputs": {
        "visible": "uint8 (1, height, width, 3), RGB",
        "thermal": "uint8 (1, height, width), white is hot, after thermal gain",
    },
    "outputs": {
        "fused": "uint8 (1, height, width, 3), RGB",
        "labels": "uint8 (1, height, width), class ids",
    },
    "sizes": "any height and width; padding to multiples of 16 is in the graph",
}


def load_trained(state: dict[str, Any]) -> FusionNetwork:
    """The averaged network of a checkpoint (`load_checkpoint`), in evaluation mode.

    Raises:
        SsvifError: it is of another version.
    """
    network = FusionNetwork(state["variant"], len(state["classes"]))
    try:
        network.load_state_dict(state["average"])
    except (RuntimeError, TypeError) as error:
        raise SsvifError(
            f"The checkpoint does not hold the weights of a '{network.variant}' network of this "
            f"version with {network.classes} classes: export it with the version that trained it."
        ) from error
    return network.eval()


def export_model(
    network: FusionNetwork,
    path: Path,
    classes: Sequence[str],
    frames: Sequence[FramePair],
    *,
    precision: str = "fp32",
    calibration: Sequence[FramePair] = (),
    name: str | None = None,
    mode: str = "finetuned",
    notes: dict[str, Any] | None = None,
    step: Step = lambda phase: None,
) -> Model:
    """Write `path` (ONNX) and its card; keep them only if they agree with torch on `frames`.

    Args:
        network: trained network.
        path: of the ONNX file; the card gets the same name with `.json`.
        classes: names in the order of their ids.
        frames: real pairs to compare on; at least one. IoU is measured on those with labels.
        precision: one of `ssvif_core.models.PRECISIONS`.
        calibration: pairs that int8 is calibrated on; not used otherwise.
        name: of the model; None takes that of the file.
        mode: what the masks are, see `ssvif_core.models.MODES`.
        notes: more sections for the card, such as training and metrics.
        step: for a progress bar.

    Raises:
        SsvifError: the exported graph misses a bar of its precision (`precision.BARS`), or the
            precision is unknown, or int8 has nothing to be calibrated on.
    """
    known_precision(precision)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.partial.onnx")
    partial_card = partial.with_suffix(".json")
    try:
        _write_graph(DeployedGraph(network, half=precision == "fp16"), partial)
        if precision == "int8":
            quantise(partial, partial, calibration, lambda: step("calibration"))
        card = {
            "format": CARD_FORMAT,
            "name": name or path.stem.removesuffix(f".{precision}"),
            "mode": mode,
            "classes": _class_section(classes),
            "variant": network.variant,
            "parameters": sum(p.numel() for p in DeployedGraph(network).parameters()),
            "contract": CONTRACT,
            "opset": OPSET,
            "precision": precision,
            "sha256": sha256_of(partial),
            **(notes or {}),
        }
        _write_card(partial_card, card)
        written = Model(partial, ModelCard.read(partial_card))
        card["parity"] = check_parity(written, network, frames, step)
        _write_card(partial_card, card)
        os.replace(partial, path)
        os.replace(partial_card, path.with_suffix(".json"))
    finally:
        partial.unlink(missing_ok=True)
        partial_card.unlink(missing_ok=True)
    return Model(path, ModelCard.read(path.with_suffix(".json")))


def _class_section(classes: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"id": i, "name": name, "color": list(color)}
        for i, (name, color) in enumerate(zip(classes, label_colors(len(classes)), strict=True))
    ]


def _write_card(path: Path, card: dict[str, Any]) -> None:
    path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def _write_graph(graph: DeployedGraph, path: Path) -> None:
    visible = torch.zeros((1, 48, 80, 3), dtype=torch.uint8)
    thermal = torch.zeros((1, 48, 80), dtype=torch.uint8)
    names = ["visible", "thermal", "fused", "labels"]
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated but keeps shape arithmetic as plain ONNX; the
        # tracer warns of Python integers, which `check_parity` covers with odd sizes.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            (visible, thermal),
            str(path),
            opset_version=OPSET,
            dynamo=False,
            input_names=names[:2],
            output_names=names[2:],
            dynamic_axes={name: {1: "height", 2: "width"} for name in names},
        )
    model = onnx.load(str(path))
    for output in model.graph.output:  # the exporter loses the batch size of labels on its way
        output.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
