"""Writing videos that browsers, editors and chats play: H.264 in .mp4.

PyAV does it; its wheels bring FFmpeg with x264. Where it is missing, OpenCV's MPEG-4 part 2 takes
its place, which only video players show; `why_not_h264` says so in a line for the user.

While it is written, the file is a fragmented one: whoever is killed leaves a video that can be read
but for the last second. Closing it makes an ordinary one of it, with which players know how long it
is and can seek. The coder has one thread, so that the same frames give the same bytes.
"""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ssvif_core.errors import SsvifError

__all__ = ["VideoWriter", "why_not_h264"]

#: Of FFmpeg's libavformat: the first that can write fragments and join them at the end (7.1).
LEAST_LIBAVFORMAT = (61, 7)
#: Three quarters of the bytes of OpenCV's MPEG-4 at the same error, in two thirds of the time. With
#: one quantiser for all frames (`qp`, not `crf`) x264 has no need to look at each frame beforehand.
CODER = {"preset": "ultrafast", "qp": "24"}
MUXER = {"movflags": "hybrid_fragmented", "flush_packets": "1"}
#: Rates are fractions of at most this denominator: 30000/1001 is one.
FINEST = 1001
#: As FFmpeg numbers them (libavutil/pixfmt.h): `cv2.COLOR_RGB2YUV_I420` has 16..235 and the matrix
#: of BT.601; red, green and blue are those of a screen (sRGB).
LIMITED, BT601, BT709, SRGB = 1, 6, 1, 13
INSTALL = "pip install av"


def why_not_h264() -> str:
    """One line that says why videos are not H.264 here and what to do; "" where they are."""
    try:
        import av
    except ImportError:
        reason = "PyAV is not installed"
    else:
        version = av.library_versions["libavformat"]
        if "libx264" in av.codecs_available and version >= LEAST_LIBAVFORMAT:
            return ""
        reason = f"PyAV {av.__version__} has no x264, or an FFmpeg before 7.1"
    return f"videos are MPEG-4 part 2, which browsers do not play: {reason} ({INSTALL})"


class VideoWriter:
    """An .mp4 file, begun with its first frame.

    H.264 has half as many rows and columns of colour as of light, so sizes are even: an odd one
    gets its last row or column twice. Nothing is lost then, and no black line is seen.

    Args:
        path: to write; a file that is there is overwritten.
        rate_hz: of the frames, > 0.
    """

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path = path
        self._rate = max(Fraction(rate_hz).limit_denominator(FINEST), Fraction(1, FINEST))
        self._shape: tuple[int, ...] | None = None
        self._coder: _H264 | _Mpeg4 | None = None

    def append(self, image: np.ndarray) -> None:
        """Add an (H, W, 3) uint8 RGB frame; one of another size than the first is left out.

        Raises:
            SsvifError: the file cannot be written.
        """
        self._shape = self._shape or image.shape
        if image.shape != self._shape:
            return
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        if self._coder is None:
            kind = _Mpeg4 if why_not_h264() else _H264
            self._coder = kind(self._path, self._rate, image.shape[1], image.shape[0])
        self._coder.write(image)

    def close(self) -> None:
        """Finish the file, if there is one.

        Raises:
            SsvifError: the file cannot be written.
        """
        if self._coder is not None:
            self._coder.close()


class _H264:
    """Of even size. After an error nothing is written any more: FFmpeg's muxer would crash."""

    def __init__(self, path: Path, rate: Fraction, width: int, height: int) -> None:
        import av

        self._av, self._path, self._step, self._count = av, path, 1 / rate, 0
        self._error = ""
        try:
            self._file = av.open(str(path.resolve()), "w", format="mp4", options=MUXER)
        except (av.FFmpegError, OSError) as error:
            raise self._problem(error) from error
        self._stream = self._file.add_stream("libx264", rate=rate, options=CODER)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        coder = self._stream.codec_context
        coder.thread_count = 1
        coder.gop_size = max(1, round(rate))  # a second: to seek by, and to lose when killed
        coder.color_range, coder.colorspace = LIMITED, BT601
        coder.color_primaries, coder.color_trc = BT709, SRGB

    def write(self, image: np.ndarray) -> None:
        planes: np.ndarray = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
        frame = self._av.VideoFrame.from_numpy_buffer(planes, format="yuv420p")
        frame.pts, frame.time_base = self._count, self._step
        self._count += 1
        self._encode(frame)

    def close(self) -> None:
        if self._error:
            return
        self._encode(None)
        try:
            self._file.close()
        except (self._av.FFmpegError, OSError) as error:
            raise self._problem(error) from error

    def _encode(self, frame: Any) -> None:
        """Also None, for what the coder still holds."""
        if self._error:
            raise SsvifError(self._error)
        try:
            for packet in self._stream.encode(frame):
                self._file.mux(packet)
        except (self._av.FFmpegError, OSError) as error:
            with contextlib.suppress(self._av.FFmpegError, OSError):  # the same one again
                self._file.close()
            raise self._problem(error) from error

    def _problem(self, error: Exception) -> SsvifError:
        reason = getattr(error, "strerror", None) or error
        self._error = f"Cannot write {self._path}: {reason}. Check free space and permissions."
        return SsvifError(self._error)


class _Mpeg4:
    """The same by OpenCV, which does not say whether a frame reached the disk."""

    def __init__(self, path: Path, rate: Fraction, width: int, height: int) -> None:
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(path), code, float(rate), (width, height))
        if not self._writer.isOpened():
            raise SsvifError(f"Cannot write {path}: check free space and permissions.")

    def write(self, image: np.ndarray) -> None:
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self._writer.release()
