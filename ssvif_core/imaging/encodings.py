"""Pixels of camera messages, by the names that ROS gives to encodings. Knows no ROS.

A message is anything with the fields of sensor_msgs/Image or sensor_msgs/CompressedImage, so the
node's messages and those that `rosbags` reads are decoded by the same code. `step` (bytes from one
row to the next) and `is_bigendian` are honoured, and a message whose numbers do not fit together is
refused before memory is taken.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import cv2
import numpy as np

from ssvif_core.imaging.compressed import decompressed
from ssvif_core.imaging.messages import CompressedMessage, EncodingError, ImageMessage
from ssvif_core.imaging.planar_yuv import PLANAR_YUV, planar_luma, planar_rgb

__all__ = [
    "DECODED",
    "ENCODINGS",
    "CompressedMessage",
    "EncodingError",
    "ImageMessage",
    "PixelFormat",
    "check_visible",
    "check_width",
    "encoding_of",
    "pixels_of",
    "thermal_of",
    "visible_of",
]


class PixelFormat(NamedTuple):
    """Pixels of an encoding: type and channels, and the OpenCV conversion to RGB if one is due."""

    dtype: type[np.generic]
    channels: int
    to_rgb: int | None = None


_BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}

#: Encodings of sensor_msgs/image_encodings.hpp whose pixels lie one after the other. 8UC3 and 8UC4
#: carry no colour order; they are taken for OpenCV's, BGR. OpenCV names a Bayer pattern by its
#: second row and column, ROS by its first, so that bayer_rggb8 is OpenCV's BG.
ENCODINGS = {
    "rgb8": PixelFormat(np.uint8, 3),
    "bgr8": PixelFormat(np.uint8, 3, cv2.COLOR_BGR2RGB),
    "8UC3": PixelFormat(np.uint8, 3, cv2.COLOR_BGR2RGB),
    "rgba8": PixelFormat(np.uint8, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": PixelFormat(np.uint8, 4, cv2.COLOR_BGRA2RGB),
    "8UC4": PixelFormat(np.uint8, 4, cv2.COLOR_BGRA2RGB),
    "rgb16": PixelFormat(np.uint16, 3),
    "bgr16": PixelFormat(np.uint16, 3, cv2.COLOR_BGR2RGB),
    "rgba16": PixelFormat(np.uint16, 4, cv2.COLOR_RGBA2RGB),
    "bgra16": PixelFormat(np.uint16, 4, cv2.COLOR_BGRA2RGB),
    "mono8": PixelFormat(np.uint8, 1, cv2.COLOR_GRAY2RGB),
    "8UC1": PixelFormat(np.uint8, 1, cv2.COLOR_GRAY2RGB),
    "mono16": PixelFormat(np.uint16, 1),
    "16UC1": PixelFormat(np.uint16, 1),
    "16SC1": PixelFormat(np.int16, 1),
    "32FC1": PixelFormat(np.float32, 1),
    **{f"bayer_{tile}8": PixelFormat(np.uint8, 1, code) for tile, code in _BAYER.items()},
    **{f"bayer_{tile}16": PixelFormat(np.uint16, 1, code) for tile, code in _BAYER.items()},
    "yuv422": PixelFormat(np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": PixelFormat(np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": PixelFormat(np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": PixelFormat(np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2),
}
#: Every encoding that is decoded without cv_bridge.
DECODED = (*ENCODINGS, *PLANAR_YUV)
_COLOUR = {n for n, f in ENCODINGS.items() if f.channels > 2 or f.to_rgb in _BAYER.values()}
#: Which of the two bytes of a pixel is luma.
_LUMA = {"yuv422": 1, "uyvy": 1, "yuv422_yuy2": 0, "yuyv": 0}
NATIVE_IS_BIG = sys.byteorder == "big"


def pixels_of(message: ImageMessage) -> np.ndarray:
    """The pixels of a raw image, as a view of `message.data`.

    Returns:
        (H, W) or (H, W, C), of the encoding's type in native byte order, channels in its order.
        Rows are strided where they are padded. Two cases are copied: pixels of more than a byte in
        the other byte order, or in rows that begin between two pixels (OpenCV reads no such rows).

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
    if swapped:
        return pixels.byteswap()
    return pixels.copy() if step % item else pixels


def check_visible(encoding: str) -> None:
    """Raise EncodingError if an encoding is a thermal camera's: 16-bit gray, or float."""
    layout = ENCODINGS.get(encoding)
    if layout is not None and layout.channels == 1 and layout.to_rgb is None:
        raise EncodingError(
            f"encoding '{encoding}' is a thermal camera's: are the two topics swapped? A visible "
            "camera with 16-bit gray must be set to mono8"
        )


def check_width(message: ImageMessage) -> None:
    """Raise EncodingError if colour cannot be had: packed YUV shares it between two columns."""
    if ENCODINGS[message.encoding].channels == 2 and message.width % 2:
        raise EncodingError(f"a {message.encoding} image cannot be {message.width} wide: odd")


def visible_of(message: ImageMessage | CompressedMessage) -> np.ndarray:
    """A camera image as contiguous (H, W, 3) uint8 RGB: a view for rgb8, else one copy.

    16-bit colour is scaled to 8 bits over its full range, as cv_bridge does.

    Raises:
        EncodingError: see `pixels_of`; also for 16-bit gray and float, which are a thermal
            camera's, for a size that the encoding cannot have, and for compressed data that cannot
            be decoded.
    """
    if not _is_raw(message):
        return _visible_of_compressed(message)  # type: ignore[arg-type]
    encoding = message.encoding  # type: ignore[union-attr]
    if encoding in PLANAR_YUV:
        return planar_rgb(message)  # type: ignore[arg-type]
    check_visible(encoding)
    pixels = _in_8_bits(pixels_of(message))  # type: ignore[arg-type]
    layout = ENCODINGS[encoding]
    if layout.to_rgb is None:
        return np.ascontiguousarray(pixels)
    check_width(message)  # type: ignore[arg-type]
    return cv2.cvtColor(pixels, layout.to_rgb)


def _visible_of_compressed(message: CompressedMessage) -> np.ndarray:
    """RGB of a compressed image; the file says what colours it has, whatever `format` says.

    The exceptions are what compressed_image_transport stores as a gray PNG, where only `format`
    tells: a thermal image ("mono16; png compressed "), and a mosaic ("bayer_rggb8; png compressed
    "). As JPEG it stores what is already gray.
    """
    encoding = encoding_of(message)
    check_visible(encoding)
    if encoding.startswith("bayer_") and encoding in ENCODINGS and "jpeg" not in message.format:
        mosaic = decompressed(message, cv2.IMREAD_UNCHANGED)
        if mosaic.ndim == 2 and mosaic.dtype == ENCODINGS[encoding].dtype:
            return cv2.cvtColor(_in_8_bits(mosaic), ENCODINGS[encoding].to_rgb)  # type: ignore[arg-type]
    pixels = decompressed(message, cv2.IMREAD_COLOR)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def encoding_of(message: CompressedMessage) -> str:
    """What a compressed image was before, by its `format`; drivers may say something else there."""
    return message.format.split(";")[0].strip()


def _in_8_bits(pixels: np.ndarray) -> np.ndarray:
    return cv2.convertScaleAbs(pixels, alpha=255 / 65535) if pixels.itemsize == 2 else pixels


def thermal_of(message: ImageMessage | CompressedMessage) -> np.ndarray:
    """A thermal image as (H, W) uint8, uint16 or float32.

    A view for mono8, mono16, 8UC1, 16UC1 and 32FC1. Signed counts (16SC1) become float32. Colour
    encodings (drivers that send a gray image as rgb8) give luminance, and YUV its luma as it is:
    what a thermal camera has above 235 is not cut off, as it is on the way to RGB. A false-colour
    palette cannot be undone, so set the driver to white-hot.

    Raises:
        EncodingError: see `pixels_of`; also for compressed data that cannot be decoded.
    """
    if not _is_raw(message):
        return _thermal_of_compressed(message)  # type: ignore[arg-type]
    encoding = message.encoding  # type: ignore[union-attr]
    if encoding in PLANAR_YUV:
        return planar_luma(message)  # type: ignore[arg-type]
    if encoding in _COLOUR:
        return cv2.cvtColor(visible_of(message), cv2.COLOR_RGB2GRAY)
    pixels = pixels_of(message)  # type: ignore[arg-type]
    if encoding in _LUMA:
        return np.ascontiguousarray(pixels[..., _LUMA[encoding]])
    return pixels.astype(np.float32) if pixels.dtype == np.int16 else pixels


def _thermal_of_compressed(message: CompressedMessage) -> np.ndarray:
    pixels = decompressed(message, cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_BGR2GRAY)
    if pixels.dtype == np.int16:
        return pixels.astype(np.float32)
    if pixels.dtype not in (np.uint8, np.uint16, np.float32):
        raise EncodingError(f"the compressed image holds {pixels.dtype} pixels: send 8 or 16 bit")
    jpeg = pixels.dtype == np.uint8 and "jpeg" in message.format
    if jpeg and encoding_of(message) in ("mono16", "16UC1"):
        # JPEG has 8 bits: compressed_image_transport keeps the upper ones, and gives them back so.
        return pixels.astype(np.uint16) << 8
    return pixels


def _is_raw(message: ImageMessage | CompressedMessage) -> bool:
    return hasattr(message, "encoding")
