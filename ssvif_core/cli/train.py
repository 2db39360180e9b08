"""`ssvif train`: run or resume the training that a YAML file describes."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ssvif_core.cli.options import ThermalTopic, VisibleTopic
from ssvif_core.cli.progress import progress_bar
from ssvif_core.errors import SsvifError

if TYPE_CHECKING:
    from ssvif_core.training.config import TrainingConfig
    from ssvif_core.training.trainer import Trainer

__all__ = ["train"]

#: Where the training files that come with the program are: in the sources, or installed.
RECIPES = (
    Path(__file__).parents[2] / "config" / "training",
    Path(sys.prefix) / "share" / "ssvif_ros" / "config" / "training",
)


def train(
    config: Annotated[Path, typer.Argument(help="Training YAML, see config/training/.")],
    run: Annotated[
        Optional[Path],  # noqa: UP045 - see app.py
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
        Optional[str],  # noqa: UP045
        typer.Option(help="Checkpoint, ONNX model, or base or tiny, to take the weights of."),
    ] = None,
    steps: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            min=1,
            help="Number of steps of all stages together; each keeps its part, and of fewer "
            "steps fewer are averaged.",
        ),
    ] = None,
    seed: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, help="Seed of weights and batches; replaces that of the file."),
    ] = None,
    visible_topic: VisibleTopic = None,
    thermal_topic: ThermalTopic = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Train the network that a YAML file describes.

    For instance, without labels, on a recording of your own (config/training/ has more):

    `ssvif train config/training/own_frames.yaml --data drive.mcap`

    Stop with Ctrl-C at any time: the run is saved, and the same command goes on from there to the
    same result. The run folder holds report.html; watch it with `tensorboard --logdir runs`.

    Export what came out: `ssvif export runs/NAME-VARIANT/checkpoint.pt my.onnx --frames drive`.

    Several GPUs: `torchrun --nproc-per-node 2 -m -- ssvif_core.cli train CONFIG`.
    """
    try:
        from ssvif_core.training.config import load_config
        from ssvif_core.training.distributed import process_group
        from ssvif_core.training.trainer import Trainer
    except ImportError as error:
        raise SsvifError(f"Training needs the extra: pip install '.[train]' ({error}).") from error

    overrides: dict[str, object] = {
        "data_root": data, "variant": variant, "initialise_from": initialise_from, "seed": seed
    }  # fmt: skip
    if not config.is_file():
        raise SsvifError(_no_recipe(config))
    settings = load_config(config, {k: v for k, v in overrides.items() if v is not None})
    if steps is not None:
        settings = settings.with_steps(steps)
    topics = {"visible_topic": visible_topic, "thermal_topic": thermal_topic}
    said = {name: topic for name, topic in topics.items() if topic is not None}
    sources = [source.model_copy(update=said) for source in settings.sources]
    settings = settings.model_copy(update={"sources": sources})
    _check_places(config, settings)
    folder = run or Path("runs") / f"{settings.name}-{settings.variant}"
    with process_group(device) as processes:
        trainer = Trainer(settings, folder, processes)
        _run(trainer, quiet=not processes.first)


def _no_recipe(config: Path) -> str:
    said = f"Cannot read the training configuration {config}: there is no such file"
    folder = next((folder for folder in RECIPES if folder.is_dir()), None)
    if folder is None:
        return f"{said}. Take one of config/training of the sources."
    names = ", ".join(sorted(path.name for path in folder.glob("*.yaml")))
    return f"{said}. Those that come with the program are in {folder}: {names}."


def _check_places(config: Path, settings: "TrainingConfig") -> None:
    """Raise SsvifError where a source is not there, with what would have to be."""
    for source in settings.sources:
        place = settings.data_root / source.folder
        if not place.exists():
            labels = f" and {source.labels}/" if source.labels else ""
            raise SsvifError(
                f"There is no {place} (visible/, thermal/{labels}), which {config.name} trains on. "
                f"Give the folder that holds {source.folder} with --data, or write folders of your "
                f"own into `sources`; the first lines of {config} say what it needs. Without any "
                "data set: own_frames.yaml and few_labels.yaml."
            )


def _run(trainer: "Trainer", quiet: bool) -> None:
    """Train with a progress bar; only one of several processes speaks."""
    config = trainer.config
    with progress_bar("stage", "loss", disable=quiet) as bar:
        begun = f", resumed at step {trainer.step}" if trainer.step else ""
        skipped = f", {len(trainer.skipped)} pairs skipped" if trainer.skipped else ""
        about = f"{config.name}: {config.steps} steps on {trainer.device}, in {trainer.folder}"
        if not quiet:
            typer.echo(about + begun + skipped)
            typer.echo(str(trainer.frames))
            if trainer.mask_mode is None:
                typer.echo(
                    "nothing teaches the masks these classes, or the trunk changes below them: a "
                    "start for other runs, not for `ssvif export`"
                )
        task = bar.add_task(
            "training", total=config.steps, completed=trainer.step, stage="", loss=""
        )

        def show(step: int, values: dict[str, float]) -> None:
            assert trainer.stage is not None
            stage = trainer.stage.config.kind.replace("_", "-")
            bar.update(task, completed=step, stage=stage, loss=f"loss {values['loss/total']:.3f}")

        try:
            trainer.run(show)
        except KeyboardInterrupt:
            typer.echo(f"stopped and saved at step {trainer.step}; run the same command to go on")
            raise typer.Exit(130) from None
    if not quiet:
        after = f"ssvif export {trainer.checkpoint_path} MODEL.onnx --frames FRAMES"
        if trainer.mask_mode is None:
            after = f"a run with initialise_from: {trainer.checkpoint_path}"
        typer.echo(f"done, see {trainer.folder / 'report.html'}; next: {after}")
