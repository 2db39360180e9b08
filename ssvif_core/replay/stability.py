"""Does the output keep still where the scene does? Flicker of fused luminance and of labels.

Measured between consecutive pairs on static pixels. What is static is decided from the cameras
alone, from raw thermal counts before any gain, so that a gain that pumps is flicker and not motion:
a pixel is static if neither camera's image, averaged over 6 x 6 pixels against noise, has changed
there by more than 3 of 255 levels, nor near it (2 to 3 pixels). That is decided for 2 x 2 pixels
together, which takes a quarter of the time. The thermal image's 255 levels are its own spread from
the 1st to the 99.5th percentile. A light that changes more slowly counts as static.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ssvif_core.imaging.bad_pixels import fill_not_finite
from ssvif_core.imaging.registration import Alignment, Registration
from ssvif_core.imaging.scene_limits import in_order, quantiles

__all__ = ["STABILITY", "Look", "Stability", "warped"]

#: Names of the figures: part of static pixels; mean absolute change in grey levels of the fused
#: luminance, of the visible one and of thermal as the engine saw it; part of labels that changed.
STABILITY = ("static", "flicker_fused", "flicker_visible", "flicker_thermal", "flicker_labels")

#: On images of half the size.
WINDOW, NEAR = 3, np.ones((3, 3), np.uint8)
CHANGE_LEVELS = 3.0
#: Fewer static pixels than this say nothing (a moving camera).
LEAST_STATIC = 0.01
#: Pairs further apart than this are not compared.
LONGEST_STEP_S = 0.5
#: Smallest spread of raw counts, or of temperatures, that is taken for 255 levels, as in the gain.
LEAST_SPREAD = {np.dtype(np.uint8): 16.0, np.dtype(np.uint16): 64.0, np.dtype(np.float32): 0.64}

Warp = Callable[[np.ndarray, tuple[int, int]], np.ndarray]


def resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask on another grid of (height, width), by nearest neighbours."""
    height, width = mask.shape
    if size == (height, width):
        return mask
    if size == (2 * height, 2 * width):  # each pixel four times, in a tenth of cv2's time
        twice = np.empty((height, 2, width), np.uint16)
        np.multiply(mask[:, None], np.uint16(257), out=twice, dtype=np.uint16)
        return twice.view(np.uint8).reshape(size)
    return cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST)


def warped(alignment: Alignment) -> Warp:
    """Takes masks to the visible grid as the pipeline takes thermal images, with maps of its own:
    the pipeline's registration hands out buffers that are still in use.
    """
    registration = Registration(alignment)

    def warp(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return (registration.warp(mask * np.uint8(255), size[::-1]) > 0).astype(np.uint8)

    return warp


@dataclass(frozen=True)
class Look:
    """What is kept of a pair to compare the next one with; images of (H, W).

    Attributes:
        stamp_s: of the pair.
        visible: luminance, uint8.
        visible_mean: the same, averaged, (H // 2, W // 2) float32.
        counts_mean: thermal as it came, (h, w), averaged, (h // 2, w // 2) float32.
        counts_size: (h, w).
        spread: of the raw counts, from the 1st to the 99.5th percentile.
        thermal: as the engine saw it, uint8.
        fused: luminance, uint8.
        labels: uint8.
    """

    stamp_s: float
    visible: np.ndarray
    visible_mean: np.ndarray
    counts_mean: np.ndarray
    counts_size: tuple[int, int]
    spread: float
    thermal: np.ndarray
    fused: np.ndarray
    labels: np.ndarray


class Stability:
    """Compares each pair with the one before. Keeps nothing; may be called from any thread.

    Args:
        warp: takes a uint8 mask on the thermal image's grid to the visible one's (height, width).
    """

    def __init__(self, warp: Warp = resized) -> None:
        self._warp, self._warping = warp, threading.Lock()

    def look(
        self,
        stamp_s: float,
        visible: np.ndarray,
        counts: np.ndarray,
        thermal: np.ndarray,
        fused: np.ndarray,
        labels: np.ndarray,
    ) -> Look:
        """What is needed of one pair.

        Args:
            stamp_s: of the pair.
            visible: (H, W, 3) uint8 RGB.
            counts: (h, w) uint8, uint16 or float32, thermal as it came.
            thermal: (H, W) uint8, as the engine saw it; kept, not copied.
            fused: (H, W, 3) uint8 RGB.
            labels: (H, W) uint8; kept, not copied.
        """
        luma = cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY)
        if counts.dtype == np.float32:
            counts = fill_not_finite(counts)
        low, high = quantiles(in_order(counts[::16, ::16]), (1, 99.5))
        spread = max(float(high - low), LEAST_SPREAD[counts.dtype])
        return Look(
            stamp_s, luma, _mean(luma), _mean(counts), counts.shape, spread, thermal,
            cv2.cvtColor(fused, cv2.COLOR_RGB2GRAY), labels,
        )  # fmt: skip

    def compare(self, before: Look | None, now: Look) -> dict[str, float]:
        """The figures of a pair against the one before; NaN where there is nothing to compare."""
        nothing = dict.fromkeys(STABILITY, math.nan)
        if before is None or not 0 < now.stamp_s - before.stamp_s <= LONGEST_STEP_S:
            return nothing
        if before.visible.shape != now.visible.shape:
            return nothing
        if before.counts_size != now.counts_size:
            return nothing
        static = self._static(before, now)
        count = cv2.countNonZero(static)
        part = count / static.size
        if part < LEAST_STATIC:
            return nothing | {"static": part}
        changed = cv2.compare(before.labels, now.labels, cv2.CMP_NE) & static
        return {
            "static": part,
            "flicker_fused": _change(before.fused, now.fused, static) / count,
            "flicker_visible": _change(before.visible, now.visible, static) / count,
            "flicker_thermal": _change(before.thermal, now.thermal, static) / count,
            "flicker_labels": cv2.countNonZero(changed) / count,
        }

    def _static(self, before: Look, now: Look) -> np.ndarray:
        """(H, W) uint8, 255 where neither camera has changed."""
        size = (now.visible.shape[0], now.visible.shape[1])
        moved = _moved(before.visible_mean, now.visible_mean, CHANGE_LEVELS)
        limit = CHANGE_LEVELS * now.spread / 255
        warm = _moved(before.counts_mean, now.counts_mean, limit)
        if self._warp is resized and now.counts_size == size:  # the same grid: a quarter of it
            return resized(_is_zero(moved | warm), size)
        moved, warm = resized(moved, size), resized(warm, now.counts_size)
        with self._warping:  # a registration keeps its maps and buffers
            moved |= self._warp(warm, size)
        return _is_zero(moved)


def _mean(image: np.ndarray) -> np.ndarray:
    """Averages at half the size. What is left of an odd one is left out: else cv2 is slow."""
    height, width = (max(1, length // 2) for length in image.shape)
    even = image[: 2 * height, : 2 * width]
    half = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.boxFilter(half, cv2.CV_32F, (WINDOW, WINDOW))


def _moved(before: np.ndarray, now: np.ndarray, limit: float) -> np.ndarray:
    """uint8, 1 where a pixel or one near it has changed by more than `limit`."""
    changed = cv2.absdiff(before, now) > limit
    return cv2.dilate(changed.view(np.uint8), NEAR)


def _is_zero(mask: np.ndarray) -> np.ndarray:
    return cv2.compare(mask, 0, cv2.CMP_EQ)  # type: ignore[call-overload,no-any-return]


def _change(before: np.ndarray, now: np.ndarray, static: np.ndarray) -> float:
    """Sum of the absolute changes of static pixels."""
    return cv2.norm(before, now, cv2.NORM_L1, static)
