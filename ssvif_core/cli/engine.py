"""`ssvif engine`: build, list, verify and delete the engines of this machine's GPU."""

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Annotated, Optional, TypeVar

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ssvif_core.cli.progress import progress_bar
from ssvif_core.deploy import tensorrt_api as api
from ssvif_core.deploy.engine_builder import ensure_plan
from ssvif_core.deploy.engine_cache import EngineCache, model_file
from ssvif_core.deploy.engine_entry import Entry
from ssvif_core.deploy.engine_key import RECIPE
from ssvif_core.deploy.tensorrt_build import Report
from ssvif_core.errors import SsvifError
from ssvif_core.inference.cuda import find_gpu
from ssvif_core.inference.engine import ENGINES, EngineOptions, choose_file
from ssvif_core.interrupts import Interrupts
from ssvif_core.models import Model, open_model, sha256_of

__all__ = ["app"]

T = TypeVar("T")
#: As in app.py, which imports this file.
STOPPED = 130
#: How often one looks whether Ctrl-C came, so that it is answered.
LISTENS_S = 0.1
ENDING = "ending the build at its next step; Ctrl-C again ends it at once"

app = typer.Typer(
    no_args_is_help=True,
    help="Engines for this machine's NVIDIA GPU: built once, kept, and built again when something "
    "that matters changes.",
)

Cache = Annotated[
    Optional[Path],  # noqa: UP045 - see app.py
    typer.Option(help="Folder of engines; default $SSVIF_ENGINES or ~/.cache/ssvif/engines."),
]


@app.command()
def build(
    model: Annotated[str, typer.Argument(help="base, tiny, or the path of an ONNX model.")],
    size: Annotated[
        str, typer.Option(help="WIDTHxHEIGHT of the visible image: warm_up_width and -height.")
    ] = "640x480",
    precision: Annotated[
        str, typer.Option(help="auto (fp16 where the model has it), fp32, fp16, int8.")
    ] = "auto",
    smallest: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Smallest size, for an engine that runs a range of sizes."),
    ] = None,
    largest: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Largest size. A range is slower than one size."),
    ] = None,
    workspace: Annotated[
        int, typer.Option(min=0, help="Scratch memory in MiB; 0 leaves it to TensorRT.")
    ] = 0,
    dla_core: Annotated[
        int, typer.Option(min=-1, help="Core of the DLA (Jetson Orin); -1: the GPU.")
    ] = -1,
    engine: Annotated[str, typer.Option(help="tensorrt or onnxruntime-tensorrt.")] = "tensorrt",
    cache: Cache = None,
    force: Annotated[
        bool, typer.Option("--force", help="Build even if a fitting engine is there.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="All that TensorRT says; ONNX Runtime's is silent."),
    ] = False,
) -> None:
    """Build the engine that the node will load: takes a minute on a desktop, up to 20 on a Jetson.

    Example: ssvif engine build base --size 1280x720
    """
    if verbose:
        logging.getLogger("ssvif").setLevel(logging.DEBUG)
    width, height = parse_size(size)
    options = EngineOptions(
        precision=precision,
        height=height,
        width=width,
        smallest=_range_end(smallest),
        largest=_range_end(largest),
        workspace_mib=workspace,
        dla_core=dla_core,
        cache=cache,
        allow_build=True,
    )
    _check_range(options, engine)
    opened = open_model(model)
    if engine == "tensorrt":
        _build_tensorrt(choose_file(opened, options, "fp16"), options, force)
    elif engine == "onnxruntime-tensorrt":
        _build_provider(choose_file(opened, options, "fp16"), options, force)
    else:
        what = (
            f"'{engine}' needs no building" if engine in ENGINES else f"Unknown engine '{engine}'"
        )
        raise SsvifError(f"{what}: use tensorrt or onnxruntime-tensorrt.")


def _build_tensorrt(model: Model, options: EngineOptions, force: bool) -> None:
    trt, gpu = api.load(), find_gpu()
    typer.echo(
        f"{model.path.name} ({model.precision}) for {gpu.name}, compute capability "
        f"{gpu.compute_capability}, TensorRT {trt.__version__}"
    )
    path, plan, built = in_background(
        lambda report: ensure_plan(trt, model, options, gpu, report, force)
    )
    state = "built" if built else "up to date"
    typer.echo(f"{state}: {path} ({len(plan) / 2**20:.1f} MiB)")


def _build_provider(model: Model, options: EngineOptions, force: bool) -> None:
    from ssvif_core.deploy.onnxruntime_build import ensure_folder

    path, built = in_background(lambda report: ensure_folder(model, options, force))
    typer.echo(f"{'built' if built else 'up to date'}: {path}")


def in_background(build: Callable[[Report], T]) -> T:
    """Run a build in a thread, with a bar for the phase that it is in.

    While TensorRT builds, Python's main thread would hear no Ctrl-C. Here it does, and the build
    ends at its next step; a second one ends the process, for TensorRT 8 and ONNX Runtime report no
    steps and build to the end.
    """
    with progress_bar() as bar, Interrupts() as interrupts, ThreadPoolExecutor(1) as pool:
        task = bar.add_task("building", total=None)

        def report(phase: str, step: int, steps: int) -> bool:
            bar.update(task, description=phase[:40], completed=step, total=steps or None)
            return not interrupts.came

        building, told = pool.submit(build, report), False
        try:
            while not wait([building], LISTENS_S).done:
                if interrupts.came and not told:
                    bar.console.print(ENDING)
                    told = True
        except KeyboardInterrupt:  # nothing half-written is ever loaded, and no lock is left
            bar.stop()
            os._exit(STOPPED)
        interrupts.let_through()
        bar.update(task, visible=False)  # what is said next tells more than its last step
        return building.result()


@app.command("list")
def list_engines(cache: Cache = None) -> None:
    """What was built, for what, and whether it is whole."""
    store = EngineCache(cache)
    entries = store.entries()
    if not entries:
        _say_empty(store)
        return
    table = Table(title=str(store.folder), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("engine", no_wrap=True, overflow="fold")  # one that is cut could be any
    for name in ("for", "built", "state"):
        table.add_column(name, overflow="fold")
    for entry in entries:
        table.add_row(*map(escape, _cells(entry)), _state(entry))
    Console().print(table)


def _say_empty(store: EngineCache) -> None:
    typer.echo(f"No engines in {store.folder}. Build one with: ssvif engine build base")


def _cells(entry: Entry) -> list[str]:
    about, key = entry.about, entry.key
    low, high, workspace = key.get("smallest"), key.get("largest"), key.get("workspace_mib")
    name = [entry.path.name]  # which says neither of these two
    name += [f"{low} to {high}"] if low != high else []
    name += [f"workspace {workspace} MiB"] if workspace else []
    target = f"{key.get('gpu', '?')} ({key.get('compute_capability', '?')})"
    size = f"{about.get('bytes', 0) / 2**20:.1f} MiB"
    took = f"{about.get('seconds', '?')} s, {size}"
    return [
        "\n".join(name),
        f"{target}\nTensorRT {key.get('tensorrt', '?')}",
        f"{str(about.get('built', '?'))[:10]}\n{took}",
    ]


def _state(entry: Entry) -> str:
    if entry.building:
        return "[yellow]being built[/]"
    return f"[red]{escape(entry.problem)}[/]" if entry.problem else "[green]whole[/]"


@app.command()
def verify(cache: Cache = None) -> None:
    """Check every engine: its content, its model, and whether it fits this GPU and TensorRT.

    Status 1 if one cannot be used.
    """
    store = EngineCache(cache)
    entries = store.entries()
    if not entries:
        _say_empty(store)
        return
    here: dict[bool, dict[str, object]] = {}
    bad = 0
    for entry in entries:
        if entry.building:
            typer.echo(f"{entry.path.name}: being built")
            continue
        if entry.by_provider not in here:
            here[entry.by_provider] = _present(entry.by_provider)
        problem = entry.problem or "; ".join(_unlike(entry, here[entry.by_provider]))
        bad += bool(problem)
        typer.echo(f"{entry.path.name}: {problem or _fits(entry)}")
    if bad:
        raise SsvifError(f"{_count(bad)} cannot be used: build again, or ssvif engine clear.")


def _present(by_provider: bool) -> dict[str, object]:
    """What of the keys is decided here, by this machine (as TensorRT or ONNX Runtime sees it)."""
    if by_provider:
        from ssvif_core.inference.onnxruntime_tensorrt import library_and_gpu

        version, gpu = library_and_gpu()
    else:
        version, gpu = api.load().__version__, find_gpu()
    return {
        "tensorrt": version,
        "gpu": gpu.name,
        "compute_capability": gpu.compute_capability,
        "recipe": RECIPE,
    }


def _unlike(entry: Entry, present: dict[str, object]) -> list[str]:
    """Why a whole engine will not be loaded."""
    key = entry.key
    unlike = [f"{k}: {key.get(k)}, here {v}" for k, v in present.items() if key.get(k) != v]
    model = model_file(entry)
    if model is not None and model.is_file() and sha256_of(model) != key.get("model_sha256"):
        unlike.append(f"its model {model} is another one now")
    return unlike


def _fits(entry: Entry) -> str:
    model = model_file(entry)
    gone = model is not None and not model.is_file()  # it may be elsewhere: in a container, say
    return f"fits, but its model {model} is not there" if gone else "fits"


@app.command()
def clear(
    cache: Cache = None,
    damaged: Annotated[
        bool, typer.Option("--damaged", help="Only those that are not whole.")
    ] = False,
) -> None:
    """Delete engines; the next `build` makes them anew. What is being built stays."""
    gone, building = EngineCache(cache).clear(damaged)
    for path in building:
        typer.echo(f"{path.name}: being built, and left alone")
    typer.echo(f"deleted {_count(len(gone))}")


def _count(number: int) -> str:
    return f"{number} {'engine' if number == 1 else 'engines'}"


def parse_size(text: str) -> tuple[int, int]:
    """`640x480` -> (640, 480): width, height in pixels. Raises SsvifError for anything else."""
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        width = height = 0
    if width < 1 or height < 1:
        raise SsvifError(f"'{text}' is no size: write WIDTHxHEIGHT, such as 640x480.")
    return width, height


def _range_end(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, height = parse_size(text)
    return height, width


def _check_range(options: EngineOptions, engine: str) -> None:
    usual = (options.height, options.width)
    low, high = options.smallest or usual, options.largest or usual
    if not all(a <= b <= c for a, b, c in zip(low, usual, high, strict=True)):
        raise SsvifError("--size must lie between --smallest and --largest, in both directions.")
    if engine != "tensorrt" and low != high:
        raise SsvifError("A range of sizes is for the engine tensorrt: leave it out.")
    if options.dla_core >= 0 and engine != "tensorrt":
        raise SsvifError("--dla-core is for the engine tensorrt: ONNX Runtime would leave it idle.")
    if options.dla_core >= 0 and low != high:
        raise SsvifError("The DLA runs one size alone: leave out --smallest and --largest.")
