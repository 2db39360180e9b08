"""Pairs from two videos of the same time: frames spread evenly over the part that both show."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ssvif_core.data.collection import SkippedPair
from ssvif_core.data.pairs import FramePair, make_pair
from ssvif_core.data.streams import VideoStream, rate_ratio
from ssvif_core.errors import SsvifError

__all__ = ["VIDEO_SUFFIXES", "find_videos", "read_video_pairs"]

VIDEO_SUFFIXES = {".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm"}
#: Words in a file's name that say which camera it is from.
WORDS = {
    "visible": ("visible", "visual", "rgb", "color", "vis", "vi"),
    "thermal": ("thermal", "infrared", "lwir", "ir"),
}


def find_videos(folder: Path) -> tuple[Path, Path] | None:
    """The visible and the thermal video in a folder that holds exactly these two, else None."""
    videos = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in VIDEO_SUFFIXES]
    found = {camera: [p for p in videos if _says(p, camera)] for camera in WORDS}
    if len(videos) != 2 or any(len(paths) != 1 for paths in found.values()):
        return None
    (visible,), (thermal,) = found["visible"], found["thermal"]
    return None if visible == thermal else (visible, thermal)


def _says(path: Path, camera: str) -> bool:
    words = path.stem.lower().replace("-", "_").replace(".", "_").split("_")
    return any(word in WORDS[camera] for word in words)


def read_video_pairs(
    visible: Path,
    thermal: Path,
    limit: int,
    make: Callable[..., FramePair] = make_pair,
    offset_s: float = 0.0,
) -> tuple[list[FramePair], list[SkippedPair]]:
    """Read up to `limit` pairs into memory.

    Both videos begin at the same moment, or `offset_s` apart. Where their rates differ, each chosen
    visible frame gets the thermal frame that is nearest in time.

    Args:
        visible: video file.
        thermal: video file.
        limit: pairs at most, spread evenly.
        make: what makes a pair of two frames; called as `make_pair` is.
        offset_s: when the thermal video begins, on the clock of the visible one.

    Returns:
        Pairs, named by the number of the visible frame, and what could not be had: frames that a
        file promises but that cannot be decoded, or all of them if the views differ.

    Raises:
        SsvifError: a file cannot be opened as a video, or with this offset nothing is left.
    """
    streams = VideoStream(visible, "visible"), VideoStream(thermal, "thermal")
    chosen = _chosen(*streams, limit, offset_s)
    frames = [
        _decoded(s, set(picks)) for s, picks in zip(streams, zip(*chosen, strict=True), strict=True)
    ]
    pairs: list[FramePair] = []
    skipped: list[SkippedPair] = []
    for first, second in chosen:
        name = f"{first:06d}"
        missing = [
            s.path.name
            for s, f, i in zip(streams, frames, (first, second), strict=True)
            if i not in f
        ]
        if missing:
            skipped.append(SkippedPair(name, f"{' and '.join(missing)} cannot be decoded there"))
            continue
        try:
            pairs.append(make(name, frames[0][first], frames[1][second]))
        except SsvifError as error:
            skipped.append(SkippedPair(name, str(error)))
    return pairs, skipped


def _chosen(
    visible: VideoStream, thermal: VideoStream, limit: int, offset_s: float
) -> list[tuple[int, int]]:
    """Frame numbers of pairs, evenly spaced over the time that both videos cover."""
    ratio = rate_ratio(visible, thermal)
    behind = offset_s * (thermal.rate_hz or 0.0)  # in thermal frames
    first = max(0, math.ceil(behind / ratio))
    last = min(len(visible) - 1, math.floor((len(thermal) - 1 + behind) / ratio))
    if first > last:
        raise SsvifError(
            f"With an offset of {offset_s:g} s {visible.path.name} and {thermal.path.name} have no "
            "time in common: check its sign."
        )
    picks = np.unique(np.linspace(first, last, min(limit, last - first + 1)).round().astype(int))
    return [(int(i), max(0, round(i * ratio - behind))) for i in picks]


def _decoded(stream: VideoStream, wanted: set[int]) -> dict[int, np.ndarray]:
    """Those frames that can be decoded, by number."""
    frames: dict[int, np.ndarray] = {}
    for number, (_, image) in enumerate(stream.frames()):
        if number in wanted:
            frames[number] = image
        if number >= max(wanted):
            break
    return frames
