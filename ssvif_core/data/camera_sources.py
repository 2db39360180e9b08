"""What a simulated camera films: a drawn scene, or a file, as a function of time.

Shared by the simulated drivers of ROS and by `ssvif record-demo`. Knows arrays and seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, cast

import cv2
import numpy as np

from ssvif_core.data.streams import Modality, open_stream
from ssvif_core.errors import SsvifError
from ssvif_core.simulation.scenes import SCENE_KINDS, Scene, SceneKind, SceneShow

__all__ = ["SCENES", "DrawnSource", "FileSource", "FrameSource", "pinhole", "thermal_as"]

#: Names of drawn scenes: all kinds in turn, or one of them.
SCENES = ("show", *SCENE_KINDS)
#: An 8-bit thermal file becomes raw counts like those of an uncooled core without gain control:
#: a narrow band in the middle of the range (FLIR Boson, indoor scene: 6743 to 7077).
RAW_BASE, RAW_STEP = 6700, 4


class FrameSource(Protocol):
    """Frames by time."""

    def frame(self, time_s: float) -> np.ndarray:
        """Visible (H, W, 3) uint8 RGB, or thermal (H, W) uint8 or uint16."""
        ...


class DrawnSource:
    """Frames of a drawn scene; each time is drawn afresh.

    Args:
        scene: one of `SCENES`.
        modality: which camera films.
        width, height, seed: as of `Scene`.

    Raises:
        SsvifError: the scene or its size cannot be drawn.
    """

    def __init__(
        self, scene: str, modality: Modality, width: int = 640, height: int = 480, seed: int = 0
    ) -> None:
        self._scene = (
            SceneShow(width, height, seed)
            if scene == "show"
            else Scene(cast(SceneKind, scene), width, height, seed)
        )
        self._visible = modality == "visible"

    def frame(self, time_s: float) -> np.ndarray:
        visible = self._visible
        rendered = self._scene.render(time_s, visible=visible, thermal=not visible, labels=False)
        return rendered.visible if visible else rendered.thermal

    def labels(self, time_s: float) -> np.ndarray:
        """Ground truth of that moment: (H, W) uint8 class ids of the shipped models."""
        return self._scene.render(time_s, visible=False, thermal=False).labels


class FileSource:
    """Frames of a file at their own rate, from the first again after the last.

    Args:
        path: video, folder of images, or image.
        modality: which camera filmed it.
        default_rate_hz: for files that do not say (folders of images).

    Raises:
        SsvifError: see `open_stream`.
    """

    def __init__(self, path: Path, modality: Modality, default_rate_hz: float) -> None:
        self._path, self._stream = path, open_stream(path, modality)
        self._rate = self._stream.rate_hz or default_rate_hz
        self._frames = self._endless()
        self._index, self._image = 0, next(self._frames)

    @property
    def duration_s(self) -> float:
        """How long the file plays before it begins again, as it says itself."""
        return len(self._stream) / self._rate

    def _endless(self) -> Iterator[np.ndarray]:
        while True:
            shown = False
            for frame in self._stream.frames():
                shown = True
                yield frame.pixels
            if not shown:  # a disk that went away
                raise SsvifError(f"{self._path} can no longer be read: check that it is there.")

    def frame(self, time_s: float) -> np.ndarray:
        """The frame that is on screen at `time_s`; decodes forward only."""
        while self._index < int(time_s * self._rate):
            self._image = next(self._frames)
            self._index += 1
        return self._image


def thermal_as(image: np.ndarray, bits: int) -> tuple[np.ndarray, str]:
    """Thermal pixels in the wanted depth, 8 or 16 bits, and their ROS encoding."""
    if bits == 16:
        if image.dtype == np.uint8:
            image = (image.astype(np.uint16) * RAW_STEP + RAW_BASE).astype(np.uint16)
        return image, "mono16"
    if image.dtype == np.uint16:
        low, high = np.percentile(image[::4, ::4], (1, 99.5))
        scale = 255.0 / max(high - low, 1.0)
        image = cv2.convertScaleAbs(np.clip(image, low, high), alpha=scale, beta=-low * scale)
    return image, "mono8"


def pinhole(height: int, width: int) -> dict[str, list[float]]:
    """D, K, R and P of an ideal pinhole with a horizontal field of view of 53 degrees (REP-104)."""
    f, cx, cy = float(width), width / 2.0, height / 2.0
    return {
        "d": [0.0] * 5,
        "k": [f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0],
        "r": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        "p": [f, 0.0, cx, 0.0, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    }
