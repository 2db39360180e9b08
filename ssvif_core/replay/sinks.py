"""What leaves a replay: video, output recording and run.rrd, in order, in a thread of their own
where several work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ssvif_core.inference.pipeline import FusionResult
from ssvif_core.models import ModelCard
from ssvif_core.replay.earlier import Earlier
from ssvif_core.replay.in_order import Crew
from ssvif_core.replay.outputs import BAG, VIDEO, OutputBag, Video
from ssvif_core.replay.rerun_file import RRD, RerunFile
from ssvif_core.replay.timeline import Timeline

__all__ = ["Sinks"]


class Sinks:
    """Writes fused.mp4, bag/ and run.rrd, as far as they are asked for. A context manager.

    Args:
        earlier: what an earlier run has left in the folder to write to.
        card: of the model.
        size: (height, width) of the video.
        video: whether to write the first.
        bag: whether to write the second.
        rerun: the name that the third gets, or None for none.
        timeline: of what the diagnostics tell.
        start_ns: beginning of the recording.
        beside: write in another thread, so that the caller can go on.
    """

    def __init__(
        self, earlier: Earlier, card: ModelCard, size: tuple[int, int], *, video: bool, bag: bool,
        rerun: str | None, timeline: Timeline, start_ns: int, beside: bool,
    ) -> None:  # fmt: skip
        output = earlier.folder
        self._video = Video(output / VIDEO, size, earlier.frames()) if video else None
        self._bag = OutputBag(output / BAG, card, earlier.messages()) if bag else None
        self._rerun = None if rerun is None else RerunFile(output / RRD, card, rerun)
        self._earlier = earlier
        self._timeline, self._start_ns = timeline, start_ns
        self._next_second = 0
        self._crew = Crew(1, beside=beside)

    def __enter__(self) -> Sinks:
        if self._bag:
            self._bag.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._crew.__exit__()
        if self._video:
            self._video.close()
        if self._bag:
            self._bag.__exit__(*error)
        if self._rerun:
            self._rerun.__exit__(*error)

    def frame(
        self, time_ns: int, row: Mapping[str, Any], visible: np.ndarray | None,
        result: FusionResult, frame_id: str, info: Any,
    ) -> None:  # fmt: skip
        """Write a fused pair; its images are the sinks' from now on.

        `frame_id` and `info` are those of `OutputHeaders`.
        """
        if self._rerun:
            self._give(self._rerun.frame, dict(row), row["_stamp_ns"], visible, result)
        if self._video:
            self._give(self._video.append, row["_stamp_ns"] * 1e-9, result.fused)
        if self._bag:
            self._give(self._bag.frame, time_ns, row["_header_ns"], frame_id, result, info)

    def again(self, row: Mapping[str, Any]) -> None:
        """Write a pair that the earlier run has fused, from what it wrote."""
        if self._video:
            self._give(self._video.again, row["_stamp_ns"] * 1e-9)
        if self._bag:
            self._give(self._bag.again)

    def caught_up(self) -> None:
        """All pairs of the earlier run were given."""
        self._give(self._earlier.let_go)

    def figures(self, row: Mapping[str, Any]) -> None:
        """Write a row that is complete."""
        if self._rerun:
            self._give(self._rerun.figures, row)

    def seconds(self, until: int, counts: Mapping[str, int]) -> None:
        """Write diagnostics of the seconds before `until` that are not written yet."""
        if self._bag is None:
            return
        for second in range(self._next_second, until):
            values = self._timeline.at(second)
            silent = [c for c in ("visible", "thermal") if not values[c]]
            warning = f"nothing of the {' and the '.join(silent)} camera" if silent else ""
            time_ns = self._start_ns + (second + 1) * 10**9
            self._give(self._bag.second, time_ns, values | dict(counts), warning)
        self._next_second = max(self._next_second, until)

    def wait(self) -> None:
        """Until all is written that was given; what went wrong is raised."""
        while len(self._crew):
            self._crew.take()

    def _give(self, write: Any, *arguments: Any) -> None:
        while self._crew.full:
            self._crew.take()
        self._crew.give(write, *arguments)
