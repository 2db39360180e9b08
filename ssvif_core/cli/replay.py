"""`ssvif replay`: recordings through the node's pairing and pipeline, measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Optional

import cv2
import typer
from rich.console import Console
from rich.markup import escape

from ssvif_core.cli.progress import progress_bar
from ssvif_core.errors import SsvifError, StoppedError
from ssvif_core.evaluation.evaluation_set import parse_label_map
from ssvif_core.memory import keep_image_buffers
from ssvif_core.replay.compare_report import Run, comparison_lines, write_comparison
from ssvif_core.replay.folder import earlier_run, prepare, write_run
from ssvif_core.replay.pairs import STAMPS
from ssvif_core.replay.recording import AUTO, NONE, Slice, TopicChoice, recordings_in
from ssvif_core.replay.run import Replayed, ReplayOptions, replay
from ssvif_core.replay.settings import read_settings
from ssvif_core.replay.tables import summary_lines
from ssvif_core.replay.variants import file_name, names_of, variant

__all__ = ["replay_bags"]


def replay_bags(
    bags: Annotated[
        list[Path],
        typer.Argument(help="rosbag2 folders, .mcap, .db3, ROS 1 .bag files, or folders of them."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path(
        "replay"
    ),
    params: Annotated[
        Optional[Path],  # noqa: UP045 - typer evaluates annotations on Python 3.10 as well
        typer.Option(help="Parameter file of the node, as config/fusion.yaml; options win."),
    ] = None,
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="base, tiny, or the path of an ONNX model."),
    ] = None,
    engine: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="auto, or one that `ssvif doctor` lists."),
    ] = None,
    precision: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="auto, fp32, fp16, int8."),
    ] = None,
    threads: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, help="CPU threads; 0: one for each core."),
    ] = None,
    slop: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0, help="Largest time between the frames of a pair [s]."),
    ] = None,
    thermal_offset: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Added to thermal stamps before they are compared [s]."),
    ] = None,
    gain: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Thermal gain mode, as the parameter gain.mode."),
    ] = None,
    visible_topic: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Default: found by type, name and encoding."),
    ] = None,
    thermal_topic: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Default: found likewise."),
    ] = None,
    labels: Annotated[
        str,
        typer.Option(
            help="True labels: a topic, a folder of images named by visible stamps in "
            "nanoseconds, auto, or none."
        ),
    ] = AUTO,
    label_map: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Ids there to class ids, 0:0,1:1,4:0; others are left out."),
    ] = None,
    stamps: Annotated[
        str, typer.Option(help="Pair by header stamps, as the node, or by times of receipt.")
    ] = "header",
    start: Annotated[float, typer.Option(min=0, help="Leave out this much first [s].")] = 0.0,
    duration: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0.01, help="Stop after this much [s]."),
    ] = None,
    metrics_every: Annotated[
        int,
        typer.Option(min=0, help="Fusion metrics on every n-th pair (they are slow); 0: on none."),
    ] = 30,
    pictures: Annotated[int, typer.Option(min=0, help="Best and worst pairs to show.")] = 3,
    video: Annotated[bool, typer.Option(help="Write fused.mp4.")] = True,
    bag: Annotated[
        bool, typer.Option("--bag", help="Write fused images, labels and diagnostics as mcap.")
    ] = False,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Write run.rrd for the rerun viewer (extra `rerun`).")
    ] = False,
    compare: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="[MODEL][:PRECISION][@ENGINE] on the same pairs, against what --model, "
            "--precision and --engine say: tiny, :fp16, @openvino, base:int8@torch. Repeatable."
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            help="Threads that fuse and measure one recording; 0: one for each core. With one, "
            "every pair is timed; with more, some are, with nothing beside them.",
        ),
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave recordings that are done already as they are.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="A damaged recording, or none, ends with status 1.")
    ] = False,
) -> None:
    """Measure on recordings what will run on the robot.

    The node's own pairing, gain and pipeline, with parameters from the node's own file. Writes
    report.html, summary.json, frames.csv.gz (and frames.parquet with the extra `replay`), fused.mp4
    and, with --bag, a recording. Several recordings get a folder each.
    """
    if stamps not in STAMPS:
        raise SsvifError(f"--stamps is {stamps!r}: use one of {', '.join(STAMPS)}.")
    given = {
        "model": model, "engine": engine, "precision": precision, "threads": threads, "slop": slop,
        "thermal_offset": thermal_offset, "gain__mode": gain,
    }  # fmt: skip
    folder = Path(labels) if labels not in (AUTO, NONE) and Path(labels).is_dir() else None
    options = ReplayOptions(
        settings=read_settings(params, given),
        topics=TopicChoice(visible_topic, thermal_topic, NONE if folder else labels),
        part=Slice(start, duration),
        stamps=stamps,
        labels_folder=folder,
        label_map=parse_label_map(label_map),
        metrics_every=metrics_every,
        video=video,
        bag=bag,
        rerun=rerun,
        pictures=pictures,
        workers=workers,
    )
    cv2.setNumThreads(1)  # as in the node, so that times compare
    keep_image_buffers()
    found = recordings_in(bags)
    if len(found) > 1:
        typer.echo(f"{len(found)} recordings")
    damaged, failed = _all(found, output, options, resume, compare or [])
    if len(failed) == len(found) or (strict and (damaged or failed)):
        raise SsvifError("; ".join(f"{name}: {why}" for name, why in (failed | damaged).items()))


def _all(
    found: list[Path], output: Path, options: ReplayOptions, resume: bool, models: list[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Replay each; what was damaged, and what failed. One that fails does not stop the others."""
    damaged: dict[str, str] = {}
    failed: dict[str, str] = {}
    console = Console(stderr=True)
    names = _names(found)
    for path in found:
        folder = output if len(found) == 1 else output / names[path]
        try:
            summary = earlier_run(folder, path, options) if resume and not models else None
            if summary is not None:
                typer.echo(f"{path.name}: done already, see {folder}")
            elif models:
                summary = _compared(path, folder, options, models)
            else:
                summary, _ = _one(path, folder, options)
        except SsvifError as error:
            failed[str(path)] = str(error)
            if len(found) > 1:
                text = f"[bold red]{escape(path.name)}:[/] {escape(str(error))}"
                console.print(text, highlight=False, soft_wrap=True)
            continue
        if summary["recording"]["broken"]:
            parts = summary["recording"]["broken"].items()
            damaged[str(path)] = "; ".join(f"{name} {why}" for name, why in parts)
        if summary["interrupted"]:
            raise StoppedError(f"Stopped. What was measured until then is in {folder}.")
    return damaged, failed


def _names(found: list[Path]) -> dict[Path, str]:
    """A folder name for each recording; those of the same name get a number."""
    names: dict[Path, str] = {}
    for path in found:
        name, number = path.stem, 2
        while name in names.values():
            name, number = f"{path.stem}_{number}", number + 1
        names[path] = name
    return names


def _compared(
    path: Path, folder: Path, options: ReplayOptions, others: list[str]
) -> dict[str, Any]:
    """Replay one recording with each, one after the other, and compare; the first summary."""
    first = options.settings
    variants = [first, *(variant(text, first) for text in others)]
    runs: list[Run] = []
    for name, settings in zip(names_of(variants), variants, strict=True):
        typer.echo(f"{name}: model {settings.model}, {settings.precision}, {settings.engine}")
        each = replace(options, settings=settings)
        place = folder / file_name(name)
        runs.append(Run(name, place, *_one(path, place, each)))
        if runs[-1].summary["interrupted"]:
            return runs[-1].summary
    found = write_comparison(folder, runs)
    for line in comparison_lines(runs[0].name, found):
        typer.echo(line)
    typer.echo(f"written to {folder}: compare.html, compare.json")
    return runs[0].summary


def _one(path: Path, folder: Path, options: ReplayOptions) -> tuple[dict[str, Any], Replayed]:
    """Replay one recording and write its folder; the summary, and what was measured."""
    prepare(folder)
    with progress_bar("remark") as bar:
        task = bar.add_task(f"{path.name} [s]", total=None, remark="")

        def progress(done_s: float, total_s: float | None, remark: str) -> None:
            total = None if total_s is None else round(total_s)
            bar.update(task, completed=round(done_s), total=total, remark=remark)

        played = replay(path, folder, options, progress)
        bar.update(task, completed=bar.tasks[task].total or bar.tasks[task].completed)
    summary, written = write_run(played, folder)
    console = Console()
    for line in summary_lines(summary):
        console.print(line, highlight=False, soft_wrap=True)
    typer.echo(f"written to {folder}: {', '.join(path.name for path in written)}")
    return summary, played
