"""What a fused image shows that no camera saw. Lower is better, in grey levels, for all figures.

Metrics such as SF and AG reward any added detail; these say where there was none to add: noise
and checkerboard in flat regions, brightness that leaves the range of both cameras, and halos
(`halos.py`). All are symmetric in the sources, and 0 for a copy of a source.
"""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.fusion_metrics import luminance
from ssvif_core.evaluation.halos import halo_steepness

__all__ = [
    "ARTEFACTS",
    "ENERGY_WINDOW",
    "FLAT_DEVIATION",
    "FLAT_WINDOW",
    "evaluate_artefacts",
    "flat_artefacts",
    "halo",
    "overshoot",
]

#: Names of the figures, in the order in which tables show them.
ARTEFACTS = ("artefacts", "overshoot", "halo")

#: Side of the window in which a region is called flat, and of the one that energy is averaged in.
FLAT_WINDOW, ENERGY_WINDOW = 11, 7
#: Largest standard deviation, in grey levels, of a flat window. A ramp of slope s has s * sqrt(10)
#: in 11 pixels, so this bounds the slope to 0.95 levels a pixel as well as noise and texture.
FLAT_DEVIATION = 3.0
#: Below this part of flat pixels an image says nothing of flat regions.
MIN_FLAT_PART = 0.001
#: Halos of pyramids and of networks that predict at 1/4 lie within about this many pixels.
HALO_RADIUS = 8
#: Binomial low-pass; it removes both checkerboard and stripes of period 2 completely.
_BINOMIAL = np.array([1.0, 2.0, 1.0]) / 4


def evaluate_artefacts(
    fused: np.ndarray, visible: np.ndarray, thermal: np.ndarray
) -> dict[str, float]:
    """All figures, by the names in `ARTEFACTS`; arguments and errors as `flat_artefacts`."""
    return {
        "artefacts": flat_artefacts(fused, visible, thermal),
        "overshoot": overshoot(fused, visible, thermal),
        "halo": halo(fused, visible, thermal),
    }


def flat_artefacts(fused: np.ndarray, visible: np.ndarray, thermal: np.ndarray) -> float:
    """High-frequency energy in flat regions that neither source has.

    With F, Y, T the luminances, B the 3 x 3 binomial low-pass and <.> the mean of a 7 x 7 window:

        E(X) = <(X - B X)^2>
        flat = pixels where the standard deviation of Y and that of T in 11 x 11 are below 3
        A    = sqrt( mean over flat of max(0, E(F) - max(E(Y), E(T))) )

    A checkerboard of +-1 grey level on a smooth scene gives 1; white noise of deviation s gives
    0.8 s. A copy of a source gives 0, pixel max very nearly so, and a weighted mean until it is
    rounded: to bytes, 0.03. Noise of a source that is amplified counts, by what it exceeds the
    noisier source.

    Args:
        fused: (H, W) 0..255, or (H, W, 3) uint8 RGB; likewise `visible` and `thermal`.

    Returns:
        A >= 0, in grey levels; NaN where less than 0.1 % of the image is flat.

    Raises:
        SsvifError: shapes differ, an image is smaller than 11 x 11, or is unusable.
    """
    f, y, t = _luminances(fused, visible, thermal)
    flat = (_deviation(y) < FLAT_DEVIATION) & (_deviation(t) < FLAT_DEVIATION)
    if flat.mean() < MIN_FLAT_PART:
        return float("nan")
    excess = _energy(f) - np.maximum(_energy(y), _energy(t))
    return float(np.sqrt(np.maximum(excess, 0)[flat].mean()))


def overshoot(fused: np.ndarray, visible: np.ndarray, thermal: np.ndarray) -> float:
    """By how much the fused image leaves the range of both sources nearby.

    With max_r and min_r over a window of 17 x 17 pixels:

        O = mean of max(0, F - max_r(max(Y, T)), min_r(min(Y, T)) - F)

    Pixel max, a weighted mean and a copy give 0. An image whose contrast or brightness was raised
    as a whole leaves the range as well: compare methods of like contrast by it.

    Arguments and errors as `flat_artefacts`; the result is in grey levels, >= 0.
    """
    f, y, t = _luminances(fused, visible, thermal)
    window = np.ones((2 * HALO_RADIUS + 1, 2 * HALO_RADIUS + 1), np.uint8)
    above = f - cv2.dilate(np.maximum(y, t), window)
    below = cv2.erode(np.minimum(y, t), window) - f
    return float(np.maximum(np.maximum(above, below), 0).mean())


def halo(fused: np.ndarray, visible: np.ndarray, thermal: np.ndarray) -> float:
    """`halo_steepness` of the luminances, in grey levels a pixel; NaN without a strong edge.

    Arguments and errors as `flat_artefacts`.
    """
    return halo_steepness(*_luminances(fused, visible, thermal))


def _luminances(*images: np.ndarray) -> list[np.ndarray]:
    lumas = [luminance(image) for image in images]
    shapes = {luma.shape for luma in lumas}
    if len(shapes) != 1:
        raise SsvifError(f"The images differ in size: {sorted(shapes)}.")
    if min(lumas[0].shape) < FLAT_WINDOW:
        raise SsvifError(f"An image of {lumas[0].shape} is too small: use at least 11 x 11.")
    return lumas


def _deviation(image: np.ndarray) -> np.ndarray:
    size = (FLAT_WINDOW, FLAT_WINDOW)
    mean = cv2.blur(image, size)
    return np.sqrt(np.maximum(cv2.blur(image * image, size) - mean * mean, 0))


def _energy(image: np.ndarray) -> np.ndarray:
    detail = image - cv2.sepFilter2D(image, -1, _BINOMIAL, _BINOMIAL)
    return cv2.blur(detail * detail, (ENERGY_WINDOW, ENERGY_WINDOW))
