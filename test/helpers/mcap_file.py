"""MCAP files by hand, https://mcap.dev/spec, as recorders leave them: any compression, with or
without chunks and a summary.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter

from lz4.frame import compress as lz4
from rosbags.typesys import Stores, get_typestore

MAGIC = b"\x89MCAP0\r\n"


def record(opcode, content):
    return struct.pack("<BQ", opcode, len(content)) + content


def text(value):
    return struct.pack("<I", len(value)) + value.encode()


def definitions(topics, encoding):
    """Schemas and channels of {topic: kind}, numbered from 1."""
    store, records = get_typestore(Stores.ROS2_HUMBLE), b""
    for number, (topic, kind) in enumerate(topics.items(), 1):
        definition, _ = store.generate_msgdef(kind, ros_version=2)
        content = struct.pack("<H", number) + text(kind) + text("ros2msg") + text(definition)
        records += record(3, content)
        content = struct.pack("<HH", number, number) + text(topic) + text(encoding)
        records += record(4, content + struct.pack("<I", 0))
    return records


def mcap_bytes(
    messages,
    *,
    chunk=None,
    index=True,
    compression="lz4",
    end=True,
    encoding="cdr",
    statistics=False,
):
    """A file without a summary, or with one that has no indexes.

    Args:
        messages: (topic, kind, received_ns, serialized), in order.
        chunk: messages in a chunk; None: no chunks, as rosbag2's preset `fastwrite`.
        index: write message indexes behind the chunks.
        compression: of chunks: "" or "lz4".
        encoding: of messages, as the channels say.
        end: with an end of data and a footer, as of a recorder that was not killed.
        statistics: with a summary, which says how many messages there are.
    """
    topics = {topic: kind for topic, kind, _, _ in messages}
    ids = {topic: number for number, topic in enumerate(topics, 1)}
    content = MAGIC + record(1, text("ros2" if encoding == "cdr" else encoding) + text("test"))
    pending = definitions(topics, encoding)
    if chunk is None:
        content, pending = content + pending, b""
    for start in range(0, len(messages), chunk or len(messages)):
        part = messages[start : start + (chunk or len(messages))]
        records, times = pending, {}
        pending = b""
        for topic, _, ns, data in part:
            times.setdefault(ids[topic], []).append((ns, len(records)))
            records += record(5, struct.pack("<HIQQ", ids[topic], 0, ns, ns) + data)
        if chunk is None:
            content += records
            continue
        packed = lz4(records) if compression == "lz4" else records
        received = [ns for _, _, ns, _ in part]
        head = struct.pack("<QQQI", min(received), max(received), len(records), zlib.crc32(records))
        content += record(6, head + text(compression) + struct.pack("<Q", len(packed)) + packed)
        for number, entries in times.items() if index else ():
            array = b"".join(struct.pack("<QQ", *entry) for entry in entries)
            content += record(7, struct.pack("<HI", number, len(array)) + array)
    if end:
        content += record(15, bytes(4))
        summary_at = len(content) if statistics else 0
        content += _summary(messages, topics, encoding) if statistics else b""
        content += record(2, struct.pack("<QQI", summary_at, 0, 0)) + MAGIC
    return content


def _summary(messages, topics, encoding):
    counts = Counter(topic for topic, *_ in messages)
    times = [ns for _, _, ns, _ in messages]
    numbers = b"".join(struct.pack("<HQ", i, counts[t]) for i, t in enumerate(topics, 1))
    head = len(messages), len(topics), len(topics), 0, 0, 0, min(times), max(times), len(numbers)
    return definitions(topics, encoding) + record(11, struct.pack("<QHIIIIQQI", *head) + numbers)
