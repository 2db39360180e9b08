"""What goes wrong in the field, done to the node as a process: it lives, counts, and fuses on."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from faulty_camera import FaultyCamera  # noqa: E402
from fusion_process import RELIABLE_INPUTS, FusionProcess, Resources  # noqa: E402
from malformed import HEIGHT, WIDTH, corrupt_bytes, malformed  # noqa: E402
from rclpy.duration import Duration  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from ssvif_ros.images import to_image  # noqa: E402
from ssvif_ros.processes import child_environment  # noqa: E402

START_NS = 1_000_000_000_000
PERIOD_NS = 33_333_333
HOUR_NS = 3_600_000_000_000
CAMERAS = ("visible", "thermal")


class Cameras:
    """Two publishers in this process, so that a test decides what comes and when."""

    def __init__(self, node, executor):
        self.node, self.executor = node, executor
        qos = QoSProfile(depth=2000, reliability=ReliabilityPolicy.RELIABLE)
        self.publishers = {c: node.create_publisher(Image, f"{c}/image_raw", qos) for c in CAMERAS}
        self.sent = dict.fromkeys(CAMERAS, 0)
        self.stamp_ns = START_NS

    def header(self, stamp_ns=None):
        stamp = rclpy.time.Time(nanoseconds=self.stamp_ns if stamp_ns is None else stamp_ns)
        return Header(stamp=stamp.to_msg(), frame_id="optical_frame")

    def good(self, camera, size=(WIDTH, HEIGHT), level=60, stamp_ns=None):
        width, height = size
        level += self.sent[camera] % 5  # a picture that stays the same is a fault of its own
        if camera == "visible":
            pixels, encoding = np.full((height, width, 3), level, np.uint8), "rgb8"
        else:
            pixels, encoding = np.full((height, width), level, np.uint8), "mono8"
        return to_image(pixels, encoding, self.header(stamp_ns))

    def publish(self, camera, message):
        self.publishers[camera].publish(message)
        self.sent[camera] += 1

    def pair(self, stamp_ns=None, thermal_level=60, **what):
        """Publish a good pair of one stamp, by default one frame period after the last."""
        self.stamp_ns = self.stamp_ns + PERIOD_NS if stamp_ns is None else stamp_ns
        self.publish("visible", self.good("visible", **what))
        self.publish("thermal", self.good("thermal", level=thermal_level, **what))

    def acknowledged(self):
        return all(p.wait_for_all_acked(Duration(seconds=20)) for p in self.publishers.values())


@pytest.fixture
def fusion(ros_domain, tmp_path):
    """Function that starts a fusion node and has it active, with cameras that it hears."""
    node, executor = ros_domain
    started = []

    def run(**parameters):
        log = tmp_path / f"fusion{len(started)}.log"
        process = FusionProcess(node, executor, log, **parameters)
        started.append(process)
        return process.activate()

    yield run
    for process in started:
        process.close()


@pytest.fixture
def cameras(ros_domain):
    return Cameras(*ros_domain)


@pytest.fixture
def drivers(ros_domain, tmp_path):
    """Two camera drivers in processes of their own, quiet as long as they are told to be."""
    made = [FaultyCamera(camera, tmp_path, rate=20.0) for camera in CAMERAS]
    yield made
    for camera in made:
        camera.stop()


def heard(fusion, cameras):
    return fusion.until(
        lambda: all(p.get_subscription_count() for p in cameras.publishers.values())
    )


def fuse(fusion, cameras, count=1, **what):
    """Send good pairs until `count` more fused images came; whether they did."""
    wanted = len(fusion.fused) + count

    def step():
        cameras.pair(**what)
        cameras.executor.spin_once(timeout_sec=0.05)
        return len(fusion.fused) >= wanted

    return fusion.until(step)


def fused_stamps(fusion):
    return {m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in fusion.fused}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_malformed_messages_are_counted_each_and_good_pairs_fused(fusion, cameras):
    """Also damaged serialized messages, which the middleware drops before any node sees them."""
    process = fusion(**RELIABLE_INPUTS)
    assert heard(process, cameras)
    bad = {c: malformed(c, cameras.header, seed=n) for n, c in enumerate(CAMERAS)}
    corrupt = {c: corrupt_bytes(serialize_message(cameras.good(c)), seed=3) for c in CAMERAS}
    good_stamps = set()
    for _ in range(50):
        for camera in CAMERAS:
            for message in itertools.islice(bad[camera], 100):
                cameras.publish(camera, message)
            cameras.publishers[camera].publish(next(corrupt[camera]))
        cameras.pair()
        good_stamps.add(cameras.stamp_ns)
        assert process.until(lambda: cameras.stamp_ns in fused_stamps(process)), process.diagnostics
    assert process.missing() == {}
    for camera in CAMERAS:
        assert process.count(f"invalid_{camera}") == 5000
        assert process.count(f"received_{camera}") == cameras.sent[camera] == 5050
    assert process.count("bad_frames") == 0
    assert fused_stamps(process) == good_stamps
    assert process.diagnostics["last_error"].startswith(("bad visible frame", "bad thermal frame"))
    assert process.alive()
    assert len(process.process.output.splitlines()) < 100  # one line in five seconds, not 10 000


def test_a_camera_that_sends_nothing_usable_is_reported_with_the_reason(fusion, cameras):
    process = fusion(warn_after=0.5)
    assert heard(process, cameras)
    bad = malformed("thermal", cameras.header, seed=0)

    def step():
        cameras.publish("visible", cameras.good("visible"))
        cameras.publish("thermal", next(bad))
        cameras.stamp_ns += PERIOD_NS
        cameras.executor.spin_once(timeout_sec=0.05)
        return process.says("thermal/image_raw sends nothing that is usable. bad thermal frame")

    assert process.until(step), process.diagnostics
    assert fuse(process, cameras, 3)


def test_stamps_may_jump_repeat_or_be_missing_and_every_frame_is_accounted_for(fusion, cameras):
    process = fusion(**RELIABLE_INPUTS)
    assert heard(process, cameras)
    assert fuse(process, cameras, 3)
    for jump_ns in (HOUR_NS, -HOUR_NS, 24 * HOUR_NS, -24 * HOUR_NS, 700_000_000, -700_000_000):
        cameras.stamp_ns += jump_ns
        assert fuse(process, cameras, 3), (jump_ns, process.diagnostics)
    # One camera's jump may be met after a frame of the other that came behind it: until both have
    # gone on for a while, the first frame of a stamp that repeats may be a new beginning.
    assert fuse(process, cameras, 3), process.diagnostics
    for stamp_ns in (0, cameras.stamp_ns):  # as of a driver without a clock, or one that hangs
        for _ in range(20):
            for camera in CAMERAS:
                cameras.publish(camera, cameras.good(camera, stamp_ns=stamp_ns))
    # The node may take many frames of one camera before those of the other. It must have met all
    # these before one camera jumps: the first frame after a jump is a new beginning.
    assert process.until(lambda: all(process.count(f"duplicate_{c}") == 20 for c in CAMERAS))
    for n in range(5):  # one camera alone an hour ahead, then back
        ahead_ns = cameras.stamp_ns + HOUR_NS + n * PERIOD_NS
        cameras.publish("visible", cameras.good("visible", stamp_ns=ahead_ns))
    assert fuse(process, cameras, 3), process.diagnostics
    assert process.missing() == {}
    for camera in CAMERAS:
        assert process.count(f"received_{camera}") == cameras.sent[camera]
        assert process.count(f"unstamped_{camera}") == 20
        assert process.count(f"duplicate_{camera}") == 20
    assert process.count("resets") >= 3


def test_frames_are_accounted_for_over_deactivation_and_activation(fusion, cameras):
    process = fusion(**RELIABLE_INPUTS)
    for _ in range(3):
        assert heard(process, cameras)
        assert fuse(process, cameras, 3)
        for _ in range(7):  # some wait for a partner, some are being fused when it stops
            cameras.publish("visible", cameras.good("visible", stamp_ns=cameras.stamp_ns + 1))
            cameras.pair()
        assert cameras.acknowledged()
        before = len(process.fused)
        assert process.lifecycle.change("deactivate")
        assert process.until(
            lambda: not any(p.get_subscription_count() for p in cameras.publishers.values())
        )
        assert process.lifecycle.change("activate")
    assert process.missing() == {}
    assert process.count("fused") >= before >= 6
    assert process.count("received_visible") > process.count("paired") >= 9
    # Cleaned up and configured again, it counts from the beginning.
    for transition in ("deactivate", "cleanup", "configure", "activate"):
        assert process.lifecycle.change(transition)
    reports = process.reports
    assert process.until(lambda: process.reports > reports + 1)
    assert process.count("fused") == process.count("received_visible") == 0


@pytest.mark.slow
def test_drivers_and_node_may_be_killed_and_start_again(fusion, drivers):
    process = fusion(warn_after=1.0)
    assert process.until(lambda: len(process.fused) >= 3), drivers[0].log
    for driver in drivers:
        driver.kill()
        silent = f"{driver.camera}/image_raw has been silent"
        assert process.until(lambda silent=silent: process.says(silent)), process.diagnostics
        driver.restart()
        fused = len(process.fused)
        assert process.until(lambda fused=fused: len(process.fused) > fused + 3), driver.log
        assert process.until(lambda: process.says("fusing"))
    assert process.process.stop(signal.SIGKILL) == -signal.SIGKILL
    # What the dead left in shared memory is in nobody's way.
    successor = fusion()
    assert successor.until(lambda: len(successor.fused) >= 3), successor.process.output
    for driver in drivers:
        driver.tell(silent=True)
    assert successor.missing() == {}
    assert successor.process.stop(signal.SIGINT) == 0


LISTENER = """
import rclpy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("listener")
node.create_subscription(Image, "fusion/fused", lambda message: None, 2)
rclpy.spin(node)
"""


@pytest.fixture
def listener(ros_domain):
    """A process that listens to the fused image."""
    process = subprocess.Popen([sys.executable, "-c", LISTENER], env=child_environment())
    yield process
    process.kill()
    process.wait()


def test_subscribers_that_sleep_or_stop_slow_nobody_down(fusion, cameras, listener):
    """Reliable ones: one never takes what came, one acknowledges nothing (its process stands).

    The node's own queue drops the oldest, and goes on.
    """
    process = fusion(**RELIABLE_INPUTS)
    assert heard(process, cameras)
    sleeper = rclpy.create_node("sleeper")  # in no executor: it never takes what it hears
    topic = "fusion/fused"
    sleeper.create_subscription(Image, topic, print, QoSProfile(depth=1000))
    assert process.until(lambda: cameras.node.count_subscribers("/fusion/fused") == 3)
    assert fuse(process, cameras, 20)
    listener.send_signal(signal.SIGSTOP)
    before = Resources.of(process.pid)
    first = cameras.stamp_ns + PERIOD_NS
    for _ in range(100):
        cameras.pair()
        assert process.until(lambda: cameras.stamp_ns in fused_stamps(process))
    after = Resources.of(process.pid)
    assert len([s for s in fused_stamps(process) if s >= first]) == 100
    assert after.rss_mib - before.rss_mib < 5.0
    assert (after.threads, after.files) == (before.threads, before.files)
    sleeper.destroy_node()


def test_simulated_time_may_stand_still_and_jump(fusion, cameras):
    process = fusion(use_sim_time=True)
    assert heard(process, cameras)
    clock = cameras.node.create_publisher(Clock, "/clock", 10)
    assert process.until(clock.get_subscription_count)

    def fused_at(now_ns):
        """Pairs at this time of the simulation, whose clock moves on with them."""
        cameras.stamp_ns = now_ns
        wanted = len(process.fused) + 3

        def step():
            clock.publish(Clock(clock=rclpy.time.Time(nanoseconds=cameras.stamp_ns).to_msg()))
            cameras.pair()
            cameras.executor.spin_once(timeout_sec=0.05)
            return len(process.fused) >= wanted

        return process.until(step)

    for now_ns in (START_NS, START_NS + HOUR_NS, START_NS, 5_000_000_000):
        assert fused_at(now_ns), (now_ns, process.diagnostics)
    lines = len(process.process.output.splitlines())
    reports = process.reports
    assert process.until(lambda: process.reports > reports + 2)  # paused: alive, and says so
    assert len(process.process.output.splitlines()) < lines + 3
    assert fused_at(cameras.stamp_ns)
    assert process.missing() == {}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_sizes_may_change_with_every_frame_and_memory_does_not_grow_with_them(fusion, cameras):
    process = fusion(**RELIABLE_INPUTS)
    assert heard(process, cameras)
    random = np.random.default_rng(0)

    def fuse_sizes(count):
        for _ in range(count):
            size = tuple(int(n) for n in random.integers(40, 200, 2))
            other = tuple(int(n) for n in random.integers(40, 200, 2))
            cameras.stamp_ns += PERIOD_NS
            cameras.publish("visible", cameras.good("visible", size))
            cameras.publish("thermal", cameras.good("thermal", other))
            assert process.until(lambda: cameras.stamp_ns in fused_stamps(process))
            assert (process.fused[-1].width, process.fused[-1].height) == size

    fuse_sizes(30)
    warm = Resources.of(process.pid)
    fuse_sizes(40)
    now = Resources.of(process.pid)
    assert now.rss_mib - warm.rss_mib < 5.0
    assert (now.threads, now.files) == (warm.threads, warm.files)
    assert process.missing() == {}


def test_random_bytes_in_compressed_images_are_counted_and_good_ones_fused(fusion, cameras):
    process = fusion(visible_transport="compressed", **RELIABLE_INPUTS)
    topic = "visible/image_raw/compressed"
    cameras.publishers["visible"] = cameras.node.create_publisher(CompressedImage, topic, 10)
    assert heard(process, cameras)
    random = np.random.default_rng(0)
    done, picture = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    assert done
    jpeg = picture.tobytes()
    starts = (jpeg[:20], b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"")

    def send(data):
        cameras.stamp_ns += PERIOD_NS
        message = CompressedImage(header=cameras.header(), format="jpeg", data=data)
        cameras.publish("visible", message)
        cameras.publish("thermal", cameras.good("thermal"))

    for n in range(9):
        send(starts[n % len(starts)] + random.bytes(int(random.integers(1, 400))))
        assert process.until(lambda n=n: process.count("bad_frames") == n + 1)
        if n % 3 == 2:
            send(jpeg)
            assert process.until(lambda: cameras.stamp_ns in fused_stamps(process))
    assert process.missing() == {}
    assert (process.count("bad_frames"), process.count("fused")) == (9, 3)
    assert process.alive()


@pytest.fixture
def raising_model(tmp_path):
    """Function that makes a model that raises where the first thermal pixel is above 127.

    ONNX Runtime itself raises: a table is read at an index that it does not have.
    """
    onnx = pytest.importorskip("onnx", reason="needs the extra `train` (onnx) to make the file")
    import json

    from ssvif_core.models import FOLDER, sha256_of

    helper, kinds = onnx.helper, onnx.TensorProto

    def make(name, precision):
        def image(name, *shape):
            return helper.make_tensor_value_info(name, kinds.UINT8, [1, "height", "width", *shape])

        constants = {"table": np.zeros(128, np.uint8), "first": np.zeros((1, 3), np.int64)}
        nodes = [
            helper.make_node("GatherND", ["thermal", "first"], ["pixel"]),
            helper.make_node("Cast", ["pixel"], ["index"], to=kinds.INT64),
            helper.make_node("Gather", ["table", "index"], ["zero"]),
            helper.make_node("Identity", ["visible"], ["fused"]),
            helper.make_node("BitShift", ["thermal", "zero"], ["labels"], direction="LEFT"),
        ]
        graph = helper.make_graph(
            nodes, "raises", [image("visible", 3), image("thermal")],
            [image("fused", 3), image("labels")],
            [onnx.numpy_helper.from_array(array, key) for key, array in constants.items()],
        )  # fmt: skip
        path = tmp_path / f"{name}.onnx"
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(made, str(path))
        card = json.loads((FOLDER / "tiny.json").read_text())
        card |= {"sha256": sha256_of(path), "precision": precision}
        path.with_suffix(".json").write_text(json.dumps(card))
        return path

    return make


def test_a_frame_at_which_the_engine_raises_is_dropped_and_the_next_one_fused(
    fusion, cameras, raising_model
):
    process = fusion(model=str(raising_model("raises", "fp32")), **RELIABLE_INPUTS)
    assert heard(process, cameras)
    assert fuse(process, cameras, 2)
    cameras.pair(thermal_level=200)
    assert process.until(lambda: process.count("bad_frames") == 1), process.diagnostics
    assert "Gather" in process.diagnostics["last_error"]
    assert fuse(process, cameras, 2)
    assert not process.says("No frame could be fused")

    # There is no other engine to fall back to: it says so, and goes on trying.
    def failing():
        cameras.pair(thermal_level=200)
        cameras.executor.spin_once(timeout_sec=0.05)
        return process.level == 2 and process.says("No frame could be fused")

    assert process.until(failing)
    assert fuse(process, cameras, 2)
    assert process.until(lambda: not process.says("No frame could be fused"))
    assert process.missing() == {}


def test_an_engine_that_raises_at_every_frame_is_replaced(fusion, cameras, raising_model, tmp_path):
    from ssvif_core.models import FOLDER

    raising_model("mine.fp16", "fp16")
    for suffix in (".onnx", ".json"):
        (tmp_path / f"mine{suffix}").write_bytes((FOLDER / f"tiny{suffix}").read_bytes())
    process = fusion(model=str(tmp_path / "mine.onnx"), precision="fp16", **RELIABLE_INPUTS)
    assert heard(process, cameras)
    assert fuse(process, cameras, 2)
    assert process.until(lambda: process.diagnostics.get("precision") == "fp16")
    assert fuse(process, cameras, 3, thermal_level=200), process.process.output
    assert process.until(lambda: process.diagnostics["precision"] == "fp32")
    assert "onnxruntime fails at 160x128" in process.diagnostics["message"]
    assert process.count("bad_frames") == 4
    assert process.missing() == {}
