"""Replay of one recording: pairs -> `Pipeline` -> measures and sinks, in one pass.

Pairs wait for their true labels, rows for their fate at real time; both waits are a few pairs long,
so that memory does not grow with the recording but for the figures of the table.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.overlay import draw_overlay
from ssvif_core.inference.pipeline import FusionResult
from ssvif_core.replay.frame_table import FrameTable
from ssvif_core.replay.measures import Measures
from ssvif_core.replay.outputs import OutputBag, Video
from ssvif_core.replay.pairs import DecidedPair, ModeSpan, NodePairing, Stamps
from ssvif_core.replay.pictures import Extremes
from ssvif_core.replay.real_time import Fate, Mailbox
from ssvif_core.replay.recording import Arrival, Recording, Slice, TopicChoice
from ssvif_core.replay.rerun_file import RerunFile
from ssvif_core.replay.settings import NodeSettings, Parts, build
from ssvif_core.replay.streams import StreamWatch
from ssvif_core.replay.timeline import Timeline
from ssvif_core.replay.truth import FolderLabels, LabelSource, NoLabels, TopicLabels

__all__ = ["FRAMES", "RRD", "ReplayOptions", "Replayed", "replay"]

FRAMES, RRD = "frames.csv.gz", "run.rrd"
#: How long, in receipt, a pair waits for its labels.
LABEL_WAIT_NS = 1_000_000_000
#: Pairs that are drawn: title -> column, and which end of it.
EXTREMES = {
    "Worst by Qabf": ("Qabf", False),
    "Best by Qabf": ("Qabf", True),
    "Most flicker of the fused image": ("flicker_fused", True),
    "Worst masks (IoU of objects)": ("iou_objects", False),
}

Progress = Callable[[float, float | None, str], None]


@dataclass(frozen=True)
class ReplayOptions:
    """What to replay, and what to measure and write.

    Attributes:
        settings: the node's parameters.
        topics: see `TopicChoice`.
        part: see `Slice`.
        stamps: what pairs are made by.
        labels_folder: true labels by stamp, see `truth.py`; goes before a topic.
        label_map: ids of the truth -> class ids; None: as they are.
        metrics_every: fusion metrics on every n-th pair; 0: on none.
        video: write fused.mp4.
        bag: write the output recording.
        rerun: write run.rrd.
        pictures: how many best and worst pairs are drawn.
    """

    settings: NodeSettings = field(default_factory=NodeSettings)
    topics: TopicChoice = field(default_factory=TopicChoice)
    part: Slice = field(default_factory=Slice)
    stamps: Stamps = "header"
    labels_folder: Path | None = None
    label_map: dict[int, int] | None = None
    metrics_every: int = 10
    video: bool = True
    bag: bool = False
    rerun: bool = False
    pictures: int = 3


@dataclass
class Replayed:
    """What is known when a recording has been played, for summary and report.

    Attributes:
        recording: closed; its topics, broken files and times are still there.
        parts: pairing (with its counts) and model; the engine is closed.
        table: closed, its columns can be read.
        engine: what ran.
        seconds_taken: wall time.
        interrupted: why it ended before the recording did, or "".
    """

    recording: Recording
    options: ReplayOptions
    parts: Parts
    table: FrameTable
    streams: dict[str, StreamWatch]
    timeline: Timeline
    measures: Measures
    extremes: dict[str, Extremes]
    engine: dict[str, str]
    sizes: dict[str, list[int]]
    modes: list[ModeSpan] = field(default_factory=list)
    last_error: str = ""
    bad: int = 0
    seconds_taken: float = 0.0
    interrupted: str = ""


def replay(path: Path, output: Path, options: ReplayOptions, progress: Progress) -> Replayed:
    """Play one recording.

    Args:
        path: the recording.
        output: existing folder; frames.csv.gz and what else is asked for are written there.
        options: what to do.
        progress: told seconds done, seconds in all where known, and a remark.

    Returns:
        What was measured; after Ctrl-C what was measured until then.

    Raises:
        SsvifError: nothing can be read, or a part cannot be made.
    """
    with ExitStack() as stack:
        recording = stack.enter_context(Recording(path, options.topics, options.part))
        size = recording.image_size("visible")
        parts = build(options.settings, size, recording.camera_infos())
        stack.callback(parts.pipeline.close)
        registration = parts.pipeline.registration
        if registration is not None:  # as the node: not in the time of the first pair
            registration.prepare(size[::-1], recording.image_size("thermal")[::-1])
        player = _Player(recording, output, options, parts, stack)
        start = time.perf_counter()
        try:
            player.play(progress)
        except KeyboardInterrupt:
            player.played.interrupted = "stopped by the user"
        player.finish()
        player.played.seconds_taken = time.perf_counter() - start
        return player.played


class _Player:
    """The loop and its state."""

    def __init__(
        self, recording: Recording, output: Path, options: ReplayOptions, parts: Parts,
        stack: ExitStack,
    ) -> None:  # fmt: skip
        start_ns, card = recording.start_ns, parts.model.card
        self.played = Replayed(
            recording=recording,
            options=options,
            parts=parts,
            table=stack.enter_context(FrameTable(output / FRAMES)),
            streams={camera: StreamWatch(start_ns) for camera in ("visible", "thermal")},
            timeline=Timeline(start_ns),
            measures=Measures(card, options.metrics_every, parts.alignment),
            extremes={
                title: Extremes(options.pictures, greatest=greatest)
                for title, (_, greatest) in EXTREMES.items()
            },
            engine=parts.pipeline.engine.describe(),
            sizes={},
        )
        self._recording, self._options, self._parts = recording, options, parts
        self._truth = _truth(recording, options)
        self._infos: dict[str, Any] = {}
        self._mailbox = Mailbox()
        self._pairing = NodePairing(parts.pairing, parts.presence, options.stamps)
        self.played.modes = self._pairing.modes
        self._rows: dict[int, dict[str, Any]] = {}
        self._video = Video(output / "fused.mp4") if options.video else None
        if self._video:
            stack.callback(self._video.close)
        self._bag = stack.enter_context(OutputBag(output / "bag", card)) if options.bag else None
        rrd = RerunFile(output / RRD, card, recording.path.name) if options.rerun else None
        self._rerun = stack.enter_context(rrd) if rrd else None
        self._next_second = 0

    def play(self, progress: Progress) -> None:
        waiting: deque[DecidedPair] = deque()
        done = 0
        for pair in self._pairing.play(self._recording, self._observe):
            waiting.append(pair)
            while waiting and self._labels_are_settled(waiting[0], pair.decided_ns):
                self._process(waiting.popleft())
                done += 1
            seconds = (pair.decided_ns - self._recording.start_ns) * 1e-9
            progress(seconds, self._recording.seconds, f"{done} pairs")
        for pair in waiting:
            self._process(pair)

    def finish(self) -> None:
        """Settle what waits."""
        self._settle(self._mailbox.flush())
        self._write_seconds(self.played.timeline.last + 1)
        for watch in self.played.streams.values():
            watch.close()

    def _observe(self, arrival: Arrival) -> None:
        if arrival.role in ("visible", "thermal"):
            watch = self.played.streams[arrival.role]
            watch.see(arrival.received_ns, arrival.header_ns, arrival.recorded.raw)
            self.played.timeline.count(arrival.role, arrival.received_ns)
        elif arrival.role == "labels":
            self._truth.see(arrival)
        elif arrival.role not in self._infos:
            try:
                self._infos[arrival.role] = self._recording.message(arrival)
            except SsvifError as error:
                self.played.last_error = f"{self._recording.topics[arrival.role]}: {error}"

    def _labels_are_settled(self, pair: DecidedPair, now_ns: int) -> bool:
        late = now_ns - pair.decided_ns > LABEL_WAIT_NS
        return late or pair.visible is None or not self._truth.pending(pair.visible.header_ns)

    def _process(self, pair: DecidedPair) -> None:
        """Decode, fuse, measure, write."""
        row = self._row(pair)
        index = row["index"]
        both = pair.cameras == "both"
        self.played.timeline.count("paired" if both else "alone", pair.decided_ns)
        self._rows[index] = row
        try:
            visible, counts, result = self._fuse(pair, row)
        except SsvifError as error:
            self._bad(pair, row, error)
            return
        stamp_s = row["_stamp_ns"] * 1e-9
        if visible is not None and counts is not None:
            truth = self._truth_of(pair, visible)
            row.update(self.played.measures.of(index, stamp_s, visible, counts, result, truth))
            self._draw(row, visible, result)
        cost_ns = round(row["total_ms"] * 1e6)
        if self._video:
            self._video.append(stamp_s, result.fused)
        if self._rerun:
            self._rerun.frame(row, row["_stamp_ns"], visible, result)
        if self._bag:
            self._write_seconds(self.played.timeline.second_of(pair.decided_ns))
            info = self._infos.get("visible_info")
            time_ns = pair.decided_ns + cost_ns
            self._bag.frame(time_ns, row["_header_ns"], result, info)
        self._settle(self._mailbox.offer(index, pair.decided_ns, cost_ns))

    def _bad(self, pair: DecidedPair, row: dict[str, Any], error: SsvifError) -> None:
        """The worker would have been busy with it as long as it took to fail."""
        row["error"] = self.played.last_error = str(error)
        self.played.bad += 1
        self.played.timeline.count("bad", pair.decided_ns)
        cost_ns = round(row.get("decode_ms", 0.0) * 1e6)
        self._settle(self._mailbox.offer(row["index"], pair.decided_ns, cost_ns))

    def _fuse(
        self, pair: DecidedPair, row: dict[str, Any]
    ) -> tuple[np.ndarray | None, np.ndarray | None, FusionResult]:
        start = time.perf_counter()
        try:
            images = {arrival.role: self._decoded(arrival) for arrival in pair.arrivals}
        finally:
            row["decode_ms"] = (time.perf_counter() - start) * 1e3
        visible, counts = images.get("visible"), images.get("thermal")
        newest_ns = pair.thermal_ns if pair.thermal_ns is not None else pair.visible_ns
        assert newest_ns is not None
        passthrough = self._options.settings.on_missing == "passthrough"
        result = self._parts.pipeline.process(
            visible, counts, newest_ns * 1e-9, passthrough=passthrough
        )
        row.update(vars(result.times))
        row["total_ms"] = row["decode_ms"] + sum(vars(result.times).values())
        for role, image in images.items():
            self.played.sizes.setdefault(role, [image.shape[1], image.shape[0]])
        return visible, counts, result

    def _decoded(self, arrival: Arrival) -> np.ndarray:
        try:
            return self._recording.pixels(arrival)
        except SsvifError as error:
            raise SsvifError(f"bad {arrival.role} frame: {error}") from error

    def _row(self, pair: DecidedPair) -> dict[str, Any]:
        arrivals = pair.arrivals
        first, later_ns = arrivals[0], max(a.received_ns for a in arrivals)
        # Of the thermal camera alone: its stamp on the visible camera's clock, as the node does.
        offset_ns = 0
        if pair.visible is None:
            offset_ns = round(self._options.settings.thermal_offset * 1e9)
        stamp_ns = pair.visible_ns if pair.visible_ns is not None else pair.thermal_ns
        assert stamp_ns is not None
        return {
            "index": len(self.played.table) + len(self._rows),
            "time_s": (first.received_ns - self._recording.start_ns) * 1e-9,
            "cameras": pair.cameras,
            "visible_stamp_ns": pair.visible_ns,
            "thermal_stamp_ns": pair.thermal_ns,
            "delta_ms": None if pair.delta_ns is None else pair.delta_ns * 1e-6,
            "wait_ms": (pair.decided_ns - later_ns) * 1e-6,
            # For the fate and the outputs; no columns.
            "_stamp_ns": stamp_ns + offset_ns,
            "_header_ns": first.header_ns + offset_ns,
            "_received_ns": first.received_ns,
        }

    def _truth_of(self, pair: DecidedPair, visible: np.ndarray) -> np.ndarray | None:
        assert pair.visible is not None
        try:
            return self._truth.take(pair.visible.header_ns, (visible.shape[0], visible.shape[1]))
        except SsvifError as error:
            self.played.last_error = f"labels: {error}"
            return None

    def _settle(self, fates: list[Fate]) -> None:
        for fate in fates:
            row = self._rows.pop(fate.index)
            header_ns, received_ns = row.pop("_header_ns"), row.pop("_received_ns")
            del row["_stamp_ns"]
            row["dropped"] = int(fate.dropped)
            if fate.finished_ns is not None and "error" not in row:
                row["latency_ms"] = (fate.finished_ns - header_ns) * 1e-6
                row["after_receipt_ms"] = (fate.finished_ns - received_ns) * 1e-6
            elif fate.dropped:
                self.played.timeline.count("dropped", received_ns)
            if self._rerun:
                self._rerun.figures(row)
            self.played.table.append(row)

    def _draw(self, row: dict[str, Any], visible: np.ndarray, result: FusionResult) -> None:
        def panels() -> dict[str, np.ndarray]:
            card, alpha = self._parts.model.card, self._options.settings.overlay_alpha
            overlay = draw_overlay(result.fused, result.labels, card.palette, alpha)
            images = (visible, result.thermal, result.fused, overlay)
            return dict(zip(("visible", "thermal", "fused", "labels"), images, strict=True))

        for title, (column, _) in EXTREMES.items():
            value = row.get(column, float("nan"))
            self.played.extremes[title].offer(value, row["index"], row["time_s"], panels)

    def _write_seconds(self, until: int) -> None:
        """Diagnostics of the seconds before `until` that are not written yet."""
        if self._bag is None:
            return
        start_ns = self._recording.start_ns
        for second in range(self._next_second, until):
            values = self.played.timeline.at(second)
            silent = [c for c in ("visible", "thermal") if not values[c]]
            warning = f"nothing of the {' and the '.join(silent)} camera" if silent else ""
            counts = vars(self._parts.pairing.counts)
            self._bag.second(start_ns + (second + 1) * 10**9, values | counts, warning)
        self._next_second = max(self._next_second, until)


def _truth(recording: Recording, options: ReplayOptions) -> LabelSource:
    if options.labels_folder is not None:
        return FolderLabels(options.labels_folder, options.label_map)
    if "labels" in recording.topics:
        return TopicLabels(recording, options.label_map)
    return NoLabels()
