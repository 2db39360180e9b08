"""How sure a target-less map is: what changes when it is fitted again without part of the evidence.

Four checks, all on the agreement surfaces at the map that was found, so that they cost little:
frames and patches drawn anew (bootstrap); one ninth of the image left out at a time (the delete-one
jackknife over blocks of Kuensch, Annals of Statistics 1989, eq. 2.5), which sees errors that
neighbouring patches share, such as parallax; each half of the frames; half the resolution, where
other edges count. Frames of a camera that stands still are all alike, so that draws of frames alone
say nothing there.

And one that has nothing to do with accuracy: whether there is any agreement (`held_out`).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ssvif_core.calibration.geometry import corners
from ssvif_core.calibration.patches import Agreement, basis, fit

__all__ = ["ERROR_DEVIATIONS", "blocks", "halves", "held_out", "shifted", "spread"]

#: The printed error is this many standard deviations. On real scenes the worst corner was within it
#: in nine of ten cases and more (docs/calibration.md).
ERROR_DEVIATIONS = 2.0
#: Blocks of the jackknife on each side of the image.
BLOCKS = 3
#: A map has eight parameters: four patches.
LEAST_PATCHES = 4


def spread(agreement: Agreement, weights: np.ndarray, draws: int, seed: int) -> float:
    """Standard deviation of the worst corner over draws of frames and patches, in its pixels."""
    random = np.random.default_rng(seed)
    frames, patches = len(weights), len(agreement.centres)
    places = []
    for _ in range(draws):
        drawn = weights * np.bincount(random.integers(0, frames, frames), minlength=frames)
        surfaces, patch_weights = agreement.surfaces(drawn)
        patch_weights = patch_weights * np.bincount(
            random.integers(0, patches, patches), minlength=patches
        )
        if np.count_nonzero(patch_weights) >= LEAST_PATCHES:
            places.append(_corner_shifts(surfaces, patch_weights, agreement))
    if len(places) < draws / 2:
        return float("inf")
    return float(np.sqrt(np.var(places, axis=0).sum(-1)).max())


def blocks(agreement: Agreement, weights: np.ndarray) -> float:
    """Jackknife standard deviation of the worst corner over blocks of the image, in its pixels."""
    surfaces, patch_weights = agreement.surfaces(weights)
    part = np.floor(agreement.centres / agreement.size * BLOCKS).astype(int) @ (1, BLOCKS)
    places = []
    for block in np.unique(part[patch_weights > 0]):
        rest = np.where(part == block, 0.0, patch_weights)
        if np.count_nonzero(rest) < LEAST_PATCHES:
            return float("inf")
        places.append(_corner_shifts(surfaces, rest, agreement))
    n = len(places)
    if n < 2:
        return float("inf")
    return float(np.sqrt((n - 1) * np.var(places, axis=0).sum(-1)).max())


def halves(agreement: Agreement, weights: np.ndarray) -> float:
    """How far the maps of every other frame, and of the rest, are apart at the worst corner."""
    even = np.arange(len(weights)) % 2 == 0
    first, second = (shifted(agreement, weights * part) for part in (even, ~even))
    return _longest(first - second)


def shifted(agreement: Agreement, weights: np.ndarray) -> np.ndarray:
    """(4, 2) pixels by which a fit of these frames would move the corners."""
    return _corner_shifts(*agreement.surfaces(weights), agreement)


def _corner_shifts(
    surfaces: np.ndarray, patch_weights: np.ndarray, agreement: Agreement
) -> np.ndarray:
    parameters, _ = fit(surfaces, patch_weights, agreement, start=np.zeros(8))
    return basis(corners(agreement.size), agreement.size, 8) @ parameters


def _longest(vectors: Iterable[np.ndarray]) -> float:
    return float(max(np.linalg.norm(vector) for vector in vectors))


def held_out(agreement: Agreement, weights: np.ndarray) -> float:
    """Do patches agree with the fit of the others? 0: by chance; 1: all, best of all shifts.

    Patches are halved like a chess board's fields. One half gives a map; for each patch of the
    other, the part of all shifts at which it agrees less than where that map says is 0.5 on average
    if there is nothing to agree on.
    """
    surfaces, patch_weights = agreement.surfaces(weights)
    columns = len(np.unique(agreement.centres[:, 0]))
    index = np.arange(len(patch_weights))
    dark = (index // columns + index % columns) % 2 == 0
    ranks, masses = [], []
    for part in (dark, ~dark):
        own = np.where(part, patch_weights, 0.0)
        if np.count_nonzero(own) < LEAST_PATCHES:
            return 0.0
        parameters, _ = fit(surfaces, own, agreement)
        shifts = basis(agreement.centres, agreement.size, 8) @ parameters + agreement.radius
        at = np.clip(np.rint(shifts), 0, 2 * agreement.radius).astype(int)
        here = surfaces[index, at[:, 1], at[:, 0]]
        rank = (surfaces < here[:, None, None]).mean((1, 2))
        ranks.append(rank[~part])
        masses.append(patch_weights[~part])
    mass = np.concatenate(masses)
    mean = float(np.concatenate(ranks) @ mass / max(float(mass.sum()), 1e-9))
    return float(np.clip(2 * mean - 1, 0, 1))
