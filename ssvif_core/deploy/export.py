"""A trained network becomes an ONNX file with its card, checked against torch before it is kept."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from ssvif_core.data.pairs import FramePair
from ssvif_core.deploy.graph import DeployedGraph
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.palettes import label_colors
from ssvif_core.inference.onnxruntime_engine import OnnxRuntimeEngine
from ssvif_core.models import CARD_FORMAT, Model, ModelCard, sha256_of
from ssvif_core.network.fusion_network import FusionNetwork
from ssvif_core.training.validation import predict_pair

__all__ = ["check_parity", "export_model", "load_trained"]

OPSET = 17
#: Largest difference in grey levels, and smallest part of equal labels, between ONNX and torch.
MAX_FUSED_DIFFERENCE = 2
MIN_LABEL_AGREEMENT = 0.999


def load_trained(state: dict[str, Any]) -> FusionNetwork:
    """The averaged network of a checkpoint, in evaluation mode."""
    network = FusionNetwork(state["variant"], len(state["classes"]))
    network.load_state_dict(state["average"])
    return network.eval()


def export_model(
    network: FusionNetwork,
    path: Path,
    classes: Sequence[str],
    frames: Sequence[FramePair],
    *,
    mode: str = "finetuned",
    notes: dict[str, Any] | None = None,
) -> Model:
    """Write `path` (ONNX) and its card; keep them only if they agree with torch on `frames`.

    Args:
        network: trained network.
        path: of the ONNX file; the card gets the same name with `.json`.
        classes: names in the order of their ids.
        frames: real pairs to compare on; at least one.
        mode: what the masks are, see `ssvif_core.models.MODES`.
        notes: more sections for the card, such as training and metrics.

    Raises:
        SsvifError: the exported graph does not agree with torch.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.partial.onnx")
    _write_graph(DeployedGraph(network), partial)
    card = {
        "format": CARD_FORMAT,
        "name": path.stem,
        "mode": mode,
        "classes": [
            {"id": i, "name": name, "color": list(color)}
            for i, (name, color) in enumerate(zip(classes, label_colors(len(classes)), strict=True))
        ],
        "variant": network.variant,
        "parameters": sum(p.numel() for p in DeployedGraph(network).parameters()),
        "contract": CONTRACT,
        "opset": OPSET,
        "precision": "fp32",
        "sha256": sha256_of(partial),
        **(notes or {}),
    }
    card_path = path.with_suffix(".json")
    partial_card = partial.with_suffix(".json")
    try:
        partial_card.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        card["parity"] = check_parity(Model(partial, ModelCard.read(partial_card)), network, frames)
        partial_card.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, path)
        os.replace(partial_card, card_path)
    finally:
        partial.unlink(missing_ok=True)
        partial_card.unlink(missing_ok=True)
    return Model(path, ModelCard.read(card_path))


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
    onnx.checker.check_model(model, full_check=True)


def check_parity(
    model: Model, network: FusionNetwork, frames: Sequence[FramePair]
) -> dict[str, float]:
    """Compare the ONNX file with the torch network on real frames, whole and at an odd size.

    Returns:
        frames compared, largest fused difference (grey levels), smallest label agreement (0..1).

    Raises:
        SsvifError: they differ by more than the contract allows, or there are no frames.
    """
    if not frames:
        raise SsvifError("Parity needs at least one real frame pair: give --frames FOLDER.")
    engine = OnnxRuntimeEngine(model)
    worst, agreement, count = 0, 1.0, 0
    for pair in frames:
        height, width = pair.thermal.shape
        for rows, columns in ((height, width), (height - 13, width - 6)):
            part = FramePair(
                pair.name,
                np.ascontiguousarray(pair.visible[:rows, :columns]),
                np.ascontiguousarray(pair.thermal[:rows, :columns]),
            )
            fused, labels = engine.infer(part.visible, part.thermal)
            wanted, wanted_labels = predict_pair(network, part, torch.device("cpu"))
            reference = (wanted[0] * 255).round().permute(1, 2, 0).numpy()
            worst = max(worst, int(np.abs(fused - reference).max()))
            agreement = min(agreement, float((labels == wanted_labels).mean()))
            count += 1
    engine.close()
    if worst > MAX_FUSED_DIFFERENCE or agreement < MIN_LABEL_AGREEMENT:
        raise SsvifError(
            f"The exported graph differs from torch: fused by {worst} grey levels, labels equal "
            f"on {agreement:.2%}. Nothing was written; please report this with the checkpoint."
        )
    return {
        "frames": count,
        "fused_max_difference": worst,
        "label_agreement": round(agreement, 6),
    }
