"""The frames that every case gets: drawn once, in a file, so that no case pays for the drawing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.simulation.scenes import Scene

__all__ = ["draw_frames", "load_frames"]

#: Moments of the scene [s]. Several, so that no cache holds a frame until it comes again.
TIMES_S = (0.5, 1.5, 2.5, 3.5)


def draw_frames(path: Path, width: int, height: int) -> None:
    """Write pairs of a simulated street to an .npz file.

    Raises:
        SsvifError: a scene of this size cannot be drawn.
    """
    scene, gain = Scene("day", width, height), ThermalGain(mode="percentile")
    drawn = [scene.render(time_s, labels=False) for time_s in TIMES_S]
    thermal = [gain.apply(frame.thermal, t) for frame, t in zip(drawn, TIMES_S, strict=True)]
    np.savez(path, visible=np.stack([f.visible for f in drawn]), thermal=np.stack(thermal))


def load_frames(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of visible (H, W, 3) uint8 RGB and thermal (H, W) uint8, C-contiguous."""
    with np.load(path) as file:
        return list(zip(file["visible"], file["thermal"], strict=True))
