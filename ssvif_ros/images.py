"""sensor_msgs images <-> arrays: views where the encoding allows, one copy elsewhere.

Knows messages and pixels, nothing of topics or nodes. Decoding is `ssvif_core.imaging.encodings`,
which bags share; encodings that it does not know are `cv_bridge_images`.
"""

from __future__ import annotations

from array import array

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from ssvif_core.imaging.encodings import DECODED, NATIVE_IS_BIG, thermal_of, visible_of
from ssvif_core.imaging.encodings import ENCODINGS as LAYOUTS
from ssvif_core.imaging.encodings import EncodingError as ImageError
from ssvif_core.imaging.encodings import pixels_of as image_array
from ssvif_ros import cv_bridge_images

__all__ = [
    "ImageError", "OutgoingImage", "image_array", "thermal_array", "to_compressed", "to_image",
    "visible_rgb",
]  # fmt: skip


def visible_rgb(message: Image | CompressedImage) -> np.ndarray:
    """A camera image as contiguous (H, W, 3) uint8 RGB: a view for rgb8, else one copy.

    Raises:
        ImageError: see `encodings.visible_of`.
    """
    if isinstance(message, Image) and message.encoding not in DECODED:
        return cv_bridge_images.pixels(message, "visible")
    return visible_of(message)


def thermal_array(message: Image | CompressedImage) -> np.ndarray:
    """A thermal image as (H, W) uint8, uint16 or float32: a view where the encoding allows.

    Raises:
        ImageError: see `encodings.thermal_of`.
    """
    if isinstance(message, Image) and message.encoding not in DECODED:
        return cv_bridge_images.pixels(message, "thermal")
    return thermal_of(message)


def to_image(pixels: np.ndarray, encoding: str, header: Header) -> Image:
    """A raw image message of an array.

    Args:
        pixels: (H, W) or (H, W, C), as `encoding` has it.
        encoding: a key of `LAYOUTS`.
        header: stamp and frame.

    Raises:
        ImageError: the array is not what the encoding says.
    """
    message = Image(is_bigendian=int(NATIVE_IS_BIG))
    _describe(message, pixels, encoding, header)
    # Data that is no array("B") would be checked element by element: an ndarray takes 51 ms.
    message.data = array("B", pixels.tobytes())
    return message


class OutgoingImage:
    """One raw image message that is published again and again, of pixels that lie elsewhere.

    Only to be published: `publish` copies what it needs before it returns, from any buffer. The
    setter of `data` would copy the pixels into an array first, a quarter of the price of publishing
    a large image; a fresh message for every frame costs twice as much.
    """

    def __init__(self) -> None:
        self._message = Image(is_bigendian=int(NATIVE_IS_BIG))

    def of(self, pixels: np.ndarray, encoding: str, header: Header) -> Image:
        """The message of these pixels, which must not change until it is published.

        Arguments and errors are those of `to_image`.
        """
        _describe(self._message, pixels, encoding, header)
        self._message._data = np.ascontiguousarray(pixels).data.cast("B")
        return self._message


def _describe(message: Image, pixels: np.ndarray, encoding: str, header: Header) -> None:
    """Everything but the pixels."""
    layout = LAYOUTS.get(encoding)
    channels = 1 if pixels.ndim == 2 else pixels.shape[-1]
    if layout is None or pixels.dtype != layout.dtype or channels != layout.channels:
        raise ImageError(f"{pixels.dtype} {pixels.shape} is no '{encoding}' image")
    message.header, message.encoding = header, encoding
    message.height, message.width = pixels.shape[:2]
    message.step = message.width * channels * pixels.itemsize


def to_compressed(
    pixels: np.ndarray, encoding: str, header: Header, jpeg_quality: int | None
) -> CompressedImage:
    """An image as JPEG, or without loss as PNG, described as compressed_image_transport does.

    Args:
        pixels: (H, W, 3) uint8 RGB or (H, W) uint8.
        encoding: rgb8, bgr8 or mono8: that of the raw topic beside it. mono8 sends gray.
        header: stamp and frame.
        jpeg_quality: 1 to 100; None: PNG.
    """
    if pixels.ndim == 3:
        gray = encoding == "mono8"
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY if gray else cv2.COLOR_RGB2BGR)
    if jpeg_quality is None:
        options = []  # OpenCV's own are for speed: naming a level alone makes it 3 times slower
        text = f"{encoding}; png compressed " + ("bgr8" if pixels.ndim == 3 else "")
    else:
        options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
        text = f"{encoding}; jpeg compressed " + ("bgr8" if pixels.ndim == 3 else "mono8")
    _, encoded = cv2.imencode(".png" if jpeg_quality is None else ".jpg", pixels, options)
    data = array("B")
    data.frombytes(encoded.data)
    return CompressedImage(header=header, format=text, data=data)
