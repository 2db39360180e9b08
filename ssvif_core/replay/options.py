"""What is asked of a replay."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ssvif_core.replay.pairs import Stamps
from ssvif_core.replay.recording import Slice
from ssvif_core.replay.roles import TopicChoice
from ssvif_core.replay.settings import NodeSettings

__all__ = ["ReplayOptions"]


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
        metrics_every: fusion metrics on every n-th pair; 0: on none; None: as the
            length of the recording asks for.
        video: write fused.mp4.
        bag: write the output recording.
        rerun: write run.rrd.
        pictures: how many best and worst pairs are drawn.
        workers: threads that fuse and measure; 0: one for each core. With one, every pair is timed;
            with more, some are, with nothing beside them. All other figures are the same.
        jobs: recordings that are replayed at the same time on this machine: more than one disturb
            each other's times, and the report says so.
    """

    settings: NodeSettings = field(default_factory=NodeSettings)
    topics: TopicChoice = field(default_factory=TopicChoice)
    part: Slice = field(default_factory=Slice)
    stamps: Stamps = "header"
    labels_folder: Path | None = None
    label_map: dict[int, int] | None = None
    metrics_every: int | None = None
    video: bool = True
    bag: bool = False
    rerun: bool = False
    pictures: int = 3
    workers: int = 0
    jobs: int = 1
