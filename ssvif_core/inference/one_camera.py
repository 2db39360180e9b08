"""What stands in for a camera that is missing: arrays in, arrays out.

The network was trained with one camera lost in a part of its crops (`data/degrade.py`): mostly
black, so black is what it gets here. Black thermal pixels are made after the gain, which keeps its
limits for when the camera is back.
"""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.errors import SsvifError

__all__ = ["UNKNOWN", "StandIn"]

#: Label of pixels of which nothing is known (`label_info` says so, too).
UNKNOWN = 255


class StandIn:
    """Black images and passed-on images, in buffers that are made once for each size."""

    def __init__(self) -> None:
        self._visible_size: tuple[int, int] | None = None
        self._black: dict[tuple[int, ...], np.ndarray] = {}
        self._labels = np.empty((0, 0), np.uint8)

    def size(self, visible: np.ndarray | None, thermal: np.ndarray | None) -> tuple[int, int]:
        """(H, W) of the output: the visible image's, or the last one's, or else the thermal's.

        Raises:
            SsvifError: there is neither image.
        """
        if visible is not None:
            self._visible_size = (visible.shape[0], visible.shape[1])
            return self._visible_size
        if thermal is None:
            raise SsvifError("There is neither a visible nor a thermal image: give at least one.")
        return self._visible_size or (thermal.shape[0], thermal.shape[1])

    def black(self, *shape: int) -> np.ndarray:
        """A black uint8 image of this shape; nobody may write into it."""
        if shape not in self._black:
            if len(self._black) > 1:  # the size has changed
                self._black.clear()
            self._black[shape] = np.zeros(shape, np.uint8)
        return self._black[shape]

    def passed_on(
        self, visible: np.ndarray | None, thermal: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The living camera's own image as the fused one, with every label unknown.

        Args:
            visible: (H, W, 3) uint8 RGB, or None if it is the camera that is missing.
            thermal: (H, W) uint8, after gain and warp.

        Returns:
            fused (H, W, 3) uint8 RGB: visible itself, or thermal as gray; labels (H, W) of 255.
        """
        fused = cv2.cvtColor(thermal, cv2.COLOR_GRAY2RGB) if visible is None else visible
        if self._labels.shape != fused.shape[:2]:
            self._labels = np.full(fused.shape[:2], UNKNOWN, np.uint8)
        return fused, self._labels
