"""`ssvif calibrate`: the file that says where thermal pixels lie in the visible image."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Optional

import typer

from ssvif_core.calibration.frames import Source, read_best, read_shots
from ssvif_core.calibration.lenses import Lenses, read_lenses
from ssvif_core.calibration.motion import read_motion
from ssvif_core.calibration.result import (
    calibrate_target,
    calibrate_targetless,
    describe_target,
    known_offset,
    picture_path,
    place_of,
)
from ssvif_core.calibration.target import Board
from ssvif_core.calibration.time_offset import check_offset, estimate_offset
from ssvif_core.cli.progress import progress_bar
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.calibration import Calibration

__all__ = ["calibrate"]

#: Pairs that are looked at for each one that is used.
CHOICE = 5
#: Boards are held in few frames of a recording: more are looked at.
TARGET_FRAMES = 80


def calibrate(
    source: Annotated[
        Path,
        typer.Argument(
            help="Recording (rosbag2 folder, .mcap, .db3, .bag), folder with visible/ and "
            "thermal/, or, with --thermal, the visible camera's folder or video."
        ),
    ],
    thermal: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The thermal camera's folder or video."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write; a picture goes beside it.")
    ] = Path("calibration.yaml"),
    pattern: Annotated[
        Optional[str],  # noqa: UP045 - see app.py
        typer.Option(help="Use a board that both see: chessboard, circles, or asymmetric."),
    ] = None,
    grid: Annotated[
        str, typer.Option(help="Its inner corners or circles, COLUMNSxROWS; not its squares.")
    ] = "9x6",
    frames: Annotated[
        int,
        typer.Option(
            min=2,
            help="Pairs to use; the richest are chosen (for a board, 80 or more are looked at).",
        ),
    ] = 24,
    initial: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Begin with this calibration instead of searching (a mount that moved)."),
    ] = None,
    time: Annotated[
        bool, typer.Option("--time", help="Find the offset between the clocks, too, from motion.")
    ] = False,
    map_: Annotated[
        bool,
        typer.Option(
            "--map/--no-map",
            help="--no-map: only the time; it is added to OUTPUT if that is there already.",
        ),
    ] = True,
    undistort: Annotated[
        bool,
        typer.Option(
            help="Undo both lenses' distortion first, where camera_info or the two files below "
            "have it. They go into the file.",
        ),
    ] = True,
    visible_info: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Camera calibration YAML (as of camera_info_url), if not recorded."),
    ] = None,
    thermal_info: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The same, of the thermal camera."),
    ] = None,
    visible_topic: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Image topic of a recording; found by itself if clear."),
    ] = None,
    thermal_topic: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The same, of the thermal camera."),
    ] = None,
    slop: Annotated[
        float, typer.Option(min=0, help="Most seconds between frames of a pair.")
    ] = 0.05,
    offset: Annotated[
        float, typer.Option(help="Seconds to add to thermal stamps before pairing; see --time.")
    ] = 0.0,
) -> None:
    """Find out where the thermal camera looks, and write it down for the node and for fuse.

    **Without a target** (default): any scene with edges that both cameras see. Buildings, trees,
    poles, cars and people some 5 m away and further, by day; move the cameras so that every part
    of the image sees edges in some frame. 30 seconds are plenty.

    **With a target** (`--pattern chessboard --grid 9x6`): a board that is warm in places (sun,
    lamp) shows in thermal as well. Hold it at the distance that matters most, facing the cameras,
    in every part of what both see: three places or more.

    A map that is not sure enough is **not written**; the picture beside it shows what was found.

    Both cameras must look the same way, from places close together. A map between two images is
    exact at one distance or for cameras at one spot; nearer things are off by their parallax.
    """
    if not (map_ or time):
        raise SsvifError("--no-map leaves nothing to do: add --time.")
    where = Source(source, thermal, visible_topic, thermal_topic, slop, offset)
    output = output.expanduser()
    if map_ or output.exists():  # else nothing may have to be written
        output = place_of(output)
    old = None if initial is None else Calibration.load(initial)
    board = None if pattern is None else Board.parse(pattern, grid)
    lenses = _lenses(where, visible_info, thermal_info) if undistort and map_ else None
    found_s = _time(where) if time else None
    if found_s is not None:
        where = replace(where, offset_s=found_s)
    if not map_:
        _add_time(output, found_s)
        return
    before = Calibration.load(output) if output.exists() else None
    if found_s is None and (known := known_offset(offset, before, old)):
        found_s, why = known
        typer.echo(f"time: thermal stamps {1e3 * found_s:+.1f} ms, taken over from {why}")
        if thermal is None:  # of two videos it says when one begins, which is another thing
            where = replace(where, offset_s=found_s)
    calibration = _map(where, frames, board, output, old, lenses)
    if found_s is not None:
        calibration = replace(calibration, thermal_offset_s=round(found_s, 4))
    calibration.save(output)
    _next_steps(output, calibration)


def _lenses(source: Source, visible: Path | None, thermal: Path | None) -> Lenses | None:
    lenses, why = read_lenses(source, visible, thermal)
    typer.echo(f"lens distortion: {'not undone, ' if lenses is None else 'undone, '}{why}")
    return lenses


def _time(source: Source) -> float:
    with progress_bar() as bar:
        task = bar.add_task("motion", total=None)
        visible, thermal = read_motion(source, lambda count: bar.update(task, completed=count))
    # What is known already is taken off first: more than a second is not searched.
    found = estimate_offset(visible, replace(thermal, times_s=thermal.times_s + source.offset_s))
    check_offset(found)
    offset_s = found.offset_s + source.offset_s
    typer.echo(
        f"time: thermal stamps {1e3 * offset_s:+.1f} ms (within {1e3 * found.error_s:.1f} "
        f"ms, from parts of the recording; correlation {found.correlation:.2f})"
    )
    return offset_s


def _add_time(output: Path, found_s: float | None) -> None:
    if found_s is None:
        return
    if output.exists():
        replace(Calibration.load(output), thermal_offset_s=round(found_s, 4)).save(output)
        typer.echo(f"added to {output}")
    typer.echo(
        f"next: ros2 param set /fusion thermal_offset {found_s:.4f}\n"
        f"or, in the node's YAML file: thermal_offset: {found_s:.4f}"
    )


def _map(
    source: Source, frames: int, board: Board | None, output: Path, old: Calibration | None,
    lenses: Lenses | None,
) -> Calibration:  # fmt: skip
    with progress_bar() as bar:
        task = bar.add_task("reading", total=None)
        if board is None:
            shots, looked_at = read_best(source, frames * CHOICE, frames)
        else:
            shots = read_shots(source, max(frames, TARGET_FRAMES))
        bar.update(task, total=len(shots), completed=len(shots))
        for note in shots.notes[:5]:
            typer.echo(f"left out: {note}", err=True)
        task = bar.add_task("boards" if board else "agreement", total=100)

        def advance(part: float) -> None:
            bar.update(task, completed=round(100 * part))

        if board is not None:
            calibration, fit = calibrate_target(
                shots, board, output, lenses=lenses, progress=advance
            )
            bar.stop()
            typer.echo(describe_target(fit))
            return calibration
        calibration, found = calibrate_targetless(
            shots, frames, output, initial=old, lenses=lenses, progress=advance
        )
    typer.echo(
        f"map: corners within {found.error_px:.1f} px, in nine of ten cases (± "
        f"{found.spread_px:.1f} frames and patches drawn anew, ± {found.blocks_px:.1f} parts of "
        f"the image left out; halves of the frames {found.halves_px:.1f} apart, half resolution "
        f"{found.scales_px:.1f}), agreement {found.agreement:.2f}, from {calibration.frames} of "
        f"{looked_at} pairs"
    )
    return calibration


def _next_steps(output: Path, calibration: Calibration) -> None:
    typer.echo(f"written: {output}; look at {picture_path(output)} before you trust it")
    offset = ""
    if calibration.thermal_offset_s is not None:
        offset = f" thermal_offset:={calibration.thermal_offset_s}"
    typer.echo(
        f"next: ros2 launch ssvif_ros fusion.launch.py calibration:={output.resolve()}{offset}"
    )
    typer.echo(f"or:   ssvif fuse VISIBLE THERMAL --calibration {output}")
