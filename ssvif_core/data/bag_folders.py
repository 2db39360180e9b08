"""Which recordings there are in folders: what belongs together, and what is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ssvif_core.data.bag_files import BAG_SUFFIXES
from ssvif_core.data.bag_parts import is_bag_name
from ssvif_core.errors import SsvifError

__all__ = ["recordings_in"]

METADATA = "metadata.yaml"
#: Where rosbag2 and rosbag split: drive_0.mcap, drive_1.mcap; rosbag puts the time before that.
PART = re.compile(r"(?:(?:^|_)\d{4}(?:-\d\d){5})?_(\d+)$")
#: What `ssvif replay` writes beside its own output recording, which is no input; also unfinished.
RUN_OF_REPLAY = ("frames.csv.gz", "report.html")
UNFINISHED_RUN = "journal.jsonl"


def recordings_in(paths: Sequence[Path]) -> list[Path]:
    """The recordings that paths mean: themselves, or those in a folder, sorted by name.

    A folder with metadata.yaml is one recording, and so is a folder with files whose names differ
    by a number at the end (drive_0.mcap, drive_1.mcap). Any other folder holds several, in folders
    of any depth. Folders that `ssvif replay` has written are left out, also where they are named.

    Raises:
        SsvifError: there is no recording at a path, nor anything that `ssvif replay` wrote; or
            nothing else at all of them.
    """
    found: list[Path] = []
    runs: list[Path] = []
    for path in paths:
        known = len(runs)
        inside = _inside(path, set(), runs)
        if not inside and len(runs) == known:
            raise SsvifError(_nothing_at(path))
        found += inside
    if not found:
        raise SsvifError(
            f"There is no recording, only what `ssvif replay` wrote: {', '.join(map(str, runs))}. "
            "Name the recordings, or the folder bag in one of these."
        )
    return list(dict.fromkeys(found))


def _nothing_at(path: Path) -> str:
    looked_for = f"looked for {', '.join(sorted(BAG_SUFFIXES))}"
    if not path.is_dir():
        return f"There is no recording {path} ({looked_for}): check the path."
    return (
        f"There is no recording in the folder {path} ({looked_for}). Folders of images and videos "
        "are for `ssvif fuse` and `ssvif evaluate`."
    )


def _inside(path: Path, seen: set[Path], runs: list[Path]) -> list[Path]:
    """The recordings at a path; what is a run of replay goes to `runs`."""
    if not path.is_dir():
        return [path] if path.exists() else []
    if path.resolve() in seen:
        return []
    seen.add(path.resolve())  # links may lead in a circle
    if (path / METADATA).is_file():  # before a run is looked for: one may have been written into it
        return [path]
    entries = sorted(path.iterdir())
    files = [p for p in entries if p.is_file() and is_bag_name(p)]
    below: list[Path] = []
    if _is_run(path):
        runs.append(path)
    else:
        below = [
            bag for folder in entries if folder.is_dir() for bag in _inside(folder, seen, runs)
        ]
    return [path] if _is_split(files) and not below else files + below


def _is_run(path: Path) -> bool:
    whole = all((path / name).is_file() for name in RUN_OF_REPLAY)
    return whole or (path / UNFINISHED_RUN).is_file()


def _is_split(files: Sequence[Path]) -> bool:
    """Whether files are the parts of one recording, each with a number of its own."""
    stems = [_stem(p) for p in files]
    numbers = [found.group(1) for stem in stems if (found := PART.search(stem))]
    same = len({PART.sub("", stem) for stem in stems}) == 1
    return same and (len(set(numbers)) == len(files) or len(set(stems)) == 1)


def _stem(path: Path) -> str:
    """The name without what says its kind: drive_1 of drive_1.bag.active."""
    name = path.name
    for suffix in (".zstd", ".active", *BAG_SUFFIXES):
        name = name.removesuffix(suffix)
    return name
