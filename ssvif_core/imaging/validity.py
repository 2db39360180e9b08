"""Image messages that cannot be used are found before they take a partner. Knows no ROS.

Looks at the numbers of a message, not at its pixels: encoding, size, step and length of the data,
some microseconds (16-bit pixels of the other byte order are copied: a tenth of a millisecond). A
bad frame that is found only when it is decoded has been paired by then, and takes a good frame of
the other camera along; and a camera that sends nothing usable would pass for one that is there.
The node asks when a message comes, replay when it is read: one rule for both.
"""

from __future__ import annotations

from typing import Any

from ssvif_core.imaging.encodings import check_visible, check_width, encoding_of, pixels_of
from ssvif_core.imaging.messages import EncodingError
from ssvif_core.imaging.planar_yuv import PLANAR_YUV, check_planes

__all__ = ["check_image"]


def check_image(message: Any, camera: str) -> None:
    """Whether the numbers of an image message fit together.

    Args:
        message: with the fields of sensor_msgs/Image or CompressedImage.
        camera: "visible" or "thermal".

    Raises:
        EncodingError: they do not; or the encoding is one that nothing here can read, or, for the
            visible camera, one of 16-bit gray or float, compressed or not, or packed YUV of odd
            width; or a compressed image is empty.
    """
    if not hasattr(message, "encoding"):
        if not len(message.data):
            raise EncodingError("the compressed image is empty")
        if camera == "visible":
            check_visible(encoding_of(message))
        return
    if message.encoding in PLANAR_YUV:
        check_planes(message)
        return
    pixels_of(message)
    if camera == "visible":
        check_visible(message.encoding)
        check_width(message)
