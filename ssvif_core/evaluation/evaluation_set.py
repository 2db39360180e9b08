"""The frames that methods are held against: a paired folder, its labels, and its day and night."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssvif_core.data.pairs import IMAGE_SUFFIXES, FramePair, list_pairs, read_pair
from ssvif_core.errors import SsvifError

__all__ = ["DAY_NIGHT", "EvaluationSet", "open_evaluation_set", "parse_label_map"]

#: Last letter of a name -> part of the set, as MSRS has it.
DAY_NIGHT = {"D": "day", "N": "night"}


@dataclass(frozen=True)
class EvaluationSet:
    """Names and files of the frames; nothing is held in memory.

    Attributes:
        folder: with visible/, thermal/ and perhaps labels.
        files: name -> visible and thermal file, in the order of names.
        labels: name -> label file, for the frames that have one.
        label_map: ids in the label files -> class ids, or None.
        parts: name -> "day" or "night"; empty where not every name ends in D or N.
    """

    folder: Path
    files: Mapping[str, tuple[Path, Path]]
    labels: Mapping[str, Path]
    label_map: Mapping[int, int] | None
    parts: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """Names of the frames, in order."""
        return list(self.files)

    def read(self, name: str) -> FramePair:
        """Read one frame; errors as `ssvif_core.data.pairs.read_pair`."""
        return read_pair(name, *self.files[name], self.labels.get(name), self.label_map)

    def evenly(self, count: int) -> list[str]:
        """At most `count` names, evenly spaced, in order."""
        return _evenly(self.names, count)


def open_evaluation_set(
    folder: Path,
    labels: str | None = None,
    label_map: Mapping[int, int] | None = None,
    limit: int | None = None,
) -> EvaluationSet:
    """Look through a paired folder.

    Args:
        folder: with visible/ and thermal/.
        labels: name of the folder of label images; None takes `labels` where there is one.
        label_map: ids in the files -> class ids; ids that it does not name become unknown.
        limit: evenly spaced frames to keep at most; None keeps all.

    Raises:
        SsvifError: there are no pairs, or the label folder that is asked for has none for them.
    """
    files = {name: (visible, thermal) for name, visible, thermal in list_pairs(folder)}
    if limit is not None:
        files = {name: files[name] for name in _evenly(list(files), limit)}
    found = _label_files(folder / (labels or "labels"))
    found = {name: path for name, path in found.items() if name in files}
    if labels is not None and not found:
        raise SsvifError(
            f"{folder / labels} holds no label image for the pairs of {folder}: give the folder "
            "whose files have the names of the pairs."
        )
    ends = {name[-1] for name in files}
    parts = {n: DAY_NIGHT[n[-1]] for n in files} if ends <= DAY_NIGHT.keys() else {}
    return EvaluationSet(folder, files, found, label_map, parts)


def parse_label_map(text: str | None) -> dict[int, int] | None:
    """Read "0:0,1:1,4:0" (id in the file : class id). None stays None.

    Raises:
        SsvifError: the text is not such a list, or an id is outside 0..255.
    """
    if text is None:
        return None
    try:
        pairs = [item.split(":") for item in text.split(",")]
        label_map = {int(file_id): int(class_id) for file_id, class_id in pairs}
    except ValueError as error:
        raise SsvifError(f"'{text}' is no label map: write it like 0:0,1:1,4:0.") from error
    if not all(0 <= label <= 255 for label in (*label_map, *label_map.values())):
        raise SsvifError(f"The label map '{text}' has an id outside 0..255.")
    return label_map


def _label_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in IMAGE_SUFFIXES}


def _evenly(names: list[str], count: int) -> list[str]:
    places = np.linspace(0, len(names) - 1, min(count, len(names)))
    return [names[place] for place in np.rint(places).astype(int)]
