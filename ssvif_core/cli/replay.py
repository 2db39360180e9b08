"""`ssvif replay`: recordings through the node's pairing and pipeline, measured."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console
from rich.markup import escape

from ssvif_core.cli.options import LabelMap, NodeName, Params, Stamps, ThermalTopic, VisibleTopic
from ssvif_core.cli.progress import progress_bar
from ssvif_core.cores import cores
from ssvif_core.data.bag_folders import recordings_in
from ssvif_core.errors import SsvifError, StoppedError
from ssvif_core.evaluation.evaluation_set import parse_label_map
from ssvif_core.replay.cluster import run_on_cluster
from ssvif_core.replay.jobs import run_here, run_in_processes
from ssvif_core.replay.names import folder_names, name_of
from ssvif_core.replay.one import Outcome, Task, Watch
from ssvif_core.replay.options import ReplayOptions
from ssvif_core.replay.pairs import STAMPS
from ssvif_core.replay.recording import Slice
from ssvif_core.replay.roles import AUTO, NONE, TopicChoice
from ssvif_core.replay.settings import read_settings

__all__ = ["replay_bags"]


def replay_bags(
    bags: Annotated[
        list[Path],
        typer.Argument(help="rosbag2 folders, .mcap, .db3, ROS 1 .bag files, or folders of them."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path(
        "replay"
    ),
    params: Params = None,
    node: NodeName = None,
    model: Annotated[
        Optional[str],  # noqa: UP045 - see app.py
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
    visible_topic: VisibleTopic = None,
    thermal_topic: ThermalTopic = None,
    labels: Annotated[
        str,
        typer.Option(
            help="True labels: a topic, a folder of images named by visible stamps in "
            "nanoseconds, auto, or none."
        ),
    ] = AUTO,
    label_map: LabelMap = None,
    stamps: Stamps = "header",
    start: Annotated[float, typer.Option(min=0, help="Leave out this much first [s].")] = 0.0,
    duration: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0.01, help="Stop after this much [s]."),
    ] = None,
    metrics_every: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            min=0,
            help="Fusion metrics on every n-th pair (they are slow); 0: on none. Default 120, on a "
            "short recording more often, and 5 with --compare, whose intervals need many pairs.",
        ),
    ] = None,
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
    jobs: Annotated[
        int,
        typer.Option(
            min=1,
            help="Recordings at the same time, each in a process of its own. Their times disturb "
            "each other.",
        ),
    ] = 1,
    cluster: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Scheduler of a Dask cluster that does the recordings, tcp://HOST:8786."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="After Ctrl-C, a crash or a power cut: go on where it stopped, and leave "
            "recordings that are done as they are. With other options, a recording begins anew.",
        ),
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
    found = recordings_in(bags)
    if len(found) > 1:
        typer.echo(f"{len(found)} recordings")
    jobs = min(jobs, len(found))
    folder = Path(labels) if labels not in (AUTO, NONE) and Path(labels).is_dir() else None
    options = ReplayOptions(
        settings=read_settings(params, given, node),
        topics=TopicChoice(visible_topic, thermal_topic, NONE if folder else labels),
        part=Slice(start, duration),
        stamps=stamps,
        labels_folder=folder,
        label_map=parse_label_map(label_map),
        metrics_every=5 if compare and metrics_every is None else metrics_every,
        video=video,
        bag=bag,
        rerun=rerun,
        pictures=pictures,
        workers=workers or max(1, cores() // jobs) if cluster is None else workers,
        jobs=jobs,
    )
    names = folder_names(found)
    tasks = [
        Task(
            path,
            output if len(found) == 1 else output / names[path],
            options,
            tuple(compare or ()),
            resume,
        )
        for path in found
    ]
    damaged, failed = _all(tasks, jobs, cluster)
    if len(failed) == len(found) or (strict and (damaged or failed)):
        raise SsvifError("; ".join(_named(name, why) for name, why in (failed | damaged).items()))


def _all(
    tasks: list[Task], jobs: int, cluster: str | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Do each; what was damaged, and what failed. One that fails does not stop the others."""
    damaged: dict[str, str] = {}
    failed: dict[str, str] = {}
    stopped: list[str] = []
    with progress_bar("remark") as bar:
        lines: dict[int, Any] = {}

        def watch(number: int, done_s: float, total_s: float | None, remark: str) -> None:
            if number not in lines:
                name = name_of(tasks[number].path)
                lines[number] = bar.add_task(f"{name} [s]", total=None, remark="")
            total = None if total_s is None else round(total_s)
            bar.update(lines[number], completed=round(done_s), total=total, remark=remark)

        for number, outcome in _outcomes(tasks, jobs, cluster, watch):
            task = tasks[number]
            if number in lines:
                line = bar.tasks[lines[number]]
                ended = not (outcome.failed or outcome.interrupted)
                bar.update(line.id, completed=line.total if ended else line.completed)
            bar.stop()
            _show(task, outcome, several=len(tasks) > 1)
            if number in lines:
                bar.update(lines[number], visible=False)  # it stands above what was shown
            bar.start()
            if outcome.failed:
                failed[str(task.path)] = outcome.failed
            if outcome.damaged:
                damaged[str(task.path)] = outcome.damaged
            if outcome.interrupted:
                stopped.append(str(task.folder))
    if stopped:
        raise StoppedError(
            f"Stopped. What was measured until then is in {', '.join(stopped)}. The same command "
            "with --resume goes on from there."
        )
    return damaged, failed


def _outcomes(
    tasks: list[Task], jobs: int, cluster: str | None, watch: Watch
) -> Iterator[tuple[int, Outcome]]:
    if cluster is not None:
        return run_on_cluster(tasks, cluster, watch)
    if jobs > 1:
        return run_in_processes(tasks, jobs, watch)
    return run_here(tasks, watch)


def _show(task: Task, outcome: Outcome, *, several: bool) -> None:
    console = Console()
    if several and outcome.lines:
        console.print(f"[bold]{escape(str(task.path))}[/]", highlight=False, soft_wrap=True)
    for line in outcome.lines:
        console.print(line, highlight=False, soft_wrap=True)
    if several and outcome.failed:
        text = f"[bold red]{escape(name_of(task.path))}:[/] {escape(outcome.failed)}"
        Console(stderr=True).print(text, highlight=False, soft_wrap=True)


def _named(name: str, why: str) -> str:
    """A reason with the recording that it is of, once."""
    return why if why.startswith((f"{name} ", f"{name}:")) else f"{name}: {why}"
