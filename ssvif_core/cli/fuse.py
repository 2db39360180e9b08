"""`ssvif fuse`: fuse and segment files with the same `Pipeline` that runs on the robot."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Optional

import cv2
import numpy as np
import typer

from ssvif_core.cli.progress import progress_bar
from ssvif_core.data.collection import SkippedPair, summary
from ssvif_core.data.matching import matched
from ssvif_core.data.streams import (
    DEFAULT_RATE_HZ,
    ForwardReader,
    Frame,
    FrameStream,
    ImageStream,
    VideoStream,
    open_stream,
)
from ssvif_core.data.video_writer import VideoWriter, why_not_h264
from ssvif_core.data.videos import nearest_in_time
from ssvif_core.errors import SsvifError, StoppedError
from ssvif_core.imaging.calibration import Calibration
from ssvif_core.imaging.overlay import draw_overlay
from ssvif_core.imaging.panels import panel_row, with_legend
from ssvif_core.imaging.registration import HomographyAlignment, Registration
from ssvif_core.imaging.thermal_gain import GAIN_MODES, ThermalGain
from ssvif_core.inference.engine import EngineOptions, create_engine
from ssvif_core.inference.pipeline import FusionResult, Pipeline
from ssvif_core.interrupts import Interrupts
from ssvif_core.memory import keep_image_buffers
from ssvif_core.models import ModelCard, open_model

__all__ = ["fuse"]

Streams = tuple[FrameStream, FrameStream]

#: What is written: a folder each, for images, or a file each, for videos.
PARTS, VIDEOS = ("fused", "labels", "overlay"), ("fused", "panels")
#: Thermal gains that need no limits of the camera.
GAINS = tuple(mode for mode in GAIN_MODES if mode != "fixed")
#: Files without a partner that are named.
NAMED = 5


def fuse(
    visible: Annotated[Path, typer.Argument(help="Image, folder of images, or video.")],
    thermal: Annotated[Path, typer.Argument(help="The same, of the thermal camera.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path(
        "fused"
    ),
    model: Annotated[str, typer.Option(help="base, tiny, or the path of an ONNX model.")] = "base",
    engine: Annotated[
        str, typer.Option(help="auto, or one of those that `ssvif doctor` lists.")
    ] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (fp16 on a GPU where the model has it), fp32, fp16, int8.")
    ] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: one for each core.")] = 0,
    gain: Annotated[
        str,
        typer.Option(
            help="Thermal gain: auto (8 bit: none, else percentile), percentile, plateau, none."
        ),
    ] = "auto",
    calibration: Annotated[
        Optional[Path],  # noqa: UP045 - see app.py
        typer.Option(help="File of `ssvif calibrate`; without: both have the same field of view."),
    ] = None,
) -> None:
    """Fuse pairs of files.

    Writes `fused/`, `labels/` and `overlay/` PNGs for images; for videos `fused.mp4` and
    `panels.mp4` (visible | thermal | fused | overlay). Images are paired by their names (but for
    the extension and an ending such as _vi, _ir) or by the numbers at their ends; where none agree,
    in the order of their names, if there are as many of both cameras. Of two videos each visible
    frame gets the thermal one that is nearest in time, by the times that the files give. Thermal of
    another size is resized to visible. For instance:

    `ssvif fuse camera.mp4 thermal.mp4 -o out`

    `ssvif fuse pairs/visible pairs/thermal -o out --model tiny --gain percentile`
    """
    keep_image_buffers()
    _check_gain(gain)
    registration = _registration(calibration)
    loaded = open_model(model)
    streams = open_stream(visible, "visible"), open_stream(thermal, "thermal")
    _check_output(output, (visible, thermal), streams)
    streams = _of_one_name(streams, quiet=not (visible.is_dir() and thermal.is_dir()))
    _tell_of_others(output, streams[0])
    partners = _partners(*streams)
    total = int((partners >= 0).sum())
    if not total == len(partners) == len(streams[1]):
        typer.echo(f"{len(partners)} visible and {len(streams[1])} thermal frames: {total} pairs")
    chosen, why = create_engine(loaded, engine, _options(streams[0], threads, precision))
    typer.echo(f"model {loaded.card.name} ({loaded.card.mode}), engine {why}")
    pipeline = Pipeline(chosen, ThermalGain(mode=gain), registration)
    rate = streams[0].rate_hz or DEFAULT_RATE_HZ
    writer = _Videos(output, rate, loaded.card) if streams[0].rate_hz else _Images(output)
    count, broken = _run(pipeline, streams, partners, rate, writer, loaded.card.palette)
    typer.echo(f"{count} pairs fused into {output}")
    if broken:
        raise SsvifError(f"{len(broken)} could not be read and were left out: {summary(broken)}")


def _check_gain(gain: str) -> None:
    if gain == "fixed":
        raise SsvifError(
            "--gain fixed needs the limits of your camera, which fuse does not take: use "
            "percentile or plateau. On a recording, `ssvif replay --params FILE` takes gain.low "
            "and gain.high."
        )
    if gain not in GAINS:
        raise SsvifError(f"Unknown thermal gain '{gain}': use one of {', '.join(GAINS)}.")


def _registration(calibration: Path | None) -> Registration | None:
    if calibration is None:
        return None
    return Registration(HomographyAlignment(Calibration.load(calibration)))


def _options(visible: FrameStream, threads: int, precision: str) -> EngineOptions:
    """For frames of the size of the first one, which is what a TensorRT engine is built for."""
    reader = ForwardReader(visible)
    for number in range(len(visible)):
        try:
            frame = reader.at(number)
        except SsvifError:
            continue  # said when it is its turn
        if frame is not None:
            return EngineOptions(threads, precision, *frame.pixels.shape[:2])
    return EngineOptions(threads, precision)


def _check_output(output: Path, inputs: tuple[Path, Path], streams: Streams) -> None:
    """Raise SsvifError where results would be written over each other, or over what was given."""
    names = [path.stem for path in streams[0].files] if isinstance(streams[0], ImageStream) else []
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise SsvifError(
            f"{inputs[0]} has more than one image {twice}, and both would become {twice}.png: "
            "rename or remove one."
        )
    homes = {
        (path if path.is_dir() else path.parent).resolve()
        for path, stream in zip(inputs, streams, strict=True)
        if isinstance(stream, ImageStream)
    }
    apart = len(homes) > 1  # as visible/ and thermal/ are, which have labels/ beside them
    if apart and output.resolve() in {home.parent for home in homes}:
        raise SsvifError(
            f"Masks in {output / 'labels'}, beside the images that are fused, would be taken for "
            "the truth, or written over it: choose another folder with -o."
        )
    written = [output / part / f"{name}.png" for part in PARTS for name in names]
    written += [output / f"{name}.mp4" for name in VIDEOS]
    given = {
        file.resolve()
        for path, stream in zip(inputs, streams, strict=True)
        for file in (stream.files if isinstance(stream, ImageStream) else [path])
    }
    over = next((path for path in written if path.resolve() in given), None)
    if over is not None:
        raise SsvifError(f"{over} is to be fused and would be written over: choose another -o.")


def _tell_of_others(output: Path, visible: FrameStream) -> None:
    """Say which images in the folders to write to will not be of this run."""
    if not isinstance(visible, ImageStream):
        return
    new = {path.stem for path in visible.files}
    old = [p for part in PARTS for p in (output / part).glob("*.png") if p.stem not in new]
    if old:
        typer.echo(f"{len(old)} images of before stay in {output}, such as {sorted(old)[0]}")


def _of_one_name(streams: Streams, quiet: bool) -> Streams:
    """Images whose names agree; where none do, all, if there are as many of both cameras.

    Raises:
        SsvifError: there are not.
    """
    visible, thermal = streams
    if isinstance(visible, VideoStream) and isinstance(thermal, VideoStream):
        return streams
    there = []
    if isinstance(visible, ImageStream) and isinstance(thermal, ImageStream):
        there = matched(visible.files, thermal.files)
    files = [(c.visible, c.thermal) for c in there if c.visible and c.thermal]
    if not files:
        _check_counts(visible, thermal)
        return streams
    if quiet:  # one image was asked for, of which the other camera has a whole folder
        there = []
    for lost in (c for c in there if c.reason):
        typer.echo(f"left out {lost.name}: {lost.reason}")
    alone = [c for c in there if not (c.visible and c.thermal) and not c.reason]
    if alone:
        named = ", ".join(str(c.visible or c.thermal) for c in alone[:NAMED])
        more = f" and {len(alone) - NAMED} more" if len(alone) > NAMED else ""
        typer.echo(f"left out, no image of that name on the other side: {named}{more}")
    seen, felt = (list(part) for part in zip(*files, strict=True))
    return ImageStream(seen, "visible"), ImageStream(felt, "thermal")


def _check_counts(visible: FrameStream, thermal: FrameStream) -> None:
    """Raise SsvifError where what has no common names cannot be paired by its order either."""
    counts = [_count(stream) for stream in (visible, thermal)]
    if counts[0] != counts[1]:
        raise SsvifError(
            f"Nothing says which belong together: there are {counts[0]} visible "
            f"({_first(visible)} ...) and {counts[1]} thermal ({_first(thermal)} ...), and neither "
            "names nor the numbers at their ends agree. Give both files of a pair the same name."
        )
    if counts[0] > 1:
        typer.echo("no names agree: images are paired in the order of their names")


def _count(stream: FrameStream) -> int:
    """How many there are, counted where a file's header may be wrong."""
    return len(stream.times_s()) if isinstance(stream, VideoStream) else len(stream)


def _first(stream: FrameStream) -> str:
    assert isinstance(stream, ImageStream | VideoStream)
    return (stream.files[0] if isinstance(stream, ImageStream) else stream.path).name


def _partners(visible: FrameStream, thermal: FrameStream) -> np.ndarray:
    """(N,) number of the thermal frame for each visible one; -1 for none."""
    if isinstance(visible, VideoStream) and isinstance(thermal, VideoStream):
        return nearest_in_time(visible.times_s(), thermal.times_s())
    return np.arange(min(len(visible), len(thermal)))  # as many, see _check_counts


def _paired(
    streams: Streams, partners: np.ndarray, broken: list[SkippedPair]
) -> Iterator[tuple[Frame, Frame]]:
    """Each visible frame that has a partner, and it; `broken` gets those that cannot be read.

    `partners` never go back.
    """
    readers = [ForwardReader(stream) for stream in streams]
    for numbers in enumerate(partners):
        frames = []
        for reader, stream, number in zip(readers, streams, numbers, strict=True):
            try:
                frames.append(reader.at(number) if numbers[1] >= 0 else None)
            except SsvifError as error:
                assert isinstance(stream, ImageStream)
                broken.append(SkippedPair(stream.files[number].name, str(error)))
                frames.append(None)
        seen, felt = frames
        if seen is not None and felt is not None:
            yield seen, felt


def _run(
    pipeline: Pipeline,
    streams: Streams,
    partners: np.ndarray,
    rate: float,
    writer: "_Images | _Videos",
    palette: np.ndarray,
) -> tuple[int, list[SkippedPair]]:
    """Write each pair, whole; how many there were, and what could not be read.

    Ctrl-C comes between two of them.
    """
    count = 0
    broken: list[SkippedPair] = []
    total = int((partners >= 0).sum())
    try:
        with progress_bar("speed") as bar, Interrupts() as interrupts:
            task = bar.add_task("fusing", total=total, speed="")
            for (name, visible, time_s), thermal in _paired(streams, partners, broken):
                stamp_s = count / rate if time_s is None else time_s
                result = pipeline.process(visible, thermal.pixels, stamp_s)
                overlay = draw_overlay(result.fused, result.labels, palette)
                writer.write(name, visible, result, overlay)
                bar.update(task, advance=1, speed=f"engine {result.times.engine_ms:.1f} ms")
                count += 1
                interrupts.let_through()
    except KeyboardInterrupt:
        said = f"Stopped: {count} of {total} pairs were fused into {writer.folder}."
        raise StoppedError(said) from None
    finally:
        writer.close()
    return count, broken


class _Images:
    """One PNG for each frame in fused/, labels/ and overlay/."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in PARTS:
            (folder / part).mkdir(parents=True, exist_ok=True)

    def write(
        self, name: str, visible: np.ndarray, result: FusionResult, overlay: np.ndarray
    ) -> None:
        del visible
        for part, image in (("fused", result.fused), ("overlay", overlay)):
            self._save(part, name, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self._save("labels", name, result.labels)

    def _save(self, part: str, name: str, image: np.ndarray) -> None:
        path = self.folder / part / f"{name}.png"
        if not cv2.imwrite(str(path), image):
            raise SsvifError(f"Cannot write {path}: check free space and permissions.")

    def close(self) -> None:
        """Nothing is held open."""


class _Videos:
    """fused.mp4, and panels.mp4 with what went in and what came out side by side."""

    def __init__(self, folder: Path, rate: float, card: ModelCard) -> None:
        self.folder, self._legend = folder, card.legend
        folder.mkdir(parents=True, exist_ok=True)
        self._fused, self._panels = (VideoWriter(folder / f"{part}.mp4", rate) for part in VIDEOS)
        if note := why_not_h264():
            typer.echo(note)

    def write(
        self, name: str, visible: np.ndarray, result: FusionResult, overlay: np.ndarray
    ) -> None:
        images = [visible, result.thermal, result.fused, with_legend(overlay, self._legend)]
        captions = ["visible", "thermal", f"fused {name}", "labels"]
        self._fused.append(result.fused)
        self._panels.append(panel_row(images, captions))

    def close(self) -> None:
        for writer in (self._fused, self._panels):
            writer.close()
