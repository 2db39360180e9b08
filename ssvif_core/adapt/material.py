"""Pairs to learn from and pairs to judge by, of a recording or of a folder, as the node sees them.

A recording goes through the node's own pairing, cleaning, gain and registration; a folder is taken
as it is. Either way a frame comes with what the old model makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from ssvif_core.adapt.split import Split, split
from ssvif_core.data.sources import PairCollection, open_pairs
from ssvif_core.errors import SsvifError
from ssvif_core.inference.sized_engine import SizedEngine
from ssvif_core.models import Model
from ssvif_core.replay.pairs import NodePairing, Stamps
from ssvif_core.replay.recording import Arrival, Recording, Slice
from ssvif_core.replay.roles import TopicChoice
from ssvif_core.replay.settings import NodeSettings, build, engine_for

__all__ = ["FolderMaterial", "Frame", "Material", "RecordedMaterial"]


class Frame(NamedTuple):
    """A pair as the network gets it, and what the old model makes of it.

    Attributes:
        name: for files; of a recording, the visible stamp in nanoseconds.
        time_s: since the start of its part; of a folder, the number of the pair.
        visible: (H, W, 3) uint8 RGB.
        thermal: (H, W) uint8, after gain and registration.
        fused: (H, W, 3) uint8 RGB, of the old model.
        labels: (H, W) uint8, of the old model.
        blend: what the pipeline does to a fused image afterwards, where thermal does not reach.

    All of them may be buffers that the next frame overwrites.
    """

    name: str
    time_s: float
    visible: np.ndarray
    thermal: np.ndarray
    fused: np.ndarray
    labels: np.ndarray
    blend: Callable[[np.ndarray], np.ndarray]


class Material(Protocol):
    """Where frames come from.

    Attributes:
        path: of the recording or folder.
        split: its two parts.
        found: sentences on what was taken.
        damaged: pairs that could not be decoded, so far.
        broken: files of it that could not be read to their end, and why; complete after reading.
    """

    path: Path
    split: Split
    found: list[str]
    damaged: int
    broken: dict[str, str]

    def training(self, spacing_s: float, most: int) -> Iterator[Frame]:
        """Frames of the first part, thinned out: `spacing_s` apart (recordings), `most` at most."""
        ...

    def held_out(self, most: int) -> Iterator[Frame]:
        """Frames of the last part, `most` at most, spread over it."""
        ...


@dataclass(frozen=True)
class _Every:
    """Picks moments that are at least `spacing_s` apart, on a fixed grid."""

    spacing_s: float

    def new(self) -> Callable[[float], bool]:
        last = [-1]

        def wanted(time_s: float) -> bool:
            cell = int(time_s / self.spacing_s)
            if cell == last[0]:
                return False
            last[0] = cell
            return True

        return wanted


class RecordedMaterial:
    """A recording; see `Material`.

    Args:
        path: as `Recording` takes it.
        settings: the node's parameters, with the old model.
        topics: which to take.
        stamps: what pairs are made by.
        holdout: see `split`.

    Raises:
        SsvifError: it cannot be read, or has no two cameras.
    """

    def __init__(
        self, path: Path, settings: NodeSettings, topics: TopicChoice, stamps: Stamps,
        holdout: float,
    ) -> None:  # fmt: skip
        self.path, self.settings, self.topics, self.stamps = path, settings, topics, stamps
        self.damaged = 0
        self.broken: dict[str, str] = {}
        with Recording(path, topics) as recording:
            self.split = split(_length_s(recording), holdout, "s")
            self.found = list(recording.found)
            self.topics = replace(
                topics, visible=recording.topics["visible"], thermal=recording.topics["thermal"]
            )

    def training(self, spacing_s: float, most: int) -> Iterator[Frame]:
        spacing_s = max(spacing_s, self.split.training_end / most)
        return self._frames(Slice(0.0, self.split.training_end), _Every(spacing_s).new())

    def held_out(self, most: int) -> Iterator[Frame]:
        start_s = self.split.held_out_start
        spacing_s = (self.split.total - start_s) / most
        return self._frames(Slice(start_s), _Every(spacing_s).new())

    def _frames(self, part: Slice, wanted: Callable[[float], bool]) -> Iterator[Frame]:
        """The gain follows every pair; only those that are wanted are fused."""
        with ExitStack() as stack:
            recording = stack.enter_context(Recording(self.path, self.topics, part))
            size = recording.image_size("visible")
            parts = build(self.settings, size, recording.camera_infos(), recording.pose)
            pipeline = parts.pipeline
            stack.callback(pipeline.close)
            pairing = NodePairing(parts.pairing, parts.presence, self.stamps)
            for pair in pairing.play(recording, lambda arrival: None):
                if pair.visible is None or pair.thermal is None or pair.thermal_ns is None:
                    continue
                time_s = (pair.visible.received_ns - recording.start_ns) * 1e-9
                stamp_s = pair.thermal_ns * 1e-9
                try:
                    counts = recording.pixels(pair.thermal)
                    if not wanted(time_s):
                        pipeline.gain.apply(pipeline.cleaning.apply(counts), stamp_s)
                        continue
                    visible = recording.pixels(pair.visible)
                    result = pipeline.process(visible, counts, stamp_s)
                except SsvifError:
                    self.damaged += 1
                    continue
                registration = pipeline.registration
                yield Frame(
                    f"{pair.visible_ns}",
                    time_s,
                    visible,
                    result.thermal,
                    result.fused,
                    result.labels,
                    _blend(None if registration is None else registration.blend, visible),
                )
            self.broken |= recording.broken


def _blend(
    blend: Callable[[np.ndarray, np.ndarray], np.ndarray] | None, visible: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    return lambda fused: fused if blend is None else blend(fused, visible)


def _length_s(recording: Recording) -> float:
    """From the first frame to the last message; read through where the file does not say."""
    if recording.seconds is not None:
        return recording.seconds
    last: Arrival | None = None
    for arrival in recording.arrivals():
        last = arrival
    return 0.0 if last is None else (last.recorded.received_ns - recording.start_ns) * 1e-9


class FolderMaterial:
    """A folder of pairs, in the order of their names; see `Material`.

    Args:
        path: as `open_pairs` takes it.
        model: the old one.
        settings: of the engine.
        holdout: see `split`.

    Raises:
        SsvifError: there is no usable pair.
    """

    def __init__(self, path: Path, model: Model, settings: NodeSettings, holdout: float) -> None:
        self.path, self.model, self.settings = path, model, settings
        self._pairs: PairCollection = open_pairs(path)
        self.split = split(len(self._pairs), holdout, "pairs")
        self.damaged = len(self._pairs.skipped)
        self.broken: dict[str, str] = {}
        self.found = [f"{len(self._pairs)} pairs in the order of their names"]

    def training(self, spacing_s: float, most: int) -> Iterator[Frame]:
        return self._frames(0, int(self.split.training_end), most)

    def held_out(self, most: int) -> Iterator[Frame]:
        return self._frames(int(self.split.held_out_start), len(self._pairs), most)

    def _frames(self, start: int, stop: int, most: int) -> Iterator[Frame]:
        engines = SizedEngine(lambda size: engine_for(self.model, self.settings, size)[0])
        count = min(most, stop - start)
        try:
            for index in np.linspace(start, stop - 1, max(0, count)).round().astype(int):
                pair = self._pairs[int(index)]
                engine = engines.of((pair.thermal.shape[0], pair.thermal.shape[1]))
                fused, labels = engine.infer(pair.visible, pair.thermal)
                blend = _blend(None, pair.visible)
                time_s = float(index)
                yield Frame(pair.name, time_s, pair.visible, pair.thermal, fused, labels, blend)
        finally:
            engines.close()
