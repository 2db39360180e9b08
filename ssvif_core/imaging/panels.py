"""Images side by side with captions, for videos and contact sheets that people look at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

__all__ = ["contact_sheet", "panel_row"]

FONT = cv2.FONT_HERSHEY_SIMPLEX
#: Height of a caption's letters as a part of the panel's height.
CAPTION_PART = 1 / 18
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def panel_row(images: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
    """Images of any size next to each other, each as high as the first, with its caption.

    Args:
        images: (H, W, 3) uint8 RGB or (H, W) uint8.
        captions: as many texts.

    Returns:
        (H, sum of widths, 3) uint8 RGB; the width is even, as video encoders want it.
    """
    height = images[0].shape[0]
    panels = [
        _captioned(_as_rgb(image, height), caption)
        for image, caption in zip(images, captions, strict=True)
    ]
    row = np.hstack(panels)
    return row[: height - height % 2, : row.shape[1] - row.shape[1] % 2]


def contact_sheet(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows (H, W, 3) below each other, scaled to the width of the first."""
    width = rows[0].shape[1]
    fitted = [
        row
        if row.shape[1] == width
        else cv2.resize(row, (width, max(1, round(row.shape[0] * width / row.shape[1]))))
        for row in rows
    ]
    return np.vstack(fitted)


def _as_rgb(image: np.ndarray, height: int) -> np.ndarray:
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    if image.shape[0] == height:
        return image.copy()
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _captioned(image: np.ndarray, caption: str) -> np.ndarray:
    height = image.shape[0]
    scale = cv2.getFontScaleFromHeight(FONT, max(6, int(height * CAPTION_PART)))
    place = (max(2, height // 40), max(10, int(height * CAPTION_PART * 1.6)))
    for color, thickness in ((BLACK, 3), (WHITE, 1)):  # a dark rim keeps it legible on any scene
        cv2.putText(image, caption, place, FONT, scale, color, thickness, cv2.LINE_AA)
    return image
