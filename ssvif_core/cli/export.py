"""`ssvif export`: a checkpoint becomes an ONNX model with its card."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from ssvif_core.errors import SsvifError

__all__ = ["export"]


def export(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint.pt of a training run.")],
    output: Annotated[Path, typer.Argument(help="ONNX file to write; the card goes beside it.")],
    frames: Annotated[
        Path, typer.Option(help="Real pairs (visible/ thermal/) to check the file against torch.")
    ],
    command: Annotated[str, typer.Option(help="How it was trained, for the card.")] = "ssvif train",
    limit: Annotated[int, typer.Option(min=1, help="Pairs to compare at most.")] = 8,
) -> None:
    """Export a trained network: bytes in, bytes out, any size, everything in the graph.

    The file is kept only if it agrees with torch on real frames: fused within 2 grey levels,
    labels equal on 99.9 % of the pixels.
    """
    try:
        from ssvif_core.deploy.export import export_model, load_trained
        from ssvif_core.training.checkpoint import load_checkpoint
    except ImportError as error:
        raise SsvifError(f"Export needs the extra: pip install '.[train]' ({error}).") from error
    from ssvif_core.data.pairs import list_pairs, read_pair

    state = load_checkpoint(checkpoint)
    pairs = list_pairs(frames)
    chosen = pairs[:: max(1, len(pairs) // limit)][:limit]
    model = export_model(
        load_trained(state),
        output,
        state["classes"],
        [read_pair(*pair) for pair in chosen],
        mode=state["mode"],
        notes={"training": training_section(command, state)},
    )
    parity = model.card.content["parity"]
    typer.echo(
        f"{model.path}: {model.card.content['parameters']} parameters; on {parity['frames']} "
        f"frames fused within {parity['fused_max_difference']} grey levels of torch, labels equal "
        f"on {parity['label_agreement']:.3%}"
    )


def training_section(command: str, state: dict[str, Any]) -> dict[str, Any]:
    """What the card says of the training: enough to repeat it, run by run."""
    runs = [*state.get("history", []), {"config": state["config"], "step": state["step"]}]
    return {
        "command": command,
        "exported": date.today().isoformat(),
        # What a deployed model that was trained further brought along is a section already.
        "runs": [
            _run_section(json.loads(run["config"]), run["step"]) if "config" in run else run
            for run in runs
        ],
    }


def _run_section(config: dict[str, Any], steps: int) -> dict[str, Any]:
    keys = ("name", "seed", "batch_size", "crop", "precision", "stages", "consistency", "weighting")
    return {
        **{key: config[key] for key in keys if config.get(key)},
        "steps": steps,
        "loss": config["loss"],
        "data": [
            {key: source[key] for key in ("folder", "origin", "labels", "share") if source.get(key)}
            for source in config["sources"]
        ],
    }
