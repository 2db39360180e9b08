"""The map from thermal to visible from ordinary frames, and how sure it is.

Coarse to fine: `coarse.py` tries every scale, rotation and shift; `patches.py` then raises the
agreement of all frames together in all eight parameters, at a quarter, half and full width.

How sure the corners are is found by fitting again without part of the evidence (`certainty.py`).
Whether there is anything to agree on is another question: patches that had no part in a fit are
asked whether they agree with it better than with other shifts. Frames that show different scenes,
or noise, fail there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ssvif_core.calibration.certainty import (
    ERROR_DEVIATIONS,
    blocks,
    halves,
    held_out,
    shifted,
    spread,
)
from ssvif_core.calibration.coarse import SearchRange, coarse_search
from ssvif_core.calibration.geometry import Size, apply, plausible, scaling
from ssvif_core.calibration.patches import Agreement, fit, local_agreement, small_map
from ssvif_core.calibration.structure import noise_level, structure_map
from ssvif_core.errors import SsvifError

__all__ = ["Estimate", "Level", "estimate"]


@dataclass(frozen=True)
class Level:
    """One step of the refinement: widths in pixels of that step."""

    width: int
    patch: int
    radius: int
    sigma: float


LEVELS = (
    Level(160, 20, 8, 1.0),
    Level(160, 20, 5, 1.0),
    Level(320, 40, 6, 1.2),
    Level(320, 40, 4, 1.2),
    Level(640, 64, 5, 1.5),
    Level(640, 64, 3, 1.5),
)
#: Where the agreement is tested, and what half the resolution says: shifts of up to 20 at 640.
TEST = Level(320, 32, 10, 1.2)
#: Frames that take part in the coarse search; it needs fewer.
COARSE_FRAMES = 6
DRAWS = 40
#: Below the least normalised agreement that a map can have.
NO_AGREEMENT = -1.0


@dataclass(frozen=True)
class Estimate:
    """A map and how sure it is.

    All lengths are those of the worst corner of the visible image, in its pixels.

    Attributes:
        homography: (3, 3), thermal pixel -> visible pixel.
        spread_px: standard deviation over draws of frames and patches.
        blocks_px: standard deviation of the jackknife over parts of the image.
        halves_px: distance of the maps of two halves of the frames.
        scales_px: distance from the map at half the resolution.
        agreement: 0 (as any other shift) to 1 (each patch agrees best where the map says).
        frame_agreement: (F,) the normalised agreement of each frame, -1..1.
    """

    homography: np.ndarray
    spread_px: float
    blocks_px: float
    halves_px: float
    scales_px: float
    agreement: float
    frame_agreement: np.ndarray

    @property
    def uncertainty_px(self) -> float:
        """One standard deviation: the worse of the first two, and the others, as if independent.

        Half the distance of two estimates is the standard deviation of their mean.
        """
        return math.hypot(
            max(self.spread_px, self.blocks_px), self.halves_px / 2, self.scales_px / 2
        )

    @property
    def error_px(self) -> float:
        """What the corners may be off by, in nine of ten cases."""
        return ERROR_DEVIATIONS * self.uncertainty_px


def estimate(
    visible: Sequence[np.ndarray],
    thermal: Sequence[np.ndarray],
    *,
    initial: np.ndarray | None = None,
    search: SearchRange | None = None,
    masks: tuple[np.ndarray, np.ndarray] | None = None,
    progress: Callable[[float], None] = lambda _part: None,
    seed: int = 0,
) -> Estimate:
    """Find the map that all frames agree on best.

    Args:
        visible: (H, W) uint8 grey images of one size.
        thermal: (h, w) uint8 images of one size, as many, white or black hot.
        initial: an old map (3, 3) to start from, at most some 5 % of the width off; no search then.
        search: what the coarse search tries.
        masks: visible (H, W) and thermal (h, w) uint8, 0 where there is no image.
        progress: called with the part that is done, 0..1.
        seed: of the draws.

    Raises:
        SsvifError: there are fewer than two frames, or the two sequences do not fit together.
    """
    if len(visible) != len(thermal) or len(visible) < 2:
        raise SsvifError(
            f"{len(visible)} visible and {len(thermal)} thermal frames: give two pairs or more."
        )
    frames = _Frames(visible, thermal, masks)
    if initial is not None:
        candidates = [np.asarray(initial, np.float64)]
    else:
        some = np.unique(np.linspace(0, len(visible) - 1, COARSE_FRAMES).round().astype(int))
        matches = coarse_search(
            [visible[i] for i in some],
            [thermal[i] for i in some],
            search or SearchRange(),
            masks=masks,
            progress=lambda part: progress(0.4 * part),
        )
        candidates = [match.homography for match in matches]
    everyone = np.ones(len(visible))
    ranked = [frames.refine(c, LEVELS[:2], everyone) for c in candidates]
    start = max(ranked, key=lambda r: r[1])[0]
    progress(0.5)
    weights = frames.weights(start)
    # Whether this one got to the last level is not asked: how sure it is, is measured below.
    homography, _ = frames.refine(start, LEVELS[2:], weights)
    progress(0.75)
    everyone_index = np.arange(len(weights))
    final = frames.compare(homography, LEVELS[-2], everyone_index)
    half = frames.compare(homography, TEST, everyone_index)
    progress(0.85)
    full = frames.visible_size[0] / final.size[0]
    moved = shifted(half, weights) * frames.visible_size[0] / half.size[0]
    own = np.array([_value(final, one) for one in np.eye(len(weights))])
    found = Estimate(
        homography,
        spread_px=spread(final, weights, DRAWS, seed) * full,
        blocks_px=blocks(final, weights) * full,
        halves_px=halves(final, weights) * full,
        scales_px=float(np.linalg.norm(moved, axis=1).max()),
        agreement=held_out(half, weights),
        frame_agreement=own,
    )
    progress(1.0)
    return found


class _Frames:
    """All pairs, and the structure of the visible ones at each level, computed once."""

    def __init__(
        self,
        visible: Sequence[np.ndarray],
        thermal: Sequence[np.ndarray],
        masks: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self._visible, self._thermal = visible, thermal
        self.visible_size: Size = visible[0].shape[1::-1]
        self.thermal_size: Size = thermal[0].shape[1::-1]
        self._seen_mask = None if masks is None else masks[0]
        whole = np.full(self.thermal_size[::-1], 255, np.uint8)
        self._felt_mask = whole if masks is None else masks[1]
        self._seen: dict[tuple[int, float], list[np.ndarray]] = {}

    def refine(
        self, homography: np.ndarray, levels: Sequence[Level], weights: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Climb through levels; the map and its agreement at the last one.

        Where a step gives what no two cameras can, the map before it, and less than any agreement.
        """
        value = NO_AGREEMENT
        used = np.flatnonzero(weights)
        for level in levels:
            agreement = self.compare(homography, level, used)
            surfaces, patch_weights = agreement.surfaces(weights[used])
            parameters, value = fit(surfaces, patch_weights, agreement)
            size = agreement.size
            correction = small_map(parameters, size)
            back = scaling(size, self.visible_size)
            better = back @ correction @ np.linalg.inv(back) @ homography
            if not plausible(better, self.thermal_size):
                return homography, NO_AGREEMENT
            homography = better / better[2, 2]
        return homography, value

    def compare(self, homography: np.ndarray, level: Level, used: np.ndarray) -> Agreement:
        """Local agreement of the frames `used` with thermal laid onto visible by a map."""
        width, height = self.visible_size
        size: Size = (level.width, round(level.width * height / width))
        onto = scaling(self.visible_size, size) @ homography
        magnification = float(np.sqrt(abs(np.linalg.det(_jacobian(onto, self.thermal_size)))))
        small = self.thermal_size
        if magnification < 0.9:  # not to alias
            small = tuple(max(8, round(n * magnification)) for n in self.thermal_size)  # type: ignore[assignment]
            onto = onto @ scaling(small, self.thermal_size)
        whole = cv2.resize(self._felt_mask, small, interpolation=cv2.INTER_NEAREST)
        mask = cv2.warpPerspective(whole, onto, size, flags=cv2.INTER_NEAREST)
        felt = []
        for i in used:
            image = self._thermal[i]
            if small != self.thermal_size:
                image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
            laid = cv2.warpPerspective(image, onto, size)
            felt.append(structure_map(laid, level.sigma, noise_level(image), mask))
        seen = self._structure(size, level.sigma)
        return local_agreement([seen[i] for i in used], felt, level.patch, level.radius)

    def weights(self, homography: np.ndarray) -> np.ndarray:
        """(F,) 0..1: frames that agree less than the median count less, such as unsynchronised."""
        agreement = self.compare(homography, LEVELS[1], np.arange(len(self._visible)))
        each = np.eye(len(self._visible))
        own = np.array([max(0.0, _value(agreement, w)) for w in each])
        return np.clip(own / max(float(np.median(own)), 1e-6), 0.05, 1.0)

    def _structure(self, size: Size, sigma: float) -> list[np.ndarray]:
        key = (size[0], sigma)
        if key not in self._seen:
            how = cv2.INTER_AREA if size[0] < self.visible_size[0] else cv2.INTER_LINEAR
            mask = self._seen_mask
            if mask is not None:
                mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
            self._seen[key] = [
                structure_map(cv2.resize(i, size, interpolation=how), sigma, mask=mask)
                for i in self._visible
            ]
        return self._seen[key]


def _jacobian(matrix: np.ndarray, size: Size) -> np.ndarray:
    """(2, 2) local linear part of a map at the centre of an image."""
    centre = np.array([(size[0] - 1) / 2, (size[1] - 1) / 2])
    around = apply(matrix, centre + np.array([[-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]]))
    return np.stack([around[1] - around[0], around[3] - around[2]], -1)


def _value(agreement: Agreement, frame_weights: np.ndarray) -> float:
    """Normalised agreement without any further shift."""
    surfaces, weights = agreement.surfaces(frame_weights)
    return float(weights @ surfaces[:, agreement.radius, agreement.radius])
