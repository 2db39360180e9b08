"""`ssvif train`: run or resume the training that a YAML file describes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ssvif_core.cli.progress import progress_bar
from ssvif_core.errors import SsvifError

__all__ = ["train"]


def train(
    config: Annotated[Path, typer.Argument(help="Training YAML, see config/training/.")],
    run: Annotated[
        Optional[Path],  # noqa: UP045 - typer evaluates annotations on Python 3.10 as well
        typer.Option(help="Run folder; default runs/NAME-VARIANT. A run found there is resumed."),
    ] = None,
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder that the sources are relative to; replaces data_root."),
    ] = None,
    variant: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="base or tiny; replaces that of the file."),
    ] = None,
    initialise_from: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Checkpoint to take the weights of; replaces that of the file."),
    ] = None,
    steps: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Number of steps; replaces that of the file."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Train a network.

    Stop with Ctrl-C at any time: the run is saved, and the same command goes on from there to the
    same result. Watch it with `tensorboard --logdir runs`.
    """
    try:
        import torch

        from ssvif_core.training.config import load_config
        from ssvif_core.training.trainer import Trainer
    except ImportError as error:
        raise SsvifError(f"Training needs the extra: pip install '.[train]' ({error}).") from error

    overrides = {
        "data_root": data,
        "variant": variant,
        "initialise_from": initialise_from,
        "steps": steps,
    }
    settings = load_config(config, {k: v for k, v in overrides.items() if v is not None})
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    folder = run or Path("runs") / f"{settings.name}-{settings.variant}"
    trainer = Trainer(settings, folder, device)
    begun = f", resumed at step {trainer.step}" if trainer.step else ""
    typer.echo(f"{settings.name}: {settings.steps} steps on {device}, in {trainer.folder}{begun}")
    with progress_bar("loss") as bar:
        task = bar.add_task("training", total=settings.steps, completed=trainer.step, loss="")

        def show(step: int, losses: dict[str, float]) -> None:
            bar.update(task, completed=step, loss=f"loss {losses['total']:.3f}")

        try:
            trainer.run(show)
        except KeyboardInterrupt:
            typer.echo(f"stopped and saved at step {trainer.step}; run the same command to go on")
            raise typer.Exit(130) from None
    typer.echo(f"done: ssvif export {trainer.checkpoint_path} MODEL.onnx --frames FOLDER")
