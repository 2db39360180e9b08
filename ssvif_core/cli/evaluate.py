"""`ssvif evaluate`: fused images and masks of models, beside methods that need no learning."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console

from ssvif_core.cli.options import LabelMap, Labels, ThermalTopic, VisibleTopic
from ssvif_core.cli.progress import progress_bar
from ssvif_core.data.collection import summary
from ssvif_core.data.pairs import UNKNOWN, FramePair
from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.baselines import BASELINES
from ssvif_core.evaluation.colour_clusters import ColourClusters, kmeans_on_colour
from ssvif_core.evaluation.evaluate import Evaluation
from ssvif_core.evaluation.evaluate import evaluate as evaluate_plan
from ssvif_core.evaluation.evaluation_set import (
    EvaluationSet,
    check_classes,
    check_label_map,
    open_evaluation_set,
    parse_label_map,
)
from ssvif_core.evaluation.frame_scores import CLUSTERS, Plan, known_camera, without_camera
from ssvif_core.evaluation.methods import (
    SOURCES,
    Method,
    baseline_method,
    model_method,
    open_models,
)
from ssvif_core.evaluation.report import write_report
from ssvif_core.evaluation.tables import screen_table
from ssvif_core.models import Model
from ssvif_core.writable import check_writable

__all__ = ["evaluate"]


def evaluate(
    models: Annotated[
        Optional[list[str]],  # noqa: UP045 - see app.py
        typer.Argument(help="base, tiny, or paths of ONNX models; none: the baselines alone."),
    ] = None,
    data: Annotated[
        Path,
        typer.Option(
            help="Folder with visible/, thermal/ and, for masks, labels/; MSRS, MFNet, FMB, "
            "PST900, M3FD, LLVIP, RoadScene as published; or a recording (400 pairs at most, if "
            "--limit does not say)."
        ),
    ] = Path("."),
    split: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="train, val or test, where there are splits; default test, or else val."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path(
        "evaluation"
    ),
    labels: Labels = None,
    label_map: LabelMap = None,
    visible_topic: VisibleTopic = None,
    thermal_topic: ThermalTopic = None,
    limit: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Evenly spaced frames to use at most."),
    ] = None,
    baselines: Annotated[bool, typer.Option(help="Fusion without learning, beside.")] = True,
    without: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="visible or thermal: that camera is black, in TRAIN as well."),
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, or one that `ssvif doctor` lists.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each engine.")] = 1,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0: one for each core.")] = 0,
    pictures: Annotated[int, typer.Option(min=0, help="Rows of grid.png.")] = 6,
    train: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Labelled pairs to train the small segmenter, or probes, on."),
    ] = None,
    train_labels: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Like --labels, for TRAIN."),
    ] = None,
    train_label_map: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Like --label-map, for TRAIN."),
    ] = None,
    segmentability: Annotated[
        bool, typer.Option(help="Train a small segmenter on each method's images (slow).")
    ] = False,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of the segmenter.")] = 600,
    seeds: Annotated[str, typer.Option(help="Seeds of the segmenter, such as 0,1,2.")] = "0",
    device: Annotated[str, typer.Option(help="For the segmenter: cpu, cuda, ...")] = "cpu",
    probe: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="checkpoint.pt whose features are probed linearly; repeatable."),
    ] = None,
) -> None:
    """Measure fused images and masks.

    Nine fusion metrics and three artefact figures beside the baselines; IoU of masks with names,
    all, day and night; matched IoU, purity and NMI of anonymous clusters, beside k-means on colour.
    Writes metrics.csv, summary.csv, summary.json and grid.png; the summaries again with what the
    segmenter and probes, which take long, gave.
    """
    if train is None and (segmentability or probe):
        raise SsvifError("--segmentability and --probe need labelled frames: add --train FOLDER.")
    known_camera(without)
    numbers = _numbers(seeds)
    if segmentability:
        device = _usable(device)
    described, probed = _features(probe or [])
    frames = open_evaluation_set(
        data, labels, parse_label_map(label_map), limit, split, visible_topic, thermal_topic
    )
    if frames.skipped:
        Console(stderr=True).print(f"{len(frames.skipped)} left out: {summary(frames.skipped)}")
    check_label_map(frames)
    training = None
    if train is not None:
        labelled = train_labels if segmentability or probe else None
        training = open_evaluation_set(
            train, labelled, parse_label_map(train_label_map), split="train"
        )
    if training is not None and (segmentability or probe):
        _check_labels(training, frames)
    opened = open_models(models or [])
    unfit = _unfit(opened, frames, training if segmentability else None)
    fitting = {name: model for name, model in opened.items() if name not in unfit}
    plan = Plan(
        models=tuple(models or ()),
        baselines=tuple(BASELINES) if baselines else (),
        engine=engine,
        threads=threads,
        without=without,
        colour=_colour(opened, training or frames, without) if frames.labels else {},
        pictures=frozenset(frames.evenly(pictures)),
        unscored=unfit,
    )
    if not (plan.models or plan.baselines or probe):
        raise SsvifError("There is nothing to evaluate: name a model, or keep the baselines.")
    output.mkdir(parents=True, exist_ok=True)
    check_writable(output / "summary.json")
    evaluation = _evaluate(plan, frames, jobs)
    if evaluation.skipped:
        text = f"{len(evaluation.skipped)} left out: {summary(evaluation.skipped)}"
        Console(stderr=True).print(text)
    scored = len(set(frames.labels) - {pair.name for pair in evaluation.skipped})
    _show(evaluation, scored)
    notes = {"data": data.name, "frames": len(evaluation.frames), "models": list(plan.models)}
    notes |= {"labelled": scored, "without": without, "unscored": sorted(unfit)}
    _write(output, evaluation, notes, {})
    more: dict[str, Any] = {}
    if training is not None and (segmentability or probe):
        fit, held_out = (list(_seen(s, s.labels, without)) for s in (training, frames))
        if segmentability:
            methods, names = _methods(plan, opened), _class_names(fitting)
            more["segmentability"] = _segmentability(
                methods, fit, held_out, steps, numbers, device, names
            )
        if probe:
            names = _probe_names(fit + held_out, [_class_names(fitting), *probed])
            more["linear probe"] = _probes(described, fit, held_out, names)
        console = Console()
        for title, rows in more.items():
            console.print(screen_table(f"{title}: IoU", rows, console))
        _write(output, evaluation, notes, more)


def _write(
    folder: Path, evaluation: Evaluation, notes: Mapping[str, Any], more: Mapping[str, Any]
) -> None:
    for path in write_report(folder, evaluation, notes, more):
        typer.echo(f"written {path}")


def _evaluate(plan: Plan, frames: EvaluationSet, jobs: int) -> Evaluation:
    with progress_bar() as bar:
        task = bar.add_task("evaluating", total=len(frames.names))
        return evaluate_plan(plan, frames, jobs, lambda: bar.advance(task))


def _seen(frames: EvaluationSet, names: Iterable[str], without: str | None) -> Iterator[FramePair]:
    """The frames to measure on, with the camera that is left out black."""
    return (without_camera(pair, without) for pair in frames.readable(names))


def _colour(
    models: Mapping[str, Model], frames: EvaluationSet, without: str | None
) -> dict[str, ColourClusters]:
    """K-means on colour for each number of clusters that a model has."""
    counts = {len(m.card.classes) for m in models.values() if m.card.mode == CLUSTERS}
    return {
        f"k-means on colour, {k}": kmeans_on_colour(_seen(frames, frames.names, without), k)
        for k in sorted(counts)
    }


def _methods(plan: Plan, models: Mapping[str, Model]) -> dict[str, Method]:
    methods = {**SOURCES, **{name: baseline_method(name) for name in plan.baselines}}
    for name, model in models.items():
        methods[name] = model_method(model, plan.engine, plan.threads)
    return methods


def _class_names(models: Mapping[str, Model]) -> list[str] | None:
    for model in models.values():
        if model.card.mode != CLUSTERS:
            return [label.name for label in model.card.classes]
    return None


def _segmentability(
    methods: Mapping[str, Method],
    train: list[FramePair],
    test: list[FramePair],
    steps: int,
    seeds: list[int],
    device: str,
    names: list[str] | None,
) -> dict[str, dict[str, float]]:
    try:
        from ssvif_core.evaluation.segmentability import segmentability, summarise
        from ssvif_core.evaluation.small_segmenter import Recipe
    except ImportError as error:
        raise _needs_torch(error) from error
    names = names or _numbered(train + test)
    rows = {}
    with progress_bar("method") as bar:
        total = len(methods) * len(seeds) * steps
        task = bar.add_task("segmentability", total=total, method="")
        for name, method in methods.items():
            bar.update(task, method=name)
            matrices = segmentability(
                method,
                train,
                test,
                len(names),
                seeds,
                Recipe(steps=steps),
                device,
                lambda: bar.advance(task),
            )
            rows[name] = summarise(matrices, names)
    return rows


def _features(checkpoints: list[Path]) -> tuple[dict[str, Any], list[list[str]]]:
    """What is probed, by its name in the table; `linear_probe.Features`; and the classes' names."""
    if not checkpoints:
        return {}, []
    try:
        from ssvif_core.deploy.export import load_trained
        from ssvif_core.evaluation.linear_probe import colour_features, network_features
        from ssvif_core.training.checkpoint import load_checkpoint
    except ImportError as error:
        raise _needs_torch(error) from error

    states = {str(path): load_checkpoint(path) for path in checkpoints}
    networks = {name: network_features(load_trained(state)) for name, state in states.items()}
    named = [s["classes"] for s in states.values() if s["mode"] not in (None, CLUSTERS)]
    return {"colour": colour_features(), **networks}, named


def _probes(
    described: Mapping[str, Any], train: list[FramePair], test: list[FramePair], names: list[str]
) -> dict[str, dict[str, float]]:
    from ssvif_core.evaluation.linear_probe import fit_linear_probe
    from ssvif_core.evaluation.segmentation_metrics import named_iou

    rows = {}
    with progress_bar() as bar:
        for name, features in bar.track(described.items(), description="linear probe"):
            matrix = fit_linear_probe(features, train, len(names)).score(test)
            rows[name] = named_iou(matrix, names)
    return rows


def _show(evaluation: Evaluation, labelled: int) -> None:
    console = Console()
    if evaluation.frames[0].metrics:
        title = f"fusion, {len(evaluation.frames)} frames"
        console.print(screen_table(title, evaluation.fusion(), console))
    for title, scores in (
        ("IoU of masks", evaluation.segmentation()),
        ("clusters against labels", evaluation.clusters()),
    ):
        rows = {f"{m}, {part}": v for m, parts in scores.items() for part, v in parts.items()}
        if rows:
            console.print(screen_table(f"{title}, {labelled} frames", rows, console))
    if labelled and not evaluation.parts:
        console.print("no day and night: not every name ends in D or N")


def _probe_names(pairs: list[FramePair], known: Sequence[list[str] | None]) -> list[str]:
    """Names of the ids that occur: the first known ones that have them all, else numbers."""
    numbered = _numbered(pairs)
    fitting = (names for names in known if names and len(names) >= len(numbered))
    return next(fitting, numbered)[: len(numbered)]


def _numbered(pairs: list[FramePair]) -> list[str]:
    """Class names where nobody says any: background and the ids that occur."""
    known = [p.labels[p.labels != UNKNOWN] for p in pairs if p.labels is not None]
    top = max((int(labels.max(initial=0)) for labels in known), default=0)
    return ["background", *(f"class {i}" for i in range(1, top + 1))]


def _numbers(text: str) -> list[int]:
    wrong = f"'{text}' is no list of seeds: write it like 0,1,2."
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise SsvifError(wrong) from error
    if not all(0 <= seed < 2**63 for seed in seeds):
        raise SsvifError(wrong)
    return seeds


def _usable(device: str) -> str:
    try:
        from ssvif_core.training.distributed import usable_device
    except ImportError as error:
        raise _needs_torch(error) from error
    return str(usable_device(device))


def _check_labels(*sets: EvaluationSet) -> None:
    """Raise SsvifError where the segmenter or a probe would find no labels, or none to read."""
    for found in sets:
        if next(found.readable(found.labels), None) is None:
            for name in found.labels:
                found.measurable(name)  # raises what is wrong with it
            raise SsvifError(f"No frame of {found.folder} has labels: give a folder that has them.")


def _unfit(
    models: Mapping[str, Model], frames: EvaluationSet, training: EvaluationSet | None
) -> frozenset[str]:
    """Models that the labels, TRAIN's as well, are not of: beside one of them, others are compared.

    Raises:
        SsvifError: there are labels, and they hold ids that none of the models knows.
    """
    refused: dict[str, SsvifError] = {}
    named = {
        n: [c.name for c in m.card.classes] for n, m in models.items() if m.card.mode != CLUSTERS
    }
    for name, classes in named.items():
        try:
            check_classes(frames, name, classes)
            if training is not None:
                check_classes(training, name, classes, "--train-label-map")
        except SsvifError as error:
            refused[name] = error
    if refused and len(refused) == len(named):
        raise next(iter(refused.values()))
    told = Console(stderr=True)
    for name in refused:
        known = ", ".join(named[name])
        told.print(f"Masks of {name} are not scored: labels have ids beyond its classes ({known}).")
    kinds = {tuple(named[name]) for name in named.keys() - refused.keys()}
    if frames.labels and len(kinds) > 1:
        told.print("These models have different classes: each is scored as if labels were its own.")
    return frozenset(refused)


def _needs_torch(error: ImportError) -> SsvifError:
    return SsvifError(f"This needs the extra: pip install '.[train]' ({error}).")
