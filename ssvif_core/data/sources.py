"""The one way to open paired data: a dataset's folder, two folders, two videos, or a recording.

A broken or mismatched pair is listed and left out; that nothing is usable is an error that says
what was looked for.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ssvif_core.data.bag_files import is_bag
from ssvif_core.data.bags import read_bag_pairs
from ssvif_core.data.collection import PairCollection, SkippedPair, summary
from ssvif_core.data.folder_pairs import CACHE_BYTES, FolderPairs
from ssvif_core.data.image_files import require_pillow
from ssvif_core.data.layouts import (
    Located,
    candidates,
    detect_layout,
    layout_named,
    locate,
    two_folders,
)
from ssvif_core.data.matching import Candidate
from ssvif_core.data.pairs import FramePair
from ssvif_core.data.videos import find_videos, read_video_pairs
from ssvif_core.errors import SsvifError

__all__ = [
    "PairCollection", "SkippedPair", "is_sequence", "open_pairs", "read_sequence", "usable_pairs",
]  # fmt: skip

log = logging.getLogger("ssvif.data")

#: Pairs of a video or recording if no limit is given: 0.5 GB of 640x480, all kept in memory.
SEQUENCE_LIMIT = 400


def open_pairs(
    path: Path,
    *,
    layout: str = "auto",
    split: str = "train",
    thermal_path: Path | None = None,
    labels: str | None = None,
    label_map: Mapping[int, int] | None = None,
    limit: int | None = None,
    visible_topic: str | None = None,
    thermal_topic: str | None = None,
    slop_s: float = 0.05,
    offset_s: float = 0.0,
    cache_bytes: int = CACHE_BYTES,
) -> PairCollection:
    """Open paired frames, wherever they are.

    Args:
        path: folder of a dataset (or of one split of it), folder of visible images, visible video,
            folder with visible.mp4 and thermal.mp4, or recording (rosbag2 folder, .mcap, .db3,
            .bag).
        layout: "auto", or a name of `layouts.LAYOUTS`. Of a folder that has a layout, the images
            are read, even if a recording or videos lie there, too.
        split: train, val or test, for datasets that have splits.
        thermal_path: the thermal video or folder of thermal images, if `path` is the visible one.
        labels: folder of label images: a name beside the visible folder or below `path`; "auto"
            for the dataset's own; None for no labels. Pairs may lack a label image.
        label_map: ids in the files -> class ids; see `pairs.read_labels`.
        limit: pairs at most, spread evenly, with as large a part that has labels as there is.
            None: all of a folder, 400 of a video or recording.
        visible_topic: for recordings, see `bags.read_bag_pairs`; also the three that follow.
        thermal_topic: see there.
        slop_s: see there.
        offset_s: see there.
        cache_bytes: memory for decoded pairs. A folder that fits is decoded when it is opened; of a
            larger one, the pairs used last are kept.

    Raises:
        SsvifError: there is nothing at `path`, its layout is not known, or no pair is usable.
    """
    path = Path(path)
    if is_sequence(path, layout, thermal_path):
        pairs, skipped = read_sequence(
            path,
            thermal_path=thermal_path,
            labels=labels,
            limit=limit,
            visible_topic=visible_topic,
            thermal_topic=thermal_topic,
            slop_s=slop_s,
            offset_s=offset_s,
        )
        return PairCollection(path.name, [p.name for p in pairs], pairs.__getitem__, skipped)
    return _folder(path, layout, split, thermal_path, labels, label_map, limit, cache_bytes)


def is_sequence(path: Path, layout: str = "auto", thermal_path: Path | None = None) -> bool:
    """Whether `open_pairs` takes this for a recording or two videos, not for images in folders.

    Raises:
        SsvifError: there is nothing at `path`, or one camera's file.
    """
    if not path.exists():
        raise SsvifError(f"There is no file or folder {path}: check the path.")
    beside = is_bag(path) or _videos(path, thermal_path) is not None
    if beside and _is_dataset(path, layout, thermal_path):
        log.info("%s: its folders of images are read, not the recording or videos there", path)
        return False
    return beside


def read_sequence(
    path: Path,
    *,
    thermal_path: Path | None = None,
    labels: str | None = None,
    limit: int | None = None,
    visible_topic: str | None = None,
    thermal_topic: str | None = None,
    slop_s: float = 0.05,
    offset_s: float = 0.0,
) -> tuple[list[FramePair], list[SkippedPair]]:
    """The pairs of a recording or of two videos, all in memory, and what was left out.

    Arguments are those of `open_pairs`.

    Raises:
        SsvifError: labels are asked for, or no pair is usable.
    """
    if labels is not None:
        raise SsvifError(f"{path}: videos and recordings have no labels; leave `labels` out.")
    limit, about = SEQUENCE_LIMIT if limit is None else limit, ""
    if videos := _videos(path, thermal_path):
        pairs, skipped = read_video_pairs(*videos, limit, offset_s=offset_s)
    else:
        bag = read_bag_pairs(
            path,
            visible_topic=visible_topic,
            thermal_topic=thermal_topic,
            slop_s=slop_s,
            offset_s=offset_s,
            limit=limit,
        )
        pairs, skipped = bag.pairs, bag.skipped
        if bag.no_pair:
            about = f"{bag.visible_topic} and {bag.thermal_topic}: {bag.no_pair}"
    if not pairs:
        detail = "; ".join(part for part in (about, summary(skipped)) if part)
        raise SsvifError(f"No usable pair in {path}: {detail or 'it holds no frames'}.")
    return pairs, skipped


def _videos(path: Path, thermal_path: Path | None) -> tuple[Path, Path] | None:
    """The two videos, if that is what was given."""
    if path.is_dir():
        return find_videos(path) if thermal_path is None else None
    if is_bag(path):
        return None
    if thermal_path is None or not thermal_path.is_file():
        raise SsvifError(
            f"{path} is one camera's file: name the thermal one, too (thermal_path, `thermal` in a "
            f"training file; there is {thermal_path or 'none'}), or put both into a folder as "
            "visible.mp4 and thermal.mp4."
        )
    return path, thermal_path


def _is_dataset(path: Path, layout: str, thermal_path: Path | None) -> bool:
    """Whether there are folders of images."""
    if not path.is_dir():
        return False
    if layout != "auto" or thermal_path is not None:
        return True
    try:
        detect_layout(path)
    except SsvifError:
        return False
    return True


def _folder(
    path: Path,
    layout: str,
    split: str,
    thermal_path: Path | None,
    labels: str | None,
    label_map: Mapping[int, int] | None,
    limit: int | None,
    cache_bytes: int,
) -> PairCollection:
    if thermal_path is not None:
        if not thermal_path.is_dir():
            raise SsvifError(
                f"{path} is a folder, so {thermal_path} must be one of thermal images."
            )
        place = two_folders(path, thermal_path)
    else:
        found = detect_layout(path) if layout == "auto" else layout_named(layout)
        place = locate(found, path, split)
    pairs = usable_pairs(path, place, split, labels, label_map, limit, cache_bytes)
    labelled = [i for i, c in enumerate(pairs.usable) if c.labels]
    names = [c.name for c in pairs.usable]
    return PairCollection(path.name, names, pairs.read, pairs.skipped, labelled)


def usable_pairs(
    path: Path,
    place: Located,
    split: str = "train",
    labels: str | None = None,
    label_map: Mapping[int, int] | None = None,
    limit: int | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> FolderPairs:
    """The pairs of a folder that has been located; the other arguments as in `open_pairs`.

    Raises:
        SsvifError: no pair is usable, or the labels that are asked for are not there.
    """
    require_pillow()  # once, not for each file
    labels_folder = None if labels is None else _labels_folder(path, place, labels, split)
    there = candidates(place, labels_folder)
    complete = [c for c in there if c.visible and c.thermal]
    if limit is not None and limit < len(complete):
        complete = _spread(complete, limit)
    alone = [c for c in there if not (c.visible and c.thermal)]
    pairs = FolderPairs.checked([*complete, *alone], place.layout, label_map, cache_bytes)
    if not pairs.usable:
        raise SsvifError(_nothing_usable(place, there, pairs.skipped))
    if labels_folder is not None and not any(c.labels for c in pairs.usable):
        if any(c.labels for c in complete):
            raise SsvifError(f"No pair with a label image can be used: {summary(pairs.skipped)}.")
        raise SsvifError(
            f"{labels_folder} has no label image for any pair: names there must be those of "
            f"{place.visible}, as '{pairs.usable[0].name}.png'."
        )
    return pairs


def _spread(complete: Sequence[Candidate], limit: int) -> list[Candidate]:
    """`limit` of them: of those with labels (at least one) and of the others, evenly spread."""
    labelled = [i for i, c in enumerate(complete) if c.labels]
    others = [i for i, c in enumerate(complete) if not c.labels]
    count = math.ceil(limit * len(labelled) / len(complete))
    picks = [
        part[round(at)]
        for part, number in ((labelled, count), (others, limit - count))
        for at in np.linspace(0, len(part) - 1, number)
    ]
    return [complete[i] for i in sorted(picks)]


def _labels_folder(path: Path, place: Located, labels: str, split: str) -> Path:
    if labels == "auto":
        if place.labels is None:
            raise SsvifError(
                f"{path} ({place.layout.name}) has no folder of pixel labels that is known; name "
                "it, or leave `labels` out."
            )
        return place.labels
    beside = place.visible.parent
    options = [beside / labels, path / labels, path / labels.replace("{split}", split)]
    for option in options:
        if option.is_dir():
            return option
    looked_for = " or ".join(map(str, dict.fromkeys(options)))
    raise SsvifError(f"There is no label image, for there is no folder of labels {looked_for}.")


def _nothing_usable(
    place: Located, there: Sequence[Candidate], skipped: Sequence[SkippedPair]
) -> str:
    visible = sum(c.visible is not None for c in there)
    thermal = sum(c.thermal is not None for c in there)
    listed = (
        "" if place.names is None else f" whose names are in the list of the split ({len(there)})"
    )
    return (
        f"No usable pair: looked for images with the same name in {place.visible} ({visible}) and "
        f"{place.thermal} ({thermal}){listed}. {summary(skipped)}"
    ).strip()
