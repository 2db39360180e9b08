"""The held-out part of a recording played through both models, as `ssvif replay --compare` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ssvif_core.adapt.judge import FIGURES, Judged
from ssvif_core.adapt.material import RecordedMaterial
from ssvif_core.models import Model
from ssvif_core.replay.compare_report import Run, write_comparison
from ssvif_core.replay.folder import write_run
from ssvif_core.replay.frame_table import FRAMES, read_figures
from ssvif_core.replay.options import ReplayOptions
from ssvif_core.replay.recording import Slice
from ssvif_core.replay.run import replay

__all__ = ["LONGEST_S", "replay_both"]

#: Flicker shows in a minute; all of the held-out part is looked at by `judge.measure`.
LONGEST_S = 60.0

Progress = Callable[[str, float, float | None], None]


def replay_both(
    material: RecordedMaterial, models: dict[str, Model], folder: Path, progress: Progress
) -> list[Judged]:
    """Replay with each model into a folder of its name, and compare.

    Args:
        material: the recording; its settings are used.
        models: name -> model, the old one first.
        folder: for compare.html, compare.json and the two replays.
        progress: told the name, seconds done, and seconds in all where known.

    Returns:
        The figures of `FIGURES` that only a replay gives: flicker, and masks against true labels
        where the recording has them.

    Raises:
        SsvifError: the replay cannot be made.
        KeyboardInterrupt: stopped by the user.
    """
    seconds = min(LONGEST_S, material.split.total - material.split.held_out_start)
    options = ReplayOptions(
        settings=material.settings,
        topics=material.topics,
        part=Slice(material.split.held_out_start, seconds),
        stamps=material.stamps,
    )
    runs: list[Run] = []
    for name, model in models.items():
        each = replace(options, settings=replace(options.settings, model=str(model.path)))
        run_folder = folder / name

        def remark(done_s: float, total_s: float | None, text: str, name: str = name) -> None:
            progress(name, done_s, total_s)

        played = replay(material.path, run_folder, each, remark)
        summary, _ = write_run(played, run_folder)
        if summary["interrupted"]:
            raise KeyboardInterrupt
        runs.append(Run(name, run_folder, summary, read_figures(run_folder / FRAMES)))
    found = write_comparison(folder, runs)[runs[1].name]
    return [
        Judged(d.figure, d.pairs, d.first, d.second, d.mean, d.low, d.high)
        for d in found
        if d.figure in FIGURES and FIGURES[d.figure].guard
    ]
