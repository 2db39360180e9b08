"""Frames of one camera from a video file, a folder of images, or one image.

One stream is one camera: two of them make a pair in `ssvif fuse` (frame by frame) and in the
simulated cameras (each at its own rate).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np

from ssvif_core.data.pairs import IMAGE_SUFFIXES, read_thermal, read_visible
from ssvif_core.errors import SsvifError

__all__ = [
    "MODALITIES",
    "FrameStream",
    "ImageStream",
    "Modality",
    "VideoStream",
    "open_stream",
    "rate_ratio",
]

Modality = Literal["visible", "thermal"]
MODALITIES: tuple[Modality, Modality] = ("visible", "thermal")


class FrameStream(Protocol):
    """Frames in order: visible (H, W, 3) uint8 RGB, thermal (H, W) uint8 or uint16."""

    #: Frames per second, or None where the source does not say.
    rate_hz: float | None

    def __len__(self) -> int: ...

    def frames(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and pixels of each frame, from the first one on."""
        ...


class ImageStream:
    """Image files in the order of their names. Raises SsvifError for one that cannot be read."""

    rate_hz: float | None = None

    def __init__(self, files: list[Path], modality: Modality) -> None:
        self.files = files
        self._read = read_visible if modality == "visible" else read_thermal

    def __len__(self) -> int:
        return len(self.files)

    def frames(self) -> Iterator[tuple[str, np.ndarray]]:
        for path in self.files:
            yield path.stem, self._read(path)


class VideoStream:
    """A video file. Ends where decoding ends, which for a truncated file is before `len`.

    Frames are counted where the file does not say (a WebM stream, an AVI cut short).
    """

    def __init__(self, path: Path, modality: Modality) -> None:
        self.path, self.modality = path, modality
        capture = self._open()
        self._count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.rate_hz: float | None = capture.get(cv2.CAP_PROP_FPS) or None
        readable = capture.grab()
        capture.release()
        if not readable:
            raise SsvifError(
                f"{self.path} is no video that OpenCV can decode: check the file, or convert it "
                "with `ffmpeg -i IN -c:v libx264 OUT.mp4`."
            )

    def _open(self) -> cv2.VideoCapture:
        return cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)

    def __len__(self) -> int:
        if self._count <= 0:  # OpenCV says a negative number
            capture = self._open()
            self._count = sum(1 for _ in iter(capture.grab, False))
            capture.release()
        return self._count

    def frames(self) -> Iterator[tuple[str, np.ndarray]]:
        code = cv2.COLOR_BGR2RGB if self.modality == "visible" else cv2.COLOR_BGR2GRAY
        capture = self._open()
        try:
            index = 0
            while True:
                decoded, image = capture.read()
                if not decoded:
                    return
                yield f"{index:06d}", cv2.cvtColor(image, code)
                index += 1
        finally:
            capture.release()


def rate_ratio(visible: FrameStream, thermal: FrameStream) -> float:
    """Thermal frames for each visible one; 1 where a rate is not known."""
    known = visible.rate_hz and thermal.rate_hz
    return thermal.rate_hz / visible.rate_hz if known else 1.0  # type: ignore[operator]


def open_stream(path: Path, modality: Modality) -> FrameStream:
    """Open a video file, an image file, or a folder of images.

    Raises:
        SsvifError: there is nothing at `path`, the folder holds no image, or the video is not
            readable.
    """
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise SsvifError(f"There is no image in {path} (looked for {sorted(IMAGE_SUFFIXES)}).")
        return ImageStream(files, modality)
    if not path.is_file():
        raise SsvifError(f"There is no file or folder {path}.")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageStream([path], modality)
    return VideoStream(path, modality)
