"""Pairs from recordings: the right topics, paired as NearestPairing does, broken files included."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest

from ssvif_core.calibration.frames import Source, read_best, read_shots
from ssvif_core.data.bags import ImageTopic, choose_topics, read_bag_pairs
from ssvif_core.data.sources import open_pairs
from ssvif_core.errors import SsvifError

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from small_bags import (  # noqa: E402
    COMPRESSED,
    IMAGE,
    SHAPE,
    START_NS,
    STORAGES,
    THERMAL,
    VISIBLE,
    compressed,
    nearest,
    numbers_of,
    raw,
    recording,
    short,
    thermal_image,
    visible_image,
    write_bag,
    write_ros1_bag,
)

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


# Pairs.


@pytest.mark.parametrize("storage", STORAGES)
def test_pairs_are_those_of_nearest_pairing_in_every_kind_of_storage(tmp_path, storage):
    messages = recording(4.0)
    found = read_bag_pairs(write_bag(tmp_path / "bag", messages, storage))
    expected = nearest(messages)
    assert len(expected) > 30
    assert [numbers_of(pair) for pair in found.pairs] == [numbers for numbers, _ in expected]
    assert found.stamps_ns == [stamps for _, stamps in expected]
    assert [int(pair.name) for pair in found.pairs] == [ns for _, (ns, _) in expected]
    assert found.skipped == []
    assert (found.visible_topic, found.thermal_topic) == (VISIBLE, THERMAL)
    assert found.counts.paired == len(expected)
    assert all(pair.visible[0, 0, 2] == 77 for pair in found.pairs)


def test_slop_and_offset_of_the_thermal_clock_are_those_of_the_pairing(tmp_path):
    messages = [
        (topic, stamp - 200_000_000 * (topic == THERMAL), received, fields)
        for topic, stamp, received, fields in recording(3.0)
    ]
    bag = write_bag(tmp_path / "bag", messages)
    found = read_bag_pairs(bag, offset_s=0.2, slop_s=0.01)
    expected = nearest(messages, thermal_offset_s=0.2, slop_s=0.01)
    assert [numbers_of(pair) for pair in found.pairs] == [numbers for numbers, _ in expected]
    assert expected != nearest(messages, slop_s=0.01)


def test_a_limit_is_spread_over_the_whole_recording(tmp_path):
    messages = recording(6.0)
    pairs = open_pairs(write_bag(tmp_path / "bag", messages), limit=5)
    whole = [numbers for numbers, _ in nearest(messages)]
    assert [numbers_of(pair) for pair in pairs][:: len(pairs) - 1] == [whole[0], whole[-1]]
    assert len(pairs) == 5


def test_a_ros_1_bag_is_read(tmp_path):
    messages = recording(2.0)
    write_ros1_bag(tmp_path / "old.bag", messages)
    found = read_bag_pairs(tmp_path / "old.bag")
    assert [numbers_of(p) for p in found.pairs] == [numbers for numbers, _ in nearest(messages)]


# Pixels.


@pytest.mark.parametrize("big_endian", [False, True])
def test_padded_rows_and_16_bit_counts_of_both_byte_orders_are_read(tmp_path, big_endian):
    rng = np.random.default_rng(1)
    visible = rng.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    scene = np.linspace(0, 900, SHAPE[0] * SHAPE[1]).reshape(SHAPE)
    counts = (7000 + scene).astype(np.uint16)
    messages = short(
        raw(visible[..., ::-1], "bgr8", padding=13),
        raw(counts, "mono16", padding=6, big_endian=big_endian),
    )
    pairs = open_pairs(write_bag(tmp_path / "bag", messages))
    assert len(pairs) == 3
    assert (pairs[0].visible == visible).all()
    thermal = pairs[0].thermal
    assert thermal.dtype == np.uint8
    assert (np.diff(thermal.ravel().astype(int)) >= 0).all()
    assert (thermal.min(), thermal.max()) == (0, 255)


def test_the_gain_follows_a_16_bit_recording_and_does_not_jump(tmp_path):
    scene = np.linspace(0, 900, SHAPE[0] * SHAPE[1]).reshape(SHAPE)
    hot = scene.copy()
    hot[:4] = 5000  # something hot enters, in a sixth of the image
    messages = [
        (topic, START_NS + i * 33_000_000, START_NS + i * 33_000_000 + lag, fields)
        for i in range(20)
        for topic, lag, fields in (
            (VISIBLE, 0, visible_image(i)),
            (THERMAL, 1, raw((7000 + (scene if i < 10 else hot)).astype(np.uint16), "16UC1")),
        )
    ]
    pairs = open_pairs(write_bag(tmp_path / "bag", messages))
    middle = [float(pair.thermal[12].mean()) for pair in pairs]
    alone = 255 * scene[12].mean() / 5000  # what percentiles of that frame alone would give
    assert middle[9] - alone > 110
    assert abs(middle[10] - middle[9]) < 30
    assert alone < middle[19] < middle[10] - 15


def test_compressed_topics_are_decoded_16_bit_png_included(tmp_path):
    color = np.full((*SHAPE, 3), (10, 60, 200), np.uint8)  # BGR
    counts = np.tile(np.linspace(7000, 8000, SHAPE[1]).astype(np.uint16), (SHAPE[0], 1))
    messages = short(
        compressed(color, ".jpg", "bgr8; jpeg compressed bgr8"),
        compressed(counts, ".png", "16UC1; png compressed "),
    )
    messages = [(topic + "/compressed", *rest) for topic, *rest in messages]
    found = read_bag_pairs(write_bag(tmp_path / "bag", messages))
    assert found.thermal_topic == THERMAL + "/compressed"
    assert np.abs(found.pairs[0].visible[5, 5].astype(int) - (200, 60, 10)).max() < 6
    assert found.pairs[0].thermal[0, 0] == 0
    assert found.pairs[0].thermal[0, -1] == 255


def test_a_message_that_cannot_be_decoded_is_listed_and_the_others_are_used(tmp_path):
    messages = short(visible_image(1), thermal_image(2), count=4)
    broken = visible_image(1)
    broken["data"] = broken["data"][:100]
    messages[2] = (*messages[2][:3], broken)
    pairs = open_pairs(write_bag(tmp_path / "bag", messages))
    assert len(pairs) == 3
    assert [name for name, _ in pairs.skipped] == [f"{VISIBLE} message 1"]
    assert "truncated" in pairs.skipped[0].reason


@pytest.mark.parametrize(
    ("late_s", "why"),
    [
        (None, "none of the 9 thermal frames has a stamp: let the driver set header.stamp"),
        (
            700,
            r"nearest stamps .* 699\.\d+ s apart .*-(699\.9|700\.0)\d s are to be added to thermal",
        ),
    ],
    ids=["no stamps", "two clocks"],
)
def test_no_pair_at_all_says_what_is_wrong_with_the_stamps(late_s, why, tmp_path):
    messages = [
        (t, stamp if t == VISIBLE else 0 if late_s is None else stamp + late_s * 10**9, *more)
        for t, stamp, *more in recording(1.0)
    ]
    bag = write_bag(tmp_path / "bag", messages)
    with pytest.raises(SsvifError, match=f"No usable pair in .*{VISIBLE} and {THERMAL}: .*{why}"):
        open_pairs(bag)
    with pytest.raises(SsvifError, match=f"No usable pair of .*{why}"):
        read_shots(Source(bag), 5)
    with pytest.raises(SsvifError, match=f"No usable pair of .*{why}"):
        read_best(Source(bag), 5, 2)
    if late_s is not None:  # what it says helps
        assert len(read_shots(Source(bag, offset_s=-late_s), 5)) == 5


def test_cameras_that_were_recorded_one_after_the_other_are_told_from_two_clocks(tmp_path):
    messages = [
        (t, *(ns + 5 * 10**9 * (t == THERMAL) for ns in times), fields)
        for t, *times, fields in recording(1.0)
    ]
    with pytest.raises(SsvifError, match=r"4\.\d+ s apart .*: record both at the same time"):
        open_pairs(write_bag(tmp_path / "bag", messages))


def test_a_camera_none_of_whose_frames_can_be_read_is_named(tmp_path):
    broken = thermal_image(2)
    broken["data"] = broken["data"][:100]
    bag = write_bag(tmp_path / "bag", short(visible_image(1), broken))
    with pytest.raises(SsvifError, match="there is no thermal frame that can be read.*truncated"):
        open_pairs(bag)


# Topics.


def test_depth_is_not_taken_for_thermal_nor_a_compressed_copy_for_a_camera():
    topics = [
        ImageTopic("/cam/image_raw", IMAGE, "bgr8"),
        ImageTopic("/cam/image_raw/compressed", COMPRESSED, "bgr8; jpeg"),
        ImageTopic("/cam/depth/image_rect", IMAGE, "16UC1"),
        ImageTopic("/boson/image", IMAGE, "mono16"),
    ]
    assert choose_topics(topics, None, None, "b") == ("/cam/image_raw", "/boson/image")


@pytest.mark.parametrize(
    ("name", "encoding", "thermal"),
    [
        ("/lwir/image", "mono8", True),
        ("/robot/ir_camera/image", "rgb8", True),
        ("/boson", "16UC1", True),
        ("/stairs/image", "mono8", False),
        ("/camera/infra1/image_rect_raw", "mono8", False),
    ],
)
def test_a_thermal_topic_shows_in_a_word_of_its_name_or_in_16_bits(name, encoding, thermal):
    assert ImageTopic(name, IMAGE, encoding).thermal == thermal


def test_ambiguous_topics_are_listed_and_can_be_named(tmp_path):
    messages = short(visible_image(3), thermal_image(4))
    messages += [("/rear/image_raw", *message[1:]) for message in messages if message[0] == VISIBLE]
    bag = write_bag(tmp_path / "bag", messages)
    with pytest.raises(SsvifError) as caught:
        read_bag_pairs(bag)
    for part in (VISIBLE, "/rear/image_raw (Image, rgb8)", "--visible-topic"):
        assert part in str(caught.value)
    assert len(open_pairs(bag, visible_topic="/rear/image_raw")) == 3
    found = read_bag_pairs(bag, visible_topic=VISIBLE, thermal_topic="/rear/image_raw")
    assert found.thermal_topic == "/rear/image_raw"
    with pytest.raises(SsvifError, match="has no image topic /front"):
        read_bag_pairs(bag, visible_topic="/front")


def test_a_bag_without_a_thermal_topic_is_an_error(tmp_path):
    messages = [message for message in recording(0.5) if message[0] == VISIBLE]
    with pytest.raises(SsvifError, match="there is no thermal camera in it. Image topics: /"):
        open_pairs(write_bag(tmp_path / "bag", messages))
    with pytest.raises(SsvifError, match="there is no visible camera in it. Image topics: /"):
        open_pairs(write_bag(tmp_path / "one", [m for m in recording(0.5) if m[0] == THERMAL]))
    messages = [("/infra1", *m[1:]) if i % 2 else m for i, m in enumerate(messages)]
    with pytest.raises(SsvifError, match="If one of them is, name it with --thermal-topic"):
        open_pairs(write_bag(tmp_path / "two", messages))


# Broken recordings.


def large_recording():
    """Four seconds with images of noise, so that a file has several chunks of 1 MiB."""
    noise = np.random.default_rng(2).integers(0, 256, (8, 120, 160, 3), dtype=np.uint8)
    return [
        (t, stamp, received, raw(noise[i % 8], "rgb8") if t == VISIBLE else fields)
        for i, (t, stamp, received, fields) in enumerate(recording(4.0))
    ]


@pytest.mark.parametrize("storage", ["mcap", "mcap zstd chunks"])
@pytest.mark.parametrize("what", ["file", "folder", "folder without metadata"])
def test_a_truncated_mcap_gives_the_pairs_before_the_cut_and_says_where_it_is(
    tmp_path, storage, what
):
    messages = large_recording()
    bag = write_bag(tmp_path / "bag", messages, storage)
    whole = read_bag_pairs(bag)
    file = bag / "bag.mcap"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 6 // 10])
    if what == "folder without metadata":
        (bag / "metadata.yaml").unlink()
    pairs = open_pairs(file if what == "file" else bag)
    assert 0.3 * len(whole.pairs) < len(pairs) < 0.7 * len(whole.pairs)
    # The last pairs before the cut may differ: what would have decided them is not there.
    assert [p.name for p in pairs][:-2] == [p.name for p in whole.pairs][: len(pairs) - 2]
    assert [name for name, _ in pairs.skipped] == ["bag.mcap"]
    assert "breaks off in the record at byte" in pairs.skipped[0].reason


def test_a_damaged_chunk_in_the_middle_is_left_out_and_the_rest_is_read(tmp_path):
    messages = large_recording()
    bag = write_bag(tmp_path / "bag", messages, "mcap zstd chunks")
    content = (bag / "bag.mcap").read_bytes()
    chunks = content.split(ZSTD_MAGIC)
    assert len(chunks) > 4
    (bag / "bag.mcap").write_bytes(
        ZSTD_MAGIC.join(chunks[:3]) + bytes(4) + ZSTD_MAGIC.join(chunks[3:])
    )
    pairs = open_pairs(bag)
    whole = [str(visible) for _, (visible, _) in nearest(messages)]
    names = [pair.name for pair in pairs]
    assert 0.6 * len(whole) < len(names) < len(whole)
    assert names == sorted(set(names), key=int)
    assert (names[0], names[-1]) == (whole[0], whole[-1])
    assert [name for name, _ in pairs.skipped] == ["bag.mcap"]
    assert "is damaged and left out" in pairs.skipped[0].reason


def test_the_pixels_of_a_pair_are_those_of_its_stamps_wherever_a_database_is_damaged(tmp_path):
    messages = []
    for i in range(30):
        image, thermal = (np.full(shape, i, np.uint8) for shape in ((60, 80, 3), (120, 160)))
        ns = START_NS + i * 10**8
        messages.append((VISIBLE, ns, ns + 1, raw(image, "rgb8")))
        messages.append((THERMAL, ns, ns + 2, raw(thermal, "mono8")))
    file = write_bag(tmp_path / "drive", messages, "sqlite3") / "drive.db3"
    content = file.read_bytes()
    lossy = 0
    for at in range(40_000, len(content) - 40_000, 7 * 4096 + 1000):
        file.write_bytes(content[:at] + bytes(4096) + content[at + 4096 :])
        found = read_bag_pairs(file)
        numbers = [(stamp - START_NS) // 10**8 for stamp, _ in found.stamps_ns]
        # What is lost within an image nobody can see; the rest of it shows which one it is.
        assert [np.median(p.visible) for p in found.pairs] == numbers
        assert [np.median(p.thermal) for p in found.pairs] == numbers
        lossy += len(numbers) < 30
        assert len(numbers) > 24
        assert len(numbers) == 30 or found.skipped
    assert lossy > 5


def test_one_lost_file_of_a_split_recording_leaves_the_others(tmp_path):
    first, second = recording(2.0), recording(2.0, seed=1)
    second = [(t, stamp + 10**10, received + 10**10, f) for t, stamp, received, f in second]
    write_bag(tmp_path / "a", first, "sqlite3")
    write_bag(tmp_path / "b", second, "sqlite3")
    together = tmp_path / "together"
    together.mkdir()
    shutil.copy(tmp_path / "a" / "a.db3", together)
    shutil.copy(tmp_path / "b" / "b.db3", together)
    assert len(open_pairs(together)) == len(nearest(first)) + len(nearest(second))
    (together / "b.db3").write_bytes(b"no database")
    pairs = open_pairs(together)
    assert [pair.name for pair in pairs] == [str(stamps[0]) for _, stamps in nearest(first)]
    assert [name for name, _ in pairs.skipped] == ["b.db3"]


@pytest.mark.parametrize("name", ["empty.mcap", "noise.mcap", "noise.db3", "noise.bag"])
def test_a_file_that_is_no_recording_is_an_error_with_advice(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"" if name.startswith("empty") else bytes(range(256)) * 20)
    with pytest.raises(SsvifError, match="Check that it is one, and that all of it was copied"):
        open_pairs(path)


def test_without_rosbags_the_error_says_what_to_install(tmp_path, monkeypatch):
    bag = write_bag(tmp_path / "bag", recording(0.3))
    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    with pytest.raises(SsvifError, match="pip install rosbags"):
        open_pairs(bag)
