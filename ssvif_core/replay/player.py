"""The loop of a replay: messages -> pairs -> workers -> figures and outputs, in order.

    this thread: read, pair, hand on  ->  workers (work.py)  ->  this thread: count, row  ->  sinks

Pairs are handed on in batches, and taken back in their order. What is under way is bounded
(`Crew`); pairs wait for their true labels, and rows for their fate at real time, for a few pairs
only. So memory does not grow with the recording but for the figures of the table.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.overlay import draw_overlay
from ssvif_core.interrupts import Interrupts
from ssvif_core.replay.earlier import Earlier
from ssvif_core.replay.headers import OutputHeaders
from ssvif_core.replay.in_order import Crew, Relay
from ssvif_core.replay.journal import Entry, Journal
from ssvif_core.replay.lanes import Lanes
from ssvif_core.replay.names import name_of
from ssvif_core.replay.pairs import DecidedPair, NodePairing
from ssvif_core.replay.pictures import jpeg_of, offer
from ssvif_core.replay.recording import Arrival, Recording
from ssvif_core.replay.replayed import Replayed
from ssvif_core.replay.rows import Costs, Rows
from ssvif_core.replay.sinks import Sinks
from ssvif_core.replay.stability import Look
from ssvif_core.replay.truth import LabelSource
from ssvif_core.replay.work import Batch, Done, Job, Work

__all__ = ["Player", "Progress"]

#: How long, in receipt, a pair waits for its labels.
LABEL_WAIT_NS = 1_000_000_000
#: Pairs that are worked on together, see work.py; more would gain little, and hold more memory.
BATCH = 5
#: With several workers, so many pairs are timed, undisturbed; then each worker does `UNTIMED`, all
#: at once; and again. So short recordings have some, and timing costs the same part of the time on
#: any number of cores: 0.6 % on two. With one worker, all are timed.
TIMED, UNTIMED = 3, 240

Progress = Callable[[float, float | None, str], None]


class Player:
    """Plays one recording into `played`.

    Args:
        played: fresh.
        recording: open.
        truth: its true labels.
        earlier: what an earlier run has left in the folder to write to.
        journal: of this run.
        lanes: where pairs are fused.
        size: (height, width) of the visible frames.
        workers: threads.
        stack: closes what is opened.
    """

    def __init__(
        self, played: Replayed, recording: Recording, truth: LabelSource, earlier: Earlier,
        journal: Journal, lanes: Lanes, size: tuple[int, int], workers: int, stack: ExitStack,
    ) -> None:  # fmt: skip
        options, parts = played.options, played.parts
        self._played, self._recording, self._options = played, recording, options
        self._timed_every = TIMED + UNTIMED * workers if workers > 1 else 1
        self._workers, self._room = workers, 0
        self._truth = truth
        self._pairing = NodePairing(parts.pairing, parts.presence, options.stamps)
        played.modes = self._pairing.modes
        offset_ns = round(options.settings.thermal_offset * 1e9)
        self._costs, self._timed = Costs(), set[str]()
        self._sinks = stack.enter_context(
            Sinks(
                earlier, parts.model.card, size, video=options.video, bag=options.bag,
                rerun=name_of(recording.path) if options.rerun else None,
                timeline=played.timeline, start_ns=recording.start_ns, beside=workers > 1,
            )
        )  # fmt: skip
        self._rows = Rows(
            played.table, played.timeline, recording.start_ns, offset_ns, self._sinks.figures
        )
        self._crew = stack.enter_context(Crew(workers))
        self._gathered: list[Job] = []
        self._work = Work(recording, lanes, played.measures)
        self._turns: Relay[None] = Relay(None)
        self._looks: Relay[Look | None] = Relay(None)
        # As in the node, one that came before the first image (latched) serves from then on.
        self._info = recording.camera_infos().get("visible") if options.bag else None
        self._info_error = ""
        self._headers = OutputHeaders(registered=parts.alignment is not None)
        self._earlier, self._known, self._journal = earlier, earlier.entries(), journal
        self._start = time.perf_counter()
        self._done = 0

    @property
    def seconds_taken(self) -> float:
        """Wall time, with that of the earlier run."""
        return self._earlier.seconds + time.perf_counter() - self._start

    def play(self, progress: Progress, interrupts: Interrupts) -> None:
        """Play all of it; a Ctrl-C counts between messages and between pairs."""
        waiting: deque[DecidedPair] = deque()

        def observe(arrival: Arrival) -> None:
            interrupts.let_through()
            self._observe(arrival)

        for pair in self._pairing.play(self._recording, observe):
            waiting.append(pair)
            while waiting and self._labels_are_settled(waiting[0], pair.decided_ns):
                self._begin(waiting.popleft())
            seconds = (pair.decided_ns - self._recording.start_ns) * 1e-9
            progress(seconds, self._recording.seconds, self._remark())
        for pair in waiting:
            interrupts.let_through()
            self._begin(pair)

    def _remark(self) -> str:
        if self._done < self._earlier.pairs:
            return f"resuming: {self._done} of {self._earlier.pairs} pairs"
        anew = self._earlier.why_anew and ", begun anew"
        return f"{self._done} pairs{anew}"

    def finish(self) -> None:
        """End what was begun, and settle what waits."""
        self._hand_on()
        self._end_all()
        self._rows.flush()
        self._sinks.seconds(self._played.timeline.last + 1, vars(self._played.parts.pairing.counts))
        self._sinks.wait()
        for watch in self._played.streams.values():
            watch.close()
        self._played.last_error = self._played.last_error or self._info_error

    def _observe(self, arrival: Arrival) -> None:
        if arrival.refused:
            self._played.timeline.count("refused", arrival.received_ns)
        elif arrival.role in ("visible", "thermal"):
            watch = self._played.streams[arrival.role]
            watch.see(arrival.received_ns, arrival.header_ns, arrival.picture, arrival.step_ns)
            self._played.timeline.count(arrival.role, arrival.received_ns)
        elif arrival.role == "labels":
            self._truth.see(arrival)
        elif arrival.role == "visible_info" and self._options.bag:
            try:
                self._info = self._recording.message(arrival)
            except SsvifError as error:
                self._info_error = f"{self._recording.topics[arrival.role]}: {error}"

    def _labels_are_settled(self, pair: DecidedPair, now_ns: int) -> bool:
        late = now_ns - pair.decided_ns > LABEL_WAIT_NS
        return late or pair.visible is None or not self._truth.pending(pair.visible.header_ns)

    def _begin(self, pair: DecidedPair) -> None:
        """Make a job of a pair, and hand on those that make a batch."""
        row = self._rows.make(pair)
        known = row["index"] < self._earlier.pairs
        job = self._known_job(pair, row) if known else self._job(pair, row, self._is_timed(row))
        if self._gathered and _undisturbed(self._gathered[0]) != _undisturbed(job):
            self._hand_on()
        if not self._gathered:
            self._room = self._batch_size(job)
        self._gathered.append(job)
        if len(self._gathered) == self._room:
            self._hand_on()

    def _is_timed(self, row: Mapping[str, Any]) -> bool:
        return row["index"] % self._timed_every < TIMED or row["cameras"] not in self._timed

    def _batch_size(self, job: Job) -> int:
        """Pairs that are worked on together from this one on, see work.py.

        Fewer towards the end, and before workers wait for each other so that pairs can be timed
        undisturbed: they finish at nearly the same time then (guided self-scheduling,
        Polychronopoulos & Kuck 1987).
        """
        if self._workers == 1:
            return BATCH
        if _undisturbed(job):
            return TIMED
        index = job.row["index"]
        left = float(self._timed_every - index % self._timed_every)
        whole = self._recording.seconds
        done = (job.pair.decided_ns - self._recording.start_ns) * 1e-9
        if whole is not None and done > 0:
            left = min(left, (index + 1) * (whole - done) / done)
        return min(max(1, int(left / (2 * self._workers))), BATCH)

    def _hand_on(self) -> None:
        """Give the workers a batch; first take back what there is no more room for."""
        jobs, self._gathered = self._gathered, []
        if not jobs:
            return
        batch = Batch(jobs, _undisturbed(jobs[0]))
        if batch.undisturbed:
            self._end_all()
            self._sinks.wait()
        while self._crew.full:
            self._end_batch()
        self._crew.give(self._work.do, batch)
        if batch.undisturbed:
            self._end_all()

    def _known_job(self, pair: DecidedPair, row: dict[str, Any]) -> Job:
        """Of a pair that an earlier run has done."""
        known = next(self._known)
        if (known.stamp_ns, known.header_ns) != (row["_stamp_ns"], row["_header_ns"]):
            raise SsvifError(
                f"Pair {known.index} of {self._recording.path} is not that of the run that was "
                "stopped: replay without --resume."
            )
        job = self._job(pair, row, known.timed)
        job.known, job.look_again = known, known.index == self._earlier.look
        return job

    def _job(self, pair: DecidedPair, row: dict[str, Any], timed: bool) -> Job:
        both = pair.cameras == "both"
        newest_ns = pair.thermal_ns if pair.thermal_ns is not None else pair.visible_ns
        assert newest_ns is not None
        return Job(
            pair,
            row,
            newest_ns * 1e-9,
            self._truth.take(pair.visible.header_ns) if both and pair.visible else None,
            timed,
            self._turns.leg(),
            self._looks.leg(),
            self._info,
            dict(vars(self._played.parts.pairing.counts)),
        )

    def _end_all(self) -> None:
        while len(self._crew):
            self._end_batch()

    def _end_batch(self) -> None:
        for done in self._crew.take():
            self._end(done)

    def _end(self, done: Done) -> None:
        """What has to be in order: counts, the row, outputs, the journal."""
        job, played = done.job, self._played
        pair, row = job.pair, job.row
        self._done += 1
        played.timeline.count("paired" if pair.cameras == "both" else "alone", pair.decided_ns)
        if job.timed:
            row.update(done.stages_ms)
            self._costs.timed(pair.cameras, done.stages_ms, failed=bool(done.error))
            if not done.error:
                self._timed.add(pair.cameras)
        cost_ns = self._costs.of_ns(pair.cameras, failed=bool(done.error))
        jpeg = b""
        if done.error or done.shape is None:
            row["error"] = played.last_error = done.error
            played.bad += 1
            played.timeline.count("bad", pair.decided_ns)
        else:
            jpeg = self._count(done)
            self._sinks.seconds(played.timeline.second_of(pair.decided_ns), job.counts)
            self._hand_out(done, pair.decided_ns + cost_ns)
        if job.known is None:
            self._journal.add(self._entry(done, jpeg))
        elif row["index"] + 1 == self._earlier.pairs:
            self._sinks.caught_up()
        self._rows.close(row, pair.decided_ns, cost_ns)

    def _count(self, done: Done) -> bytes:
        """The figures of a pair that was fused; its picture, if it is one to be shown."""
        job, played, row = done.job, self._played, done.job.row
        if job.timed:
            row["total_ms"] = sum(done.stages_ms.values())
        for role, size in done.sizes.items():
            played.sizes.setdefault(role, size)
        if done.measured is None:
            return b""
        if done.truth_error:
            played.unread_labels += 1
            played.last_error = played.label_error = done.truth_error
        row.update(played.measures.add(done.measured))
        known = job.known
        picture = partial(self._drawn, done) if known is None else lambda: known.jpeg
        return offer(played.extremes, row, picture)

    def _drawn(self, done: Done) -> bytes:
        visible, result = done.visible, done.result
        assert visible is not None and result is not None
        card, alpha = self._played.parts.model.card, self._options.settings.overlay_alpha
        overlay = draw_overlay(result.fused, result.labels, card.palette, alpha)
        images = (visible, result.thermal, result.fused, overlay)
        return jpeg_of(dict(zip(("visible", "thermal", "fused", "labels"), images, strict=True)))

    def _hand_out(self, done: Done, time_ns: int) -> None:
        job, result = done.job, done.result
        frame_id, info = self._headers.of(job.pair, job.info)
        if result is not None:
            self._sinks.frame(time_ns, job.row, done.visible, result, frame_id, info)
        elif done.shape is not None:
            self._sinks.again(job.row)

    def _entry(self, done: Done, jpeg: bytes) -> Entry:
        job, row = done.job, done.job.row
        return Entry(
            row["index"], row["_stamp_ns"], row["_header_ns"], job.timed, done.stages_ms,
            done.error, done.sizes, done.shape, done.measured, done.truth_error, jpeg,
            self.seconds_taken,
        )  # fmt: skip


def _undisturbed(job: Job) -> bool:
    """Whether nothing may run beside it: it is timed now."""
    return job.timed and job.known is None
