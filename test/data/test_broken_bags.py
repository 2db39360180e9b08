"""Recordings as killed recorders, full disks and bad copies leave them: read as far as they go."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import struct
import subprocess
import sys

import numpy as np
import pytest

from ssvif_core.errors import SsvifError

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from mcap_file import mcap_bytes  # noqa: E402
from small_bags import (  # noqa: E402
    THERMAL,
    VISIBLE,
    raw,
    recording,
    ros2_messages,
    write_bag,
    write_ros1_bag,
)

from ssvif_core.data.bag_files import Bag  # noqa: E402

TOPICS = (VISIBLE, THERMAL)
NOT_CLOSED = "was not closed by its recorder; it is read to its last record"


def messages_of(path, topics=TOPICS, start_ns=None, stop_ns=None):
    """(topic, time of receipt, stamp, first pixel) of all messages, and what is broken."""
    with Bag(path) as bag:
        found = []
        for recorded in bag.messages([*topics], start_ns, stop_ns):
            image = bag.image(recorded)
            row = recorded.topic, recorded.received_ns, image.stamp_ns, bytes(image.data[:3])
            found.append(row)
        return found, bag.broken


def expected(messages):
    return [(topic, ns, stamp, bytes(f["data"][:3])) for topic, stamp, ns, f in messages]


@pytest.fixture(scope="module")
def messages():
    """Two seconds; visible images of noise, each with its number in the first pixel."""
    found, rng = [], np.random.default_rng(2)
    for number, (topic, stamp, received, fields) in enumerate(recording(2.0)):
        if topic == VISIBLE:
            pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)  # hardly compresses
            pixels[0, 0] = number
            fields = raw(pixels, "rgb8")
        found.append((topic, stamp, received, fields))
    return found


# ROS 1.

COMPRESSIONS = (None, "bz2", "lz4")


def killed(path, *, with_open_chunk=b""):
    """What a recorder leaves when it is killed: no index, and none promised; its file."""
    content = bytearray(path.read_bytes())
    field = content.index(b"index_pos=") + len(b"index_pos=")
    (index_at,) = struct.unpack_from("<Q", content, field)
    content[field : field + 8] = bytes(8)
    active = path.with_name(f"{path.name}.active")
    active.write_bytes(bytes(content[:index_at]) + with_open_chunk)
    return active


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_ros_1_bag_without_its_index_is_read_to_its_end(tmp_path, messages, compression):
    bag = killed(write_ros1_bag(tmp_path / "old.bag", messages, compression))
    found, broken = messages_of(bag)
    assert found == expected(messages)
    assert broken == {"old.bag.active": NOT_CLOSED}
    with Bag(bag) as opened:
        assert opened.end_ns == messages[-1][2] + 1
        assert opened.topics() == dict.fromkeys(sorted(TOPICS), "sensor_msgs/msg/Image")
    shutil.move(bag, tmp_path / "renamed.bag")  # by hand, as many do
    assert messages_of(tmp_path / "renamed.bag")[0] == found


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_ros_1_bag_that_is_cut_gives_what_lies_before_the_cut(tmp_path, messages, compression):
    path = write_ros1_bag(tmp_path / "old.bag", messages, compression)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    found, broken = messages_of(path)
    assert 0.4 * len(messages) < len(found) < 0.7 * len(messages)
    assert found == expected(messages)[: len(found)]
    assert "breaks off in the record at byte" in broken["old.bag"]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_open_chunk_of_a_killed_ros_1_recorder_is_read_as_far_as_it_was_written(
    tmp_path, messages, compression
):
    # roscpp writes a chunk's header with lengths of 0, and the right ones when it closes it.
    first = write_ros1_bag(tmp_path / "old.bag", messages[:60], compression)
    rest = write_ros1_bag(tmp_path / "rest.bag", messages[60:], compression, 2**24).read_bytes()
    head = bytearray(rest[13 + 4096 :])  # magic and the padded header of the bag come before
    (length,) = struct.unpack_from("<I", head)
    size_at = head.index(b"size=") + len(b"size=")
    head[size_at : size_at + 4] = bytes(4)
    (packed,) = struct.unpack_from("<I", head, 4 + length)
    head[4 + length : 8 + length] = bytes(4)
    bag = killed(first, with_open_chunk=bytes(head[: 8 + length + packed * 9 // 10]))
    found, broken = messages_of(bag)
    assert found == expected(messages)[: len(found)]
    # bz2 gives whole blocks of up to 900 kB, so of the open chunk there may be nothing.
    assert len(found) > (59 if compression == "bz2" else 66)
    assert "was not closed" in broken["old.bag.active"]


def test_a_damaged_chunk_of_a_ros_1_bag_costs_that_chunk(tmp_path, messages):
    path = write_ros1_bag(tmp_path / "old.bag", messages, "bz2")
    content = bytearray(path.read_bytes())
    second = content.index(b"BZh9", content.index(b"BZh9") + 1)
    content[second + 100 : second + 120] = bytes(20)
    path.write_bytes(content)
    found, broken = messages_of(path)
    assert set(found) < set(expected(messages))
    assert found == sorted(found, key=lambda row: row[1])
    assert 0.6 * len(messages) < len(found) < len(messages)
    assert found[-1] == expected(messages)[-1]
    assert "is damaged: its bz2 data is damaged" in broken["old.bag"]


# MCAP.


@pytest.mark.parametrize("chunk", [None, 7])
@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("compression", ["", "lz4"])
@pytest.mark.parametrize("end", ["", "footer", "zeros"])
def test_an_mcap_file_without_a_summary_is_read_to_its_end(
    tmp_path, messages, chunk, index, compression, end
):
    path = tmp_path / "drive_0.mcap"
    serialized = list(ros2_messages(messages))
    content = mcap_bytes(
        serialized, chunk=chunk, index=index, compression=compression, end=end == "footer"
    )
    size = len(content)
    path.write_bytes(content + bytes(4096 * (end == "zeros")))  # a disk without power
    found, broken = messages_of(path)
    assert found == expected(messages)
    damage = {"footer": "", "": NOT_CLOSED, "zeros": f"breaks off in the record at byte {size}"}
    assert broken.get(path.name, "").startswith(damage[end])
    assert bool(broken) == (end != "footer")
    middle = messages[len(messages) // 2][2]
    late, _ = messages_of(path, start_ns=middle)
    assert late == [row for row in found if row[1] >= middle]
    early, _ = messages_of(path, [THERMAL], stop_ns=middle)
    assert early == [row for row in found if row[1] < middle and row[0] == THERMAL]


@pytest.mark.parametrize("compression", ["", "lz4"])
def test_of_a_chunk_that_was_cut_the_whole_messages_are_read(tmp_path, messages, compression):
    path = tmp_path / "drive_0.mcap"
    content = mcap_bytes(
        list(ros2_messages(messages)), chunk=len(messages), compression=compression, end=False
    )
    path.write_bytes(content[: len(content) // 2])
    found, broken = messages_of(path)
    assert 0.2 * len(messages) < len(found) < 0.6 * len(messages)
    assert found == expected(messages)[: len(found)]
    assert "breaks off in the record at byte" in broken[path.name]


@pytest.mark.parametrize("index", [True, False])
def test_an_mcap_chunk_with_a_wrong_checksum_is_left_out_and_the_rest_is_read(
    tmp_path, messages, index
):
    serialized = list(ros2_messages(messages))
    content = bytearray(mcap_bytes(serialized, chunk=8, index=index, compression=""))
    content[len(content) // 2] ^= 0xFF  # in the middle of an image
    path = tmp_path / "drive.mcap"
    path.write_bytes(content)
    found, broken = messages_of(path)
    lost = [row for row in expected(messages) if row not in found]
    assert 0 < len(lost) <= 8
    assert found == [row for row in expected(messages) if row not in lost]
    assert "is damaged and left out: its checksum is wrong" in broken["drive.mcap"]


def test_messages_that_a_chunk_without_a_checksum_has_lost_are_counted(tmp_path, messages):
    bag = write_bag(tmp_path / "drive", messages, "mcap")
    file = next(bag.glob("*.mcap"))
    content = bytearray(file.read_bytes())
    at = len(content) // 3
    content[at : at + 8000] = bytes(8000)  # more than a message, so that one's head is hit
    file.write_bytes(content)
    for path in (bag, file):
        found, broken = messages_of(path)
        lost = 60 - sum(row[0] == VISIBLE for row in found)
        assert lost > 0
        assert f"{lost} of 60 messages of {VISIBLE} are missing" in broken[path.name]
        assert messages_of(path, stop_ns=messages[3][2])[1] == {}


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("place", ["file", "folder"])
def test_messages_outside_of_chunks_are_given_in_order_of_receipt(
    tmp_path, messages, statistics, place
):
    bag = write_bag(tmp_path / "drive", messages[:2], "mcap")
    serialized = list(ros2_messages(messages))
    for at in range(20, len(messages) - 1, 9):  # as they come to a recorder
        serialized[at : at + 2] = reversed(serialized[at : at + 2])
    (bag / "drive.mcap").write_bytes(mcap_bytes(serialized, statistics=statistics))
    assert messages_of(bag if place == "folder" else bag / "drive.mcap") == (
        expected(messages),
        {},
    )


def test_a_message_outside_of_chunks_that_is_lost_is_counted(tmp_path, messages):
    serialized = list(ros2_messages(messages))
    content = bytearray(mcap_bytes(serialized, statistics=True))
    lost = next(i for i, row in enumerate(messages) if i > 30 and row[0] == VISIBLE)
    at = content.index(serialized[lost][3]) - struct.calcsize("<BQHIQQ")
    assert content[at] == 5
    content[at] = 99  # a record of which nobody knows what it is
    (tmp_path / "drive.mcap").write_bytes(content)
    found, broken = messages_of(tmp_path / "drive.mcap")
    assert found == expected(messages[:lost] + messages[lost + 1 :])
    assert broken == {"drive.mcap": f"is damaged: 1 of 60 messages of {VISIBLE} are missing"}


def test_an_mcap_file_of_another_encoding_is_refused_and_says_so(tmp_path, messages):
    path = tmp_path / "drive.mcap"
    path.write_bytes(mcap_bytes(list(ros2_messages(messages)), chunk=9, encoding="ros1"))
    with pytest.raises(SsvifError, match=r"its messages are \['ros1'\], not ROS 2's"), Bag(path):
        pass


# sqlite3.

RESILIENT = """
import sqlite3, sys, time
source, target = sys.argv[1:]
new = sqlite3.connect(target, isolation_level=None)
new.execute("PRAGMA journal_mode=WAL")
old = sqlite3.connect(source)
for (statement,) in old.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"):
    new.execute(statement)
for table in ("topics", "messages"):
    new.execute("BEGIN")
    for row in old.execute(f"SELECT * FROM {table}"):
        new.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)
    new.execute("COMMIT")
print("written", flush=True)
time.sleep(600)
"""


def test_what_a_killed_recorder_left_in_a_write_ahead_log_is_read(tmp_path, messages):
    bag = write_bag(tmp_path / "whole", messages, "sqlite3")
    path = tmp_path / "drive #1?" / "drive_0.db3"
    path.parent.mkdir()
    command = [sys.executable, "-c", RESILIENT, bag / "whole.db3", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as recorder:
        assert recorder.stdout.readline() == "written\n"
        recorder.send_signal(signal.SIGKILL)
    wal = path.with_name("drive_0.db3-wal")
    assert wal.stat().st_size > 10 * path.stat().st_size
    before = wal.read_bytes()
    for place in (path, path.parent):
        found, broken = messages_of(place)
        assert found == expected(messages)
        assert "drive_0.db3-wal is read with it" in broken["drive_0.db3"]
    assert wal.read_bytes() == before  # a recording is not written to


def test_a_damaged_page_of_a_database_costs_the_messages_on_it(tmp_path, messages):
    bag = write_bag(tmp_path / "drive", messages, "sqlite3")
    file = bag / "drive.db3"
    content = bytearray(file.read_bytes())
    # Leaf pages of tables begin with 13; spoil one that lies in the middle.
    pages = [at for at in range(0, len(content), 4096) if content[at] == 13]
    at = pages[len(pages) // 2]
    content[at : at + 4096] = b"\xff" * 4096
    file.write_bytes(content)
    found, broken = messages_of(bag)
    assert set(found) < set(expected(messages))
    assert len(found) == len(set(found)) > 0.5 * len(messages)
    assert found[-1] == expected(messages)[-1]
    assert "is damaged behind message" in broken["drive.db3"]


def test_a_cut_database_is_read_in_order_of_receipt_whatever_its_ids_are(tmp_path, messages):
    file = write_bag(tmp_path / "drive", messages, "sqlite3") / "drive.db3"
    database = sqlite3.connect(file)
    database.executescript(
        "CREATE TABLE rows AS SELECT * FROM messages; DELETE FROM messages;"
        "INSERT INTO messages (topic_id, timestamp, data) SELECT topic_id, timestamp, data "
        "FROM rows ORDER BY topic_id DESC, timestamp DESC; DROP TABLE rows; VACUUM;"
    )
    database.close()
    file.write_bytes(file.read_bytes()[:-8192])
    found, broken = messages_of(file)
    assert 0.8 * len(messages) < len(found) < len(messages)
    assert found == [row for row in expected(messages) if row in found]
    assert "is cut short" in broken["drive.db3"]


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
@pytest.mark.parametrize("mode", ["files", "messages"])
def test_compression_shows_without_metadata_yaml(tmp_path, messages, storage, mode):
    bag = write_bag(tmp_path / "drive", messages, f"{storage} zstd {mode}")
    (bag / "metadata.yaml").unlink()
    (file,) = bag.iterdir()
    assert (file.suffix == ".zstd") == (mode == "files")
    for path in (bag, file):
        found, broken = messages_of(path)
        assert found == expected(messages)
        assert broken == {}


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_a_file_that_was_compressed_in_several_frames_is_read_whole(tmp_path, messages, storage):
    zstd = pytest.importorskip("backports.zstd", reason="needs the extra `bags`")
    bag = write_bag(tmp_path / "drive", messages, f"{storage} zstd files")
    path = next(bag.glob("*.zstd"))
    content = zstd.decompress(path.read_bytes())
    half = len(content) // 2
    path.write_bytes(zstd.compress(content[:half]) + zstd.compress(content[half:]))
    (bag / "metadata.yaml").unlink()
    assert messages_of(path) == (expected(messages), {})


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_a_compressed_file_that_was_cut_is_read_up_to_there(tmp_path, messages, storage):
    bag = write_bag(tmp_path / "drive", messages, f"{storage} zstd files")
    path = next(bag.glob("*.zstd"))
    packed = path.read_bytes()
    path.write_bytes(packed[: len(packed) * 6 // 10])
    found, broken = messages_of(path)
    assert 0.3 * len(messages) < len(found) < 0.8 * len(messages)
    assert found == expected(messages)[: len(found)]
    assert "its zstd data is cut short" in broken[path.name]


# Folders.


def test_a_file_that_metadata_yaml_names_and_that_is_gone_is_told_of(tmp_path, messages):
    bag = write_bag(tmp_path / "drive", messages, "sqlite3")
    metadata = bag / "metadata.yaml"
    text = metadata.read_text()
    assert "- drive.db3\n" in text
    metadata.write_text(text.replace("- drive.db3\n", "- drive.db3\n  - drive_1.db3\n", 1))
    found, broken = messages_of(bag)
    assert found == expected(messages)
    assert broken == {"drive": "lacks drive_1.db3"}


def test_an_empty_folder_is_no_recording(tmp_path):
    with pytest.raises(SsvifError, match="there is none in it"), Bag(tmp_path):
        pass


@pytest.mark.parametrize("kind", ["mcap", "chunks", "ros1", "db3"])
def test_random_damage_gives_messages_or_the_one_error_and_never_a_crash(tmp_path, messages, kind):
    if kind == "ros1":
        path = killed(write_ros1_bag(tmp_path / "old.bag", messages[:12], "lz4", 2**14))
    elif kind == "db3":
        path = write_bag(tmp_path / "drive", messages[:12], "sqlite3") / "drive.db3"
    else:
        chunk = 4 if kind == "chunks" else None
        path = tmp_path / "drive.mcap"
        path.write_bytes(mcap_bytes(list(ros2_messages(messages[:12])), chunk=chunk, end=False))
    content, rng = path.read_bytes(), np.random.default_rng(0)
    read = 0
    for _ in range(60):
        damaged = bytearray(content)
        first = rng.choice([0, 4096, len(damaged) - 6000])  # where structure is, not pixels
        for at in rng.integers(max(first, 0), min(len(damaged), first + 6000), 3):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged[: rng.integers(len(damaged) * 4 // 5, len(damaged) + 1)])
        try:
            with Bag(path) as bag:
                read += sum(1 for _ in bag.messages([*bag.topics()]))
        except SsvifError:
            continue
    assert read > 30
