"""The fields of a recorded image message, read without copying or decoding its pixels.

Reading the dozen numbers before the pixels takes microseconds, and gives what decides whether a
message can be used at all. `rosbags` would copy the pixels for that. The layout of the two types
has been the same in every release of ROS 1 and ROS 2.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from ssvif_core.errors import SsvifError

__all__ = ["COMPRESSED", "RAW", "RecordedCompressed", "RecordedImage", "image_fields"]

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
#: Pixels of 16 and 32 bit are read where they lie; they have to lie at multiples of this.
ALIGNED = 4


class RecordedImage(NamedTuple):
    """The fields of sensor_msgs/Image; `data` is a (N,) uint8 view of the recorded bytes."""

    stamp_ns: int
    frame_id: str
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: np.ndarray


class RecordedCompressed(NamedTuple):
    """The fields of sensor_msgs/CompressedImage; `data` is a (N,) uint8 view."""

    stamp_ns: int
    frame_id: str
    format: str
    data: np.ndarray


def image_fields(raw: bytes, kind: str, *, ros2: bool) -> RecordedImage | RecordedCompressed:
    """The fields of a serialized image.

    Args:
        raw: the message: CDR of ROS 2 with its 4 bytes of encapsulation, or that of ROS 1.
        kind: `RAW` or `COMPRESSED`.
        ros2: which of the two.

    Raises:
        SsvifError: the bytes are none of such a message: they end too early, or are no text where
            there should be some.
    """
    try:
        reader = _Cdr(raw) if ros2 else _Ros1(raw)
        stamp_ns, frame_id = reader.stamp_ns(), reader.text()
        if kind == COMPRESSED:
            return RecordedCompressed(stamp_ns, frame_id, reader.text(), reader.data())
        return RecordedImage(
            stamp_ns, frame_id, reader.number(), reader.number(), reader.text(), reader.octet(),
            reader.number(), reader.data(),
        )  # fmt: skip
    except (struct.error, IndexError, ValueError) as error:  # ValueError: frombuffer, UTF-8
        raise SsvifError(f"not a {kind}: {error}") from error


class _Ros1:
    """Fields one after the other, little-endian, without padding."""

    order, seconds = "<", "I"
    start, terminator = 4, 0  # a sequence number before the stamp

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, self.start

    def align(self) -> None:
        """Go to where a number of four bytes may begin."""

    def number(self) -> int:
        """uint32."""
        self.align()
        (value,) = struct.unpack_from(self.order + "I", self._raw, self._at)
        self._at += 4
        return int(value)

    def octet(self) -> int:
        """uint8."""
        self._at += 1
        return self._raw[self._at - 1]

    def stamp_ns(self) -> int:
        """A time; seconds are signed in ROS 2."""
        kinds = self.order + self.seconds + "I"
        seconds, nanoseconds = struct.unpack_from(kinds, self._raw, self._at)
        self._at += 8
        return int(seconds) * 1_000_000_000 + int(nanoseconds)

    def text(self) -> str:
        """A string; that of CDR ends with a zero, which its length counts."""
        length = self.number()
        text = self._raw[self._at : self._at + length]
        if len(text) < length:
            raise ValueError(f"a text of {length} bytes does not fit into {len(self._raw)}")
        self._at += length
        return text[: length - self.terminator if length else 0].decode()

    def data(self) -> np.ndarray:
        """uint8[]: a view, or a copy where wide pixels could not be read in place."""
        length = self.number()
        bytes_ = np.frombuffer(self._raw, np.uint8, length, self._at)
        return bytes_ if self._at % ALIGNED == 0 else bytes_.copy()


class _Cdr(_Ros1):
    """Plain CDR: four bytes tell the byte order, numbers are aligned to their size behind them."""

    seconds = "i"
    start, terminator = 4, 1

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.order = "<" if raw[1] & 1 else ">"

    def align(self) -> None:
        self._at += -self._at % 4  # the encapsulation has four bytes, so this counts from it, too
