"""What is done with one pair, from its messages to its figures, in whichever thread.

    decode -> gain, in turn -> warp, engine, blend -> look at it -> compare with the pair before

All of it runs beside that of other pairs, but for the gain, which follows the frames in order.
Of a pair that an earlier run has done (`earlier.py`) only that is done again which later ones need.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.inference.pipeline import Followed, FusionResult
from ssvif_core.replay.in_order import Leg
from ssvif_core.replay.journal import Entry
from ssvif_core.replay.lanes import Lanes
from ssvif_core.replay.measures import Measured, Measures
from ssvif_core.replay.pairs import DecidedPair
from ssvif_core.replay.recording import Arrival, Recording
from ssvif_core.replay.stability import Look
from ssvif_core.replay.truth import Truth

__all__ = ["Done", "Job", "Work"]


@dataclass
class Job:
    """One pair that is to be worked on, with what was known when it was decided.

    Attributes:
        row: of the table, as far as the pairing knows it.
        newest_s: stamp of the thermal frame, for the gain; of the visible one where it is alone.
        truth: reads its true labels, or None.
        timed: nothing runs beside it, so that its times are those of the node.
        turn: of the gain.
        looks: the look at the pair before, for the next one.
        info: the visible camera's CameraInfo, or None.
        counts: of the pairing.
        known: what the journal has of it, or None.
        look_again: although it is known, the next pair is compared with it.
        over: set when its stages are.
        failed: whether it could not be fused; known when they are over.
    """

    pair: DecidedPair
    row: dict[str, Any]
    newest_s: float
    truth: Truth | None
    timed: bool
    turn: Leg[None]
    looks: Leg[Look | None]
    info: Any = None
    counts: Mapping[str, int] = field(default_factory=dict)
    known: Entry | None = None
    look_again: bool = False
    over: threading.Event = field(default_factory=threading.Event)
    failed: bool = True


@dataclass
class Done:
    """What came of a job.

    Attributes:
        stages_ms: time of each stage that was reached.
        error: why it could not be fused, or "".
        sizes: role -> [width, height], of those that could be decoded if all could.
        shape: of the fused image; None where it failed.
        result: of the pipeline; None where it failed, or was known.
        visible: (H, W, 3) uint8 RGB, or None.
        measured: of pairs of both cameras.
        truth_error: why its labels could not be read, or "".
    """

    job: Job
    stages_ms: dict[str, float] = field(default_factory=dict)
    error: str = ""
    sizes: dict[str, list[int]] = field(default_factory=dict)
    shape: list[int] | None = None
    result: FusionResult | None = None
    visible: np.ndarray | None = None
    measured: Measured | None = None
    truth_error: str = ""


class Work:
    """Does jobs; may be called from several threads."""

    def __init__(self, recording: Recording, lanes: Lanes, measures: Measures) -> None:
        self._recording, self._lanes, self._measures = recording, lanes, measures

    def do(self, job: Job) -> Done:
        """All of one job. Errors of the frame are in the answer."""
        done = Done(job)
        try:
            if job.known is not None:
                self._follow_again(job, job.known)
                return _done_before(job, job.known)
            counts = self._fuse(job, done)
            job.failed = False
            job.over.set()
            if done.visible is not None and counts is not None:
                self._measure(job, done, counts)
        except SsvifError as error:
            done.error = str(error)
        finally:
            job.over.set()
            job.turn.close()
            job.looks.close()
        return done

    def _fuse(self, job: Job, done: Done) -> np.ndarray | None:
        """Decode and fuse; the thermal image as it came."""
        start = time.perf_counter()
        try:
            images = {arrival.role: self._decoded(arrival) for arrival in job.pair.arrivals}
        finally:
            done.stages_ms["decode_ms"] = (time.perf_counter() - start) * 1e3
        done.sizes = {role: [image.shape[1], image.shape[0]] for role, image in images.items()}
        visible, counts = images.get("visible"), images.get("thermal")
        followed = self._follow(job, visible, counts)
        result = self._lanes.fuse(followed, timed=job.timed and job.known is None)
        done.stages_ms |= vars(result.times)
        done.shape = list(result.fused.shape)
        done.result, done.visible = result, visible
        return counts

    def _follow(self, job: Job, visible: np.ndarray | None, counts: np.ndarray | None) -> Followed:
        job.turn.take()
        followed = self._lanes.follow(visible, counts, job.newest_s)
        job.turn.hand_on(None)
        return followed

    def _follow_again(self, job: Job, known: Entry) -> None:
        """What a pair leaves to later ones: the gain's state, and the look at the last one."""
        if not known.sizes:  # it did not come so far
            return
        with contextlib.suppress(SsvifError):  # then it left as much the first time
            if job.look_again:
                again = Done(job)
                counts = self._fuse(job, again)
                assert counts is not None
                job.looks.hand_on(self._look(job, again, counts))
                return
            images = {a.role: self._decoded(a) for a in job.pair.arrivals if a.role == "thermal"}
            blank = None
            if "visible" in known.sizes:  # of it only the size is needed
                width, height = known.sizes["visible"]
                blank = np.broadcast_to(np.uint8(0), (height, width, 3))
            self._follow(job, blank, images.get("thermal"))

    def _decoded(self, arrival: Arrival) -> np.ndarray:
        try:
            return self._recording.pixels(arrival)
        except SsvifError as error:
            raise SsvifError(f"bad {arrival.role} frame: {error}") from error

    def _measure(self, job: Job, done: Done, counts: np.ndarray) -> None:
        visible, result = done.visible, done.result
        assert visible is not None and result is not None
        now = self._look(job, done, counts)
        job.looks.hand_on(now)
        truth = None
        if job.truth is not None:
            try:
                truth = job.truth((visible.shape[0], visible.shape[1]))
            except SsvifError as error:
                done.truth_error = f"labels: {error}"
        done.measured = self._measures.of(
            job.row["index"], job.looks.take(), now, visible, result, truth
        )

    def _look(self, job: Job, done: Done, counts: np.ndarray) -> Look:
        assert done.visible is not None and done.result is not None
        stamp_s = job.row["_stamp_ns"] * 1e-9
        return self._measures.look(stamp_s, done.visible, counts, done.result)


def _done_before(job: Job, known: Entry) -> Done:
    return Done(
        job,
        known.stages_ms,
        known.error,
        known.sizes,
        known.shape,
        measured=known.measured,
        truth_error=known.truth_error,
    )
