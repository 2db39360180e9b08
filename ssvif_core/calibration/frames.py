"""Frames to calibrate from: unregistered pairs of any source, and the few that are worth most.

The openers of `ssvif_core.data` do the reading; only that the two frames of a pair show the same
view, which they insist on elsewhere, is not asked for here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ssvif_core.calibration.choice import Look, choose, look_at
from ssvif_core.calibration.geometry import Size
from ssvif_core.data.bag_files import is_bag
from ssvif_core.data.bags import read_bag_pairs
from ssvif_core.data.collection import summary
from ssvif_core.data.layouts import candidates, detect_layout, locate, two_folders
from ssvif_core.data.pairs import FramePair, read_packed, read_thermal, read_visible
from ssvif_core.data.videos import find_videos, read_video_pairs
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.thermal_gain import ThermalGain

__all__ = [
    "Shots",
    "Source",
    "choose_frames",
    "read_best",
    "read_shots",
    "shots_of",
    "unregistered",
]

#: What stands for a pair that is not kept.
_LOOKED_AT = FramePair("", np.empty((0, 0, 3), np.uint8), np.empty((0, 0), np.uint8))


@dataclass(frozen=True)
class Source:
    """Where pairs come from; see `ssvif calibrate --help`."""

    path: Path
    thermal_path: Path | None = None
    visible_topic: str | None = None
    thermal_topic: str | None = None
    slop_s: float = 0.05
    offset_s: float = 0.0

    def videos(self) -> tuple[Path, Path] | None:
        """The two videos, if that is what it is."""
        if self.path.is_dir():
            return find_videos(self.path) if self.thermal_path is None else None
        if is_bag(self.path):
            return None
        if self.thermal_path is None or not self.thermal_path.is_file():
            raise SsvifError(
                f"{self.path} is one camera's file: name the thermal one with --thermal "
                f"(there is {self.thermal_path or 'none'})."
            )
        return self.path, self.thermal_path


@dataclass(frozen=True)
class Shots:
    """Pairs of one size each.

    Attributes:
        names: of the pairs.
        visible: (H, W, 3) uint8 RGB each.
        thermal: (h, w) uint8 each, at the thermal camera's own size.
        notes: what was left out, for people.
    """

    names: list[str]
    visible: list[np.ndarray]
    thermal: list[np.ndarray]
    notes: list[str]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def visible_size(self) -> Size:
        return self.visible[0].shape[1::-1]

    @property
    def thermal_size(self) -> Size:
        return self.thermal[0].shape[1::-1]

    @property
    def grey(self) -> list[np.ndarray]:
        """(H, W) uint8 luminance of the visible images."""
        return [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in self.visible]

    def only(self, picks: Sequence[int]) -> Shots:
        """Some of them."""
        return Shots(
            [self.names[i] for i in picks],
            [self.visible[i] for i in picks],
            [self.thermal[i] for i in picks],
            self.notes,
        )


def unregistered(
    name: str,
    visible: np.ndarray,
    thermal: np.ndarray,
    *,
    gain: ThermalGain | None = None,
    stamp_s: float | None = None,
) -> FramePair:
    """As `pairs.make_pair`, but thermal keeps its size and may show another view."""
    return FramePair(name, visible, (gain or ThermalGain()).apply(thermal, stamp_s).copy())


def read_shots(source: Source, limit: int) -> Shots:
    """Up to `limit` pairs, spread evenly over what there is.

    Raises:
        SsvifError: there is nothing at the path, or no pair that can be read.
    """
    pairs, notes = _read(source, limit, unregistered)
    return shots_of([(p.name, p.visible, p.thermal) for p in pairs], notes)


def read_best(source: Source, limit: int, count: int) -> tuple[Shots, int]:
    """The pairs that `choose_frames` would choose, and how many were looked at.

    Everything is read twice, first for thumbnails: only what is chosen is held in memory.

    Args:
        source: where pairs come from.
        limit: pairs to look at, at most, spread evenly over what there is.
        count: pairs to choose, at most.

    Raises:
        SsvifError: as `read_shots` and `choose_frames`.
    """
    looks: list[Look] = []

    def look(name: str, visible: np.ndarray, thermal: np.ndarray, **more: Any) -> FramePair:
        pair = unregistered(name, visible, thermal, **more)
        looks.append(look_at(name, pair.visible, pair.thermal))
        return _LOOKED_AT

    _, notes = _read(source, limit, look)
    if not looks:
        return shots_of([], notes), 0  # says so
    usual = Counter(one.sizes for one in looks).most_common(1)[0][0]
    same = [one for one in looks if one.sizes == usual]
    names = {same[i].name for i in choose(same, count)}

    def keep(name: str, visible: np.ndarray, thermal: np.ndarray, **more: Any) -> FramePair:
        # The gain follows all frames, as it did before.
        pair = unregistered(name, visible, thermal, **more)
        return pair if name in names else _LOOKED_AT

    pairs, _ = _read(source, limit, keep, names)
    kept = [(p.name, p.visible, p.thermal) for p in pairs if p is not _LOOKED_AT]
    if len(same) < len(looks):
        notes.append(f"{len(looks) - len(same)} of {len(looks)} pairs are of another size")
    return shots_of(kept, notes), len(same)


def shots_of(
    pairs: Sequence[tuple[str, np.ndarray, np.ndarray]], notes: Sequence[str] = ()
) -> Shots:
    """Pairs of the sizes that most have; a registration is for one size of each camera.

    Raises:
        SsvifError: there is none.
    """
    if not pairs:
        raise SsvifError(f"No usable pair of frames. {'; '.join(notes[:3])}".strip())
    sizes = Counter((v.shape[:2], t.shape[:2]) for _, v, t in pairs)
    usual = sizes.most_common(1)[0][0]
    kept = [p for p in pairs if (p[1].shape[:2], p[2].shape[:2]) == usual]
    notes = list(notes)
    if len(kept) < len(pairs):
        notes.append(f"{len(pairs) - len(kept)} of {len(pairs)} pairs are of another size")
    names, visible, thermal = (list(part) for part in zip(*kept, strict=True))
    return Shots(names, visible, thermal, notes)


Make = Callable[..., FramePair]


def _read(
    source: Source, limit: int, make: Make, names: Collection[str] | None = None
) -> tuple[list[FramePair], list[str]]:
    """What `make` makes of up to `limit` pairs, in order, and what was left out, for people.

    Of a folder, whose frames have nothing to do with each other, only those of `names` are read.
    """
    if not source.path.exists():
        raise SsvifError(f"There is no file or folder {source.path}: check the path.")
    videos = source.videos()
    if videos:
        pairs, skipped = read_video_pairs(*videos, limit, make, source.offset_s)
    elif is_bag(source.path):
        bag = read_bag_pairs(
            source.path,
            visible_topic=source.visible_topic,
            thermal_topic=source.thermal_topic,
            slop_s=source.slop_s,
            offset_s=source.offset_s,
            limit=limit,
            make=make,
        )
        pairs, skipped = bag.pairs, bag.skipped
        if bag.no_pair:
            raise SsvifError(
                f"No usable pair of {bag.visible_topic} and {bag.thermal_topic}: {bag.no_pair}. "
                f"{summary(skipped)}".strip()
            )
    else:
        return _folder(source, limit, make, names)
    return pairs, [f"{s.name}: {s.reason}" for s in skipped]


def _folder(
    source: Source, limit: int, make: Make, names: Collection[str] | None
) -> tuple[list[FramePair], list[str]]:
    if source.thermal_path is not None:
        place = two_folders(source.path, source.thermal_path)
    else:
        place = locate(detect_layout(source.path), source.path, "train")
    there = [c for c in candidates(place, None) if c.visible and c.thermal]
    picks = np.unique(np.linspace(0, len(there) - 1, min(limit, len(there))).round().astype(int))
    pairs, notes = [], []
    for candidate in (there[i] for i in picks):
        if names is not None and candidate.name not in names:
            continue
        assert candidate.visible is not None and candidate.thermal is not None
        try:
            if place.layout.packed:
                visible, thermal = read_packed(candidate.visible)
            else:
                visible, thermal = read_visible(candidate.visible), read_thermal(candidate.thermal)
            pairs.append(make(candidate.name, visible, thermal))
        except SsvifError as error:
            notes.append(f"{candidate.name}: {error}")
    return pairs, notes


def choose_frames(
    shots: Shots, count: int, progress: Callable[[float], None] = lambda _part: None
) -> Shots:
    """The frames that say most: structure in both images, and each unlike the others.

    Raises:
        SsvifError: fewer than two show anything in both.
    """
    looks = []
    for index, images in enumerate(zip(shots.names, shots.visible, shots.thermal, strict=True)):
        looks.append(look_at(*images))
        progress((index + 1) / len(shots))
    return shots.only(choose(looks, count))
