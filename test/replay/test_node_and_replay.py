"""The live node and replay give the same: one recording through both."""

from __future__ import annotations

import csv
import gzip
import time

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from ssvif_core.data.bag_files import Bag  # noqa: E402
from ssvif_core.imaging.encodings import thermal_of, visible_of  # noqa: E402
from ssvif_core.replay.run import ReplayOptions, replay  # noqa: E402
from ssvif_core.replay.settings import read_settings  # noqa: E402
from ssvif_ros.processes import LifecycleClient, RosProcess, spin_until  # noqa: E402

TOPICS = ("/visible/image_raw", "/thermal/image_raw")
#: A fixed gain, for a pair that the node has no time for would else leave its trace in the gain.
#: A long wait, so that a busy machine does not end one that ends in the recording, nor takes a camera
#: as missing while this process has no time to send. Reliable transport, for a frame that is lost on
#: the way is another recording.
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
    """Visible stamp -> (fused, labels) of the node, which hears the recording in real time."""
    node, executor = ros_domain
    process = RosProcess("ssvif_ros.fusion_node", PARAMETERS, log)
    try:
        client = LifecycleClient(node, executor, "/fusion")
        client.wait()
        assert client.change("configure"), process.output
        assert client.change("activate"), process.output
        qos = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        publishers = {topic: node.create_publisher(Image, topic, qos) for topic in TOPICS}
        heard = {"fused": {}, "labels": {}}
        for name, store in heard.items():
            node.create_subscription(
                Image, f"fusion/{name}", lambda m, s=store: s.update({stamp_ns(m): m}), qos
            )
        matched = lambda: all(p.get_subscription_count() for p in publishers.values())  # noqa: E731
        assert spin_until(executor, matched, 20.0), process.output
        start, first_ns = time.monotonic(), None
        for recorded in bag.messages([*TOPICS]):
            first_ns = first_ns or recorded.received_ns
            due = start + (recorded.received_ns - first_ns) * 1e-9
            while time.monotonic() < due:
                executor.spin_once(timeout_sec=max(0.0, due - time.monotonic()))
            publishers[recorded.topic].publish(recorded.raw)
        spin_until(executor, lambda: False, 2.5)  # the last wait, and the frames behind it
    finally:
        process.stop()
    both = heard["fused"].keys() & heard["labels"].keys()
    return {
        s: (visible_of(heard["fused"][s]).copy(), thermal_of(heard["labels"][s]).copy())
        for s in both
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["drive", "damaged"])
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
        for recorded in bag.messages(["/fusion/fused", "/fusion/labels"]):
            message = bag.message(recorded)
            is_fused = recorded.topic.endswith("fused")
            pixels = visible_of(message) if is_fused else thermal_of(message)
            replayed.setdefault(stamp_ns(message), []).append(pixels.copy())
    with gzip.open(tmp_path / "frames.csv.gz", "rt", newline="") as file:
        stamps = [int(row["visible_stamp_ns"]) for row in csv.DictReader(file)]
    assert stamps == list(replayed)
    with Bag(recording) as bag:
        live = through_the_node(bag, ros_domain, tmp_path / "node.log")
    # A busy machine may make the node skip a pair, which the simulated clock is there to tell.
    assert live.keys() <= replayed.keys()
    assert len(live) >= 0.5 * len(replayed)
    for stamp, (fused, labels) in live.items():
        assert (fused == replayed[stamp][0]).all()
        assert (labels == replayed[stamp][1]).all()
