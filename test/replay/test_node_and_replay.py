"""The live node and replay give the same: one recording through both."""

from __future__ import annotations

import csv
import gzip
import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from ssvif_core.data.bag_files import Bag  # noqa: E402
from ssvif_core.data.bag_writer import BagWriter  # noqa: E402
from ssvif_core.imaging.encodings import thermal_of, visible_of  # noqa: E402
from ssvif_core.replay.options import ReplayOptions  # noqa: E402
from ssvif_core.replay.run import replay  # noqa: E402
from ssvif_core.replay.settings import read_settings  # noqa: E402
from ssvif_ros.processes import LifecycleClient, RosProcess, spin_until  # noqa: E402

TOPICS = ("/visible/image_raw", "/thermal/image_raw")
INFO = "/visible/camera_info"
OUTPUTS = ("fused", "labels", "camera_info")
#: A fixed gain, for a pair that the node has no time for would else leave its trace in the gain.
#: A long wait, so that a busy machine does not end one that ends in the recording, nor takes a
#: camera as missing while this process has no time to send. Reliable transport, for a frame that is
#: lost on the way is another recording.
PARAMETERS = {
    "model": "tiny",
    "engine": "onnxruntime",
    "threads": 1,
    "warm_up_width": 96,
    "warm_up_height": 72,
    "max_wait": 5.0,
    "missing_after": 5.0,
    "slop": 0.12,
    **{f"qos_overrides.{topic}.subscription.reliability": "reliable" for topic in TOPICS},
    **{f"qos_overrides.{topic}.subscription.depth": 50 for topic in TOPICS},
    "gain.mode": "fixed",
    "gain.low": 6500.0,
    "gain.high": 8500.0,
}


def stamp_ns(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def through_the_node(bag, ros_domain, log):
    """Visible stamp -> fused image, labels and camera_info of the node, which hears the recording
    in real time.
    """
    node, executor = ros_domain
    process = RosProcess("ssvif_ros.fusion_node", PARAMETERS, log)
    try:
        client = LifecycleClient(node, executor, "/fusion")
        client.wait()
        assert client.change("configure"), process.output
        assert client.change("activate"), process.output
        qos = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        kinds = {**dict.fromkeys(TOPICS, Image), INFO: CameraInfo}
        publishers = {topic: node.create_publisher(kinds[topic], topic, qos) for topic in kinds}
        heard = {name: {} for name in OUTPUTS}
        for name, store in heard.items():
            kind = CameraInfo if name == "camera_info" else Image
            node.create_subscription(
                kind, f"fusion/{name}", lambda m, s=store: s.update({stamp_ns(m): m}), qos
            )
        matched = lambda: all(p.get_subscription_count() for p in publishers.values())  # noqa: E731
        assert spin_until(executor, matched, 20.0), process.output
        latched = next(bag.messages([INFO])).raw
        for _ in range(10):  # a single one is lost where the node knows of its publisher later
            publishers[INFO].publish(latched)
            spin_until(executor, lambda: False, 0.1)
        start, first_ns = time.monotonic(), None
        for recorded in bag.messages([*kinds]):
            first_ns = first_ns or recorded.received_ns
            due = start + (recorded.received_ns - first_ns) * 1e-9
            while time.monotonic() < due:
                executor.spin_once(timeout_sec=max(0.0, due - time.monotonic()))
            publishers[recorded.topic].publish(recorded.raw)
        spin_until(executor, lambda: False, 2.5)  # the last wait, and the frames behind it
    finally:
        process.stop()
    all_three = set.intersection(*(set(store) for store in heard.values()))
    return {stamp: {name: heard[name][stamp] for name in heard} for stamp in all_three}


def info_of(message):
    """The content of a camera_info, without its stamp."""
    roi = message.roi
    return (
        message.header.frame_id, message.height, message.width, message.distortion_model,
        *(list(getattr(message, name)) for name in "dkrp"), message.binning_x, message.binning_y,
        (roi.x_offset, roi.y_offset, roi.width, roi.height),
    )  # fmt: skip


@pytest.fixture(scope="session")
def cut_and_binned(drive, tmp_path_factory):
    """`drive` with one camera_info alone, that of a binned region, before the first image; it has
    a frame of its own.
    """
    path = tmp_path_factory.mktemp("recordings") / "binned"
    with Bag(drive) as bag, BagWriter(path) as writer:
        messages = [*bag.messages([*TOPICS, INFO])]
        info = next(m for m in messages if m.topic == INFO)
        fields = vars(bag.message(info)) | {"width": 240, "height": 200}
        fields.pop("__msgtype__", None)
        fields["header"].frame_id = "lens"
        fields["k"] = np.array([200.0, 0, 121, 0, 198, 97, 0, 0, 1])
        fields["p"] = np.array([190.0, 0, 120, 0, 0, 191, 96, 0, 0, 0, 1, 0])
        roi = fields["roi"]
        roi.x_offset, roi.y_offset, roi.width, roi.height = 24, 28, 192, 144
        fields |= {"binning_x": 2, "binning_y": 2}
        writer.message(INFO, info.kind, messages[0].received_ns - 50_000_000, fields)
        for m in messages:
            if m.topic != INFO:
                writer.serialised(m.topic, m.kind, m.received_ns, m.raw)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["drive", "damaged", "cut_and_binned"])
def test_the_node_and_replay_make_the_same_pairs_and_the_same_bytes(
    name, request, ros_domain, tmp_path
):
    recording = request.getfixturevalue(name)
    path = tmp_path / "params.yaml"
    lines = "".join(f"    {name}: {value}\n" for name, value in PARAMETERS.items())
    path.write_text(f"/fusion:\n  ros__parameters:\n{lines}")
    settings = read_settings(path)
    options = ReplayOptions(settings, metrics_every=0, video=False, bag=True, pictures=0)
    replay(recording, tmp_path, options, lambda *_: None)
    replayed = {}
    with Bag(tmp_path / "bag") as bag:
        for recorded in bag.messages([f"/fusion/{name}" for name in OUTPUTS]):
            message = bag.message(recorded)
            output = recorded.topic.removeprefix("/fusion/")
            replayed.setdefault(stamp_ns(message), {})[output] = message
    with gzip.open(tmp_path / "frames.csv.gz", "rt", newline="") as file:
        stamps = [int(row["visible_stamp_ns"]) for row in csv.DictReader(file)]
    assert stamps == list(replayed)
    with Bag(recording) as bag:
        live = through_the_node(bag, ros_domain, tmp_path / "node.log")
    # A busy machine may make the node skip a pair, which the simulated clock is there to tell.
    assert live.keys() <= replayed.keys()
    assert len(live) >= 0.5 * len(replayed)
    for stamp, heard in live.items():
        written = replayed[stamp]
        assert (visible_of(heard["fused"]) == visible_of(written["fused"])).all()
        assert (thermal_of(heard["labels"]) == thermal_of(written["labels"])).all()
        for output in ("fused", "labels"):
            assert written[output].header.frame_id == heard[output].header.frame_id
        assert info_of(written["camera_info"]) == info_of(heard["camera_info"])
