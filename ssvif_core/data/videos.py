"""Pairs from two videos of the same time: frames spread evenly over the part that both show.

The files are gone through twice: first for times alone, to pair, then for the frames of the pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ssvif_core.data.collection import SkippedPair
from ssvif_core.data.pairs import FramePair, make_pair
from ssvif_core.data.streams import ForwardReader, VideoStream
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.thermal_gain import ThermalGain

__all__ = ["VIDEO_SUFFIXES", "find_videos", "nearest_in_time", "read_video_pairs"]

VIDEO_SUFFIXES = {".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm"}
#: Thermal frames this many of their periods away are no partners: the camera stood still then.
MOST_PERIODS = 2.0
#: Words in a file's name that say which camera it is from.
WORDS = {
    "visible": ("visible", "visual", "rgb", "color", "vis", "vi"),
    "thermal": ("thermal", "infrared", "lwir", "ir"),
}


def find_videos(folder: Path) -> tuple[Path, Path] | None:
    """The visible and the thermal video in a folder that holds exactly these two, else None."""
    files = (p for p in sorted(folder.iterdir()) if not p.name.startswith("."))
    videos = [p for p in files if p.suffix.lower() in VIDEO_SUFFIXES]
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
    """Read up to `limit` pairs.

    Both videos begin at the same moment, or `offset_s` apart. Each chosen visible frame gets the
    thermal frame that is nearest in time, by the times that the files give. 16-bit thermal frames
    go through one `ThermalGain`.

    Args:
        visible: video file.
        thermal: video file.
        limit: pairs at most, spread evenly.
        make: what makes a pair of two frames; called as `make_pair` is, in order. Of the frames
            nothing else is kept.
        offset_s: when the thermal video begins, on the clock of the visible one.

    Returns:
        Pairs, named by the number of the visible frame, and what could not be had: frames that
        cannot be decoded, or all of them if the views differ.

    Raises:
        SsvifError: a file cannot be opened as a video, or with this offset nothing is left.
    """
    streams = VideoStream(visible, "visible"), VideoStream(thermal, "thermal")
    seen_s, felt_s = (stream.times_s() for stream in streams)
    chosen = _chosen(nearest_in_time(seen_s, [t + offset_s for t in felt_s]), limit)
    if not chosen:
        raise SsvifError(
            f"With an offset of {offset_s:g} s {visible.name} and {thermal.name} have no time in "
            "common: check its sign."
        )
    readers, gain = [ForwardReader(stream) for stream in streams], ThermalGain()
    pairs: list[FramePair] = []
    skipped: list[SkippedPair] = []
    for numbers in chosen:
        name = f"{numbers[0]:06d}"
        seen, felt = (reader.at(n) for reader, n in zip(readers, numbers, strict=True))
        if seen is None or felt is None:
            missing = (visible.name, thermal.name)[seen is not None]
            skipped.append(SkippedPair(name, f"{missing} cannot be decoded there"))
            continue
        try:
            pairs.append(make(name, seen.pixels, felt.pixels, gain=gain, stamp_s=felt.time_s))
        except SsvifError as error:
            skipped.append(SkippedPair(name, str(error)))
    return pairs, skipped


def nearest_in_time(visible_s: Sequence[float], thermal_s: Sequence[float]) -> np.ndarray:
    """For each visible frame the thermal one that is nearest in time.

    Args:
        visible_s: (N,) times in seconds, increasing.
        thermal_s: (M,) times on the same clock, increasing.

    Returns:
        (N,) int numbers of thermal frames; -1 before the first and after the last one by more than
        half the time between two, and in holes of `MOST_PERIODS` either way.
    """
    seen, felt = np.asarray(visible_s, np.float64), np.asarray(thermal_s, np.float64)
    if not (len(seen) and len(felt)):
        return np.full(len(seen), -1)
    after = np.searchsorted(felt, seen).clip(0, len(felt) - 1)
    before = (after - 1).clip(0)
    nearest = np.where(seen - felt[before] < felt[after] - seen, before, after)
    gaps = np.diff(felt if len(felt) > 1 else seen)
    period = np.median(gaps) if len(gaps) else np.inf
    outside = (seen < felt[0]) | (seen > felt[-1])
    most = np.where(outside, 0.5, MOST_PERIODS) * period
    return np.where(np.abs(seen - felt[nearest]) <= most + 1e-9, nearest, -1)


def _chosen(nearest: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Frame numbers of up to `limit` pairs, evenly spread over what has a partner."""
    there = np.flatnonzero(nearest >= 0)
    picks = np.unique(np.linspace(0, len(there) - 1, min(limit, len(there))).round().astype(int))
    return [(int(i), int(nearest[i])) for i in there[picks]]
