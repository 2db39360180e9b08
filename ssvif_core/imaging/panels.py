"""Images side by side with captions, for videos and contact sheets that people look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

__all__ = ["contact_sheet", "panel_row", "with_legend"]

FONT = cv2.FONT_HERSHEY_SIMPLEX
#: Height of a caption's letters as a part of the panel's height.
CAPTION_PART = 1 / 18
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
#: Names of more classes are too many for one panel.
MOST_NAMES = 8


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


def with_legend(image: np.ndarray, classes: Mapping[str, tuple[int, int, int]]) -> np.ndarray:
    """A copy with the names of classes at its bottom, each in the colour of its masks.

    Args:
        image: (H, W, 3) uint8 RGB.
        classes: name -> RGB; of more than 8 none is written.
    """
    drawn = image.copy()
    if len(classes) > MOST_NAMES:
        return drawn
    height, width = image.shape[:2]
    letters = max(6, int(height * CAPTION_PART))
    scale = cv2.getFontScaleFromHeight(FONT, letters)
    weight = max(1, letters // 10)  # a thin line would have more of its rim's colour than its own
    left = margin = max(2, height // 40)
    bottom = height - 2 * margin
    for name, color in classes.items():
        size = cv2.getTextSize(name, FONT, scale, weight)[0][0]
        if left > margin and left + size > width:  # the next line goes above
            left, bottom = margin, bottom - 2 * letters
        _write(drawn, name, (left, bottom), scale, color, weight)
        left += size + letters
    return drawn


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
    _write(image, caption, place, scale, WHITE)
    return image


def _write(
    image: np.ndarray,
    text: str,
    place: tuple[int, int],
    scale: float,
    color: tuple[int, int, int],
    weight: int = 1,
) -> None:
    # A dark rim keeps it legible on any scene.
    for ink, thickness in ((BLACK, weight + 2), (color, weight)):
        cv2.putText(image, text, place, FONT, scale, ink, thickness, cv2.LINE_AA)
