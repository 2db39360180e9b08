"""The frames that methods are held against: pairs, their labels, their day and night."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ssvif_core.data.collection import SkippedPair
from ssvif_core.data.folder_pairs import decode
from ssvif_core.data.layouts import Layout, Located, detect_layout, locate
from ssvif_core.data.matching import Candidate
from ssvif_core.data.pairs import UNKNOWN, FramePair, read_labels
from ssvif_core.data.sources import is_sequence, read_sequence, usable_pairs
from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.fusion_metrics import LEAST_SIDE

__all__ = [
    "DAY_NIGHT", "EvaluationSet", "check_classes", "check_label_map", "open_evaluation_set",
    "parse_label_map",
]  # fmt: skip

#: Last letter of a name -> part of the set, as MSRS has it.
DAY_NIGHT = {"D": "day", "N": "night"}
#: Label files that an error names for each id.
NAMED = 3


@dataclass(frozen=True)
class EvaluationSet:
    """Names and files of the frames; only those of a recording or of videos are held in memory.

    Attributes:
        folder: of the visible images; or the recording.
        files: name -> the files of one frame, or the frame itself, in the order of names.
        layout: how files are packed; None where there are none.
        label_map: ids in the label files -> class ids, or None.
        parts: name -> "day" or "night"; empty where not every name ends in D or N.
        skipped: pairs that cannot be used, with reasons.
    """

    folder: Path
    files: Mapping[str, Candidate | FramePair]
    layout: Layout | None
    label_map: Mapping[int, int] | None
    parts: Mapping[str, str]
    skipped: Sequence[SkippedPair] = ()

    @property
    def names(self) -> list[str]:
        """Names of the frames, in order."""
        return list(self.files)

    @property
    def labels(self) -> list[str]:
        """Names of the frames that have labels, in order."""
        return [name for name, files in self.files.items() if files.labels is not None]

    def read(self, name: str) -> FramePair:
        """Read one frame; errors as `ssvif_core.data.pairs.read_pair`."""
        found = self.files[name]
        if isinstance(found, FramePair):
            return found
        assert self.layout is not None
        return decode(found, self.layout, self.label_map)

    def only(self, name: str) -> EvaluationSet:
        """One of the frames, to be sent to another process."""
        return replace(self, files={name: self.files[name]}, parts={}, skipped=())

    def measurable(self, name: str) -> FramePair:
        """Read one frame to measure on; raises SsvifError also where it is too small for that."""
        pair = self.read(name)
        if min(pair.thermal.shape) < LEAST_SIDE:
            raise SsvifError(
                f"The images of pair '{name}' are {pair.thermal.shape} (rows, columns): metrics "
                f"need at least {LEAST_SIDE} of both."
            )
        return pair

    def readable(self, names: Iterable[str] | None = None) -> Iterator[FramePair]:
        """Those of the frames (of all, if none are named) to measure on, one after the other."""
        for name in self.names if names is None else names:
            with suppress(SsvifError):
                yield self.measurable(name)

    def ids(self) -> dict[int, list[str]]:
        """Every class id of the labels -> names of the files that hold it; no image is read.

        Files that cannot be read are left out: their frames are skipped when their turn comes.
        """
        found: dict[int, list[str]] = {}
        for name in self.labels:
            path = self.files[name].labels
            assert isinstance(path, Path)  # recordings and videos have none
            with suppress(SsvifError):
                for class_id in np.unique(read_labels(path, self.label_map)).tolist():
                    found.setdefault(class_id, []).append(path.name)
        found.pop(UNKNOWN, None)
        return dict(sorted(found.items()))

    def evenly(self, count: int) -> list[str]:
        """At most `count` names, evenly spaced, in order."""
        return _evenly(self.names, count)


def open_evaluation_set(
    folder: Path,
    labels: str | None = None,
    label_map: Mapping[int, int] | None = None,
    limit: int | None = None,
    split: str | None = None,
    visible_topic: str | None = None,
    thermal_topic: str | None = None,
) -> EvaluationSet:
    """Look through a folder of pairs, in any layout of `layouts.py`, or read a recording.

    Pairs that are incomplete or whose sizes do not fit are left out and listed in `skipped`.

    Args:
        folder: the dataset, or the folder of one split; or what else `open_pairs` takes: a
            recording, or a folder with two videos, of which 400 pairs are kept if no limit is
            given.
        labels: name of the folder of label images, as in `open_pairs`; None takes the layout's
            own where there is one.
        label_map: ids in the files -> class ids; ids that it does not name become unknown.
        limit: evenly spaced frames to keep at most; None keeps all.
        split: train, val or test, of a dataset that has splits; None takes test, or else val.
        visible_topic, thermal_topic: of a recording; None to find them by name and encoding.

    Raises:
        SsvifError: there are no pairs, or the label folder that is asked for has none for them.
    """
    if is_sequence(folder):
        if split not in (None, "train"):  # as of a folder that is not divided
            raise SsvifError(f"{folder} has no split '{split}': leave it out.")
        pairs, skipped = read_sequence(
            folder,
            labels=labels,
            limit=limit,
            visible_topic=visible_topic,
            thermal_topic=thermal_topic,
        )
        return EvaluationSet(folder, {p.name: p for p in pairs}, None, None, {}, skipped)
    place, split = _located(folder, split)
    if labels is None and place.labels is not None:
        labels = "auto"
    found = usable_pairs(folder, place, split, labels, label_map, limit, cache_bytes=0)
    files = {candidate.name: candidate for candidate in found.usable}
    ends = {name[-1] for name in files}
    parts = {n: DAY_NIGHT[n[-1]] for n in files} if ends <= DAY_NIGHT.keys() else {}
    return EvaluationSet(place.visible, files, place.layout, label_map, parts, found.skipped)


def _located(folder: Path, split: str | None) -> tuple[Located, str]:
    """The split that is asked for, or the one that is least likely to have been trained on."""
    layout = detect_layout(folder)
    for name in ("test", "val") if split is None else ():
        try:
            return locate(layout, folder, name), name
        except SsvifError:
            continue
    split = split or "train"  # also: all of what is not divided
    return locate(layout, folder, split), split


def check_classes(
    frames: EvaluationSet, model: str, classes: Sequence[str], option: str = "--label-map"
) -> None:
    """Refuse labels that a model cannot be held against, before hours of work and not after.

    Args:
        frames: whose label files are read.
        model: its name.
        classes: names in the order of their ids.
        option: what the user can map the ids of these frames with.

    Raises:
        SsvifError: there are ids that are none of the classes; it says which, where, what to do.
    """
    unknown = {i: names for i, names in frames.ids().items() if i >= len(classes)}
    if not unknown:
        return
    listed = "; ".join(f"{class_id} (in {_some(names)})" for class_id, names in unknown.items())
    known = ", ".join(f"{class_id} {name}" for class_id, name in enumerate(classes))
    example = ",".join(f"{class_id}:{class_id}" for class_id in range(len(classes)))
    raise SsvifError(
        f"Labels of {frames.folder.parent} have ids that are no class of {model}: {listed}. Its "
        f"classes are {known}. Say with {option} which ids of the files are which class, such as "
        f"{option} {example}: pixels of all other ids are then left out (with "
        f"{next(iter(unknown))}:0 added, those of id {next(iter(unknown))} are background)."
    )


def check_label_map(frames: EvaluationSet) -> None:
    """Raise SsvifError, with the ids of the files, where their map leaves no pixel a class."""
    if frames.label_map is None or not frames.labels or frames.ids():
        return
    there = replace(frames, label_map=None).ids()
    listed = "; ".join(f"{class_id} (in {_some(names)})" for class_id, names in there.items())
    asked = ", ".join(map(str, sorted(frames.label_map)))
    raise SsvifError(
        f"--label-map names ids ({asked}) that no label image of {frames.folder.parent} has, so no "
        f"pixel is left to measure masks on. The files hold {listed or 'ids above 255'}."
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def parse_label_map(text: str | None) -> dict[int, int] | None:
    """Read "0:0,1:1,4:0" (id in the file : class id). None stays None.

    Raises:
        SsvifError: the text is not such a list, or an id is outside of its range.
    """
    if text is None:
        return None
    try:
        pairs = [item.split(":") for item in text.split(",")]
        label_map = {int(file_id): int(class_id) for file_id, class_id in pairs}
    except ValueError as error:
        raise SsvifError(f"'{text}' is no label map: write it like 0:0,1:1,4:0.") from error
    if not all(0 <= i < 65536 and 0 <= label <= 255 for i, label in label_map.items()):
        raise SsvifError(
            f"The label map '{text}' has an id beyond 0 to 65535 or a class beyond 0 to 255."
        )
    return label_map


def _evenly(names: list[str], count: int) -> list[str]:
    places = np.linspace(0, len(names) - 1, min(count, len(names)))
    return [names[place] for place in np.rint(places).astype(int)]
