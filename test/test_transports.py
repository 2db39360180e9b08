"""Compressed cameras in, compressed pictures out, other encodings and sizes: over real topics."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from ssvif_core.imaging.thermal_gain import ThermalGain  # noqa: E402
from ssvif_core.inference.engine import EngineOptions, create_engine  # noqa: E402
from ssvif_core.inference.pipeline import Pipeline  # noqa: E402
from ssvif_core.models import open_model  # noqa: E402
from ssvif_ros.images import image_array, to_image, visible_rgb  # noqa: E402
from ssvif_ros.processes import LifecycleClient, RosProcess, ask, spin_until  # noqa: E402

WIDTH, HEIGHT = 160, 128
PERIOD_NS = 33_333_333
RELIABLE = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)


def street():
    """A visible image with an edge, and raw thermal counts with something warm."""
    visible = np.full((HEIGHT, WIDTH, 3), (120, 90, 40), np.uint8)
    visible[HEIGHT // 2 :] = (60, 70, 80)
    thermal = np.full((HEIGHT, WIDTH), 6800, np.uint16)
    cv2.ellipse(thermal, (80, 64), (12, 36), 0, 0, 360, 7400, -1)
    return visible, thermal


class Robot:
    """The node under test as a process, two cameras and whoever listens."""

    def __init__(self, ros_domain, tmp_path, parameters, remappings=None):
        self.node, self.executor = ros_domain
        settings = {"model": "tiny", "threads": 1, "warm_up_width": WIDTH, "warm_up_height": HEIGHT}
        self.process = RosProcess(
            "ssvif_ros.fusion_node", {**settings, **parameters}, tmp_path / "fusion.log", remappings
        )
        self.stamp_ns = 1_000_000_000_000
        self.heard, self.diagnostics, self.cameras = {}, {}, []
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnose, 10)

    def _diagnose(self, message):
        self.diagnostics.update({v.key: v.value for s in message.status for v in s.values})

    def refused(self):
        """Visible images that were of no use: on arrival, or when they were decoded."""
        return sum(int(self.diagnostics.get(k, 0)) for k in ("bad_frames", "invalid_visible"))

    def activate(self):
        lifecycle = LifecycleClient(self.node, self.executor, "/fusion")
        lifecycle.wait()
        assert lifecycle.change("configure"), self.process.output
        assert lifecycle.change("activate"), self.process.output

    def listen(self, kind, name):
        self.heard[name] = []
        topic = f"/fusion/{name}"
        subscription = self.node.create_subscription(kind, topic, self.heard[name].append, RELIABLE)
        assert self.until(lambda: self.node.count_publishers(topic)), self.process.output
        return subscription

    def camera(self, kind, topic):
        publisher = self.node.create_publisher(kind, topic, RELIABLE)
        self.cameras.append(publisher)
        assert self.until(publisher.get_subscription_count), self.process.output
        return publisher

    def header(self):
        stamp = rclpy.time.Time(nanoseconds=self.stamp_ns).to_msg()
        return Header(stamp=stamp, frame_id="visible_optical_frame")

    def send(self, *messages):
        """Publish one message of each camera under the same stamp."""
        for publisher, message in zip(self.cameras, messages, strict=True):
            message.header = self.header()
            publisher.publish(message)
        self.stamp_ns += PERIOD_NS

    def until(self, condition, timeout_s=30.0):
        return spin_until(self.executor, condition, timeout_s)

    def send_until(self, condition, make):
        """Send what `make()` gives until `condition()` is true."""

        def step():
            self.send(*make())
            self.executor.spin_once(timeout_sec=0.05)
            return condition()

        assert self.until(step), (self.process.output, self.diagnostics)

    def set(self, **values):
        client = self.node.create_client(SetParameters, "fusion/set_parameters")
        parameters = [
            Parameter(name.replace("__", "."), value=value).to_parameter_msg()
            for name, value in values.items()
        ]
        request = SetParameters.Request(parameters=parameters)
        answer = ask(self.executor, client, request, 20.0)
        self.node.destroy_client(client)
        return answer.results


@pytest.fixture
def robot(ros_domain, tmp_path):
    robots = []

    def start(parameters=None, remappings=None):
        robots.append(Robot(ros_domain, tmp_path, parameters or {}, remappings))
        return robots[-1]

    yield start
    for started in robots:
        started.process.stop()


def raw_pair():
    visible, thermal = street()
    return to_image(visible, "rgb8", Header()), to_image(thermal, "mono16", Header())


def compressed_pair():
    visible, thermal = street()
    jpeg = cv2.imencode(".jpg", visible[..., ::-1])[1].tobytes()
    png = cv2.imencode(".png", thermal)[1].tobytes()
    return (
        CompressedImage(format="rgb8; jpeg compressed bgr8", data=jpeg),
        CompressedImage(format="mono16; png compressed ", data=png),
    )


IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
TOPIC = "visible/image_raw (visible_topic of the launch file)"


@pytest.mark.parametrize(
    ("transport", "name", "carries", "kinds", "advice"),
    [
        (
            "raw", "/cam/image/compressed", CompressedImage, (COMPRESSED, IMAGE),
            f"set visible_transport to compressed, and remap {TOPIC} to /cam/image.",
        ),
        (
            "raw", "/cam/jpeg", CompressedImage, (COMPRESSED, IMAGE),
            "set visible_transport to compressed, and remap visible/image_raw/compressed to it.",
        ),
        (
            "compressed", "/cam/image", Image, (IMAGE, COMPRESSED),
            f"set visible_transport to raw, and remap {TOPIC} to /cam/image/compressed.",
        ),
        (
            "raw", "/cam/info", CameraInfo, ("sensor_msgs/msg/CameraInfo", IMAGE),
            f"remap {TOPIC} to a topic of images.",
        ),
    ],
)  # fmt: skip
def test_a_topic_of_another_type_is_named_with_what_to_set(
    robot, transport, name, carries, kinds, advice
):
    remapped = {"visible/image_raw": name}
    r = robot({"visible_transport": transport, "warn_after": 0.5}, remapped)
    topic = name + "/compressed" * (transport == "compressed")
    driver = r.node.create_publisher(carries, topic, RELIABLE)
    r.activate()
    said = f"It carries {kinds[0]}, and this node listens for {kinds[1]}: {advice}"
    assert r.until(lambda: driver.publish(carries()) or said in r.process.output), r.process.output
    assert f"{topic} has never been heard." in r.process.output


def test_compressed_images_on_a_topic_of_any_name_are_heard_as_is_advised(robot):
    r = robot({"visible_transport": "compressed"}, {"visible/image_raw/compressed": "/cam/jpeg"})
    r.activate()
    r.listen(Image, "fused")
    r.camera(CompressedImage, "/cam/jpeg")
    r.camera(Image, "/thermal/image_raw")
    r.send_until(lambda: r.heard["fused"], lambda: (compressed_pair()[0], raw_pair()[1]))


def same_frame(robot, *names):
    """The newest messages of these topics that carry the same header, or None."""
    stamps = [
        {(m.header.stamp.sec, m.header.stamp.nanosec): m for m in robot.heard[name]}
        for name in names
    ]
    common = set.intersection(*(set(found) for found in stamps))
    return [found[max(common)] for found in stamps] if common else None


def test_compressed_cameras_are_fused_and_compressed_pictures_show_the_same(robot):
    robot = robot(
        {"visible_transport": "compressed", "thermal_transport": "compressed", "warn_after": 0.5},
        # As with image_transport, a remapping of the base carries over to the compressed topic.
        {"visible/image_raw": "/left/image", "thermal/image_raw": "/ir/image"},
    )
    robot.activate()
    topics = ("/left/image/compressed", "/ir/image/compressed")
    for topic in topics:
        message = f"{topic} has never been heard"
        assert robot.until(lambda said=message: said in robot.process.output), robot.process.output
    for topic in topics:
        robot.camera(CompressedImage, topic)
    for name in ("fused", "labels"):
        robot.listen(Image, name)
        robot.listen(CompressedImage, f"{name}/compressed")
    robot.listen(CompressedImage, "overlay/compressed")
    names = ("fused", "fused/compressed", "labels", "labels/compressed", "overlay/compressed")
    robot.send_until(lambda: same_frame(robot, *names), compressed_pair)
    fused, fused_jpeg, labels, labels_png, overlay = same_frame(robot, *names)

    engine, _ = create_engine(open_model("tiny"), options=EngineOptions(threads=1))
    pipeline = Pipeline(engine, ThermalGain(mode="auto"))
    expected = pipeline.process(visible_rgb(compressed_pair()[0]), street()[1], 0.0)
    np.testing.assert_array_equal(image_array(fused), expected.fused)
    np.testing.assert_array_equal(image_array(labels), expected.labels)

    assert fused_jpeg.format == "rgb8; jpeg compressed bgr8"
    assert fused_jpeg.header == fused.header
    error = np.abs(visible_rgb(fused_jpeg).astype(int) - image_array(fused))
    assert error.mean() < 4
    assert labels_png.format == "mono8; png compressed "
    decoded = cv2.imdecode(np.frombuffer(labels_png.data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded, image_array(labels))
    assert visible_rgb(overlay).shape == (HEIGHT, WIDTH, 3)

    # A header that claims gigabytes, noise, and the beginning of a file.
    good = compressed_pair()
    png = bytes(good[1].data)
    faults = [
        png[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + png[24:],
        np.random.default_rng(0).bytes(5000),
        png[:40],
        b"",
    ]
    for fault in faults:
        counted = robot.refused()
        bad = CompressedImage(format="png", data=fault)
        robot.send_until(
            lambda counted=counted: robot.refused() > counted,
            lambda bad=bad: (bad, compressed_pair()[1]),
        )
    robot.heard["fused"].clear()
    robot.send_until(lambda: robot.heard["fused"], compressed_pair)


def test_size_and_encoding_of_the_outputs_change_while_it_runs_and_camera_info_follows(robot):
    robot = robot()
    robot.activate()
    robot.camera(Image, "visible/image_raw")
    robot.camera(Image, "thermal/image_raw")
    robot.camera(CameraInfo, "visible/camera_info")
    info = CameraInfo(
        width=WIDTH, height=HEIGHT, k=[200.0, 0, 80, 0, 200, 64, 0, 0, 1],
        p=[200.0, 0, 80, 0, 0, 200, 64, 0, 0, 0, 1, 0],
    )  # fmt: skip

    def frames():
        return *raw_pair(), info

    # Nobody listens: frames are fused and counted all the same.
    robot.send_until(lambda: int(robot.diagnostics.get("fused", 0)) >= 3, frames)
    for name in ("fused", "labels", "overlay"):
        robot.listen(Image, name)
    robot.listen(CameraInfo, "camera_info")
    names = ("fused", "labels", "overlay", "camera_info")
    robot.send_until(lambda: same_frame(robot, *names), frames)
    whole = same_frame(robot, *names)
    assert [(m.width, m.height) for m in whole] == [(WIDTH, HEIGHT)] * 4
    whole_fused, whole_labels = image_array(whole[0]), image_array(whole[1])

    assert all(r.successful for r in robot.set(output_scale=0.5, output_encoding="bgr8"))
    for messages in robot.heard.values():
        messages.clear()

    def half_size():
        found = same_frame(robot, *names)
        return found and all(m.width == WIDTH // 2 for m in found)

    robot.send_until(half_size, frames)
    fused, labels, overlay, scaled = same_frame(robot, *names)
    assert [m.encoding for m in (fused, labels, overlay)] == ["bgr8", "mono8", "bgr8"]
    assert [m.height for m in (fused, labels, overlay, scaled)] == [HEIGHT // 2] * 4
    small = cv2.resize(whole_fused, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
    assert np.abs(visible_rgb(fused).astype(int) - small).max() <= 2
    assert set(np.unique(image_array(labels))) <= set(np.unique(whole_labels))
    assert scaled.k.tolist() == [100.0, 0, 39.75, 0, 100, 31.75, 0, 0, 1]
    assert scaled.p.tolist() == [100.0, 0, 39.75, 0, 0, 100, 31.75, 0, 0, 0, 1, 0]
    assert scaled.header == fused.header

    assert robot.set(output_encoding="mono8")[0].successful
    robot.send_until(lambda: robot.heard["fused"][-1].encoding == "mono8", frames)
    assert image_array(robot.heard["fused"][-1]).shape == (HEIGHT // 2, WIDTH // 2)
    refused = robot.set(output_encoding="yuv422")[0]
    assert "rgb8" in refused.reason
    assert not robot.set(output_scale=0.0)[0].successful
