"""Makes way in the folder to write to: what an earlier replay left there goes, and nothing else."""

from __future__ import annotations

from pathlib import Path

from ssvif_core.errors import SsvifError
from ssvif_core.replay import set_aside
from ssvif_core.replay.frame_table import FRAMES, PARQUET
from ssvif_core.replay.journal import JOURNAL
from ssvif_core.replay.outputs import BAG, VIDEO
from ssvif_core.replay.rerun_file import RRD

__all__ = [
    "REPORT", "SUMMARY", "check_earlier_run", "clear_earlier_run", "clear_outputs", "prepare",
    "refuse_own_input",
]  # fmt: skip

SUMMARY, REPORT = "summary.json", "report.html"
#: What a replay writes whole. The summary goes last, for it says that the folder is a replay's.
WHOLE = (REPORT, FRAMES, PARQUET, RRD, SUMMARY)


def refuse_own_input(recording: Path, folder: Path) -> None:
    """Refuse a folder in which a replay would write into its own recording, or remove it.

    Args:
        recording: file or folder that is read.
        folder: to write to; it need not be there.

    Raises:
        SsvifError: something that is written or removed is the recording, holds it, or lies among
            its files. A folder of its own below them is no part of the recording.
    """
    source = recording.resolve()
    for name in (*WHOLE, JOURNAL, VIDEO, BAG):
        for path in (folder / name, set_aside.aside(folder / name)):
            target = path.resolve()
            if target in (source, *source.parents) or target.parent == source:
                raise SsvifError(
                    f"A replay to {folder} would write {path}, and {recording} is what it reads: "
                    "name another folder."
                )


def prepare(folder: Path, *, resume: bool = False) -> None:
    """Make the folder, or clear it of an earlier replay; other files there are left alone.

    Args:
        folder: to write to.
        resume: leave there what a replay that was stopped can be gone on from.

    Raises:
        SsvifError: it cannot be made, or holds what a replay would write, of something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_others(folder)
        _remove_run(folder, to_go_on=resume and (folder / JOURNAL).exists())
    except OSError as error:
        raise SsvifError(f"Cannot write to {folder}: {error}") from error


def check_earlier_run(recording: Path, folder: Path) -> None:
    """Refuse a comparison in a folder of a replay that could not be removed without a loss.

    A comparison writes its replays to folders below: where no replay was, all is left alone.

    Args:
        recording: file or folder that is read.
        folder: of the comparison; it need not be there.

    Raises:
        SsvifError: of what would be removed, something is the recording or is not a replay's.
    """
    if _is_of_a_replay(folder):
        refuse_own_input(recording, folder)
        _refuse_others(folder)


def clear_earlier_run(recording: Path, folder: Path) -> None:
    """Remove an earlier replay from the folder of a comparison, which would not belong to it.

    Raises:
        SsvifError: as `check_earlier_run`, or it cannot be removed.
    """
    check_earlier_run(recording, folder)
    if _is_of_a_replay(folder):
        try:
            _remove_run(folder)
        except OSError as error:
            raise SsvifError(f"Cannot write to {folder}: {error}") from error


def _remove_run(folder: Path, *, to_go_on: bool = False) -> None:
    """Remove a replay; `to_go_on`: all but what a stopped one is gone on from."""
    if not to_go_on:
        clear_outputs(folder)
        (folder / JOURNAL).unlink(missing_ok=True)
    for name in WHOLE:
        (folder / name).unlink(missing_ok=True)


def clear_outputs(folder: Path) -> None:
    """Remove video and output recording of an earlier replay, in a folder that `prepare` has seen.

    Raises:
        OSError: they cannot be removed.
    """
    for name in (VIDEO, BAG):
        set_aside.remove(folder / name)
        set_aside.forget(folder / name)


def _refuse_others(folder: Path) -> None:
    bag = folder / BAG
    if bag.is_dir() and any(bag.iterdir()) and not (bag / f"{BAG}.mcap").is_file():
        raise SsvifError(f"{bag} is a recording that no replay wrote: name another folder.")
    there = [folder / name for name in (VIDEO, BAG, *WHOLE) if (folder / name).exists()]
    if there and not _is_of_a_replay(folder):
        raise SsvifError(
            f"{there[0]} is there already, and no replay wrote it, for {folder} has neither "
            f"{SUMMARY} with {FRAMES} nor {JOURNAL}: name another folder."
        )


def _is_of_a_replay(folder: Path) -> bool:
    whole = all((folder / name).is_file() for name in (SUMMARY, FRAMES))
    return whole or (folder / JOURNAL).is_file()
