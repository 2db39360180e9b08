"""What is read of a camera message, and the error for one that cannot be used. Knows no ROS."""

from __future__ import annotations

from typing import Any, Protocol

from ssvif_core.errors import SsvifError

__all__ = ["CompressedMessage", "EncodingError", "ImageMessage"]


class EncodingError(SsvifError):
    """An image message that cannot be used; the text says why."""


class ImageMessage(Protocol):
    """The fields of sensor_msgs/Image that matter here; `data` is any buffer of bytes."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def encoding(self) -> str: ...
    @property
    def is_bigendian(self) -> Any: ...
    @property
    def step(self) -> int: ...
    @property
    def data(self) -> Any: ...


class CompressedMessage(Protocol):
    """The fields of sensor_msgs/CompressedImage."""

    @property
    def format(self) -> str: ...
    @property
    def data(self) -> Any: ...
