"""Replay of one recording: the one call between what is asked for and what comes of it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from ssvif_core.cores import cores
from ssvif_core.errors import SsvifError
from ssvif_core.interrupts import Interrupts
from ssvif_core.replay.asked import asked, ran_with
from ssvif_core.replay.clearing import prepare, refuse_own_input
from ssvif_core.replay.earlier import Earlier, look_for_earlier
from ssvif_core.replay.frame_table import FRAMES, FrameTable
from ssvif_core.replay.journal import Journal
from ssvif_core.replay.lanes import Lanes
from ssvif_core.replay.measures import Measures
from ssvif_core.replay.options import ReplayOptions
from ssvif_core.replay.pictures import EXTREMES, Extremes
from ssvif_core.replay.player import Player, Progress
from ssvif_core.replay.recording import Recording
from ssvif_core.replay.replayed import Replayed
from ssvif_core.replay.rerun_file import rerun_package
from ssvif_core.replay.roles import Role
from ssvif_core.replay.settings import Parts, build
from ssvif_core.replay.streams import StreamWatch
from ssvif_core.replay.timeline import Timeline
from ssvif_core.replay.truth import label_source

__all__ = ["replay"]

#: About so many pairs of a short recording have fusion metrics, and of a long one each
#: `LEAST_OFTEN`-th. Its cameras are taken to be of `USUAL_HZ`, or as slow as their messages say.
MEASURED, LEAST_OFTEN, USUAL_HZ = 15, 120, 30.0


def replay(
    path: Path, output: Path, options: ReplayOptions, progress: Progress, *, resume: bool = False
) -> Replayed:
    """Play one recording.

    Args:
        path: the recording.
        output: folder for frames.csv.gz and what else is asked for; it is made, or cleared of an
            earlier replay when all that can be refused has been opened.
        options: what to do.
        progress: told seconds done, seconds in all where known, and a remark.
        resume: go on from a run that was stopped in the folder, as far as it came.

    Returns:
        What was measured; after Ctrl-C what was measured until then.

    Raises:
        SsvifError: nothing can be read, a part cannot be made, or the folder cannot be written to
            without loss of something else.
    """
    refuse_own_input(path, output)
    if options.rerun:
        rerun_package()
    with ExitStack() as stack:
        recording = stack.enter_context(Recording(path, options.topics, options.part))
        size = _size_if_any(recording, "visible") or recording.image_size("thermal")
        parts = build(options.settings, size, recording.camera_infos(), recording.pose)
        stack.callback(parts.pipeline.close)
        registration = parts.pipeline.registration
        thermal_size = _size_if_any(recording, "thermal")
        # As the node: not in the time of the first pair.
        if registration is not None and thermal_size is not None:
            registration.prepare(size[::-1], thermal_size[::-1])
        workers = options.workers or cores()
        lanes = Lanes(parts, options.settings, workers, size)
        stack.callback(lanes.close)
        head = {"asked": asked(path, options), **ran_with(parts)}
        truth = label_source(recording, options.labels_folder, options.label_map)
        prepare(output, resume=resume)
        earlier = look_for_earlier(output, head, options) if resume else Earlier(output)
        interrupts = stack.enter_context(Interrupts())
        journal = stack.enter_context(Journal(output, head, earlier.length))
        played = _fresh(recording, output, options, parts, workers, stack)
        played.resumed_from, played.begun_anew = earlier.pairs, earlier.why_anew
        played.none_fit = truth.none_fit
        player = Player(played, recording, truth, earlier, journal, lanes, size, workers, stack)
        try:
            player.play(progress, interrupts)
        except KeyboardInterrupt:
            played.interrupted = "stopped by the user"
        player.finish()
        played.seconds_taken = player.seconds_taken
        return played


def _every(options: ReplayOptions, recording: Recording) -> int:
    """On every which pair fusion metrics are taken."""
    if options.metrics_every is not None:
        return options.metrics_every
    # Pauses, and a clock that is set, are in the length, which is not known without reading all.
    seconds, counted = recording.seconds, recording.most_pairs
    pairs = [] if seconds is None else [seconds * USUAL_HZ]
    pairs += [] if counted is None else [counted]
    return min(max(1, round(min(pairs) / MEASURED)), LEAST_OFTEN) if pairs else LEAST_OFTEN


def _size_if_any(recording: Recording, role: Role) -> tuple[int, int] | None:
    """(height, width) of a camera's images; None if it sent none that can be used."""
    try:
        return recording.image_size(role)
    except SsvifError:
        return None


def _fresh(
    recording: Recording, output: Path, options: ReplayOptions, parts: Parts, workers: int,
    stack: ExitStack,
) -> Replayed:  # fmt: skip
    """What is to be filled."""
    start_ns = recording.start_ns
    return Replayed(
        recording=recording,
        options=options,
        parts=parts,
        table=stack.enter_context(FrameTable(output / FRAMES)),
        streams={
            "visible": StreamWatch(start_ns),
            "thermal": StreamWatch(start_ns, round(options.settings.thermal_offset * 1e9)),
        },
        timeline=Timeline(start_ns),
        measures=Measures(parts.model.card, _every(options, recording), parts.alignment),
        extremes={
            title: Extremes(options.pictures, greatest=greatest)
            for title, (_, greatest) in EXTREMES.items()
        },
        engine=parts.pipeline.engine.describe(),
        sizes={},
        workers=workers,
    )
