"""The pairs that are worth looking at: best and worst by a figure, kept as small JPEG files."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np

from ssvif_core.imaging.panels import panel_row

__all__ = ["EXTREMES", "Extremes", "Picture", "jpeg_of", "offer"]

#: Pairs that are drawn: title -> column, and which end of it.
EXTREMES = {
    "Worst by Qabf": ("Qabf", False),
    "Best by Qabf": ("Qabf", True),
    "Most flicker of the fused image": ("flicker_fused", True),
    "Worst masks (IoU of objects)": ("iou_objects", False),
}

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

    def offer(self, value: float, index: int, time_s: float, picture: Callable[[], bytes]) -> bool:
        """Consider a pair; NaN is never kept. `picture` gives its JPEG, if it is, see `jpeg_of`.

        Returns:
            Whether it is among the kept ones now.
        """
        if value != value or not self._count:
            return False
        rank = self._sign * value
        near = [entry for entry in self._kept if abs(entry[1].time_s - time_s) < 1.0]
        if near and max(near)[0] >= rank:
            return False
        if not near and len(self._kept) == self._count and self._kept[0][0] >= rank:
            return False
        for entry in near:
            self._kept.remove(entry)
        self._kept.append((rank, Picture(value, index, time_s, picture())))
        heapq.heapify(self._kept)
        while len(self._kept) > self._count:
            heapq.heappop(self._kept)
        return True

    def pictures(self) -> list[Picture]:
        """The most extreme first."""
        return [picture for _, picture in sorted(self._kept, reverse=True)]


def offer(
    extremes: Mapping[str, Extremes], row: Mapping[str, Any], picture: Callable[[], bytes]
) -> bytes:
    """Consider a pair for each of `EXTREMES`.

    Args:
        extremes: title -> the pairs that are kept.
        row: of the table.
        picture: gives its JPEG.

    Returns:
        The JPEG, if any has kept it, or nothing.
    """
    drawn = cache(picture)
    for title, (column, _) in EXTREMES.items():
        value = row.get(column, float("nan"))
        extremes[title].offer(value, row["index"], row["time_s"], drawn)
    return drawn() if drawn.cache_info().currsize else b""


def jpeg_of(panels: dict[str, np.ndarray]) -> bytes:
    """Panels side by side: caption -> (H, W, 3) RGB or (H, W) gray, uint8."""
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
