"""Pairs to learn from and pairs to judge by, of a recording or of a folder, as the node sees them.

A recording goes through the node's own pairing, cleaning, gain and registration; a folder is taken
as it is. Either way a frame comes with what the old model makes of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from ssvif_core.adapt.split import LEAST_PAIRS, Split, split
from ssvif_core.data.sources import PairCollection, open_pairs
from ssvif_core.errors import SsvifError
from ssvif_core.inference.sized_engine import SizedEngine
from ssvif_core.models import Model
from ssvif_core.replay.pairs import NodePairing, Stamps
from ssvif_core.replay.recording import Arrival, Recording, Slice
from ssvif_core.replay.roles import TopicChoice
from ssvif_core.replay.settings import NodeSettings, build, engine_for

__all__ = ["FolderMaterial", "Frame", "Material", "RecordedMaterial", "lost"]

#: Frames come a little early or late: so much less than what is asked for is far enough apart.
JITTER = 0.05


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
        damaged: pairs that could not be used, so far.
        reason: why the last of them could not.
        advice: what to do if too few are left to train on.
        broken: files of it that could not be read to their end, and why; complete after reading.
    """

    path: Path
    split: Split
    found: list[str]
    damaged: int
    reason: str
    advice: str
    broken: dict[str, str]

    def training(self, spacing_s: float, most: int) -> Iterator[Frame]:
        """Frames of the first part, thinned out, `most` at most.

        Of a recording none is closer to the one before than `spacing_s`, but for `JITTER`.
        """
        ...

    def held_out(self, most: int) -> Iterator[Frame]:
        """Frames of the last part, `most` at most, spread over it."""
        ...


def lost(material: Material) -> str:
    """A sentence on the pairs that could not be used; empty if there are none."""
    if not material.damaged:
        return ""
    return f" {material.damaged} more could not be used, the last because: {material.reason}"


@dataclass
class _Picks:
    """Picks at most one moment of each cell of a grid, and none too close to the one before.

    Attributes:
        cell_s: size of a cell.
        apart_s: least time between two picks, but for `JITTER`.
    """

    cell_s: float
    apart_s: float = 0.0
    _last_s: float = -math.inf

    def __call__(self, time_s: float) -> bool:
        if self.cell_s and time_s // self.cell_s == self._last_s // self.cell_s:
            return False
        if time_s - self._last_s < (1 - JITTER) * self.apart_s:
            return False
        self._last_s = time_s
        return True


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
        self.damaged, self.reason = 0, ""
        self.advice = (
            "take a longer recording in which the robot moves, or pairs closer in time (--every)."
        )
        self.broken: dict[str, str] = {}
        with Recording(path, topics) as recording:
            self.split = split(_length_s(recording), holdout, "s")
            self.found = list(recording.found)
            self.topics = replace(
                topics, visible=recording.topics["visible"], thermal=recording.topics["thermal"]
            )

    def training(self, spacing_s: float, most: int) -> Iterator[Frame]:
        end_s = self.split.training_end
        return self._frames(Slice(0.0, end_s), _Picks(end_s / most, spacing_s))

    def held_out(self, most: int) -> Iterator[Frame]:
        start_s = self.split.held_out_start
        return self._frames(Slice(start_s), _Picks((self.split.total - start_s) / most))

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
                except SsvifError as error:
                    self.damaged += 1
                    self.reason = str(error)
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
        SsvifError: there is no usable pair, or a part has too few.
    """

    def __init__(self, path: Path, model: Model, settings: NodeSettings, holdout: float) -> None:
        self.path, self.model, self.settings = path, model, settings
        self._pairs: PairCollection = open_pairs(path)
        self.split = split(len(self._pairs), holdout, "pairs")
        skipped = self._pairs.skipped
        self.damaged, self.reason = len(skipped), skipped[-1].reason if skipped else ""
        self.advice = "take pairs of more views."
        self.broken: dict[str, str] = {}
        self.found = [f"{len(self._pairs)} pairs in the order of their names"]
        train, judge = int(self.split.training_end), len(self._pairs) - self._judged_from
        if min(train, judge) < LEAST_PAIRS:
            raise SsvifError(
                f"{path} has {train} pairs to train on and {judge} to judge by, and {LEAST_PAIRS} "
                f"of each are needed: take more pairs, or another --holdout.{lost(self)}"
            )

    def training(self, spacing_s: float, most: int) -> Iterator[Frame]:
        return self._frames(0, int(self.split.training_end), most)

    def held_out(self, most: int) -> Iterator[Frame]:
        return self._frames(self._judged_from, len(self._pairs), most)

    @property
    def _judged_from(self) -> int:
        return int(self.split.held_out_start)

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
