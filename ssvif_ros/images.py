"""sensor_msgs images <-> arrays: views where the encoding allows, one copy elsewhere.

Knows messages and pixels, nothing of topics or nodes. Encodings that are not in `LAYOUTS` go
through cv_bridge where it is installed. `step` (bytes from one row to the next) and `is_bigendian`
are honoured, and a message whose numbers do not fit together is refused before memory is taken.
"""

from __future__ import annotations

import sys
from array import array
from typing import NamedTuple

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from ssvif_core.errors import SsvifError

__all__ = ["ImageError", "image_array", "thermal_array", "to_image", "visible_rgb"]


class ImageError(SsvifError):
    """An image message that cannot be used; the message says why."""


class Layout(NamedTuple):
    """Pixels of an encoding: type and channels, and the OpenCV conversion to RGB if one is due."""

    dtype: type[np.generic]
    channels: int
    to_rgb: int | None = None


#: Encodings of sensor_msgs/image_encodings.hpp that are decoded here. 8UC3 carries no colour order;
#: it is taken for OpenCV's, BGR, as cv_bridge does.
LAYOUTS = {
    "rgb8": Layout(np.uint8, 3),
    "bgr8": Layout(np.uint8, 3, cv2.COLOR_BGR2RGB),
    "8UC3": Layout(np.uint8, 3, cv2.COLOR_BGR2RGB),
    "rgba8": Layout(np.uint8, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": Layout(np.uint8, 4, cv2.COLOR_BGRA2RGB),
    "mono8": Layout(np.uint8, 1, cv2.COLOR_GRAY2RGB),
    "8UC1": Layout(np.uint8, 1, cv2.COLOR_GRAY2RGB),
    "mono16": Layout(np.uint16, 1),
    "16UC1": Layout(np.uint16, 1),
}
NATIVE_IS_BIG = sys.byteorder == "big"


def image_array(message: Image) -> np.ndarray:
    """The pixels of a raw image, as a view of `message.data`.

    Returns:
        (H, W) or (H, W, C), uint8 or uint16 in native byte order, channels in the order of the
        encoding. Rows are strided where they are padded. 16-bit pixels of the other byte order are
        the one case that is copied.

    Raises:
        ImageError: the encoding is not in `LAYOUTS`, or sizes, step and data do not fit together.
    """
    layout = LAYOUTS.get(message.encoding)
    if layout is None:
        raise ImageError(f"encoding '{message.encoding}' is not one of {list(LAYOUTS)}")
    height, width, step = message.height, message.width, message.step
    item = np.dtype(layout.dtype).itemsize
    row = width * layout.channels * item
    if not height or not width:
        raise ImageError(f"the image is empty: {width}x{height}")
    if step < row:
        raise ImageError(f"step {step} is less than a row: {width} {message.encoding} need {row}")
    if len(message.data) < step * (height - 1) + row:
        raise ImageError(
            f"data is truncated: {len(message.data)} bytes, and {width}x{height} "
            f"{message.encoding} with step {step} need {step * height}"
        )
    shape = (height, width) if layout.channels == 1 else (height, width, layout.channels)
    strides = (step, layout.channels * item, item)[: len(shape)]
    swapped = item > 1 and bool(message.is_bigendian) != NATIVE_IS_BIG
    pixels = np.ndarray(shape, layout.dtype, message.data, 0, strides)
    return pixels.byteswap() if swapped else pixels


def visible_rgb(message: Image | CompressedImage) -> np.ndarray:
    """A camera image as contiguous (H, W, 3) uint8 RGB: a view for rgb8, else one copy.

    Raises:
        ImageError: see `image_array`; also for 16-bit images, which are no camera's, and for
            compressed data that cannot be decoded.
    """
    if isinstance(message, CompressedImage):
        return cv2.cvtColor(_decompressed(message, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    if message.encoding not in LAYOUTS:
        return _by_cv_bridge(message, "rgb8")
    layout = LAYOUTS[message.encoding]
    if layout.dtype != np.uint8:
        raise ImageError(
            f"encoding '{message.encoding}' is a thermal camera's: are the two topics swapped?"
        )
    pixels = image_array(message)
    if layout.to_rgb is None:
        return np.ascontiguousarray(pixels)
    return cv2.cvtColor(pixels, layout.to_rgb)


def thermal_array(message: Image | CompressedImage) -> np.ndarray:
    """A thermal image as (H, W) uint8 or uint16: a view for mono8, mono16, 8UC1 and 16UC1.

    Colour encodings (drivers that send a gray image as rgb8) give luminance; a false-colour
    palette cannot be undone, so set the driver to white-hot.

    Raises:
        ImageError: see `image_array`; also for compressed data that cannot be decoded.
    """
    if isinstance(message, CompressedImage):
        pixels = _decompressed(message, cv2.IMREAD_UNCHANGED)
        if pixels.ndim == 3:
            pixels = cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_BGR2GRAY)
        if pixels.dtype not in (np.uint8, np.uint16):
            raise ImageError(f"the compressed image holds {pixels.dtype} pixels: send 8 or 16 bit")
        return pixels
    if message.encoding not in LAYOUTS:
        return _by_cv_bridge(message, "mono16" if "16" in message.encoding else "mono8")
    if LAYOUTS[message.encoding].channels == 1:
        return image_array(message)
    return cv2.cvtColor(visible_rgb(message), cv2.COLOR_RGB2GRAY)


def to_image(pixels: np.ndarray, encoding: str, header: Header) -> Image:
    """A raw image message of an array.

    Args:
        pixels: (H, W) or (H, W, C) uint8 or uint16, as `encoding` has it.
        encoding: a key of `LAYOUTS`.
        header: stamp and frame.

    Raises:
        ImageError: the array is not what the encoding says.
    """
    layout = LAYOUTS.get(encoding)
    channels = 1 if pixels.ndim == 2 else pixels.shape[-1]
    if layout is None or pixels.dtype != layout.dtype or channels != layout.channels:
        raise ImageError(f"{pixels.dtype} {pixels.shape} is no '{encoding}' image")
    message = Image(header=header, encoding=encoding, is_bigendian=int(NATIVE_IS_BIG))
    message.height, message.width = pixels.shape[:2]
    message.step = pixels.shape[1] * channels * pixels.itemsize
    # An array('B') is taken over as it is; an ndarray would be checked element by element (51 ms).
    data = array("B")
    data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    message.data = data
    return message


def _decompressed(message: CompressedImage, flags: int) -> np.ndarray:
    """Decode JPEG, PNG or what else OpenCV reads; `format` differs between drivers, so the data
    decides and not the text.
    """
    if not len(message.data):
        raise ImageError("the compressed image is empty")
    pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), flags)
    if pixels is None:
        raise ImageError(
            f"{len(message.data)} bytes of format '{message.format}' cannot be decoded: damaged, "
            "or a format that OpenCV does not read"
        )
    return pixels


def _by_cv_bridge(message: Image, wanted: str) -> np.ndarray:
    """Bayer, YUV and other encodings, by cv_bridge."""
    try:
        from cv_bridge import CvBridge
    except ImportError as error:
        raise ImageError(
            f"encoding '{message.encoding}' needs cv_bridge, which cannot be imported ({error}): "
            "install ros-$ROS_DISTRO-cv-bridge, or let the driver send one of "
            f"{list(LAYOUTS)}"
        ) from error
    if not message.height or not message.width or len(message.data) < message.step * message.height:
        raise ImageError(
            f"{len(message.data)} bytes are no {message.width}x{message.height} image with step "
            f"{message.step}"
        )
    try:
        return np.ascontiguousarray(CvBridge().imgmsg_to_cv2(message, desired_encoding=wanted))
    except Exception as error:  # cv_bridge raises its own type, cv2.error, ValueError, TypeError
        raise ImageError(f"cv_bridge cannot read encoding '{message.encoding}': {error}") from error
