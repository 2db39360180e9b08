"""`ssvif record-demo`: a small recording to try `ssvif replay` with, faults included."""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from ssvif_core.cli.progress import progress_bar
from ssvif_core.data.bag_writer import COMPRESSIONS, STORAGES, BagWriter
from ssvif_core.data.camera_sources import SCENES, DrawnSource, FileSource, FrameSource
from ssvif_core.data.streams import MODALITIES
from ssvif_core.errors import SsvifError
from ssvif_core.replay.demo import DemoCamera, demo_frames, write_frame

__all__ = ["record_demo"]

DRAWN_SECONDS = 15.0  # shows all kinds of scene
#: A day; stamps have to stay positive, and a recording on the disk.
LONGEST_S = 86400.0


def record_demo(
    bag: Annotated[Path, typer.Argument(help="Folder of the recording to make.")],
    visible: Annotated[
        Optional[Path],  # noqa: UP045 - see app.py
        typer.Option(help="Video, folder of images or image, instead of a drawn scene."),
    ] = None,
    thermal: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The same of the thermal camera."),
    ] = None,
    scene: Annotated[str, typer.Option(help=f"Drawn scene: {', '.join(SCENES)}.")] = "show",
    duration: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0.1, help="Seconds; default 15, or that of the shorter file."),
    ] = None,
    width: Annotated[int, typer.Option(help="Of drawn images.")] = 640,
    height: Annotated[int, typer.Option(help="Of drawn images.")] = 480,
    visible_rate: Annotated[float, typer.Option(min=0.1, max=240, help="Hz.")] = 30.0,
    thermal_rate: Annotated[
        float, typer.Option(min=0.1, max=240, help="Hz; 9 is what many cores are exported with.")
    ] = 9.0,
    thermal_bits: Annotated[int, typer.Option(help="16: raw counts; 8: after gain.")] = 16,
    jitter: Annotated[
        float, typer.Option(min=0, help="Standard deviation of capture times [s].")
    ] = 0.002,
    delay: Annotated[float, typer.Option(min=0, help="Shortest transport time [s].")] = 0.005,
    delay_jitter: Annotated[
        float, typer.Option(min=0, help="Mean of what comes on top of it, exponential [s].")
    ] = 0.003,
    drop: Annotated[
        float, typer.Option(min=0, max=1, help="Part of the frames of each camera that is lost.")
    ] = 0.0,
    thermal_offset: Annotated[
        float, typer.Option(help="Error of the thermal stamps [s]; positive: late.")
    ] = 0.0,
    freeze_every: Annotated[
        float, typer.Option(min=0, help="The thermal shutter closes this often [s]; 0: never.")
    ] = 0.0,
    freeze_for: Annotated[
        float, typer.Option(min=0, help="and repeats one frame for this long [s].")
    ] = 0.4,
    labels: Annotated[
        bool, typer.Option(help="Record the true labels of drawn scenes: /labels/image_raw.")
    ] = False,
    storage: Annotated[str, typer.Option(help=f"{' or '.join(STORAGES)}.")] = "mcap",
    compression: Annotated[str, typer.Option(help=f"{' or '.join(COMPRESSIONS)}.")] = "none",
    seed: Annotated[int, typer.Option(min=0, help="Of the scene and of all chance.")] = 0,
) -> None:
    """Write a recording of two simulated cameras.

    Drawn scenes, or two files (videos, folders of images) that begin at the same moment. Topics are
    those that the node listens to. The same options give the same recording.
    """
    files = {"visible": visible, "thermal": thermal}
    _check(files, scene, thermal_bits, labels)
    _check_times(
        {
            "duration": duration, "jitter": jitter, "delay": delay, "delay-jitter": delay_jitter,
            "thermal-offset": thermal_offset, "freeze-every": freeze_every,
            "freeze-for": freeze_for,
        }
    )  # fmt: skip
    _check_rates(visible_rate, thermal_rate)
    _check_faults(jitter, max(visible_rate, thermal_rate), drop, freeze_every, freeze_for)
    common: dict[str, Any] = {
        "jitter_s": jitter,
        "drop": drop,
        "delay_s": delay,
        "delay_jitter_s": delay_jitter,
    }
    cameras = [
        DemoCamera("visible", rate_hz=visible_rate, seed=seed, **common),
        DemoCamera(
            "thermal", rate_hz=thermal_rate, seed=seed, offset_s=thermal_offset, bits=thermal_bits,
            freeze_every_s=freeze_every, freeze_for_s=freeze_for, **common,
        ),
    ]  # fmt: skip
    sources: dict[str, FrameSource] = {}
    for camera in cameras:
        modality, path = camera.modality, files[camera.modality]
        sources[modality] = (
            FileSource(path, modality, camera.rate_hz)
            if path
            else DrawnSource(scene, modality, width, height, seed)
        )
    seconds = duration or _length_s(list(sources.values()))
    _check_frames(cameras, seconds)
    with BagWriter(bag, storage, compression) as writer, progress_bar() as bar:
        task = bar.add_task("recording", total=sum(int(seconds * c.rate_hz) for c in cameras))
        count = 0
        for frame in demo_frames(cameras, seconds):
            write_frame(writer, frame, sources[frame.modality], thermal_bits, labels)
            bar.advance(task)
            count += 1
        bar.update(task, completed=bar.tasks[task].total)
    typer.echo(f"{count} frames, {seconds:g} s, written to {bag}")


def _check(files: dict[str, Path | None], scene: str, bits: int, labels: bool) -> None:
    given = [m for m in MODALITIES if files[m]]
    if len(given) == 1:
        raise SsvifError("Give both --visible and --thermal, or none of them for a drawn scene.")
    if given and labels:
        raise SsvifError("--labels is for drawn scenes: files have no true labels.")
    if scene not in SCENES:
        raise SsvifError(f"There is no scene {scene!r}: use one of {', '.join(SCENES)}.")
    if bits not in (8, 16):
        raise SsvifError(f"--thermal-bits is {bits}: use 8 or 16.")


def _check_times(times: dict[str, float | None]) -> None:
    for name, seconds in times.items():
        if seconds is not None and not abs(seconds) <= LONGEST_S:  # NaN is not, either
            raise SsvifError(f"--{name} is {seconds} s: give seconds up to {LONGEST_S:g}.")


def _check_rates(*rates_hz: float) -> None:
    for rate_hz in rates_hz:
        if not rate_hz > 0:  # NaN is not, and the typer of Ubuntu 24.04 lets it through
            raise SsvifError(f"A rate of {rate_hz:g} Hz makes no frames: give 0.1 to 240.")


def _check_frames(cameras: list[DemoCamera], seconds: float) -> None:
    for camera in cameras:
        if next(demo_frames([camera], seconds), None) is None:
            raise SsvifError(
                f"No {camera.modality} frame would be left: give a longer --duration, a higher "
                f"--{camera.modality}-rate, or a smaller --drop."
            )


def _check_faults(
    jitter: float, rate_hz: float, drop: float, freeze_every: float, freeze_for: float
) -> None:
    """What would leave no recording of two cameras."""
    if jitter > 0.5 / rate_hz:
        raise SsvifError(
            f"--jitter {jitter:g} is more than half a period at {rate_hz:g} Hz: give up to "
            f"{0.5 / rate_hz:.4f} s."
        )
    if not drop < 1:  # NaN is not, either
        raise SsvifError(f"--drop {drop:g} loses every frame: give a part of them, such as 0.05.")
    if freeze_every and freeze_for >= freeze_every:
        raise SsvifError(
            f"--freeze-for {freeze_for:g} is no shorter than --freeze-every {freeze_every:g}: the "
            "shutter would never open."
        )


def _length_s(sources: list[FrameSource]) -> float:
    lengths = []
    for source in sources:
        try:
            lengths.append(source.duration_s if isinstance(source, FileSource) else DRAWN_SECONDS)
        except ValueError:  # a file that does not say how long it is
            lengths.append(DRAWN_SECONDS)
    return max(min(lengths), 0.1)
