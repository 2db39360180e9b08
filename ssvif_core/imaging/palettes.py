"""Colours for thermal frames: named palettes as look-up tables."""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.errors import SsvifError

__all__ = ["THERMAL_PALETTES", "colorize_labels", "colorize_thermal"]

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


def colorize_thermal(thermal: np.ndarray, palette: str = "inferno") -> np.ndarray:
    """(H, W) uint8 to (H, W, 3) uint8 RGB. Raises SsvifError for an unknown palette."""
    if palette not in THERMAL_PALETTES:
        raise SsvifError(f"Unknown palette '{palette}': use one of {list(THERMAL_PALETTES)}.")
    return colorize_labels(thermal, THERMAL_PALETTES[palette])


def colorize_labels(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """(H, W) uint8 ids to (H, W, 3) uint8 RGB by a (256, 3) uint8 table."""
    return cv2.LUT(cv2.merge([labels] * 3), palette[None])
