"""Which scale, rotation and shift, roughly: every combination tried, all frames together.

For each scale and rotation one product of spectra gives the agreement of the structure maps at all
shifts, added up over the frames. Nothing is assumed but the ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ssvif_core.calibration.geometry import (
    Size,
    apply,
    centred_similarity,
    corners,
    scaling,
    translation,
)
from ssvif_core.calibration.structure import structure_map

__all__ = ["CoarseMatch", "SearchRange", "coarse_search"]

#: Width of the visible image in the search.
WIDTH = 128
#: Smoothing there, in pixels of the search.
SIGMA = 1.0
#: The overlap must cover this part of the visible image or of the thermal one.
LEAST_OVERLAP = 0.5
#: Two matches are one if their corners are closer than this part of the width.
APART = 0.06


@dataclass(frozen=True)
class SearchRange:
    """What is tried: scale is relative to equal widths, degrees are clockwise on the screen."""

    scales: tuple[float, float] = (0.6, 1.65)
    degrees: tuple[float, float] = (-6.0, 6.0)
    shift: float = 0.25
    scale_step: float = 1.06
    degree_step: float = 2.0

    def grid(self) -> list[tuple[float, float]]:
        """All (scale, degrees)."""
        low, high = np.log(self.scales)
        count = int(np.ceil((high - low) / np.log(self.scale_step))) + 1
        turns = int(np.ceil((self.degrees[1] - self.degrees[0]) / self.degree_step)) + 1
        return [
            (float(s), float(d))
            for s in np.exp(np.linspace(low, high, count))
            for d in np.linspace(*self.degrees, turns)
        ]


@dataclass(frozen=True)
class CoarseMatch:
    """One candidate: thermal pixel -> visible pixel at full size, and its agreement (-1..1)."""

    homography: np.ndarray
    score: float


def coarse_search(
    visible: Sequence[np.ndarray],
    thermal: Sequence[np.ndarray],
    search: SearchRange,
    keep: int = 4,
    masks: tuple[np.ndarray, np.ndarray] | None = None,
    progress: Callable[[float], None] = lambda _part: None,
) -> list[CoarseMatch]:
    """The best few candidates, best first.

    Args:
        visible: (H, W) uint8 grey images of one size.
        thermal: (h, w) uint8 images of one size, as many.
        search: what to try.
        keep: candidates at most.
        masks: visible (H, W) and thermal (h, w) uint8, 0 where there is no image.
        progress: called with the part that is done.
    """
    visible_size: Size = visible[0].shape[1::-1]
    thermal_size: Size = thermal[0].shape[1::-1]
    small: Size = (WIDTH, round(WIDTH * visible_size[1] / visible_size[0]))
    # Thermal at the scale at which it will lie on the visible image, if the widths agree.
    small_thermal: Size = (WIDTH, round(WIDTH * thermal_size[1] / thermal_size[0]))
    shrunk = [cv2.resize(i, small, interpolation=cv2.INTER_AREA) for i in visible]
    felt = [cv2.resize(i, small_thermal, interpolation=cv2.INTER_AREA) for i in thermal]
    canvas = _canvas(small, small_thermal, search)
    masked: list[np.ndarray | None] = [None, None]
    if masks is not None:
        sizes = zip(masks, (small, small_thermal), strict=True)
        masked = [cv2.resize(m, s, interpolation=cv2.INTER_NEAREST) for m, s in sizes]
    seen = [_placed(structure_map(i, SIGMA, mask=masked[0]), canvas) for i in shrunk]
    maps = [structure_map(i, SIGMA, mask=masked[1]) for i in felt]
    matcher = _Matcher(seen, small, canvas, search.shift)
    found = []
    grid = search.grid()
    to_full = scaling(small, visible_size)
    from_full = scaling(thermal_size, small_thermal)
    for index, (scale, degrees) in enumerate(grid):
        onto_canvas = centred_similarity(small_thermal, canvas, scale * WIDTH / canvas[0], degrees)
        score, (dx, dy) = matcher.best(maps, onto_canvas, degrees)
        offset = translation((small[0] - canvas[0]) / 2 + dx, (small[1] - canvas[1]) / 2 + dy)
        found.append(CoarseMatch(to_full @ offset @ onto_canvas @ from_full, score))
        progress((index + 1) / len(grid))
    return _distinct(found, thermal_size, visible_size, keep)


def _canvas(small: Size, small_thermal: Size, search: SearchRange) -> Size:
    """Large enough that no wanted shift wraps round onto the other side."""
    wide = [
        max(t * max(1.0, search.scales[1]), s * (1 + 2 * search.shift)) * 1.08
        for s, t in zip(small, small_thermal, strict=True)
    ]
    width, height = (cv2.getOptimalDFTSize(int(np.ceil(n / 2)) * 2) for n in wide)
    return width + (width - small[0]) % 2, height + (height - small[1]) % 2


def _placed(field: np.ndarray, canvas: Size) -> np.ndarray:
    """In the middle of the canvas, complex64."""
    height, width = field.shape[:2]
    top, left = (canvas[1] - height) // 2, (canvas[0] - width) // 2
    out = np.zeros((canvas[1], canvas[0]), np.complex64)
    out[top : top + height, left : left + width] = field[..., 0] + 1j * field[..., 1]
    return out


class _Matcher:
    """The visible side, transformed once."""

    def __init__(self, seen: list[np.ndarray], small: Size, canvas: Size, shift: float) -> None:
        self._canvas = canvas
        self._spectra = [np.fft.fft2(s) for s in seen]
        self._energy = np.fft.rfft2(sum(np.abs(s) ** 2 for s in seen))
        box = _placed(np.ones((small[1], small[0], 2), np.float32), canvas).real
        self._area, self._box = float(box.sum()), np.fft.rfft2(box)
        reach = [int(np.ceil(shift * n)) for n in small]
        self._rows = np.r_[0 : reach[1] + 1, -reach[1] : 0]
        self._columns = np.r_[0 : reach[0] + 1, -reach[0] : 0]

    def best(
        self, maps: list[np.ndarray], onto: np.ndarray, degrees: float
    ) -> tuple[float, tuple[float, float]]:
        """Greatest agreement over all shifts of thermal maps laid on the canvas by `onto`."""
        phase = np.exp(2j * np.deg2rad(degrees)).astype(np.complex64)
        total = np.zeros(self._canvas[::-1], np.complex64)
        energy = np.zeros(self._canvas[::-1], np.float32)
        for spectrum, field in zip(self._spectra, maps, strict=True):
            warped = cv2.warpAffine(field, onto[:2], self._canvas)
            turned = (warped[..., 0] + 1j * warped[..., 1]) * phase
            total += spectrum * np.conj(np.fft.fft2(turned))
            energy += np.abs(turned) ** 2
        whole = np.ones(maps[0].shape[:2], np.float32)
        area = cv2.warpAffine(whole, onto[:2], self._canvas)
        agreement = self._window(np.fft.ifft2(total).real)
        area_spectrum = np.conj(np.fft.rfft2(area))
        overlap = self._back(self._box * area_spectrum)
        seen = self._back(self._energy * area_spectrum)
        felt = self._back(self._box * np.conj(np.fft.rfft2(energy)))
        score = agreement / np.sqrt(np.maximum(seen * felt, 1e-6))
        least = LEAST_OVERLAP * min(self._area, float(area.sum()))
        score[overlap < least] = -1
        row, column = np.unravel_index(int(score.argmax()), score.shape)
        return float(score[row, column]), (float(self._columns[column]), float(self._rows[row]))

    def _back(self, spectrum: np.ndarray) -> np.ndarray:
        return self._window(np.fft.irfft2(spectrum, s=self._canvas[::-1]))

    def _window(self, plane: np.ndarray) -> np.ndarray:
        return plane[np.ix_(self._rows, self._columns)]


def _distinct(
    found: list[CoarseMatch], thermal_size: Size, visible_size: Size, keep: int
) -> list[CoarseMatch]:
    kept: list[tuple[CoarseMatch, np.ndarray]] = []
    for match in sorted(found, key=lambda m: -m.score):
        places = apply(match.homography, corners(thermal_size))
        if all(np.abs(places - p).max() > APART * visible_size[0] for _, p in kept):
            kept.append((match, places))
        if len(kept) == keep:
            break
    return [match for match, _ in kept]
