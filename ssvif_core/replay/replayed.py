"""What has come of a replay, before it is summed up."""

from __future__ import annotations

from dataclasses import dataclass, field

from ssvif_core.replay.frame_table import FrameTable
from ssvif_core.replay.measures import Measures
from ssvif_core.replay.options import ReplayOptions
from ssvif_core.replay.pairs import ModeSpan
from ssvif_core.replay.pictures import Extremes
from ssvif_core.replay.recording import Recording
from ssvif_core.replay.settings import Parts
from ssvif_core.replay.streams import StreamWatch
from ssvif_core.replay.timeline import Timeline

__all__ = ["Replayed"]


@dataclass
class Replayed:
    """What is known when a recording has been played, for summary and report.

    Attributes:
        recording: closed; its topics, broken files and times are still there.
        parts: pairing (with its counts) and model; the engine is closed.
        table: closed, its columns can be read.
        engine: what ran.
        workers: threads that it was played with.
        seconds_taken: wall time, of earlier runs too.
        resumed_from: pairs that an earlier run had done.
        begun_anew: why there are none although it was to go on from one, or "".
        none_fit: see `LabelSource`.
        unread_labels: label images of pairs that were of no use.
        label_error: why the last of them.
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
    workers: int = 1
    seconds_taken: float = 0.0
    resumed_from: int = 0
    begun_anew: str = ""
    none_fit: str = ""
    unread_labels: int = 0
    label_error: str = ""
    interrupted: str = ""
