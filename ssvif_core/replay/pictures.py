"""The pairs that are worth looking at: best and worst by a figure, kept as small JPEG files."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from ssvif_core.imaging.panels import panel_row

__all__ = ["Extremes", "Picture"]

#: Panels are about this high.
PANEL_HEIGHT, JPEG_QUALITY = 224, 82


class Picture(NamedTuple):
    """A row of panels of one pair."""

    value: float
    pair: int
    time_s: float
    jpeg: bytes


class Extremes:
    """The pairs with the least or the greatest value, none within a second of a better one.

    Args:
        count: how many to keep.
        greatest: which end.
    """

    def __init__(self, count: int, *, greatest: bool) -> None:
        self._count, self._sign = count, 1.0 if greatest else -1.0
        self._kept: list[tuple[float, Picture]] = []

    def offer(
        self, value: float, index: int, time_s: float, panels: Callable[[], dict[str, np.ndarray]]
    ) -> None:
        """Consider a pair; NaN is never kept. `panels` gives caption -> RGB or gray image."""
        if value != value or not self._count:
            return
        rank = self._sign * value
        near = [entry for entry in self._kept if abs(entry[1].time_s - time_s) < 1.0]
        if near and max(near)[0] >= rank:
            return
        if not near and len(self._kept) == self._count and self._kept[0][0] >= rank:
            return
        for entry in near:
            self._kept.remove(entry)
        self._kept.append((rank, Picture(value, index, time_s, _jpeg(panels()))))
        heapq.heapify(self._kept)
        while len(self._kept) > self._count:
            heapq.heappop(self._kept)

    def pictures(self) -> list[Picture]:
        """The most extreme first."""
        return [picture for _, picture in sorted(self._kept, reverse=True)]


def _jpeg(panels: dict[str, np.ndarray]) -> bytes:
    images = [_near_panel_height(image) for image in panels.values()]
    row = cv2.cvtColor(panel_row(images, [*panels]), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", row, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def _near_panel_height(image: np.ndarray) -> np.ndarray:
    """The image as a whole part of its size, or a multiple, which cv2 does fast."""
    height, width = image.shape[:2]
    if height < PANEL_HEIGHT:
        times = round(PANEL_HEIGHT / height)
        size = (width * times, height * times)
        return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
    part = round(height / PANEL_HEIGHT)
    size = (max(1, width // part), height // part)
    whole = image[: size[1] * part, : size[0] * part]
    return cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
