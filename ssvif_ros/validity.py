"""Image messages that cannot be used are refused where they arrive, before they take a partner.

The rules are `ssvif_core/imaging/validity.py` and `cv_bridge_images`; here is a filter that counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ssvif_core.imaging import validity
from ssvif_core.imaging.encodings import DECODED
from ssvif_core.imaging.messages import EncodingError
from ssvif_ros import cv_bridge_images
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
    """`ssvif_core.imaging.validity.check_image`, and of what only cv_bridge may know, its answer.

    Raises:
        EncodingError: the message cannot be an image of this camera.
    """
    encoding = getattr(message, "encoding", None)  # compressed images have none
    if encoding is None or encoding in DECODED:
        validity.check_image(message, camera)
    else:
        cv_bridge_images.check(message, camera)
