"""Training batches as a pure function of the step number.

There is no iterator state to save: batch `step` of a run with a given seed is always the same,
so a resumed run sees exactly what an uninterrupted one would have seen.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssvif_core.data.augment import augment_thermal, augment_visible, random_crop
from ssvif_core.data.pairs import UNKNOWN, FramePair
from ssvif_core.errors import SsvifError

__all__ = ["Batch", "BatchMaker", "WeightedPairs", "prefetched"]

log = logging.getLogger("ssvif.data")
#: Label pixels remembered for each class and frame, to centre crops on.
CENTRES = 64
#: Frames of a source that are read for them, evenly spaced; a large set is not read whole.
LABELLED = 600
#: Part of the crops into which a rectangle of another crop is pasted (CutMix, arXiv 1905.04899).
CUTMIX = 0.25


#: visible (h, w, 3), thermal (h, w) and labels (h, w), all uint8.
Crop = tuple[np.ndarray, np.ndarray, np.ndarray]


class Batch(NamedTuple):
    """visible (B,3,h,w) and thermal (B,1,h,w) float in [0,1]; labels (B,h,w) int64, 255 unknown."""

    visible: Tensor
    thermal: Tensor
    labels: Tensor


@dataclass(frozen=True)
class WeightedPairs:
    """Frames of one source and the part of every batch that they make up."""

    pairs: Sequence[FramePair]
    share: float


class BatchMaker:
    """Draws augmented crops from several sources.

    Args:
        sources: frames with their shares (normalised here).
        batch_size: crops in a batch.
        crop: rows and columns.
        object_crops: probability that a crop is centred on a labelled object; the class is drawn
            first, evenly, so that rare classes are seen as often as common ones.
        seed: numbers that, with the step, determine a batch: of the run, of the process.
        photometric: whether light, gain, noise and sensor faults are varied.
        labelled_crops: probability that a crop that is not centred on an object is of a frame with
            labels. Where few frames have them, hardly any other crop tells what background is.

    Attributes:
        class_pixels: (255,) int64, pixels of each id in the labels that were read for the centres.
    """

    def __init__(
        self,
        sources: Sequence[WeightedPairs],
        batch_size: int,
        crop: tuple[int, int],
        object_crops: float,
        seed: Sequence[int],
        photometric: bool = True,
        labelled_crops: float = 0.0,
    ) -> None:
        if crop[0] % 16 or crop[1] % 16:
            raise SsvifError(f"The crop {crop} must be a multiple of 16 in both directions.")
        self.sources, self.batch_size, self.crop = sources, batch_size, crop
        self.object_crops, self.seed, self.photometric = object_crops, seed, photometric
        shares = np.array([source.share for source in sources])
        self._shares = shares / shares.sum()
        self.labelled_crops = labelled_crops
        self._labelled = [_labelled_frames(source.pairs) for source in sources]
        self.class_pixels = np.zeros(UNKNOWN, np.int64)
        self._centres = [
            _object_centres(source.pairs, _some(labelled), self.class_pixels)
            for source, labelled in zip(sources, self._labelled, strict=True)
        ]

    def everywhere(self) -> BatchMaker:
        """The same, with crops from all frames and places alike, as if none had labels."""
        other = copy.copy(self)
        other._labelled = [[] for _ in self.sources]
        other._centres = [{} for _ in self.sources]
        return other

    def at(self, step: int) -> Batch:
        """The batch of step `step`."""
        rng = np.random.default_rng([*self.seed, step])
        crops = [self._draw(rng) for _ in range(self.batch_size)]
        crops = [self._cutmix(crop, crops, rng) for crop in crops]
        visible, thermal, labels = (
            torch.from_numpy(np.ascontiguousarray(np.stack(part)))
            for part in zip(*crops, strict=True)
        )
        rgb, hot = visible.permute(0, 3, 1, 2) / 255.0, thermal.unsqueeze(1) / 255.0
        if self.photometric:
            generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
            rgb, hot = augment_visible(rgb, generator), augment_thermal(hot, generator)
        return Batch(rgb, hot, labels.long())

    def _draw(self, rng: np.random.Generator) -> Crop:
        chosen = rng.choice(len(self.sources), p=self._shares)
        pairs, centres = self.sources[chosen].pairs, self._centres[chosen]
        if centres and rng.random() < self.object_crops:
            found = centres[rng.choice(sorted(centres))]
            index, points = found[rng.integers(len(found))]
            return random_crop(
                pairs[index], self.crop, rng, tuple(points[rng.integers(len(points))])
            )
        labelled = self._labelled[chosen]
        if self.labelled_crops and labelled and rng.random() < self.labelled_crops:
            return random_crop(pairs[labelled[rng.integers(len(labelled))]], self.crop, rng)
        return random_crop(pairs[int(rng.integers(len(pairs)))], self.crop, rng)

    def _cutmix(self, crop: Crop, crops: Sequence[Crop], rng: np.random.Generator) -> Crop:
        if rng.random() >= CUTMIX:
            return crop
        other = crops[int(rng.integers(len(crops)))]
        rows, columns = (int(n * rng.uniform(0.25, 0.6)) for n in self.crop)
        top, left = (
            rng.integers(0, n - k) for n, k in zip(self.crop, (rows, columns), strict=True)
        )
        window = (slice(top, top + rows), slice(left, left + columns))
        visible, thermal, labels = (part.copy() for part in crop)
        for part, source in zip((visible, thermal, labels), other, strict=True):
            part[window] = source[window]
        return visible, thermal, labels


def _labelled_frames(pairs: Sequence[FramePair]) -> list[int]:
    """Indices of frames that have labels.

    Pairs that know which have them (`labelled`) are asked; of others all are looked at.
    """
    if hasattr(pairs, "labelled"):
        return list(pairs.labelled)
    return [i for i, pair in enumerate(pairs) if pair.labels is not None]


def _some(labelled: Sequence[int]) -> list[int]:
    """All of them, or `LABELLED` spread evenly over them."""
    if len(labelled) > LABELLED:
        log.warning(
            "Crops that are centred on objects come from %d of the %d frames with labels, evenly "
            "spread: more are not read before the first step. Other crops come from all.",
            LABELLED, len(labelled),
        )  # fmt: skip
    places = np.linspace(0, len(labelled) - 1, min(len(labelled), LABELLED)).astype(int)
    return [labelled[place] for place in np.unique(places).tolist()]


def _object_centres(
    pairs: Sequence[FramePair], frames: Sequence[int], class_pixels: np.ndarray
) -> dict[int, list[tuple[int, np.ndarray]]]:
    """For each class but background: (frame index, (n, 2) rows and columns of its pixels).

    Known pixels of the frames are added to `class_pixels`.
    """
    rng = np.random.default_rng(0)
    centres: dict[int, list[tuple[int, np.ndarray]]] = {}
    for index in frames:
        labels = pairs[index].labels
        if labels is None:  # another frame stands in for one that cannot be read any longer
            continue
        class_pixels += np.bincount(labels.ravel(), minlength=256)[:UNKNOWN]
        for class_id in np.unique(labels):
            if class_id in (0, UNKNOWN):
                continue
            points = np.argwhere(labels == class_id)
            points = points[rng.permutation(len(points))[:CENTRES]]
            centres.setdefault(int(class_id), []).append((index, points))
    return centres


def prefetched(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    """Batches `start` to `stop - 1`, each made in a thread while the one before it is used."""
    with ThreadPoolExecutor(1, "batches") as pool:
        coming = pool.submit(maker.at, start)
        for step in range(start + 1, stop + 1):
            batch = coming.result()
            if step < stop:
                coming = pool.submit(maker.at, step)
            yield batch
