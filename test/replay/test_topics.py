"""Which topics of a recording replay takes for what, and what it says of those that it does not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")

from ssvif_core.data.bag_files import Bag  # noqa: E402
from ssvif_core.data.bag_writer import BagWriter  # noqa: E402
from ssvif_core.data.camera_sources import pinhole  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.replay.folder import write_run  # noqa: E402
from ssvif_core.replay.options import ReplayOptions  # noqa: E402
from ssvif_core.replay.recording import Recording, Slice  # noqa: E402
from ssvif_core.replay.roles import TopicChoice  # noqa: E402
from ssvif_core.replay.run import replay  # noqa: E402
from ssvif_core.replay.settings import NodeSettings  # noqa: E402

START_NS = 1_700_000_000_000_000_000
TINY = NodeSettings(model="tiny", engine="onnxruntime", threads=1)
VISIBLE, THERMAL = np.zeros((96, 128, 3), np.uint8), np.full((64, 80), 7000, np.uint16)


def nobody(*_):
    """Is told of the progress."""


def record(path, more=()):
    """Two cameras in one namespace, and further images (topic, pixels, encoding)."""
    images = [("/rig/rgb_image", VISIBLE, "rgb8"), ("/rig/thermal_image", THERMAL, "mono16"), *more]
    with BagWriter(path) as bag:
        for number in range(5):
            ns = START_NS + number * 100_000_000
            for topic, pixels, encoding in images:
                bag.image(topic, ns, ns, pixels, encoding, topic.split("_")[0].strip("/"))
    return path


# Labels.


def test_what_a_fusion_node_sent_is_no_truth_unless_it_is_named(drive, tmp_path):
    options = ReplayOptions(TINY, metrics_every=0, video=False, bag=True)
    replay(drive, tmp_path / "run", options, lambda *_: None)
    with (
        Bag(drive) as cameras, Bag(tmp_path / "run" / "bag") as node,
        BagWriter(tmp_path / "all") as both,
    ):  # fmt: skip
        messages = [
            *cameras.messages([t for t in cameras.topics() if not t.startswith("/labels")]),
            *node.messages([*node.topics()]),
        ]
        for m in sorted(messages, key=lambda m: m.received_ns):
            both.serialised(m.topic, m.kind, m.received_ns, m.raw)
    with Recording(tmp_path / "all") as recording:
        assert "labels" not in recording.topics
        assert any("not /fusion/labels, which a fusion node sent" in s for s in recording.found)
    with Recording(tmp_path / "all", TopicChoice(labels="/fusion/labels")) as recording:
        assert recording.topics["labels"] == "/fusion/labels"


def test_true_labels_are_found_beside_a_fusion_node_s_own(tmp_path):
    ids = np.ones((96, 128), np.uint8)
    more = [("/fusion/labels", ids, "mono8"), ("/fusion/fused", VISIBLE, "rgb8")]
    with Recording(record(tmp_path / "bag", [*more, ("/truth/labels", ids, "mono8")])) as recording:
        assert recording.topics["labels"] == "/truth/labels"


@pytest.mark.parametrize(
    ("encoding", "dtype", "channels"),
    [("16SC1", np.int16, 1), ("32FC1", np.float32, 1), ("rgb8", np.uint8, 3)],
)
def test_labels_that_are_no_class_ids_are_refused(tmp_path, encoding, dtype, channels):
    shape = (96, 128, 3) if channels == 3 else (96, 128)
    bag = record(tmp_path / "bag", [("/seg/ids", np.ones(shape, dtype), encoding)])
    with (
        pytest.raises(SsvifError, match=f"/seg/ids are {encoding}, and class ids are one of"),
        Recording(bag, TopicChoice(labels="/seg/ids")),
    ):
        pass


def test_labels_that_change_to_floats_are_an_error_of_their_pairs(tmp_path):
    bag = record(tmp_path / "bag", [("/seg/ids", np.ones((96, 128), np.uint8), "mono8")])
    with Bag(bag) as read, BagWriter(tmp_path / "mixed") as writer:
        for number, m in enumerate(read.messages([*read.topics()])):
            if m.topic == "/seg/ids" and number > 4:
                stamp = read.stamp_ns(m)
                floats = np.ones((96, 128), np.float32)
                writer.image(m.topic, m.received_ns, stamp, floats, "32FC1", "seg")
            else:
                writer.serialised(m.topic, m.kind, m.received_ns, m.raw)
    options = ReplayOptions(TINY, TopicChoice(labels="/seg/ids"), metrics_every=0, video=False)
    played = replay(tmp_path / "mixed", tmp_path / "run", options, lambda *_: None)
    assert played.bad == 0
    assert "class ids are of 8 or 16 bit and one channel: not float32" in played.last_error


def sixteen_bits(path, *ids):
    """The recording with label images of 16 bits, each with one of the ids in its upper half."""
    with Bag(record(path / "cameras")) as read, BagWriter(path / "labelled") as writer:
        for number, m in enumerate(read.messages([*read.topics()])):
            writer.serialised(m.topic, m.kind, m.received_ns, m.raw)
            if m.topic == "/rig/rgb_image":
                labels = np.zeros((96, 128), np.uint16)
                labels[:48] = ids[number // 2 % len(ids)]
                stamp = read.stamp_ns(m)
                writer.image("/seg/ids", m.received_ns, stamp, labels, "mono16", "seg")
    return path / "labelled"


def test_ids_beyond_8_bits_are_refused_unless_they_are_mapped(tmp_path):
    options = ReplayOptions(TINY, TopicChoice(labels="/seg/ids"), metrics_every=0, video=False)
    bag = sixteen_bits(tmp_path, 300)
    summary, _ = write_run(replay(bag, tmp_path / "run", options, nobody), tmp_path / "run")
    assert summary["segmentation"] is None
    assert "ids above 255: name the wanted ones with --label-map" in summary["without_truth"]
    assert any("True labels of 5 pairs were of no use" in w for w in summary["warnings"])
    mapped = dataclasses.replace(options, label_map={0: 0, 300: 1})
    summary, _ = write_run(replay(bag, tmp_path / "run", mapped, nobody), tmp_path / "run")
    assert summary["segmentation"]["labelled"] == 5
    assert not any("of no use" in w for w in summary["warnings"])


def test_that_some_labels_were_of_no_use_is_warned_of_beside_the_figures_of_the_others(tmp_path):
    options = ReplayOptions(TINY, TopicChoice(labels="/seg/ids"), metrics_every=0, video=False)
    bag = sixteen_bits(tmp_path, 1, 255, 300)
    summary, _ = write_run(replay(bag, tmp_path / "run", options, nobody), tmp_path / "run")
    assert summary["segmentation"]["labelled"] == 4
    assert any("True labels of 1 pairs were of no use" in w for w in summary["warnings"])


# One topic, one role.


@pytest.mark.parametrize(
    "choice",
    [
        TopicChoice("/rig/rgb_image", "/rig/rgb_image"),
        TopicChoice(thermal="/rig/thermal_image", labels="/rig/thermal_image"),
    ],
)
def test_one_topic_is_not_taken_twice(tmp_path, choice):
    bag = record(tmp_path / "bag")
    with pytest.raises(SsvifError, match="one topic cannot be two"), Recording(bag, choice):
        pass


@pytest.mark.parametrize(
    ("frame", "size", "owner", "why"),
    [
        ("rig/rgb", (7, 7), "visible", "frame"),
        ("rig/thermal", (96, 128), "thermal", "frame"),
        ("rig", (96, 128), "visible", "size"),
        ("rig", (64, 80), "thermal", "size"),
        ("rig", (7, 7), None, "neither frame nor size tells"),
    ],
)
def test_one_camera_info_beside_both_cameras_is_one_camera_s(tmp_path, frame, size, owner, why):
    with BagWriter(tmp_path / "bag") as bag:
        ns = START_NS
        bag.image("/rig/rgb_image", ns, ns, VISIBLE, "rgb8", "rig/rgb")
        bag.image("/rig/thermal_image", ns, ns, THERMAL, "mono16", "rig/thermal")
        bag.camera_info("/rig/camera_info", ns, ns, size, pinhole(*size), frame)
    with Recording(tmp_path / "bag") as recording:
        assert [*recording.camera_infos()] == ([owner] if owner else [])
        assert why in recording.found[-1]


# A part of a recording.


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e12, -1.0])
def test_a_slice_that_no_recording_could_have_is_refused(value):
    with pytest.raises(SsvifError, match="duration is .* leave it out"):
        Slice(0.0, value)
    with pytest.raises(SsvifError, match="start is"):
        Slice(value)
