"""The frames of a run: its sources opened, validation pairs kept out, labels rationed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import ConcatDataset

from ssvif_core.data.batches import WeightedPairs
from ssvif_core.data.pairs import UNKNOWN, FramePair
from ssvif_core.data.sources import PairCollection, is_sequence, open_pairs
from ssvif_core.errors import SsvifError
from ssvif_core.training.config import DataSource, TrainingConfig

__all__ = ["Frames", "ids_in_files", "joined", "load_sources"]

#: Label images of a source that are read to say which ids there are.
LOOKED_AT = 20


@dataclass(frozen=True)
class Frames:
    """What a run trains on.

    Attributes:
        sources: to draw batches from.
        held_out: pairs for validation, never drawn.
        labelled: number of pairs to draw from whose labels are used.
        labelled_held_out: number of pairs for validation that have labels.
        skipped: one line for each pair that could not be used, and why.
    """

    sources: list[WeightedPairs]
    held_out: Sequence[FramePair]
    labelled: int
    labelled_held_out: int
    skipped: list[str]

    def __str__(self) -> str:
        drawn = sum(len(source.pairs) for source in self.sources)
        return (
            f"{drawn} frames to train on, {self.labelled} of them with labels; "
            f"{len(self.held_out)} held out, {self.labelled_held_out} of them with labels"
        )


class _Subset(Sequence[FramePair]):
    """Some pairs of a collection, read when they are asked for; some of them without labels.

    One of them stands in for a pair that can no longer be read, never one that was held out from
    them, and it has labels only if it may have them itself.

    Args:
        pairs: of one source.
        indices: of those that are meant.
        labelled: of those that keep their labels.
        classes: of labels that name one; None: any id may come.

    Attributes:
        labelled: places in this subset of the pairs that have labels.
    """

    def __init__(
        self,
        pairs: PairCollection,
        indices: list[int],
        labelled: set[int],
        classes: Sequence[str] | None,
    ) -> None:
        self._pairs, self._indices, self._labelled = pairs, indices, labelled
        self._classes = classes
        self.labelled = [place for place, i in enumerate(indices) if i in labelled]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        place = range(len(self))[index]
        chosen, pair = self._pairs.readable(self._indices, place)
        if chosen in self._labelled:
            self._check(pair)
            return pair
        return dataclasses.replace(pair, labels=None)

    def check_labels(self) -> None:
        """Raise SsvifError for a label without a class, before the first validation finds it."""
        for place in self.labelled:
            self[place]

    def _check(self, pair: FramePair) -> None:
        if pair.labels is None or self._classes is None:
            return
        known = pair.labels[pair.labels != UNKNOWN]
        if known.max(initial=0) >= len(self._classes):
            named = ", ".join(f"{i} {name}" for i, name in enumerate(self._classes))
            raise SsvifError(
                f"The labels of {pair.name} ({self._pairs.name}) have the id {known.max()}, and "
                f"the classes of this run are {named}: name the wanted ids in the source's "
                "label_map (`label_map: {0: 0, 4: 2}`; those it does not name are ignored)."
            )


def load_sources(config: TrainingConfig) -> Frames:
    """Open all sources of a configuration.

    Raises:
        SsvifError: a source holds no usable pair, no labels although some are asked for, or labels
            to validate on without a class.
    """
    sources: list[WeightedPairs] = []
    held_out: list[_Subset] = []
    with_labels: list[int] = []
    skipped: list[str] = []
    for source in config.sources:
        pairs = _open(config, source)
        skipped.extend(f"{source.folder}: {s.name}: {s.reason}" for s in pairs.skipped)
        have = set(pairs.labelled)
        kept, rest = _divided(config, source, pairs)
        classes = None if config.mask_mode == "clusters" else config.classes
        held_out.append(_Subset(pairs, sorted(kept), have & kept, classes))
        if classes is not None:
            held_out[-1].check_labels()
        if not rest:
            raise SsvifError(
                f"{(config.data_root / source.folder).resolve()}: no pair is left to train on, all "
                f"{len(pairs)} would be held out to validate: set holdout_every to 0, or with two "
                "pairs and more to 2 or more."
            )
        labelled = [i for i in rest if i in have]
        subset = _Subset(pairs, rest, _rationed(labelled, source.labelled, config.seed), classes)
        sources.append(WeightedPairs(subset, source.share))
        with_labels.append(len(subset.labelled))
    kept_labels = sum(len(part.labelled) for part in held_out)
    return Frames(sources, joined(held_out), sum(with_labels), kept_labels, skipped)


def _divided(
    config: TrainingConfig, source: DataSource, pairs: PairCollection
) -> tuple[set[int], list[int]]:
    """Pairs to validate on, and pairs to train on.

    Of a recording or video the last n-th validates, and what is right before it, a twentieth of
    all, is left out: neighbours in time are alike, and each n-th of them would be no test.
    """
    count, every = len(pairs), source.holdout_every
    place, thermal = _places(config, source)
    if not every or not is_sequence(place, source.layout, thermal):
        kept = _held_out(count, set(pairs.labelled), every)
        return kept, [i for i in range(count) if i not in kept]
    first = count - max(1, count // every)
    end = max(min(1, first), first - math.ceil(count / 20))
    return set(range(first, count)), list(range(end))


def _held_out(count: int, labelled: set[int], every: int) -> set[int]:
    """Each n-th of the labelled pairs and each n-th of the others, apart: who labels each n-th
    frame of a recording would else lose all of them. A labelled one that is alone is trained on.
    """
    if not every:
        return set()
    others = [i for i in range(count) if i not in labelled]
    kept = set(others[::every])
    if not others or len(labelled) > 1:
        kept |= set(sorted(labelled)[::every])
    return kept


def joined(parts: Sequence[Sequence[FramePair]]) -> Sequence[FramePair]:
    """All pairs of several collections as one, still read only when they are asked for."""
    return ConcatDataset(parts)  # type: ignore[arg-type, return-value]


def ids_in_files(config: TrainingConfig) -> str:
    """A sentence: which ids the label images of the sources hold before any label_map."""
    found: set[int] = set()
    try:
        for source in config.sources:
            if source.labels is not None:
                pairs = _open(config, source.model_copy(update={"label_map": None}))
                for index in pairs.labelled[:LOOKED_AT]:
                    if (labels := pairs[index].labels) is not None:
                        found |= set(np.unique(labels).tolist())
    except SsvifError as error:  # ids of 16 bits are not read without a label_map
        return str(error)
    return f"The label images of the sources hold the ids {', '.join(map(str, sorted(found)))}."


def _places(config: TrainingConfig, source: DataSource) -> tuple[Path, Path | None]:
    """Where a source lies, and its thermal part if that is apart."""
    root = config.data_root
    return root / source.folder, None if source.thermal is None else root / source.thermal


def _open(config: TrainingConfig, source: DataSource) -> PairCollection:
    place, thermal = _places(config, source)
    return open_pairs(
        place,
        layout=source.layout,
        split=source.split,
        thermal_path=thermal,
        labels=source.labels,
        label_map=source.label_map,
        limit=source.limit,
        visible_topic=source.visible_topic,
        thermal_topic=source.thermal_topic,
        offset_s=source.offset_s,
    )


def _rationed(indices: list[int], count: int | None, seed: int) -> set[int]:
    """Which frames keep their labels: `count`, by the seed; a larger ration holds a smaller."""
    order = np.random.default_rng([seed, 5]).permutation(len(indices))
    return {indices[i] for i in order[:count]}
