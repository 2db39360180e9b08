"""Colours for thermal frames and for labels, as look-up tables."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

from ssvif_core.errors import SsvifError

__all__ = ["THERMAL_PALETTES", "colorize_labels", "colorize_thermal", "label_colors"]

_RAMP = np.arange(256, dtype=np.uint8)


def _colormap(code: int) -> np.ndarray:
    table = cv2.applyColorMap(_RAMP[:, None], code)[:, 0]
    return np.ascontiguousarray(table[:, ::-1])


#: (256, 3) uint8 RGB for each name, cold to hot.
THERMAL_PALETTES: dict[str, np.ndarray] = {
    "white_hot": np.repeat(_RAMP[:, None], 3, axis=1),
    "black_hot": np.repeat(_RAMP[::-1, None], 3, axis=1),
    "inferno": _colormap(cv2.COLORMAP_INFERNO),
    "turbo": _colormap(cv2.COLORMAP_TURBO),
}

#: Black, then the colour-blind safe set of Okabe and Ito (2008).
_LABEL_COLORS = [
    (0, 0, 0),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (0, 114, 178),
]
_GOLDEN = 0.618034


def label_colors(count: int) -> list[tuple[int, int, int]]:
    """RGB of label ids 0 to `count` - 1: black, seven colours that colour-blind people tell apart,
    and from there on hues that fall into the largest gaps, in three brightnesses.
    """
    colors = list(_LABEL_COLORS[:count])
    for i in range(len(colors), count):
        red, green, blue = colorsys.hsv_to_rgb(i * _GOLDEN % 1, 0.65, (1.0, 0.75, 0.5)[i % 3])
        colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colors


def colorize_thermal(thermal: np.ndarray, palette: str = "inferno") -> np.ndarray:
    """(H, W) uint8 to (H, W, 3) uint8 RGB. Raises SsvifError for an unknown palette."""
    if palette not in THERMAL_PALETTES:
        raise SsvifError(f"Unknown palette '{palette}': use one of {list(THERMAL_PALETTES)}.")
    return colorize_labels(thermal, THERMAL_PALETTES[palette])


def colorize_labels(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """(H, W) uint8 ids to (H, W, 3) uint8 RGB by a (256, 3) uint8 table."""
    return cv2.LUT(cv2.merge([labels] * 3), palette[None])
