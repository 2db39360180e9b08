"""`ssvif adapt`: a recording of your cameras -> a model that learnt them, and if it helps."""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Iterator, Optional  # noqa: UP035

import cv2
import typer
from rich.console import Console

from ssvif_core.adapt.judge import Judged, Measured, judge, measure
from ssvif_core.adapt.material import FolderMaterial, Material, RecordedMaterial, lost
from ssvif_core.adapt.report import REPORT, lines, write_report
from ssvif_core.adapt.split import LEAST_PAIRS
from ssvif_core.adapt.target import digest, files_of, target_path
from ssvif_core.adapt.training_pairs import write_pairs
from ssvif_core.adapt.verdict import Verdict, decide
from ssvif_core.cli.options import NodeName, Params, Stamps, ThermalTopic, VisibleTopic
from ssvif_core.cli.progress import progress_bar
from ssvif_core.data.bag_files import is_bag
from ssvif_core.errors import SsvifError
from ssvif_core.inference.sized_engine import SizedEngine
from ssvif_core.models import Model, in_precision, open_model
from ssvif_core.replay.pairs import STAMPS
from ssvif_core.replay.roles import TopicChoice
from ssvif_core.replay.settings import NodeSettings, engine_for, read_settings

if TYPE_CHECKING:
    from ssvif_core.training.config import TrainingConfig

__all__ = ["adapt"]

#: Held-out pairs that both models are measured on at most.
JUDGED_PAIRS = 60


@dataclass(frozen=True)
class _Job:
    """What is to be done, checked.

    Attributes:
        asked: digest of what makes the new model: an earlier run of the same may be replaced.
        pairs_asked: digest of what makes the training pairs.
    """

    material: Material
    old: Model
    settings: NodeSettings
    config: "TrainingConfig"
    output: Path
    target: Path
    asked: str
    pairs_asked: str
    every: float
    limit: int
    device: str


def adapt(
    source: Annotated[
        Path,
        typer.Argument(
            help="Recording (rosbag2 folder, .mcap, .db3, ROS 1 .bag), or folder of pairs "
            "(visible/ thermal/, or a published data set)."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for pairs, training, model and report.")
    ],
    model: Annotated[
        Optional[str],  # noqa: UP045 - see app.py
        typer.Option(help="base, tiny, or an ONNX model: what to start from. Default: --params'."),
    ] = None,
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Of the new model; default MODEL-RECORDING. Never the old one's."),
    ] = None,
    steps: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Training steps; default those of the recipe, 200."),
    ] = None,
    holdout: Annotated[
        float, typer.Option(help="Last part of the recording, kept out of training, that judges.")
    ] = 0.25,
    every: Annotated[
        float, typer.Option(min=0.01, help="Least time between pairs, but for jitter [s].")
    ] = 0.5,
    limit: Annotated[int, typer.Option(min=8, help="Pairs to train on at most.")] = 400,
    params: Params = None,
    node: NodeName = None,
    recipe: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Training file instead of the built-in one, config/training/adapt.yaml."),
    ] = None,
    visible_topic: VisibleTopic = None,
    thermal_topic: ThermalTopic = None,
    stamps: Stamps = "header",
    device: Annotated[str, typer.Option(help="To train on: auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Train a model on a recording of your own cameras, without labels, and see if it helped.

    - **Pairs** come from the first part of the recording, made as the node makes them (pairing,
    gain, registration of --params), and thinned out: neighbouring frames are alike.

    - **Training** is short and starts from the old model. Ctrl-C stops it; the same command goes
    on.

    - **The last part** (--holdout) is not trained on. Both models are measured on it, and the
    verdict says: better, no measurable difference, not better, worse, or too few pairs to tell.
    Look at adapt.html, too: it has pictures before and after.

    The old model is never overwritten. For instance:

    `ssvif adapt drive.mcap --output adapted --params config/fusion.yaml`

    `ssvif adapt pairs --output adapted --model tiny --steps 400`

    Use the new file with the node: `ros2 launch ssvif_ros fusion.launch.py
    model:=$PWD/adapted/base-drive.onnx`
    """
    if stamps not in STAMPS:
        raise SsvifError(f"--stamps is {stamps!r}: use one of {', '.join(STAMPS)}.")
    # fp32: the new model has no other file yet, and like is compared with like.
    settings = read_settings(params, {"model": model, "precision": "fp32"}, node)
    cv2.setNumThreads(1)
    topics = TopicChoice(visible_topic, thermal_topic)
    options = {"holdout": holdout, "every": every, "limit": limit, "stamps": stamps}
    job = _job(source, output, settings, topics, options, name, recipe, steps, device)
    for line in (*job.material.found, str(job.material.split)):
        typer.echo(line)
    with _stoppable():
        counts = _pairs(job)
    for file, reason in job.material.broken.items():
        typer.echo(f"warning: {file} {reason}; what could be read of it is used")
    kept = f"{counts['kept']} pairs to train on"
    typer.echo(f"{kept}, {counts['alike']} left out because nothing had changed")
    _train(job)
    new = _deploy(job, counts)
    measured = _measured(job, new)
    judged = judge(measured) + _replayed(job, new)
    _conclude(job, new, judged, measured)


def _job(
    source: Path, output: Path, settings: NodeSettings, topics: TopicChoice,
    options: dict[str, Any], name: str | None, recipe: Path | None, steps: int | None, device: str,
) -> _Job:  # fmt: skip
    """Check everything that can be checked before the first long step."""
    try:
        from ssvif_core.adapt.recipe import configuration
        from ssvif_core.training.distributed import usable_device
    except ImportError as error:
        raise SsvifError(
            f"Adapting trains a network, which needs the extra: pip install '.[train]' ({error})."
        ) from error
    usable_device(device)
    old = in_precision(open_model(settings.model), "fp32")
    settings = replace(settings, model=str(old.path))
    config = configuration(output, old, source.resolve().name, recipe, steps)
    if not source.exists():
        raise SsvifError(f"There is no recording or folder {source}.")
    if output.resolve().is_relative_to(source.resolve()):
        raise SsvifError(f"--output {output} is inside of {source}: write to another folder.")
    registration = Path(settings.registration__file).expanduser()
    asked = {
        "files": files_of(source),
        "registration": files_of(registration) if registration.is_file() else {},
        "model": old.card.sha256,
        "parameters": {k: v for k, v in settings.parameters().items() if k != "model"},
        "topics": [topics.visible, topics.thermal],
        **options,
    }
    material: Material
    if _is_recording(source):
        material = RecordedMaterial(source, settings, topics, options["stamps"], options["holdout"])
    else:
        material = FolderMaterial(source, old, settings, options["holdout"])
    # Another training of the same pairs is another model.
    whole = asked | {"training": config.model_dump(mode="json", exclude={"data_root"})}
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SsvifError(f"Cannot write to {output}: {error}") from error
    target = target_path(output, name, old, source, digest(whole))
    if target.resolve() == old.path.resolve():
        raise SsvifError(f"{target} is the old model: give another --name or --output.")
    return _Job(
        material, old, settings, config, output, target, digest(whole), digest(asked),
        options["every"], options["limit"], device,
    )  # fmt: skip


def _is_recording(path: Path) -> bool:
    if is_bag(path) or (path / "metadata.yaml").is_file():
        return True
    return path.is_dir() and any(is_bag(p) for p in path.iterdir() if p.is_file())


def _pairs(job: _Job) -> dict[str, int]:
    with progress_bar() as bar:
        task = bar.add_task("pairs", total=None)
        counts = write_pairs(
            job.output,
            lambda: job.material.training(job.every, job.limit),
            job.pairs_asked,
            lambda count: bar.update(task, completed=count),
            lambda: job.material.advice + lost(job.material),
        )
        bar.update(task, total=counts.kept, completed=counts.kept)
    return {"kept": counts.kept, "alike": counts.alike}


def _train(job: _Job) -> None:
    from ssvif_core.training.distributed import process_group
    from ssvif_core.training.trainer import Trainer

    with process_group(job.device) as processes, progress_bar("loss") as bar:
        trainer = Trainer(job.config, job.output / "training", processes)
        total = job.config.steps
        task = bar.add_task("training", total=total, completed=trainer.step, loss="")

        def show(step: int, values: dict[str, float]) -> None:
            bar.update(task, completed=step, loss=f"loss {values['loss/total']:.3f}")

        with _stoppable():
            trainer.run(show)


@contextmanager
def _stoppable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here")
        raise typer.Exit(130) from None


def _deploy(job: _Job, counts: dict[str, int]) -> Model:
    from ssvif_core.adapt.deployed import deploy
    from ssvif_core.adapt.recipe import trains_masks

    about = {
        "from": job.old.card.name,
        "from_sha256": job.old.card.sha256,
        "recording": job.material.path.resolve().name,
        "training_pairs": counts["kept"],
        "split": str(job.material.split),
        "masks": "trained" if trains_masks(job.config) else "as before",
        "asked": job.asked,
    }
    new = deploy(job.output / "training" / "checkpoint.pt", job.target, job.old, about)
    typer.echo(f"written: {new.path}")
    return new


def _measured(job: _Job, new: Model) -> Measured:
    engines = SizedEngine(lambda size: engine_for(new, job.settings, size)[0])
    with progress_bar() as bar, _stoppable():
        task = bar.add_task("measuring held-out pairs", total=JUDGED_PAIRS)
        try:
            frames = job.material.held_out(JUDGED_PAIRS)
            measured = measure(frames, engines.of, new, lambda: bar.advance(task))
        finally:
            engines.close()
        bar.update(task, total=len(measured.names))
    if len(measured.names) < LEAST_PAIRS:
        raise SsvifError(
            f"Only {len(measured.names)} held-out pairs to judge by, {LEAST_PAIRS} are needed: "
            f"take a longer recording, or a larger --holdout. {new.path} is written, not judged."
            f"{lost(job.material)}"
        )
    return measured


def _replayed(job: _Job, new: Model) -> list[Judged]:
    from ssvif_core.adapt.replayed import replay_both

    if not isinstance(job.material, RecordedMaterial):
        return []
    models = {job.old.card.name: job.old, new.card.name: new}
    with progress_bar() as bar, _stoppable():
        tasks = {n: bar.add_task(f"replay with {n} [s]", total=None) for n in models}

        def show(which: str, done_s: float, total_s: float | None) -> None:
            total = None if total_s is None else round(total_s)
            bar.update(tasks[which], completed=round(done_s), total=total)

        found = replay_both(job.material, models, job.output / "held_out", show)
        for task in tasks.values():
            bar.update(task, completed=bar.tasks[task].total or bar.tasks[task].completed)
    return found


def _conclude(job: _Job, new: Model, judged: list[Judged], measured: Measured) -> None:
    from ssvif_core.adapt.deployed import note

    verdict = decide(judged)
    advice = _advice(job, new, verdict)
    about = {
        "old": job.old.card.name,
        "new": new.card.name,
        "file": new.path.name,
        "recording": job.material.path.resolve().name,
        "split": str(job.material.split),
        "damaged pairs": job.material.damaged,
        "masks": new.card.content["adapted"]["masks"],
        "training pairs": new.card.content["adapted"]["training_pairs"],
        "steps": job.config.steps,
        "engine": job.settings.engine,
        "parameters": job.settings.parameters() | {"model": job.old.card.name},
    }
    timed = isinstance(job.material, RecordedMaterial)
    write_report(job.output, verdict, advice, judged, measured, about, timed)
    note(new, {"answer": verdict.answer, "why": verdict.why})
    console = Console()
    for line in lines(verdict, advice, judged):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    typer.echo(f"written to {job.output}: {REPORT}, adapt.json, {new.path.name}")


def _advice(job: _Job, new: Model, verdict: Verdict) -> str:
    if verdict.use:
        return (
            "Look at the pictures, then use it: ros2 launch ssvif_ros fusion.launch.py "
            f"model:={new.path.resolve()} (parameter `model`)."
        )
    doing = "Do not use the new file: keep" if verdict.answer == "worse" else "Keep"
    return f"{doing} {job.old.card.name}."
