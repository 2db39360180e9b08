"""The fields of recorded images are those that rosbags reads, at a fraction of the time."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from rosbags.typesys import Stores, get_typestore  # noqa: E402

from ssvif_core.data.image_fields import COMPRESSED, RAW, image_fields  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402

STORES = {2: get_typestore(Stores.ROS2_HUMBLE), 1: get_typestore(Stores.ROS1_NOETIC)}


def serialized(ros, kind, frame_id, little_endian=True, **fields):
    """Bytes of a message, from rosbags."""
    store = STORES[ros]
    stamp = store.types["builtin_interfaces/msg/Time"](1_700_000_123, 456_789)
    sequence = [7] if ros == 1 else []
    header = store.types["std_msgs/msg/Header"](*sequence, stamp, frame_id)
    message = store.types[kind](header=header, **fields)
    if ros == 1:
        return bytes(store.serialize_ros1(message, kind))
    return bytes(store.serialize_cdr(message, kind, little_endian=little_endian))


@pytest.mark.parametrize("frame_id", ["", "a", "camera", "thermal_optical_frame"])
@pytest.mark.parametrize(("ros", "little"), [(2, True), (2, False), (1, True)])
@pytest.mark.parametrize("encoding", ["mono8", "rgb8", "bayer_rggb16", "16UC1"])
def test_every_field_of_an_image_is_read(frame_id, ros, little, encoding):
    data = np.arange(40, dtype=np.uint8)
    sizes = {"height": 4, "width": 5, "step": 10, "is_bigendian": 1}
    raw = serialized(ros, RAW, frame_id, little, encoding=encoding, data=data, **sizes)
    found = image_fields(raw, RAW, ros2=ros == 2)
    assert found.stamp_ns == 1_700_000_123_000_456_789
    assert (found.frame_id, found.encoding) == (frame_id, encoding)
    assert {name: getattr(found, name) for name in sizes} == sizes
    assert (found.data == data).all()
    assert found.data.ctypes.data % 4 == 0  # 32-bit pixels can be read in place
    if ros == 2:
        assert np.shares_memory(found.data, np.frombuffer(raw, np.uint8))


@pytest.mark.parametrize("ros", [2, 1])
@pytest.mark.parametrize("size", [0, 1, 999])
def test_every_field_of_a_compressed_image_is_read(ros, size):
    data = np.arange(size, dtype=np.uint8)
    raw = serialized(ros, COMPRESSED, "c", format="16UC1; png compressed ", data=data)
    found = image_fields(raw, COMPRESSED, ros2=ros == 2)
    assert (found.format, len(found.data)) == ("16UC1; png compressed ", size)
    assert (found.data == data).all()


@pytest.mark.parametrize("ros", [2, 1])
def test_bytes_that_end_too_early_are_an_error_wherever_they_end(ros):
    fields = {"height": 2, "width": 3, "encoding": "mono8", "is_bigendian": 0, "step": 3}
    raw = serialized(ros, RAW, "camera", data=np.zeros(6, np.uint8), **fields)
    image_fields(raw, RAW, ros2=ros == 2)
    for length in range(len(raw)):
        with pytest.raises(SsvifError, match="not a sensor_msgs/msg/Image"):
            image_fields(raw[:length], RAW, ros2=ros == 2)


def test_random_bytes_raise_the_error_that_is_counted_and_no_other():
    random = np.random.default_rng(0)
    for number in range(2000):
        raw = random.bytes(int(random.integers(0, 200)))
        kind = (RAW, COMPRESSED)[number % 2]
        for ros2 in (False, True):
            try:
                image_fields(raw, kind, ros2=ros2)
            except SsvifError:
                continue
