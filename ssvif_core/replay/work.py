"""What is done with a few pairs, from their messages to their figures, in whichever thread.

    decode -> gain, in turn -> warp, engine, blend -> look at it -> compare with the pair before

All of it runs beside that of other pairs, but for the gain, which follows the frames in order.
Of a pair that an earlier run has done (`earlier.py`) only that is done again which later ones need.

Pairs come in batches, and a batch goes through one stage after the other. The network sweeps all
caches, so that what is done right after it takes up to three times as long; so it is done for
several pairs, and the network finds its weights where it has left them. What has an order goes from
pair to pair, and so to the next batch, through two relays (`in_order.py`):

    a worker       decode, gain   fuse            look            measure
                              |                       |
                              v `turn`                v `looks`
    another one       decode, gain   fuse            look, then measure
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

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

__all__ = ["Batch", "Done", "Job", "Work"]


@dataclass
class Job:
    """One pair that is to be worked on, with what was known when it was decided.

    Attributes:
        row: of the table, as far as the pairing knows it.
        newest_s: stamp of the thermal frame, for the gain; of the visible one where it is alone.
        truth: reads its true labels, or None.
        timed: its times are those of the node, see `Batch`.
        turn: of the gain.
        looks: the look at the pair before, for the next one.
        info: the visible camera's CameraInfo, or None.
        counts: of the pairing.
        known: what the journal has of it, or None.
        look_again: although it is known, the next pair is compared with it.
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


class Batch(NamedTuple):
    """Pairs that follow one another.

    Attributes:
        jobs: in order.
        undisturbed: nothing runs beside it, and up to the fused image each pair goes through by
            itself, as in the node: for pairs that are timed.
    """

    jobs: Sequence[Job]
    undisturbed: bool


@dataclass
class Done:
    """What came of a job; filled stage by stage.

    Attributes:
        counts: (h, w) thermal image as it came, or None.
        followed: of the pipeline, until it is fused.
        look: of pairs of both cameras.
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
    counts: np.ndarray | None = None
    followed: Followed | None = None
    look: Look | None = None
    stages_ms: dict[str, float] = field(default_factory=dict)
    error: str = ""
    sizes: dict[str, list[int]] = field(default_factory=dict)
    shape: list[int] | None = None
    result: FusionResult | None = None
    visible: np.ndarray | None = None
    measured: Measured | None = None
    truth_error: str = ""


class Work:
    """Does batches; may be called from several threads."""

    def __init__(self, recording: Recording, lanes: Lanes, measures: Measures) -> None:
        self._recording, self._lanes, self._measures = recording, lanes, measures

    def do(self, batch: Batch) -> list[Done]:
        """All of a batch. Errors of a frame are in its answer."""
        all_done = [_begun(job) for job in batch.jobs]
        # The next batch waits for the last gain and the last look of this one, and for no more.
        stages = [self._follow, self._fuse, self._look, self._measure]
        try:
            if batch.undisturbed:
                stages = stages[2:]
                for done in all_done:
                    _attempt(self._follow, done)
                    _attempt(partial(self._fuse, timed=True), done)
            for stage in stages:
                for done in all_done:
                    _attempt(stage, done)
        finally:
            for job in batch.jobs:
                job.turn.close()
                job.looks.close()
        return all_done

    def _follow(self, done: Done) -> None:
        """Decode, and have the gain follow."""
        job = done.job
        try:
            if job.known is None:
                images = self._decode(done)
                self._in_turn(done, images.get("visible"), images.get("thermal"))
            else:
                self._follow_again(job, job.known)
        finally:
            job.turn.close()

    def _follow_again(self, job: Job, known: Entry) -> None:
        """What a pair leaves to later ones: the gain's state, and the look at the last one."""
        if not known.sizes:  # it did not come so far
            return
        again = Done(job)
        with contextlib.suppress(SsvifError):  # then it left as much the first time
            if job.look_again:
                images = self._decode(again)
                self._in_turn(again, images.get("visible"), images.get("thermal"))
                self._fuse(again)
                self._look(again)
                return
            images = {a.role: self._decoded(a) for a in job.pair.arrivals if a.role == "thermal"}
            blank = None
            if "visible" in known.sizes:  # of it only the size is needed
                width, height = known.sizes["visible"]
                blank = np.broadcast_to(np.uint8(0), (height, width, 3))
            self._in_turn(again, blank, images.get("thermal"))

    def _decode(self, done: Done) -> dict[str, np.ndarray]:
        start = time.perf_counter()
        try:
            images = {str(a.role): self._decoded(a) for a in done.job.pair.arrivals}
        finally:
            done.stages_ms["decode_ms"] = (time.perf_counter() - start) * 1e3
        done.sizes = {role: [image.shape[1], image.shape[0]] for role, image in images.items()}
        return images

    def _decoded(self, arrival: Arrival) -> np.ndarray:
        try:
            return self._recording.pixels(arrival)
        except SsvifError as error:
            raise SsvifError(f"bad {arrival.role} frame: {error}") from error

    def _in_turn(self, done: Done, visible: np.ndarray | None, counts: np.ndarray | None) -> None:
        job = done.job
        job.turn.take()
        done.followed = self._lanes.follow(visible, counts, job.newest_s)
        done.visible, done.counts = visible, counts
        job.turn.hand_on(None)

    def _fuse(self, done: Done, *, timed: bool = False) -> None:
        followed, done.followed = done.followed, None
        if followed is None:
            return
        done.result = self._lanes.fuse(followed, timed=timed)
        done.stages_ms |= vars(done.result.times)
        done.shape = list(done.result.fused.shape)

    def _look(self, done: Done) -> None:
        job, visible, counts, result = done.job, done.visible, done.counts, done.result
        try:
            if visible is not None and counts is not None and result is not None:
                stamp_s = job.row["_stamp_ns"] * 1e-9
                done.look = self._measures.look(stamp_s, visible, counts, result)
                job.looks.hand_on(done.look)
        finally:
            job.looks.close()

    def _measure(self, done: Done) -> None:
        visible, result, now, job = done.visible, done.result, done.look, done.job
        if visible is None or result is None or now is None:
            return
        truth = None
        if job.truth is not None:
            try:
                truth = job.truth((visible.shape[0], visible.shape[1]))
            except SsvifError as error:
                done.truth_error = f"labels: {error}"
        done.measured = self._measures.of(
            job.row["index"], job.looks.take(), now, visible, result, truth
        )


def _attempt(stage: Callable[[Done], None], done: Done) -> None:
    try:
        stage(done)
    except SsvifError as error:
        done.error = str(error)


def _begun(job: Job) -> Done:
    known = job.known
    if known is None:
        return Done(job)
    return Done(
        job,
        stages_ms=known.stages_ms,
        error=known.error,
        sizes=known.sizes,
        shape=known.shape,
        measured=known.measured,
        truth_error=known.truth_error,
    )
