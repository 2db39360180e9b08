"""Images in encodings that ssvif_core does not know, by cv_bridge where it is installed.

Knows messages and pixels, nothing of topics or nodes. What cv_bridge converts is found out once for
each name, on a blank image, so that a name that it does not know is refused before it is paired.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from sensor_msgs.msg import Image

from ssvif_core.imaging.encodings import DECODED, NATIVE_IS_BIG
from ssvif_core.imaging.messages import EncodingError

__all__ = ["check", "pixels"]


def check(message: Image, camera: str) -> None:
    """Whether `pixels` can read a message, by its numbers.

    Raises:
        EncodingError: it cannot.
    """
    _row_bytes(message, *_layout(message.encoding, _target(message.encoding, camera)))


def pixels(message: Image, camera: str) -> np.ndarray:
    """The image of a camera: RGB of the visible one, gray of 8 or 16 bits of the thermal one.

    Raises:
        EncodingError: cv_bridge is missing or cannot convert this, or the numbers of the message
            do not fit together.
    """
    target = _target(message.encoding, camera)
    rows = _rows(message, *_layout(message.encoding, target))
    try:
        return _converted(message.encoding, rows, message.width, target)
    except Exception as error:
        raise EncodingError(_refusal(message.encoding, error)) from error


def _target(encoding: str, camera: str) -> str:
    if camera == "visible":
        return "rgb8"
    return "mono16" if "16" in encoding else "mono8"


def _refusal(encoding: str, error: object) -> str:
    return f"cv_bridge cannot read encoding '{encoding}': {error}"


@functools.cache
def _bridge() -> Any:
    """A CvBridge, or the ImportError."""
    try:
        from cv_bridge import CvBridge
    except ImportError as error:
        return error
    return CvBridge()


def _layout(encoding: str, target: str) -> tuple[np.dtype, int]:
    found = _layout_or_reason(encoding, target)
    if isinstance(found, str):
        raise EncodingError(found)
    return found


# A driver's name comes with every frame, so it is looked up; what a broken one sends may be any.
@functools.lru_cache(maxsize=64)
def _layout_or_reason(encoding: str, target: str) -> tuple[np.dtype, int] | str:
    """Type and channels of an encoding that cv_bridge converts to `target`, or why it does not."""
    bridge = _bridge()
    if isinstance(bridge, ImportError):
        return (
            f"encoding '{encoding}' needs cv_bridge, which cannot be imported ({bridge}): "
            f"install ros-$ROS_DISTRO-cv-bridge, or let the driver send one of {list(DECODED)}"
        )
    try:
        kind, channels = bridge.encoding_to_dtype_with_channels(encoding)
        dtype = np.dtype(kind)
        _converted(encoding, np.zeros((4, 4 * channels), dtype), 4, target)
    except Exception as error:  # cv_bridge raises its own type, cv2.error, ValueError, TypeError
        return _refusal(encoding, error)
    return dtype, channels


def _row_bytes(message: Image, dtype: np.dtype, channels: int) -> int:
    """Bytes of a row without its padding."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    row = width * channels * dtype.itemsize
    if not height or not width or step < row or len(message.data) < step * (height - 1) + row:
        raise EncodingError(
            f"{len(message.data)} bytes are no {width}x{height} {message.encoding} image with step "
            f"{step}"
        )
    return row


def _rows(message: Image, dtype: np.dtype, channels: int) -> np.ndarray:
    """The rows of a message without padding, in native byte order: cv_bridge is given no others.

    Its Python half cuts a step down to whole pixels, so that rows with other padding come out
    sheared, takes an image for as narrow as a step that is too small, and swaps no bytes under
    NumPy 2.
    """
    shape = message.height, _row_bytes(message, dtype, channels)
    padded = np.ndarray(shape, np.uint8, message.data, 0, (message.step, 1))
    rows = np.ascontiguousarray(padded).view(dtype)
    return rows if bool(message.is_bigendian) == NATIVE_IS_BIG else rows.byteswap()


def _converted(encoding: str, rows: np.ndarray, width: int, target: str) -> np.ndarray:
    message = Image(height=len(rows), width=width, encoding=encoding, data=rows.tobytes())
    message.step, message.is_bigendian = rows.strides[0], int(NATIVE_IS_BIG)
    return np.ascontiguousarray(_bridge().imgmsg_to_cv2(message, desired_encoding=target))
