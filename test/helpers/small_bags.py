"""Small recordings whose frames say their numbers, in every kind of storage."""

from __future__ import annotations

import cv2
import numpy as np
from rosbags import rosbag1, rosbag2
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.typesys import Stores, get_typestore

from ssvif_core.pairing import NearestPairing

VISIBLE, THERMAL = "/camera/image_raw", "/thermal_camera/image_raw"
START_NS = 1_700_000_000_000_000_000
SHAPE = (24, 32)

#: name: storage plugin, compression mode.
STORAGES = {
    "sqlite3": (StoragePlugin.SQLITE3, CompressionMode.NONE),
    "sqlite3 zstd files": (StoragePlugin.SQLITE3, CompressionMode.FILE),
    "sqlite3 zstd messages": (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
    "mcap zstd files": (StoragePlugin.MCAP, CompressionMode.FILE),
    "mcap": (StoragePlugin.MCAP, CompressionMode.NONE),
    "mcap zstd chunks": (StoragePlugin.MCAP, CompressionMode.STORAGE),
    "mcap zstd messages": (StoragePlugin.MCAP, CompressionMode.MESSAGE),
}
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


def raw(pixels, encoding, *, padding=0, big_endian=False):
    """The fields of an Image but for its header; rows end with `padding` bytes of 0xEE."""
    data = np.ascontiguousarray(pixels)
    if data.dtype == np.uint16:
        data = data.astype(">u2" if big_endian else "<u2")
    rows = data.view(np.uint8).reshape(len(data), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xEE)
    return {
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "encoding": encoding,
        "is_bigendian": int(big_endian),
        "step": rows.shape[1],
        "data": rows.ravel(),
    }


def compressed(pixels, extension, text):
    return {"format": text, "data": cv2.imencode(extension, pixels)[1].ravel()}


def visible_image(number):
    """Colours that hold a number below 65536, and differ from channel to channel."""
    pixels = np.zeros((*SHAPE, 3), np.uint8)
    pixels[:] = (number % 256, number // 256, 77)
    return raw(pixels, "rgb8")


def thermal_image(number):
    return raw(np.full(SHAPE, number, np.uint8), "mono8")


def numbers_of(pair):
    return int(pair.visible[0, 0, 0]) + 256 * int(pair.visible[0, 0, 1]), int(pair.thermal[0, 0])


def ros2_messages(messages):
    """(topic, type, received_ns, serialized) of (topic, stamp_ns, received_ns, fields)."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    types = store.types
    for topic, stamp_ns, received_ns, fields in messages:
        stamp = types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
        header = types["std_msgs/msg/Header"](stamp, "camera")
        kind = IMAGE if "encoding" in fields else COMPRESSED
        yield topic, kind, received_ns, store.serialize_cdr(types[kind](header, **fields), kind)


def write_bag(path, messages, storage="mcap"):
    plugin, mode = STORAGES[storage]
    writer = rosbag2.Writer(path, version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    store = get_typestore(Stores.ROS2_HUMBLE)
    connections = {}
    with writer:
        for topic, kind, received_ns, data in ros2_messages(messages):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(connections[topic], received_ns, data)
    return path


def recording(seconds, *, jitter_s=0.004, seed=0):
    """30 Hz visible and 9 Hz thermal, jittered, 5 to 40 ms under way, in order of receipt."""
    rng = np.random.default_rng(seed)
    messages = []
    for topic, rate, image in ((VISIBLE, 30, visible_image), (THERMAL, 9, thermal_image)):
        times = np.arange(int(seconds * rate)) / rate + rng.normal(0, jitter_s, int(seconds * rate))
        received = np.maximum.accumulate(times + rng.uniform(0.005, 0.04, len(times)))
        for number, (stamp, receipt) in enumerate(zip(times, received, strict=True)):
            stamp_ns, receipt_ns = (START_NS + round(1e9 * t) for t in (stamp, receipt))
            messages.append((topic, stamp_ns, receipt_ns, image(number)))
    return sorted(messages, key=lambda message: message[2])


def nearest(messages, **settings):
    """Numbers and stamps of the pairs that NearestPairing makes of the same messages."""
    pairing, counts, pairs = NearestPairing(**settings), {VISIBLE: 0, THERMAL: 0}, []
    for topic, stamp_ns, received_ns, _ in messages:
        add = pairing.add_visible if topic == VISIBLE else pairing.add_thermal
        pairs += add(stamp_ns, counts[topic], received_ns)
        counts[topic] += 1
    pairs += pairing.flush()
    return [((p.visible, p.thermal), (p.visible_stamp_ns, p.thermal_stamp_ns)) for p in pairs]


def short(visible, thermal, count=3):
    """A few messages of both cameras at the same times."""
    stamps = [START_NS + i * 10**8 for i in range(count)]
    return [
        (topic, ns, ns + lag, fields)
        for ns in stamps
        for topic, lag, fields in ((VISIBLE, 0, visible), (THERMAL, 1, thermal))
    ]


def write_ros1_bag(path, messages, compression=None, chunk_bytes=2**16):
    """The same as a ROS 1 bag; `compression` is None, "bz2" or "lz4"."""
    store = get_typestore(Stores.ROS1_NOETIC)
    writer = rosbag1.Writer(path)
    writer.chunk_threshold = chunk_bytes
    if compression:
        writer.set_compression(rosbag1.Writer.CompressionFormat[compression.upper()])
    connections = {}
    with writer:
        for number, (topic, stamp_ns, received_ns, fields) in enumerate(messages):
            kind = IMAGE if "encoding" in fields else COMPRESSED
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            stamp = store.types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
            header = store.types["std_msgs/msg/Header"](number, stamp, "camera")
            data = store.serialize_ros1(store.types[kind](header, **fields), kind)
            writer.write(connections[topic], received_ns, data)
    return path
