"""Pairs from two videos of the same time: frames spread evenly over the part that both show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ssvif_core.data.collection import SkippedPair
from ssvif_core.data.pairs import FramePair, make_pair
from ssvif_core.data.streams import VideoStream
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
    visible: Path, thermal: Path, limit: int, make: Callable[..., FramePair] = make_pair
) -> tuple[list[FramePair], list[SkippedPair]]:
    """Read up to `limit` pairs into memory.

    Both videos begin at the same moment. Where their rates differ, each chosen visible frame gets
    the thermal frame that is nearest in time.

    Args:
        visible: video file.
        thermal: video file.
        limit: pairs at most, spread evenly.
        make: what makes a pair of two frames; called as `make_pair` is.

    Returns:
        Pairs, named by the number of the visible frame, and what could not be had: frames that a
        file promises but that cannot be decoded, or all of them if the views differ.

    Raises:
        SsvifError: a file cannot be opened as a video.
    """
    streams = VideoStream(visible, "visible"), VideoStream(thermal, "thermal")
    chosen = _chosen(*streams, limit)
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


def _chosen(visible: VideoStream, thermal: VideoStream, limit: int) -> list[tuple[int, int]]:
    """Frame numbers of pairs, evenly spaced over the time that both videos cover."""
    ratio = 1.0
    if visible.rate_hz and thermal.rate_hz:
        ratio = thermal.rate_hz / visible.rate_hz
    last = max(0, min(_length(visible) - 1, int((_length(thermal) - 1) / ratio)))
    picks = np.unique(np.linspace(0, last, min(limit, last + 1)).round().astype(int))
    return [(int(i), round(i * ratio)) for i in picks]


def _length(stream: VideoStream) -> int:
    """Number of frames; counted where the file does not say (a WebM stream, an AVI cut short)."""
    try:
        promised = len(stream)
    except ValueError:  # OpenCV said a negative number
        promised = 0
    return promised or sum(1 for _ in stream.frames())


def _decoded(stream: VideoStream, wanted: set[int]) -> dict[int, np.ndarray]:
    """Those frames that can be decoded, by number."""
    frames: dict[int, np.ndarray] = {}
    for number, (_, image) in enumerate(stream.frames()):
        if number in wanted:
            frames[number] = image
        if number >= max(wanted):
            break
    return frames
