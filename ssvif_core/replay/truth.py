"""True labels of frames: from a label topic of the recording, or from a folder of images.

A label image belongs to the visible frame with the same header stamp; in a folder its name is that
stamp in nanoseconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.data.pairs import IMAGE_SUFFIXES, UNKNOWN, read_labels
from ssvif_core.errors import SsvifError
from ssvif_core.replay.recording import Arrival, Recording

__all__ = ["LabelSource", "Truth", "label_source"]

#: Labels that wait for their frame: three seconds at 30 Hz.
KEPT = 90


#: Reads labels from any thread: (height, width) -> (height, width) uint8 class ids with 255 for
#: unknown. Raises SsvifError if the image cannot be read.
Truth = Callable[[tuple[int, int]], np.ndarray]


class LabelSource(ABC):
    """Labels by the header stamp of the visible frame.

    Attributes:
        none_fit: what to say where not one frame had any.
    """

    none_fit = "no true labels in the recording"

    def see(self, arrival: Arrival) -> None:  # noqa: B027 - most sources need no messages
        """Take note of a message of the label topic."""

    def pending(self, header_ns: int) -> bool:
        """Whether the labels of this frame may still come."""
        return False

    @abstractmethod
    def take(self, header_ns: int) -> Truth | None:
        """The labels of this frame, still to be read, or None where there are none."""


class NoLabels(LabelSource):
    """No truth."""

    def take(self, header_ns: int) -> Truth | None:
        return None


class TopicLabels(LabelSource):
    """From messages; they may come before or after the pair is decided.

    Args:
        recording: decodes them.
        label_map: ids in the messages -> class ids; others become unknown. None: as they are, and
            those above 255 are refused.
    """

    none_fit = "no label message has the stamp of a frame that was fused"

    def __init__(self, recording: Recording, label_map: Mapping[int, int] | None = None) -> None:
        self._recording, self._map = recording, label_map
        self._kept: dict[int, Arrival] = {}
        self._newest_ns = -1

    def see(self, arrival: Arrival) -> None:
        self._kept[arrival.header_ns] = arrival
        self._newest_ns = arrival.header_ns
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]

    def pending(self, header_ns: int) -> bool:
        return header_ns not in self._kept and self._newest_ns < header_ns

    def take(self, header_ns: int) -> Truth | None:
        arrival = self._kept.pop(header_ns, None)
        if arrival is None:
            return None

        def read(size: tuple[int, int]) -> np.ndarray:
            return _fitted(_mapped(self._recording.pixels(arrival), self._map), size)

        return read


class FolderLabels(LabelSource):
    """From a folder of images named by stamps.

    Args:
        folder: of the images.
        label_map: as of `TopicLabels`.

    Raises:
        SsvifError: no image there is named by a stamp.
    """

    def __init__(self, folder: Path, label_map: Mapping[int, int] | None = None) -> None:
        self._map = label_map
        paths = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in IMAGE_SUFFIXES]
        self._paths = {int(p.stem): p for p in paths if p.stem.isdecimal()}
        if not self._paths:
            raise SsvifError(
                f"{folder} has no label image that is named by the stamp of its visible frame in "
                "nanoseconds, such as 1700000000000000000.png."
            )
        self.none_fit = (
            f"none of the {len(self._paths)} label images in {folder} is named by the stamp of a "
            f"frame that was fused, in nanoseconds; the first is {paths[0].name}"
        )

    def take(self, header_ns: int) -> Truth | None:
        path = self._paths.get(header_ns)
        if path is None:
            return None
        return lambda size: _fitted(read_labels(path, self._map), size)


def label_source(
    recording: Recording, folder: Path | None, label_map: Mapping[int, int] | None
) -> LabelSource:
    """The true labels of a recording: those of a folder, else of its label topic, else none.

    Args:
        recording: open.
        folder: of label images named by stamps, or None.
        label_map: as of `TopicLabels`.

    Raises:
        SsvifError: there is no label image in the folder.
    """
    if folder is not None:
        return FolderLabels(folder, label_map)
    if "labels" in recording.topics:
        return TopicLabels(recording, label_map)
    return NoLabels()


def _mapped(ids: np.ndarray, label_map: Mapping[int, int] | None) -> np.ndarray:
    if ids.dtype not in (np.uint8, np.uint16) or ids.ndim != 2:
        raise SsvifError(f"class ids are of 8 or 16 bit and one channel: not {ids.dtype}")
    if label_map is None:
        if ids.max(initial=0) > UNKNOWN:
            raise SsvifError("ids above 255: name the wanted ones with --label-map, as 300:1")
        return ids.astype(np.uint8, copy=False)
    table = np.full(65536, UNKNOWN, np.uint8)
    for source, target in label_map.items():
        table[source] = target
    return table[ids]


def _fitted(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if ids.shape == size:
        return ids
    return cv2.resize(ids, size[::-1], interpolation=cv2.INTER_NEAREST)
