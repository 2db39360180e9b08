"""Before and after, for eyes: thermal edges drawn over the visible image, and a chessboard of both.

What figures say is good can still be wrong; a person sees that at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.calibration.geometry import scaling
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.panels import contact_sheet, panel_row

__all__ = ["before_and_after", "save_picture"]

#: Colour of thermal edges: not found in streets.
EDGE = (0, 255, 90)
#: Gradients of lines in thousandths of the root mean square around them: to go on, and to begin.
EDGES = (1000, 2200)
#: Around: this part of the width.
AROUND = 6
#: Gradients (of Sobel, 8 bits) that are noise.
FAINTEST = 4.0
FIELDS = 8


def before_and_after(
    visible: Sequence[np.ndarray], thermal: Sequence[np.ndarray], homography: np.ndarray
) -> np.ndarray:
    """One row a pair: edges without a registration, edges with it, and both images as fields.

    Without a registration means: thermal stretched over the visible image.

    Args:
        visible: (H, W, 3) uint8 RGB each.
        thermal: (h, w) uint8 each.
        homography: (3, 3), thermal pixel -> visible pixel.

    Returns:
        (rows * H, 3 W, 3) uint8 RGB.
    """
    rows = []
    for seen, felt in zip(visible, thermal, strict=True):
        plain = scaling(felt.shape[1::-1], seen.shape[1::-1])
        images = [_edges(seen, felt, plain), _edges(seen, felt, homography),
                  _fields(seen, felt, homography)]  # fmt: skip
        captions = ["thermal edges, before", "after", "both, after"]
        rows.append(panel_row(images, captions))
    return contact_sheet(rows)


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture, folders above it too; raises SsvifError if the disk does not take it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise SsvifError(f"Cannot write {path}: check the folder, free space and permissions.")


def _edges(visible: np.ndarray, thermal: np.ndarray, homography: np.ndarray) -> np.ndarray:
    mask = _outlines(thermal)
    laid = cv2.warpPerspective(mask, homography, visible.shape[1::-1])[..., None]
    grey = cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    return (grey * (1 - laid) + np.array(EDGE, np.float32) * laid).astype(np.uint8)


def _outlines(thermal: np.ndarray) -> np.ndarray:
    """(h, w) float32, 1 on thin lines along the edges: faint ones too, if nothing near is stronger.

    Gradients relative to those around them, for otherwise people hide the walls behind them; Canny
    thins and joins them.
    """
    smooth = cv2.GaussianBlur(thermal, (0, 0), 1.2).astype(np.float32)
    gx, gy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    around = cv2.blur(gx * gx + gy * gy, (thermal.shape[1] // AROUND | 1,) * 2)
    level = 1000 / (np.sqrt(around) + FAINTEST)
    dx, dy = (np.clip(g * level, -30000, 30000).astype(np.int16) for g in (gx, gy))
    lines = cv2.Canny(dx, dy, *EDGES, L2gradient=True)
    if thermal.shape[1] > 400:  # a line of one pixel is lost in a picture of three images
        lines = cv2.dilate(lines, np.ones((2, 2), np.uint8))
    return lines.astype(np.float32) / 255


def _fields(visible: np.ndarray, thermal: np.ndarray, homography: np.ndarray) -> np.ndarray:
    height, width = visible.shape[:2]
    # Each part with its own contrast: a hot thing leaves all others black.
    contrasty = cv2.createCLAHE(clipLimit=4.0, tileGridSize=(FIELDS, FIELDS)).apply(thermal)
    laid = cv2.warpPerspective(contrasty, homography, (width, height))
    covered = cv2.warpPerspective(np.full_like(thermal, 255), homography, (width, height))
    side = max(1, width // FIELDS)
    rows, columns = np.indices((height, width)) // side
    mine = ((rows + columns) % 2 == 0) & (covered > 127)
    return np.where(mine[..., None], laid[..., None], visible).astype(np.uint8)
