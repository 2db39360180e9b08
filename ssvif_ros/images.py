"""sensor_msgs images <-> arrays: views where the encoding allows, one copy elsewhere.

Knows messages and pixels, nothing of topics or nodes. Decoding is `ssvif_core.imaging.encodings`,
which bags share; encodings that it does not know go through cv_bridge where it is installed.
"""

from __future__ import annotations

from array import array

import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from ssvif_core.imaging.encodings import ENCODINGS as LAYOUTS
from ssvif_core.imaging.encodings import NATIVE_IS_BIG, thermal_of, visible_of
from ssvif_core.imaging.encodings import EncodingError as ImageError
from ssvif_core.imaging.encodings import pixels_of as image_array

__all__ = ["ImageError", "image_array", "thermal_array", "to_image", "visible_rgb"]


def visible_rgb(message: Image | CompressedImage) -> np.ndarray:
    """A camera image as contiguous (H, W, 3) uint8 RGB: a view for rgb8, else one copy.

    Raises:
        ImageError: see `encodings.visible_of`.
    """
    if isinstance(message, Image) and message.encoding not in LAYOUTS:
        return _by_cv_bridge(message, "rgb8")
    return visible_of(message)


def thermal_array(message: Image | CompressedImage) -> np.ndarray:
    """A thermal image as (H, W) uint8 or uint16: a view for mono8, mono16, 8UC1 and 16UC1.

    Raises:
        ImageError: see `encodings.thermal_of`.
    """
    if isinstance(message, Image) and message.encoding not in LAYOUTS:
        return _by_cv_bridge(message, "mono16" if "16" in message.encoding else "mono8")
    return thermal_of(message)


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
