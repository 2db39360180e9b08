"""`ssvif bench`: every engine and precision that works on this machine, side by side."""

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console
from rich.markup import escape

from ssvif_core.benchmark.case import AUTO, Case
from ssvif_core.benchmark.frames import draw_frames
from ssvif_core.benchmark.machine import describe_machine
from ssvif_core.benchmark.rounds import run_rounds
from ssvif_core.benchmark.screen import screen_table, what_ran
from ssvif_core.benchmark.summary import merge_reasons, summarise
from ssvif_core.cli.engine import parse_size
from ssvif_core.cli.progress import progress_bar
from ssvif_core.errors import SsvifError, StoppedError
from ssvif_core.inference.engine import ENGINES
from ssvif_core.models import PRECISIONS, in_precision, open_model, shipped_models

__all__ = ["bench"]

ALL = "all"
Reasons = list[dict[str, str]]


def bench(
    models: Annotated[
        Optional[list[str]],  # noqa: UP045 - see app.py
        typer.Argument(help="base, tiny, or paths of ONNX models; none: all that are shipped."),
    ] = None,
    sizes: Annotated[
        str, typer.Option(help="WIDTHxHEIGHT of the frames, several with commas.")
    ] = "640x480,1280x720,1280x1024",
    engines: Annotated[
        str, typer.Option(help=f"all, or some of {', '.join(ENGINES)}, with commas.")
    ] = ALL,
    precisions: Annotated[
        str,
        typer.Option(
            help=f"all, or some of {', '.join(PRECISIONS)} (of the file) and auto (what the engine "
            "takes by itself), with commas."
        ),
    ] = ALL,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: one for each core.")] = 2,
    frames: Annotated[int, typer.Option(min=1, help="Frames that are timed, each round.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Times that each case has its turn.")] = 3,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path(
        "bench"
    ),
    build: Annotated[
        bool, typer.Option("--build", help="Build TensorRT engines that are missing: minutes each.")
    ] = False,
) -> None:
    """Measure every engine and precision that works on this machine.

    Each case (engine, precision, model, size) runs in a process of its own, in turn, so that a slow
    minute hits all alike. What does not work here is listed with the reason.

    - **p50, p99** latency of one frame, bytes in to bytes out: the median, and what 1 of 100
    frames exceeds. **frames/s** is 1000 / p50.

    - **CPU ms** time of all cores for one frame: what is taken from other programs.

    - **peak MiB** memory of the process. **speed up** how many times as fast as the slowest of the
    same model and size. **fp16 as fp32** an fp16 file that the engine computes in fp32.

    Writes bench.json (all rounds, machine, versions) and bench.png. Stop other programs first: on
    a busy machine p99 tells of them, not of the engine. After Ctrl-C both are of the rounds that
    were finished.

    For instance, which engine should the robot run, and does it keep up with 30 frames/s?

    `ssvif bench base --sizes 1280x720`

    `ssvif bench tiny --engines tensorrt,onnxruntime --precisions fp16,fp32 --build`
    """
    names = list(dict.fromkeys(models or shipped_models()))
    pairs = list(dict.fromkeys(parse_size(text) for text in sizes.split(",")))
    wanted = _chosen("engine", engines, ENGINES)
    kinds = _chosen("precision", precisions, (*PRECISIONS, AUTO))
    files, not_here = _files(names, kinds)
    cases = [
        Case(name, engine, precision, *pair, threads, frames, build)
        for pair in pairs
        for name in names
        for engine in wanted
        for precision in files[name]
    ]
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SsvifError(f"Cannot make the folder {output}: {error}. Name another one.") from error
    about = {
        "command": shlex.join(["ssvif", *sys.argv[1:]]),
        "date": date.today().isoformat(),
        **describe_machine(),
        "batch": 1,
        "threads": threads,
        "frames": frames,
    }
    rows, failed = _run(cases, pairs, rounds)
    not_here = [*failed, *not_here]
    if not rows:
        listed = " ".join(f"{r['what']}: {r['reason']}" for r in not_here)
        raise SsvifError(f"Nothing of what was asked for works here. {listed}")
    done = len(rows[0]["rounds"])
    title = f"batch 1, threads {threads or 'all'}, frames {frames}, rounds {done}"
    _show(title, rows, not_here)
    shareable = [{**r, "reason": _without_folders(r["reason"], names)} for r in not_here]
    _write(output, {**about, "rows": rows, "not_here": shareable})
    _draw(output, rows, f"{about['gpu'] or about['machine']}, {title}, {about['date']}")
    if done < rounds:
        raise StoppedError(f"Stopped: {done} of {rounds} rounds were finished.")


def _chosen(what: str, text: str, known: Sequence[str] | dict[str, Any]) -> list[str]:
    """The names in a list with commas, in the order of those that are known, which is `all`."""
    if text == ALL:
        return list(known)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise SsvifError(f"Unknown {what} '{name}': use all, or some of {list(known)}.")
    return [name for name in known if name in names]


def _files(names: list[str], kinds: list[str]) -> tuple[dict[str, list[str]], Reasons]:
    """Precisions that each model has a file of, and what is missing."""
    found: dict[str, list[str]] = {}
    missing = []
    for name in names:
        model = open_model(name)
        found[name] = []
        for precision in kinds:
            try:
                if precision != AUTO:
                    in_precision(model, precision)
                found[name].append(precision)
            except SsvifError as error:
                missing.append({"what": f"{name} {precision}", "reason": str(error)})
    return found, missing


def _run(
    cases: list[Case], sizes: list[tuple[int, int]], rounds: int
) -> tuple[list[dict[str, Any]], Reasons]:
    with tempfile.TemporaryDirectory() as folder, progress_bar("case") as bar:
        files = {}
        drawing = bar.add_task("drawing frames", total=len(sizes), case="")
        for width, height in sizes:
            files[f"{width}x{height}"] = path = Path(folder) / f"{width}x{height}.npz"
            draw_frames(path, width, height)
            bar.advance(drawing)
        task = bar.add_task("measuring", total=None, case="")

        def report(case: Case, done: int, total: int) -> None:
            now = f"{case.model} {case.size} {case.engine} {case.precision}"
            bar.update(task, completed=done, total=total, case=now)

        runs, reasons = run_rounds(cases, rounds, files, report)
        done = bar.tasks[task].completed + 1 if cases else 0
        bar.update(task, completed=done, total=done, case="")
    return summarise(runs), merge_reasons(cases, reasons)


def _without_folders(reason: str, names: list[str]) -> str:
    """For a file that is shown to others, who do not have the folders of this machine."""
    for name in names:
        reason = reason.replace(f"{open_model(name).path.parent}{os.sep}", "")
    return reason.replace(str(Path.home()), "~")


def _show(title: str, rows: list[dict[str, Any]], not_here: Reasons) -> None:
    console = Console()
    console.print(screen_table(title, rows))
    for line in what_ran(rows):
        console.print(escape(line), highlight=False)
    if not_here:
        console.print("\nDoes not work here:")
    for entry in not_here:
        line = f"  [yellow]{escape(entry['what'])}[/]: {escape(entry['reason'])}"
        console.print(line, highlight=False, soft_wrap=True)


def _write(folder: Path, content: dict[str, Any]) -> None:
    path = folder / "bench.json"
    try:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise SsvifError(f"Cannot write {path} ({error}): free space, or name another.") from error
    typer.echo(f"\nwritten {path}")


def _draw(folder: Path, rows: list[dict[str, Any]], caption: str) -> None:
    try:
        from ssvif_core.benchmark.chart import draw_chart
    except ImportError as error:
        typer.echo(f"without bench.png, which needs the extra: pip install '.[train]' ({error})")
        return
    draw_chart(folder / "bench.png", rows, caption)
    typer.echo(f"written {folder / 'bench.png'}")
