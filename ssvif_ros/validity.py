"""Image messages that cannot be used are found where they arrive, before they take a partner.

Looks at the numbers of a message, not at its pixels: encoding, size, step and length of the data,
some microseconds (16-bit pixels of the other byte order are copied: a tenth of a millisecond). A
bad frame that is found only when it is decoded has been paired by then, and takes a good frame of
the other camera along; and a camera that sends nothing usable would pass for one that is there.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

from ssvif_core.imaging.encodings import DECODED, ENCODINGS, EncodingError, pixels_of
from ssvif_ros.synchronizer import SimpleFilter

__all__ = ["ValidImages", "check_image"]


class ValidImages(SimpleFilter):  # type: ignore[misc, valid-type]
    """Filter that passes on what can be an image of a camera, and counts the rest.

    Args:
        source: filter of sensor_msgs/Image or CompressedImage messages.
        camera: "visible" or "thermal".
        on_invalid: called with the reason, once for each message that is refused.

    Attributes:
        invalid: messages refused so far.
        reason: why the newest message was refused; empty while the newest is good.
    """

    def __init__(self, source: Any, camera: str, on_invalid: Callable[[str], None]) -> None:
        super().__init__()
        self._camera, self._on_invalid = camera, on_invalid
        self.invalid = 0
        self.reason = ""
        source.registerCallback(self._check)

    def _check(self, message: Any) -> None:
        try:
            check_image(message, self._camera)
        except EncodingError as error:
            self.invalid += 1
            self.reason = f"bad {self._camera} frame: {error}"
            self._on_invalid(self.reason)
            return
        self.reason = ""
        self.signalMessage(message)


def check_image(message: Any, camera: str) -> None:
    """Whether the numbers of an image message fit together.

    Args:
        message: sensor_msgs/Image or CompressedImage.
        camera: "visible" or "thermal".

    Raises:
        EncodingError: they do not; or the encoding is one that nothing here can read, or, for the
            visible camera, one of 16-bit gray; or a compressed image is empty.
    """
    if not hasattr(message, "encoding"):
        if not len(message.data):
            raise EncodingError("the compressed image is empty")
        return
    if message.encoding not in ENCODINGS and (
        message.encoding in DECODED or _cv_bridge_is_installed()
    ):
        return  # planes, or cv_bridge's: what comes of them is seen when they are decoded
    pixels_of(message)
    layout = ENCODINGS[message.encoding]
    if camera == "visible" and layout.channels == 1 and layout.to_rgb is None:
        raise EncodingError(
            f"encoding '{message.encoding}' is a thermal camera's: are the two topics swapped?"
        )


@functools.cache
def _cv_bridge_is_installed() -> bool:
    return importlib.util.find_spec("cv_bridge") is not None
