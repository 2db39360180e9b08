"""Local agreement of two aligned images, patch by patch, and the small map that raises it.

The visible image is cut into patches. For each, the agreement of the structure maps is computed at
every shift of the thermal image within a radius, once; from then on the agreement under *any* small
map is the sum of the patches' values at the shifts that the map gives them, which costs
microseconds. A patch with one straight edge has a ridge and says something about one direction
only; summed, the ridges cross. Frames and patches can be drawn anew for the bootstrap at no cost.

Templates and shifts as in the matching of HOPC and CFOG maps (Ye et al., TGRS 2017 and 2019); the
joint fit over the surfaces instead of over their peaks is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ssvif_core.calibration.geometry import Size, corners

__all__ = ["Agreement", "basis", "fit", "local_agreement", "small_map"]

#: Patches with less structure than this part of the mean are left out.
LEAST_STRUCTURE = 0.15
#: Parameters of a small map: shift, similarity, affine, projective.
FREEDOMS = (2, 4, 6, 8)


@dataclass(frozen=True)
class Agreement:
    """Agreement of every patch at every shift.

    Attributes:
        centres: (P, 2) pixels of the patches' centres.
        products: (F, P, D, D) float32 sum of the maps' products; D = 2 radius + 1, shift (dx, dy)
            is at [dy + radius, dx + radius] and means: what the visible image has at x, the thermal
            one has at x + shift.
        seen: (F, P) visible structure.
        felt: (F, P, D, D) thermal structure under the patch.
        size: (width, height) of the images.
        radius: greatest shift, in pixels.
    """

    centres: np.ndarray
    products: np.ndarray
    seen: np.ndarray
    felt: np.ndarray
    size: Size
    radius: int

    def surfaces(self, frame_weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Normalised agreement (P, D, D) of all frames together, and the weights (P,) of patches.

        A weight is the square root of the structure that both have there.
        """
        w = np.ones(len(self.seen)) if frame_weights is None else frame_weights
        w = w.astype(np.float32)
        products = np.tensordot(w, self.products, 1)
        seen = w @ self.seen
        felt = np.tensordot(w, self.felt, 1)
        level = max(float(np.sqrt(seen * felt.mean((1, 2))).mean()), 1e-9)
        surfaces = products / (np.sqrt(seen[:, None, None] * felt) + 0.1 * level)
        structure = np.sqrt(seen * felt.mean((1, 2)))
        weights = np.sqrt(np.where(structure > LEAST_STRUCTURE * level, structure, 0.0))
        return surfaces, weights / max(float(weights.sum()), 1e-9)


def local_agreement(
    visible: Sequence[np.ndarray], thermal: Sequence[np.ndarray], patch: int, radius: int
) -> Agreement:
    """Compare structure maps (H, W, 2) of one size, the thermal ones already laid onto visible.

    Args:
        visible: one map a frame.
        thermal: as many; 0 where thermal does not cover.
        patch: width of a patch in pixels.
        radius: greatest shift in pixels.
    """
    height, width = visible[0].shape[:2]
    rows, columns = max(1, round(height / patch)), max(1, round(width / patch))
    tops = np.linspace(0, height, rows + 1).astype(int)
    lefts = np.linspace(0, width, columns + 1).astype(int)
    boxes = [
        (y0, y1, x0, x1)
        for y0, y1 in zip(tops[:-1], tops[1:], strict=True)
        for x0, x1 in zip(lefts[:-1], lefts[1:], strict=True)
    ]
    span = 2 * radius + 1
    products = np.zeros((len(visible), len(boxes), span, span), np.float32)
    felt = np.zeros_like(products)
    seen = np.zeros((len(visible), len(boxes)), np.float32)
    for f, (v, t) in enumerate(zip(visible, thermal, strict=True)):
        padded = np.pad(t, ((radius, radius), (radius, radius), (0, 0)))
        energy = cv2.integral((padded**2).sum(-1))
        for p, (y0, y1, x0, x1) in enumerate(boxes):
            template = np.ascontiguousarray(v[y0:y1, x0:x1])
            window = np.ascontiguousarray(padded[y0 : y1 + 2 * radius, x0 : x1 + 2 * radius])
            seen[f, p] = float((template**2).sum())
            products[f, p] = cv2.matchTemplate(window, template, cv2.TM_CCORR)
            a, b = slice(y0, y0 + span), slice(y1, y1 + span)
            c, d = slice(x0, x0 + span), slice(x1, x1 + span)
            felt[f, p] = energy[b, d] - energy[a, d] - energy[b, c] + energy[a, c]
    centres = np.array([((x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2) for y0, y1, x0, x1 in boxes])
    return Agreement(centres, products, seen, np.maximum(felt, 0), (width, height), radius)


def basis(points: np.ndarray, size: Size, freedom: int) -> np.ndarray:
    """(N, 2, freedom): shifts of points under a unit of each parameter of a small map.

    Parameters are in pixels at the image's left and right edge: shift x, y; growth, turn; stretch,
    shear; and the two of perspective, to first order.
    """
    half = size[0] / 2
    x = (points[:, 0] - (size[0] - 1) / 2) / half
    y = (points[:, 1] - (size[1] - 1) / 2) / half
    one, none = np.ones_like(x), np.zeros_like(x)
    columns = [
        (one, none), (none, one), (x, y), (-y, x), (x, -y), (y, x), (x * x, x * y), (x * y, y * y),
    ]  # fmt: skip
    return np.stack([np.stack(c, -1) for c in columns[:freedom]], -1)


def small_map(parameters: np.ndarray, size: Size) -> np.ndarray:
    """(3, 3) map of thermal pixels laid onto visible to where they belong.

    The inverse of the shifts, which say where to look in the thermal image.
    """
    at = corners(size)
    shifted = at + basis(at, size, len(parameters)) @ parameters
    return cv2.getPerspectiveTransform(shifted.astype(np.float32), at.astype(np.float32))


def fit(
    surfaces: np.ndarray, weights: np.ndarray, agreement: Agreement, freedom: int = 8,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """The parameters (freedom,) of the small map that raises the agreement most, and its value.

    Without `start`, the best common shift comes first; then the freedoms are let in one after
    another, each by damped Newton steps.
    """
    landscape = _Landscape(surfaces, weights, agreement)
    if start is None:
        total = np.tensordot(weights.astype(np.float32), surfaces, 1)
        row, column = np.unravel_index(int(total.argmax()), total.shape)
        parameters = np.array([column, row], np.float64) - agreement.radius
        stages = [f for f in FREEDOMS if f <= freedom]
    else:
        parameters, stages = np.asarray(start, np.float64), [freedom]
    value = -np.inf
    for stage in stages:
        grown = np.zeros(stage)
        grown[: min(stage, len(parameters))] = parameters[:stage]
        parameters, value = landscape.climb(grown)
    return parameters, value


class _Landscape:
    """The summed agreement as a function of the parameters, with slopes.

    Between whole shifts the surfaces are cubic B-splines with the values as coefficients: a little
    smoothed, and with slopes and curvatures that belong to them.
    """

    def __init__(self, surfaces: np.ndarray, weights: np.ndarray, agreement: Agreement) -> None:
        used = weights > 0
        self._padded = np.pad(surfaces[used], ((0, 0), (2, 2), (2, 2)), mode="edge")
        self._weights, self._centres = weights[used], agreement.centres[used]
        self._radius, self._size = agreement.radius, agreement.size
        self._patches = np.arange(len(self._centres))[:, None, None]

    def value(self, parameters: np.ndarray) -> float:
        shifts = basis(self._centres, self._size, len(parameters)) @ parameters
        taps, x, y = self._around(shifts)
        return float(np.einsum("p,pij,pi,pj", self._weights, taps, y[0], x[0], optimize=True))

    def climb(self, parameters: np.ndarray) -> tuple[np.ndarray, float]:
        """Damped Newton: each patch's curvature counts only where it is downward."""
        design = basis(self._centres, self._size, len(parameters))
        value, damping = self.value(parameters), 1e-3
        for _ in range(40):
            slopes, curves = self._slopes(design @ parameters)
            slope = np.einsum("p,pi,pik->k", self._weights, slopes, design)
            bend = np.einsum("p,pij,pik,pjl->kl", self._weights, curves, design, design)
            scale = np.trace(bend) / len(parameters)
            step = np.linalg.solve(bend + (damping * scale + 1e-9) * np.eye(len(bend)), slope)
            step *= min(1.0, 2.0 / max(np.abs(step).max(), 1e-9))
            better = self.value(parameters + step)
            if better > value:
                gained, value = better - value, better
                parameters, damping = parameters + step, max(damping / 4, 1e-4)
                if gained < 1e-7:
                    break
            else:
                damping *= 8
                if damping > 1e4:
                    break
        return parameters, value

    def _around(self, shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The 4x4 values around one shift a patch, and the splines' weights (3, P, 4) in x, y."""
        limit = self._padded.shape[1] - 3
        places = np.clip(shifts + self._radius + 2, 1, limit - 1e-6)
        whole = places.astype(int)
        reach = np.arange(-1, 3)
        rows = whole[:, 1, None, None] + reach[:, None]
        columns = whole[:, 0, None, None] + reach
        taps = self._padded[self._patches, rows, columns]
        part = places - whole
        return taps, _spline(part[:, 0]), _spline(part[:, 1])

    def _slopes(self, shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slope (P, 2) and downward curvature (P, 2, 2) of each patch."""
        taps, x, y = self._around(shifts)

        def at(dx: int, dy: int) -> np.ndarray:
            return np.einsum("pij,pi,pj->p", taps, y[dy], x[dx])

        slopes = np.stack([at(1, 0), at(0, 1)], -1)
        return slopes, _downward(at(2, 0), at(1, 1), at(0, 2))


def _spline(t: np.ndarray) -> np.ndarray:
    """(3, P, 4): weights of a uniform cubic B-spline at t in 0..1, their first and second slope."""
    u = 1 - t
    value = [u**3, 3 * t**3 - 6 * t**2 + 4, 3 * u**3 - 6 * u**2 + 4, t**3]
    first = [-3 * u**2, 9 * t**2 - 12 * t, -9 * u**2 + 12 * u, 3 * t**2]
    second = [6 * u, 18 * t - 12, 18 * u - 12, 6 * t]
    return np.stack([np.stack(w, -1) for w in (value, first, second)]) / 6


def _downward(gxx: np.ndarray, gxy: np.ndarray, gyy: np.ndarray) -> np.ndarray:
    """(P, 2, 2) negated second derivatives with their negative eigenvalues set to 0."""
    curve = -np.stack([np.stack([gxx, gxy], -1), np.stack([gxy, gyy], -1)], -2)
    values, vectors = np.linalg.eigh(curve)
    return np.einsum("pij,pj,pkj->pik", vectors, np.maximum(values, 0), vectors)
