"""The fusion node as its own process, over real topics: what it fuses, refuses and survives."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rcl_interfaces.msg import Parameter as ParameterMessage  # noqa: E402
from rcl_interfaces.msg import ParameterType, ParameterValue  # noqa: E402
from rcl_interfaces.srv import DescribeParameters, SetParameters  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402

from ssvif_ros.images import to_image  # noqa: E402
from ssvif_ros.processes import (  # noqa: E402
    LifecycleClient,
    RosProcess,
    ask,
    child_environment,
    private_domain,
    spin_until,
)

WIDTH, HEIGHT = 160, 128
START_NS = 1_000_000_000_000
PERIOD_NS = 33_333_333


class Rig:
    """Two camera publishers and subscribers to everything the node says."""

    def __init__(self, node, executor):
        self.node, self.executor = node, executor
        reliable = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.visible = node.create_publisher(Image, "visible/image_raw", reliable)
        self.thermal = node.create_publisher(Image, "thermal/image_raw", reliable)
        self.info = node.create_publisher(CameraInfo, "visible/camera_info", reliable)
        self.heard = {name: [] for name in ("fused", "labels", "camera_info", "label_info")}
        for name, kind, qos in (
            ("fused", Image, reliable),
            ("labels", Image, reliable),
            ("camera_info", CameraInfo, reliable),
            ("label_info", String, latched),
        ):
            node.create_subscription(kind, f"fusion/{name}", self.heard[name].append, qos)
        self.statuses, self.diagnostics = {}, {}
        node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnose, 10)
        self.stamp_ns = START_NS

    def _diagnose(self, message):
        self.statuses = {status.name: status for status in message.status}
        self.diagnostics = {v.key: v.value for status in message.status for v in status.values}
        self.diagnostics["message"] = " ".join(status.message for status in message.status)

    def until(self, condition, timeout_s=30.0):
        return spin_until(self.executor, condition, timeout_s)

    def connected(self):
        return self.until(
            lambda: self.visible.get_subscription_count() and self.thermal.get_subscription_count()
        )

    def header(self, offset_ns=0):
        stamp_ns = self.stamp_ns + offset_ns
        stamp = rclpy.time.Time(nanoseconds=stamp_ns).to_msg()
        return Header(stamp=stamp, frame_id="visible_optical_frame")

    def send(self, visible=None, thermal=None):
        """Publish one pair, 5 ms apart, and step the stamp by one frame period."""
        if visible is None:
            visible = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
        if thermal is None:
            thermal = np.full((HEIGHT, WIDTH), 60, np.uint8)
        if isinstance(visible, np.ndarray):
            visible = to_image(visible, "rgb8", self.header())
        if isinstance(thermal, np.ndarray):
            encoding = "mono16" if thermal.dtype == np.uint16 else "mono8"
            thermal = to_image(thermal, encoding, self.header(5_000_000))
        self.visible.publish(visible)
        self.thermal.publish(thermal)
        self.stamp_ns += PERIOD_NS

    def fuse(self, count=1, **frames):
        """Send pairs until `count` more fused frames have come; whether they did."""
        wanted = len(self.heard["fused"]) + count

        def step():
            self.send(**frames)
            self.executor.spin_once(timeout_sec=0.05)
            return len(self.heard["fused"]) >= wanted

        return self.until(step)

    def set(self, name, value):
        kind = {float: ParameterType.PARAMETER_DOUBLE, str: ParameterType.PARAMETER_STRING}
        field = {float: "double_value", str: "string_value"}[type(value)]
        message = ParameterValue(type=kind[type(value)], **{field: value})
        return self._call(
            SetParameters,
            "set_parameters",
            SetParameters.Request(parameters=[ParameterMessage(name=name, value=message)]),
        ).results[0]

    def describe(self, name):
        request = DescribeParameters.Request(names=[name])
        return self._call(DescribeParameters, "describe_parameters", request).descriptors[0]

    def _call(self, kind, service, request):
        client = self.node.create_client(kind, f"fusion/{service}")
        answer = ask(self.executor, client, request, 20.0)
        self.node.destroy_client(client)
        assert answer is not None, f"fusion/{service} did not answer"
        return answer


@pytest.fixture
def start(ros_domain, tmp_path):
    """Function that starts a fusion node process and gives it with its lifecycle and a rig."""
    node, executor = ros_domain
    processes = []

    def run(**parameters):
        settings = {"model": "tiny", "threads": 1, "warm_up_width": WIDTH, "warm_up_height": HEIGHT}
        log = tmp_path / f"fusion{len(processes)}.log"
        process = RosProcess("ssvif_ros.fusion_node", {**settings, **parameters}, log)
        processes.append(process)
        return process, LifecycleClient(node, executor, "/fusion"), Rig(node, executor)

    yield run
    for process in processes:
        process.stop()


def activated(start, **parameters):
    process, lifecycle, rig = start(**parameters)
    lifecycle.wait()
    assert lifecycle.change("configure"), process.output
    assert lifecycle.change("activate"), process.output
    assert rig.connected()
    return process, lifecycle, rig


def test_it_fuses_what_it_hears_and_stops_when_it_is_deactivated(start):
    process, lifecycle, rig = activated(start)
    assert lifecycle.state() == "active"
    thermal = np.full((HEIGHT, WIDTH), 40, np.uint8)
    cv2.ellipse(thermal, (80, 64), (12, 36), 0, 0, 360, 230, -1)
    assert rig.fuse(5, thermal=thermal), process.output
    fused = rig.heard["fused"][-1]
    assert (fused.encoding, fused.width, fused.height) == ("rgb8", WIDTH, HEIGHT)
    assert fused.header.frame_id == "visible_optical_frame"
    image = np.frombuffer(fused.data, np.uint8).reshape(HEIGHT, WIDTH, 3)
    assert image[64, 80].mean() > image[5, 5].mean() + 40
    assert rig.until(lambda: any(m.header == fused.header for m in rig.heard["labels"]))
    assert {m.encoding for m in rig.heard["labels"]} == {"mono8"}
    stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in rig.heard["fused"]]
    assert stamps == sorted(set(stamps))

    assert lifecycle.change("deactivate")
    assert rig.until(lambda: not rig.visible.get_subscription_count())
    assert lifecycle.change("activate")
    assert rig.connected()
    assert rig.fuse(2)
    assert lifecycle.change("deactivate")
    assert lifecycle.change("cleanup")
    assert lifecycle.state() == "unconfigured"
    assert process.stop(signal.SIGINT) == 0


def test_the_fused_frame_is_what_the_pipeline_makes_of_the_same_arrays(start):
    from ssvif_core.imaging.thermal_gain import ThermalGain
    from ssvif_core.inference.engine import EngineOptions, create_engine
    from ssvif_core.inference.pipeline import Pipeline
    from ssvif_core.models import open_model

    _, _, rig = activated(start)
    rng = np.random.default_rng(0)
    visible = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    thermal = rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    assert rig.fuse(1, visible=visible, thermal=thermal)
    engine, _ = create_engine(open_model("tiny"), options=EngineOptions(threads=1))
    expected = Pipeline(engine, ThermalGain(mode="auto")).process(visible, thermal, 0.0)
    assert rig.until(lambda: rig.heard["labels"])
    fused, labels = rig.heard["fused"][-1], rig.heard["labels"][-1]
    assert bytes(fused.data) == expected.fused.tobytes()
    assert bytes(labels.data) == expected.labels.tobytes()


def test_label_info_is_latched_and_camera_info_follows_the_fused_image(start):
    _, _, rig = activated(start)
    assert rig.until(lambda: rig.heard["label_info"])
    said = json.loads(rig.heard["label_info"][0].data)
    assert said["mode"] == "finetuned"
    assert [c["name"] for c in said["classes"]] == ["background", "car", "person", "bicycle"]
    info = CameraInfo(width=2 * WIDTH, height=2 * HEIGHT, k=[200.0, 0, 160, 0, 200, 128, 0, 0, 1])

    def step():
        rig.info.publish(info)
        rig.send()
        rig.executor.spin_once(timeout_sec=0.05)
        return rig.heard["camera_info"]

    assert rig.until(step)
    answer = rig.heard["camera_info"][-1]
    # camera_info was given for an image twice as large: focal length and centre are halved.
    assert (answer.width, answer.height) == (WIDTH, HEIGHT)
    assert list(answer.k[:6]) == [100.0, 0.0, 79.75, 0.0, 100.0, 63.75]
    assert answer.header.frame_id == "visible_optical_frame"


def test_bad_messages_are_counted_and_good_ones_still_fused(start):
    process, _, rig = activated(start)
    good = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)

    def broken(**changes):
        message = to_image(good, "rgb8", rig.header())
        for name, value in changes.items():
            setattr(message, name, value)
        return message

    faults = [
        {"encoding": "no_such_encoding"},
        {"data": b"\x00" * 100},
        {"step": 3},
        {"width": 0, "height": 0, "data": b""},
        {"width": 2**31, "height": 2**31, "step": 2**32 - 1},
    ]
    assert rig.fuse(1)
    for fault in faults:
        counted = int(rig.diagnostics.get("invalid_visible", 0))

        def step(fault=fault, counted=counted):
            rig.send(visible=broken(**fault))
            rig.executor.spin_once(timeout_sec=0.05)
            return int(rig.diagnostics.get("invalid_visible", 0)) > counted

        assert rig.until(step), (fault, process.output)
        assert "bad visible frame" in rig.diagnostics["last_error"]
    assert rig.fuse(3)
    assert process.process.poll() is None


def test_sizes_that_change_in_flight_and_thermal_of_another_size_are_fused(start):
    process, _, rig = activated(start)
    assert rig.fuse(2)
    assert rig.fuse(2, thermal=np.full((60, 80), 7000, np.uint16))
    larger = np.full((192, 256, 3), 50, np.uint8)

    def step():
        rig.send(visible=larger)
        rig.executor.spin_once(timeout_sec=0.05)
        return rig.heard["fused"][-1].width == 256

    assert rig.until(step), process.output
    assert rig.until(lambda: "resized to visible" in process.output)


def test_stamps_that_jump_back_as_in_a_looping_bag_restart_the_pairing(start):
    _, _, rig = activated(start)
    for _ in range(2):
        rig.stamp_ns = START_NS
        assert rig.fuse(20)
    assert rig.until(lambda: int(rig.diagnostics.get("resets", 0)) >= 1)


def test_a_camera_that_never_comes_is_warned_about_with_topic_and_qos(start):
    process, _, rig = activated(start, warn_after=0.5)
    assert rig.until(lambda: "/thermal/image_raw has never been heard" in process.output)
    assert "BEST_EFFORT" in process.output
    assert rig.until(lambda: "thermal/image_raw" in rig.diagnostics.get("message", ""))


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"model": "nowhere.onnx"}, "There is no model 'nowhere.onnx'"),
        ({"model": "broken"}, "sha256"),
    ],
)
def test_configure_fails_with_the_reason_and_the_node_lives(start, tmp_path, parameters, reason):
    if parameters["model"] == "broken":
        from ssvif_core.models import FOLDER

        for suffix in (".onnx", ".json"):
            content = (FOLDER / f"tiny{suffix}").read_bytes()
            (tmp_path / f"broken{suffix}").write_bytes(content + b"\n")
        parameters = {"model": str(tmp_path / "broken.onnx")}
    process, lifecycle, rig = start(**parameters)
    lifecycle.wait()
    assert not lifecycle.change("configure")
    assert rig.until(lambda: reason in process.output)
    assert lifecycle.state() == "unconfigured"
    assert rig.set("model", "tiny").successful
    assert lifecycle.change("configure")


WITHOUT_TENSORRT = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed here"
)


@WITHOUT_TENSORRT
def test_an_engine_that_cannot_run_here_is_refused_with_the_remedy(start):
    process, lifecycle, rig = start(engine="tensorrt")
    lifecycle.wait()
    assert not lifecycle.change("configure")
    assert rig.until(lambda: "TensorRT is not installed" in process.output)
    assert rig.set("engine", "onnxruntime").successful
    assert lifecycle.change("configure")


@WITHOUT_TENSORRT
def test_a_build_in_the_background_that_fails_leaves_the_node_fusing(start, tmp_path):
    parameters = {"tensorrt.build_on_start": True, "tensorrt.cache": str(tmp_path / "engines")}
    process, _, rig = activated(start, engine="tensorrt", **parameters)
    assert "onnxruntime for now" in process.output

    def failed():
        rig.send()
        rig.executor.spin_once(timeout_sec=0.05)
        return rig.diagnostics.get("engine_upgrade", "").startswith("failed")

    assert rig.until(failed), rig.diagnostics
    assert "TensorRT is not installed" in process.output
    assert rig.diagnostics["engine"] == "onnxruntime"
    assert rig.fuse(3)
    assert process.stop(signal.SIGINT) == 0


@WITHOUT_TENSORRT
def test_building_only_ends_with_the_status_of_the_build(tmp_path):
    command = [sys.executable, "-m", "ssvif_ros.fusion_node", "--build-only", "--ros-args"]
    environment = {**child_environment(), **private_domain(tmp_path)}
    for engine, status in (("auto", 1), ("onnxruntime", 0)):
        done = subprocess.run(
            [*command, "-p", f"engine:={engine}", "-p", "model:=tiny"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stderr
    assert "needs no building" in done.stdout + done.stderr


def test_parameters_are_described_bad_values_refused_and_live_ones_applied(start):
    process, lifecycle, rig = activated(start)
    described = rig.describe("slop")
    assert "[s]" in described.description
    assert described.floating_point_range[0].to_value == 10.0
    refused = rig.set("slop", 99.0)
    assert not refused.successful
    assert refused.reason
    unknown = rig.set("gain.mode", "magic")
    assert "percentile" in unknown.reason
    late = rig.set("model", "base")
    assert "configure" in late.reason
    assert rig.set("model", "tiny").successful  # as it is, as in a file that is loaded again
    # Stamps are 5 ms apart: a slop of 1 ms leaves every frame alone.
    assert rig.set("slop", 0.001).successful
    paired = int(rig.diagnostics.get("paired", 0))
    fused = len(rig.heard["fused"])

    def unpaired():
        rig.send()
        rig.executor.spin_once(timeout_sec=0.05)
        return int(rig.diagnostics.get("unpaired_visible", 0)) > 10

    assert rig.until(unpaired), (rig.diagnostics, paired)
    assert len(rig.heard["fused"]) == fused
    assert rig.set("slop", 0.05).successful
    assert rig.fuse(3)


def test_the_thermal_gain_is_live_and_diagnostics_say_what_it_does(start):
    _, _, rig = activated(start)
    # Centikelvin, 17 to 27 C, with pixels that are stuck.
    thermal = np.tile(np.linspace(29015, 30015, WIDTH).astype(np.uint16), (HEIGHT, 1))
    thermal[20::20, 20::20] = 40000
    dead = thermal[20::20, 20::20].size

    def says(**expected):
        def step():
            rig.send(thermal=thermal)
            rig.executor.spin_once(timeout_sec=0.02)
            return all(rig.diagnostics.get(k) == str(v) for k, v in expected.items())

        return rig.until(step)

    assert says(gain_mode="percentile", bad_pixels=dead, stripes="none"), rig.diagnostics
    assert rig.set("gain.mode", "plateau").successful
    assert rig.set("thermal.bad_pixels", "none").successful
    assert says(gain_mode="plateau", bad_pixels=0), rig.diagnostics
    for name, value in (("unit", "celsius"), ("low", 15.0), ("high", 35.0), ("mode", "fixed")):
        assert rig.set(f"gain.{name}", value).successful
    assert says(gain_mode="fixed", gain_low="28815.000", gain_high_celsius="35.000")
    # Both limits moved, one by one: between the two there must be no frame that cannot be fused.
    crossed = rig.set("gain.low", 40.0)
    assert not crossed.successful and "set the other limit first" in crossed.reason
    assert rig.set("gain.high", 60.0).successful
    assert rig.set("gain.low", 40.0).successful
    assert says(gain_low_celsius="40.000", gain_high_celsius="60.000")
    assert int(rig.diagnostics["bad_frames"]) == 0


def test_qos_is_best_effort_by_default_and_can_be_overridden(start):
    override = "qos_overrides./thermal/image_raw.subscription"
    policies = {"reliability": "reliable", "durability": "transient_local"}
    process, lifecycle, rig = start(**{f"{override}.{p}": v for p, v in policies.items()})
    lifecycle.wait()
    for transition in ("configure", "activate"):
        assert lifecycle.change(transition), process.output
    topics = [f"/{camera}/image_raw" for camera in ("visible", "thermal")]
    heard = rig.node.get_subscriptions_info_by_topic
    assert rig.until(lambda: all(heard(topic) for topic in topics))
    visible, thermal = (heard(topic)[0].qos_profile for topic in topics)
    assert visible.reliability == ReliabilityPolicy.BEST_EFFORT
    assert visible.durability == DurabilityPolicy.VOLATILE
    assert thermal.reliability == ReliabilityPolicy.RELIABLE
    assert thermal.durability == DurabilityPolicy.TRANSIENT_LOCAL


def test_qos_of_one_camera_is_not_that_of_the_other_or_of_camera_info(start):
    override = "qos_overrides./visible/image_raw.subscription"
    _, _, rig = activated(start, **{f"{override}.reliability": "reliable", f"{override}.depth": 2})
    found = {
        topic: rig.node.get_subscriptions_info_by_topic(topic)[0].qos_profile.reliability
        for topic in ("/visible/image_raw", "/thermal/image_raw", "/visible/camera_info")
    }
    assert list(found.values()) == [
        ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.BEST_EFFORT
    ]  # fmt: skip


def test_qos_of_an_image_that_goes_out_can_be_overridden_and_is_that_of_no_other(start):
    override = "qos_overrides./fusion/fused.publisher"
    policies = {"reliability": "best_effort", "durability": "transient_local"}
    _, _, rig = activated(start, **{f"{override}.{p}": v for p, v in policies.items()})
    said = rig.node.get_publishers_info_by_topic
    fused, labels = (said(f"/fusion/{name}")[0].qos_profile for name in ("fused", "labels"))
    assert fused.reliability == ReliabilityPolicy.BEST_EFFORT
    assert fused.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert labels.reliability == ReliabilityPolicy.RELIABLE
    assert labels.durability == DurabilityPolicy.VOLATILE


def test_qos_of_an_image_that_cannot_be_is_named_and_nothing_stays_of_the_attempt(start):
    process, lifecycle, rig = start(
        **{"qos_overrides./fusion/labels/compressed.publisher.reliability": "bogus"}
    )
    lifecycle.wait()
    assert not lifecycle.change("configure")
    assert "other values of qos_overrides./fusion/labels/compressed.publisher" in process.output
    assert "Traceback" not in process.output
    said = rig.node.get_publishers_info_by_topic
    assert rig.until(lambda: not said("/fusion/fused") and not said("/fusion/labels"))


def test_the_overlay_comes_only_while_somebody_listens(start):
    _, _, rig = activated(start)
    assert rig.fuse(2)
    overlays = []
    subscription = rig.node.create_subscription(Image, "fusion/overlay", overlays.append, 10)
    assert rig.until(lambda: (rig.send(), overlays)[1])
    assert (overlays[0].encoding, overlays[0].width) == ("rgb8", WIDTH)
    rig.node.destroy_subscription(subscription)
    assert rig.fuse(2)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"engine": "abacus"}, "abacus"),
        ({"gain.mode": "fixed", "gain.low": 5.0, "gain.high": 2.0}, "gain.low below gain.high"),
    ],
)
def test_a_bad_value_at_start_ends_the_process_with_its_reason(start, parameters, reason):
    process, _, _ = start(**parameters)
    assert process.process.wait(30) == 1
    assert reason in process.output
    assert "Traceback" not in process.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_status_0_on_a_signal_while_fusing(start, number):
    process, _, rig = activated(start)
    assert rig.fuse(2)
    assert process.stop(number) == 0, process.output
    assert "Traceback" not in process.output


def test_ctrl_c_that_comes_more_than_once_ends_it_with_status_0_too(start):
    """`ros2 launch` passes on the signal that the terminal has sent to the node already."""
    process, _, rig = activated(start)
    assert rig.fuse(2)

    def ended():
        process.process.send_signal(signal.SIGINT)
        rig.executor.spin_once(timeout_sec=0.02)
        return process.process.poll() is not None

    assert rig.until(ended), process.output
    assert process.process.returncode == 0, process.output
    assert "Traceback" not in process.output


def test_an_invalid_transition_is_refused_and_the_node_lives(start):
    process, lifecycle, _ = start()
    lifecycle.wait()
    assert not lifecycle.change("activate")
    assert lifecycle.state() == "unconfigured"
    assert lifecycle.change("configure"), process.output
