"""K-means on colour: the masks that need no network, which label-free masks have to beat."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from ssvif_core.data.pairs import FramePair
from ssvif_core.errors import SsvifError

__all__ = ["ColourClusters", "kmeans_on_colour"]

#: Pixels that are drawn from each frame, and attempts of k-means, the best of which counts.
PIXELS_A_FRAME, ATTEMPTS = 2000, 3
_CRITERIA = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 50, 0.1)


@dataclass(frozen=True)
class ColourClusters:
    """Nearest-centre labels of pixels.

    Attributes:
        centres: (K, 4) float32: CIE L*a*b* (8-bit scale of OpenCV) and thermal, 0..255.
    """

    centres: np.ndarray

    def labels(self, visible: np.ndarray, thermal: np.ndarray) -> np.ndarray:
        """Cluster of each pixel.

        Args:
            visible: (H, W, 3) uint8 RGB.
            thermal: (H, W) uint8.

        Returns:
            (H, W) uint8, 0..K-1.
        """
        pixels = _pixels(visible, thermal)
        # |x - c|^2 without |x|^2, which is the same for every centre: one matrix product.
        distance = (self.centres**2).sum(1) - 2 * (pixels @ self.centres.T)
        return distance.argmin(1).astype(np.uint8).reshape(thermal.shape)


def kmeans_on_colour(pairs: Iterable[FramePair], k: int, seed: int = 0) -> ColourClusters:
    """Cluster the colours and temperatures of frames (k-means++, Arthur & Vassilvitskii 2007).

    Args:
        pairs: frames to find the centres on; 2000 pixels of each are drawn.
        k: number of clusters, 1..255.
        seed: of the drawing and of the seeding.

    Raises:
        SsvifError: there are no frames, or fewer pixels than clusters, or k is out of range.
    """
    if not 1 <= k <= 255:
        raise SsvifError(f"{k} clusters cannot be labels of 8 bit: ask for 1 to 255.")
    rng = np.random.default_rng(seed)
    drawn = []
    for pair in pairs:
        pixels = _pixels(pair.visible, pair.thermal)
        drawn.append(pixels[rng.choice(len(pixels), min(PIXELS_A_FRAME, len(pixels)), False)])
    samples = np.concatenate(drawn) if drawn else np.empty((0, 4), np.float32)
    if len(samples) < k:
        raise SsvifError(f"{len(samples)} pixels are too few for {k} clusters: give more frames.")
    cv2.setRNGSeed(seed)
    flags = cv2.KMEANS_PP_CENTERS
    _, _, centres = cv2.kmeans(samples, k, np.empty(0), _CRITERIA, ATTEMPTS, flags)
    return ColourClusters(centres)


def _pixels(visible: np.ndarray, thermal: np.ndarray) -> np.ndarray:
    """(H * W, 4) float32."""
    lab = cv2.cvtColor(visible, cv2.COLOR_RGB2LAB)
    return np.dstack([lab, thermal]).reshape(-1, 4).astype(np.float32)
