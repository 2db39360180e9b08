"""Frames of one camera from a video file, a folder of images, or one image.

One stream is one camera: two of them make a pair in `ssvif fuse` and in the simulated cameras (each
at its own rate).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import cv2
import numpy as np

from ssvif_core.data.bag_files import is_bag
from ssvif_core.data.pairs import IMAGE_SUFFIXES, image_files, read_thermal, read_visible
from ssvif_core.errors import SsvifError

__all__ = [
    "DEFAULT_RATE_HZ",
    "MODALITIES",
    "ForwardReader",
    "Frame",
    "FrameStream",
    "ImageStream",
    "Modality",
    "VideoStream",
    "open_stream",
]

log = logging.getLogger("ssvif.data")

Modality = Literal["visible", "thermal"]
MODALITIES: tuple[Modality, Modality] = ("visible", "thermal")
#: Assumed where the source does not say (folders of images).
DEFAULT_RATE_HZ = 30.0
#: FFmpeg's tags of gray pixels of 9 to 16 bits: the bits come last, or first if big-endian.
DEEP_GRAY = re.compile(rb"Y1\0(.)|(.)\0001Y", re.DOTALL)
#: The one of these that OpenCV gives as it is; of the others it keeps 8 bits.
GRAY16 = b"Y1\0\x10"


class Frame(NamedTuple):
    """One frame of a stream.

    Attributes:
        name: of the file, or the frame's number.
        pixels: visible (H, W, 3) uint8 RGB, thermal (H, W) uint8 or uint16.
        time_s: seconds since the first frame; None for image files, which have no time.
    """

    name: str
    pixels: np.ndarray
    time_s: float | None


class FrameStream(Protocol):
    """Frames in order."""

    #: Frames per second, or None where the source does not say.
    rate_hz: float | None

    def __len__(self) -> int: ...

    def frames(self) -> Iterator[Frame]:
        """Each frame, from the first one on."""
        ...


class ForwardReader:
    """Frames of a stream by number, one at a time and never back."""

    def __init__(self, stream: FrameStream) -> None:
        self._frames, self._number = stream.frames(), -1
        self._frame: Frame | None = None

    def at(self, number: int) -> Frame | None:
        """The frame `number`, not below the last one that was asked for; None past the end.

        Raises:
            SsvifError: a file on the way cannot be read; those behind it still can.
        """
        while self._number < number:
            self._number, self._frame = self._number + 1, None
            self._frame = next(self._frames, None)
            if self._frame is None:
                return None
        return self._frame


class ImageStream:
    """Image files in the order given.

    The iterator of `frames` raises SsvifError for one that cannot be read, and goes on behind it.
    """

    rate_hz: float | None = None

    def __init__(self, files: list[Path], modality: Modality) -> None:
        self.files, self.modality = files, modality
        self._read = read_visible if modality == "visible" else read_thermal

    def __len__(self) -> int:
        return len(self.files)

    def frames(self) -> Iterator[Frame]:
        return map(self._frame, self.files)  # a generator would end with the first error

    def _frame(self, path: Path) -> Frame:
        return Frame(path.stem, self._read(path), None)


class VideoStream:
    """A video file. Ends where decoding ends, which for a truncated file is before `len`.

    Frames are counted where the file does not say (a WebM stream, an AVI cut short). Their times
    are those that the file gives; rates are not constant (cameras drop frames, and longer exposure
    makes them slower).

    Raises:
        SsvifError: OpenCV cannot decode the first frame, or would cut thermal counts to 8 bits.
    """

    def __init__(self, path: Path, modality: Modality) -> None:
        self.path, self.modality = path, modality
        capture = self._open()
        self._count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.rate_hz: float | None = capture.get(cv2.CAP_PROP_FPS) or None
        decoded, image = capture.read()
        pixel_format = _pixel_format(capture)
        capture.release()
        if not decoded:
            raise SsvifError(
                f"{self.path} is no video that OpenCV can decode: check the file, or convert it "
                "with `ffmpeg -i IN -c:v libx264 OUT.mp4`."
            )
        if modality == "thermal" and image.dtype != np.uint16:
            self._check_depth(pixel_format)

    def _check_depth(self, pixel_format: bytes) -> None:
        """Raise SsvifError where only 8 of more bits are given."""
        if DEEP_GRAY.fullmatch(pixel_format):
            how = "convert it with `ffmpeg -i IN -c:v ffv1 -pix_fmt gray16le OUT.mkv`"
            if pixel_format == GRAY16:
                how = "update OpenCV, or make PNGs of it with `ffmpeg -i IN FOLDER/%06d.png`"
            raise SsvifError(
                f"{self.path} has gray pixels of more than 8 bits, of which OpenCV "
                f"{cv2.__version__} keeps 8: {how}."
            )

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
        if self.modality == "thermal" and _pixel_format(capture) == GRAY16:
            capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        return capture

    def __len__(self) -> int:
        if self._count <= 0:  # OpenCV says a negative number
            self._count = len(self.times_s())
        return self._count

    def times_s(self) -> list[float]:
        """When each frame was taken, in seconds since the first one; of those that are there."""
        capture, clock = self._open(), _Clock(self)
        times = [clock.time_s(capture) for _ in iter(capture.grab, False)]
        capture.release()
        return times

    def frames(self) -> Iterator[Frame]:
        capture, clock = self._open(), _Clock(self)
        try:
            index = 0
            while True:
                decoded, image = capture.read()
                if not decoded:
                    return
                yield Frame(f"{index:06d}", self._converted(image), clock.time_s(capture))
                index += 1
        finally:
            capture.release()

    def _converted(self, image: np.ndarray) -> np.ndarray:
        if image.dtype == np.uint16:
            return image
        code = cv2.COLOR_BGR2RGB if self.modality == "visible" else cv2.COLOR_BGR2GRAY
        return cv2.cvtColor(image, code)


def _pixel_format(capture: cv2.VideoCapture) -> bytes:
    """FFmpeg's tag of four characters."""
    tag = int(capture.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT))
    return (tag & 0xFFFFFFFF).to_bytes(4, "little")


class _Clock:
    """Times of a video's frames as the file has them; where it has none, at even intervals."""

    def __init__(self, stream: VideoStream) -> None:
        self._path, self._rate_hz = stream.path, stream.rate_hz or DEFAULT_RATE_HZ
        self._first_s = self._last_s = 0.0
        self._interval_s: float | None = None
        self._begun = self._warned = False

    def time_s(self, capture: cv2.VideoCapture) -> float:
        """The time of the frame that was grabbed last, since the first; always later than before.

        A frame without a time has 0: in some files all, in OpenCV 4.5 those at the end that the
        decoder held back.
        """
        stamp_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        if not self._begun:
            self._begun, self._first_s = True, stamp_s
            return 0.0
        elapsed_s = stamp_s - self._first_s - self._last_s
        if elapsed_s > 0:
            self._interval_s = elapsed_s
        else:
            if self._interval_s is None or stamp_s:
                self._warn()
            elapsed_s = self._interval_s or 1 / self._rate_hz
        self._last_s += elapsed_s
        return self._last_s

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "%s does not say when each frame was taken: even intervals are assumed (it has "
                "%.3g frames a second)",
                self._path.name,
                self._rate_hz,
            )


def open_stream(path: Path, modality: Modality) -> FrameStream:
    """Open a video file, an image file, or a folder of images, which are sorted by name.

    Raises:
        SsvifError: there is nothing at `path`, it is a recording of several cameras, the folder
            holds no image, or the video is not readable.
    """
    if path.is_dir():
        files = image_files(path)
        if not files and is_bag(path):
            raise _is_recording(path)
        if not files:
            raise SsvifError(f"There is no image in {path} (looked for {sorted(IMAGE_SUFFIXES)}).")
        return ImageStream(files, modality)
    if not path.is_file():
        raise SsvifError(f"There is no file or folder {path}.")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageStream([path], modality)
    if is_bag(path):
        raise _is_recording(path)
    return VideoStream(path, modality)


def _is_recording(path: Path) -> SsvifError:
    return SsvifError(
        f"{path} is a recording, and images or a video of one camera are needed: fuse it with "
        f"`ssvif replay {path}`, which finds both cameras in it."
    )
