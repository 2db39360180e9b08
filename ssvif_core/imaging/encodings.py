"""Pixels of camera messages, by the names that ROS gives to encodings. Knows no ROS.

A message is anything with the fields of sensor_msgs/Image or sensor_msgs/CompressedImage, so the
node's messages and those that `rosbags` reads are decoded by the same code. `step` (bytes from one
row to the next) and `is_bigendian` are honoured, and a message whose numbers do not fit together is
refused before memory is taken.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from ssvif_core.errors import SsvifError

__all__ = [
    "ENCODINGS",
    "CompressedMessage",
    "EncodingError",
    "ImageMessage",
    "PixelFormat",
    "decompressed",
    "pixels_of",
    "thermal_of",
    "visible_of",
]


class EncodingError(SsvifError):
    """An image message that cannot be used; the text says why."""


class ImageMessage(Protocol):
    """The fields of sensor_msgs/Image that matter here; `data` is any buffer of bytes."""

    height: int
    width: int
    encoding: str
    is_bigendian: Any
    step: int
    data: Any


class CompressedMessage(Protocol):
    """The fields of sensor_msgs/CompressedImage."""

    format: str
    data: Any


class PixelFormat(NamedTuple):
    """Pixels of an encoding: type and channels, and the OpenCV conversion to RGB if one is due."""

    dtype: type[np.generic]
    channels: int
    to_rgb: int | None = None


#: Encodings of sensor_msgs/image_encodings.hpp that are decoded here. 8UC3 carries no colour order;
#: it is taken for OpenCV's, BGR, as cv_bridge does. OpenCV names a Bayer pattern by its second row
#: and column, ROS by its first, so that bayer_rggb8 is OpenCV's BG.
ENCODINGS = {
    "rgb8": PixelFormat(np.uint8, 3),
    "bgr8": PixelFormat(np.uint8, 3, cv2.COLOR_BGR2RGB),
    "8UC3": PixelFormat(np.uint8, 3, cv2.COLOR_BGR2RGB),
    "rgba8": PixelFormat(np.uint8, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": PixelFormat(np.uint8, 4, cv2.COLOR_BGRA2RGB),
    "mono8": PixelFormat(np.uint8, 1, cv2.COLOR_GRAY2RGB),
    "8UC1": PixelFormat(np.uint8, 1, cv2.COLOR_GRAY2RGB),
    "mono16": PixelFormat(np.uint16, 1),
    "16UC1": PixelFormat(np.uint16, 1),
    "bayer_rggb8": PixelFormat(np.uint8, 1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": PixelFormat(np.uint8, 1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": PixelFormat(np.uint8, 1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": PixelFormat(np.uint8, 1, cv2.COLOR_BayerGB2RGB),
    "yuv422": PixelFormat(np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": PixelFormat(np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": PixelFormat(np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": PixelFormat(np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2),
}
NATIVE_IS_BIG = sys.byteorder == "big"


def pixels_of(message: ImageMessage) -> np.ndarray:
    """The pixels of a raw image, as a view of `message.data`.

    Returns:
        (H, W) or (H, W, C), uint8 or uint16 in native byte order, channels in the order of the
        encoding. Rows are strided where they are padded. 16-bit pixels of the other byte order are
        the one case that is copied.

    Raises:
        EncodingError: the encoding is not in `ENCODINGS`, or sizes, step and data do not fit.
    """
    layout = ENCODINGS.get(message.encoding)
    if layout is None:
        raise EncodingError(f"encoding '{message.encoding}' is not one of {list(ENCODINGS)}")
    height, width, step = int(message.height), int(message.width), int(message.step)
    item = np.dtype(layout.dtype).itemsize
    row = width * layout.channels * item
    if not height or not width:
        raise EncodingError(f"the image is empty: {width}x{height}")
    if step < row:
        raise EncodingError(
            f"step {step} is less than a row: {width} {message.encoding} need {row}"
        )
    if len(message.data) < step * (height - 1) + row:
        raise EncodingError(
            f"data is truncated: {len(message.data)} bytes, and {width}x{height} "
            f"{message.encoding} with step {step} need {step * height}"
        )
    shape = (height, width) if layout.channels == 1 else (height, width, layout.channels)
    strides = (step, layout.channels * item, item)[: len(shape)]
    swapped = item > 1 and bool(message.is_bigendian) != NATIVE_IS_BIG
    pixels = np.ndarray(shape, layout.dtype, message.data, 0, strides)
    return pixels.byteswap() if swapped else pixels


def visible_of(message: ImageMessage | CompressedMessage) -> np.ndarray:
    """A camera image as contiguous (H, W, 3) uint8 RGB: a view for rgb8, else one copy.

    Raises:
        EncodingError: see `pixels_of`; also for 16-bit images, which are no camera's, for a size
            that the encoding cannot have, and for compressed data that cannot be decoded.
    """
    if not _is_raw(message):
        return cv2.cvtColor(decompressed(message, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]
    pixels = pixels_of(message)  # type: ignore[arg-type]
    encoding = message.encoding  # type: ignore[union-attr]
    layout = ENCODINGS[encoding]
    if layout.dtype != np.uint8:
        raise EncodingError(
            f"encoding '{encoding}' is a thermal camera's: are the two topics swapped?"
        )
    if layout.to_rgb is None:
        return np.ascontiguousarray(pixels)
    if layout.channels == 2 and pixels.shape[1] % 2:
        raise EncodingError(f"a {encoding} image cannot be {pixels.shape[1]} pixels wide: odd")
    return cv2.cvtColor(pixels, layout.to_rgb)


def thermal_of(message: ImageMessage | CompressedMessage) -> np.ndarray:
    """A thermal image as (H, W) uint8 or uint16: a view for mono8, mono16, 8UC1 and 16UC1.

    Colour encodings (drivers that send a gray image as rgb8) give luminance; a false-colour
    palette cannot be undone, so set the driver to white-hot.

    Raises:
        EncodingError: see `pixels_of`; also for compressed data that cannot be decoded.
    """
    if not _is_raw(message):
        pixels = decompressed(message, cv2.IMREAD_UNCHANGED)  # type: ignore[arg-type]
        if pixels.ndim == 3:
            pixels = cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_BGR2GRAY)
        if pixels.dtype not in (np.uint8, np.uint16):
            raise EncodingError(
                f"the compressed image holds {pixels.dtype} pixels: send 8 or 16 bit"
            )
        return pixels
    layout = ENCODINGS.get(message.encoding)  # type: ignore[union-attr]
    if layout is None or layout.channels == 1 and layout.to_rgb in (None, cv2.COLOR_GRAY2RGB):
        return pixels_of(message)  # type: ignore[arg-type]
    return cv2.cvtColor(visible_of(message), cv2.COLOR_RGB2GRAY)


def decompressed(message: CompressedMessage, flags: int) -> np.ndarray:
    """Decode JPEG, PNG or what else OpenCV reads, with its imread `flags`.

    `format` differs between drivers, so the data decides and not the text.
    """
    if not len(message.data):
        raise EncodingError("the compressed image is empty")
    try:
        pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), flags)
    except cv2.error:  # a header that promises more pixels than OpenCV allows
        pixels = None
    if pixels is None:
        raise EncodingError(
            f"{len(message.data)} bytes of format '{message.format}' cannot be decoded: damaged, "
            "or a format that OpenCV does not read"
        )
    return pixels


def _is_raw(message: ImageMessage | CompressedMessage) -> bool:
    return hasattr(message, "encoding")
