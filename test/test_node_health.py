"""What the node says of itself and does for others: /diagnostics, ~/timing, ~/snapshot, release."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from rclpy.time import Time  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Float64MultiArray, Header  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from ssvif_core.inference.pipeline import FusionResult  # noqa: E402
from ssvif_ros.diagnostics import InputRate  # noqa: E402
from ssvif_ros.host import process_usage  # noqa: E402
from ssvif_ros.images import to_image  # noqa: E402
from ssvif_ros.parameters import Settings, ros_name  # noqa: E402
from ssvif_ros.processes import (  # noqa: E402
    LifecycleClient,
    RosProcess,
    ask,
    child_environment,
    spin_until,
)
from ssvif_ros.share import profile_variable  # noqa: E402
from ssvif_ros.snapshot import Snapshot, save  # noqa: E402
from ssvif_ros.timing import FIELDS  # noqa: E402

WIDTH, HEIGHT = 160, 128
PERIOD_S = 1 / 30
PARTS = (
    *("visible camera", "thermal camera", "pairing", "registration", "fusion", "engine", "host"),
)
#: Rounds of the lifecycle, and those before, in which caches fill. SSVIF_ROUNDS=100 for the bar.
ROUNDS, WARM_UP = int(os.environ.get("SSVIF_ROUNDS", "15")), 5
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class Robot:
    """A fusion node in its own process, and two cameras whose stamps are the present."""

    def __init__(self, node, executor, log, **parameters):
        self.node, self.executor = node, executor
        small = {"model": "tiny", "threads": 1, "warm_up_width": WIDTH, "warm_up_height": HEIGHT}
        self.process = RosProcess("ssvif_ros.fusion_node", {**small, **parameters}, log)
        # Before the lifecycle's clients: the node knows it when it has answered those (see `ask`).
        self._snapshot = node.create_client(Trigger, "fusion/snapshot")
        self.lifecycle = LifecycleClient(node, executor, "/fusion")
        reliable = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
        self.publishers = {
            camera: node.create_publisher(Image, f"{camera}/image_raw", reliable)
            for camera in ("visible", "thermal")
        }
        self.parts, self.fused, self.sent = {}, [], 0
        self.began_ns = node.get_clock().now().nanoseconds
        node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnose, 10)
        node.create_subscription(Image, "fusion/fused", self.fused.append, reliable)
        self.lifecycle.wait()

    def _diagnose(self, message):
        self.parts = {status.name.partition(": ")[2]: status for status in message.status}
        self.names = [status.name for status in message.status]

    def value(self, key):
        values = {v.key: v.value for status in self.parts.values() for v in status.values}
        return values.get(key)

    def activate(self):
        assert self.lifecycle.change("configure"), self.process.output
        assert self.lifecycle.change("activate"), self.process.output
        return self

    def send(self, visible=True, thermal=True, thermal_late_s=0.0, image=None, grid=False):
        """One frame of each camera, stamped now, or (`grid`) a period after its predecessor."""
        self.sent += 1
        now_ns = self.node.get_clock().now().nanoseconds
        if grid:
            now_ns = self.began_ns + round(self.sent * PERIOD_S * 1e9)

        def header(late_s=0.0):
            stamp = rclpy.time.Time(nanoseconds=int(now_ns - late_s * 1e9)).to_msg()
            return Header(stamp=stamp, frame_id="optical_frame")

        if image is None:
            image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            image[0] = self.sent % 256  # no two frames of a real camera are the same
        counts = np.full((HEIGHT // 2, WIDTH // 2), 7000, np.uint16)
        counts[20:40, 20:40] = 9000
        counts[0] += self.sent % 256
        if visible:
            self.publishers["visible"].publish(to_image(image, "rgb8", header()))
        if thermal:
            message = to_image(counts, "mono16", header(thermal_late_s))
            self.publishers["thermal"].publish(message)

    def until(self, condition, timeout_s=30.0, **frames):
        """Send frames at 30 Hz until the condition holds; whether it did."""

        def step():
            self.send(**frames)
            end = time.monotonic() + PERIOD_S
            while (left := end - time.monotonic()) > 0:
                self.executor.spin_once(timeout_sec=left)
            return condition()

        return spin_until(self.executor, step, timeout_s)

    def snapshot(self, **frames):
        """The answer of ~/snapshot, with frames sent meanwhile."""
        assert spin_until(self.executor, self._snapshot.service_is_ready, 10.0)
        future = self._snapshot.call_async(Trigger.Request())
        assert self.until(future.done, **frames)
        return future.result()


@pytest.fixture
def robot(ros_domain, tmp_path):
    """Function that starts one."""
    robots = []

    def start(**parameters):
        robots.append(Robot(*ros_domain, tmp_path / "fusion.log", **parameters))
        return robots[-1]

    yield start
    for started in robots:
        started.process.stop()


def test_a_healthy_node_says_ok_in_every_part_and_what_it_runs(robot):
    r = robot().activate()

    def healthy():
        rate = float(r.value("pair_rate_hz") or 0)
        return len(r.parts) == len(PARTS) and rate > 2 and r.value("process_cpu_percent")

    assert r.until(healthy), r.parts
    assert r.names == [f"/fusion: {part}" for part in PARTS]
    for part in ("visible camera", "thermal camera", "pairing", "engine"):
        assert r.parts[part].level == OK, r.parts[part]
    assert float(r.value("delta_ms_max")) == 0.0
    assert float(r.value("engine_ms_p50")) > 0
    assert r.value("mask_mode") == "finetuned"
    assert (r.value("engine"), r.value("precision")) == ("onnxruntime", "fp32")
    assert float(r.value("process_rss_mib")) > 50
    keys = [v.key for status in r.parts.values() for v in status.values]
    assert len(keys) == len(set(keys))


def test_each_trouble_is_in_its_part_with_what_to_do_and_in_the_log_until_it_is_over(robot):
    r = robot(warn_after=0.5, **{"expected_rate.visible": 500.0}).activate()
    # One camera only.
    assert r.until(lambda: r.parts and r.parts["thermal camera"].level == ERROR, thermal=False)
    assert "/thermal/image_raw has never been heard" in r.parts["thermal camera"].message
    assert "missing" in r.parts["pairing"].message
    # Fewer frames than expected.
    assert r.until(lambda: r.parts["visible camera"].level == WARN)
    assert "of 500.0 Hz" in r.parts["visible camera"].message
    assert f" {profile_variable()}=" in r.parts["visible camera"].message
    assert "fastdds_shm.xml" in r.parts["visible camera"].message
    # Stamps from another clock.
    late = {"thermal_late_s": 3600.0}
    assert r.until(lambda: "clock" in r.parts["thermal camera"].message, **late)
    assert r.until(lambda: "3600" in r.parts["pairing"].message, **late), r.parts["pairing"]
    assert r.until(lambda: "thermal camera: Stamps are 3600" in r.process.output, **late)
    early = {"thermal_late_s": -3600.0}
    ahead = "Stamps are 3600.0 s ahead of this node's clock"
    assert r.until(lambda: ahead in r.parts["thermal camera"].message, **early)
    # All is well again.
    assert r.until(lambda: r.parts["thermal camera"].level == OK, timeout_s=40)
    assert "pairing: A camera is missing" not in r.process.output  # the camera's line has said it
    assert r.until(lambda: "thermal camera: well again" in r.process.output, timeout_s=40)


@pytest.mark.parametrize(
    ("policy", "said", "parameter", "enough"),
    [
        ("nearest", "within slop (0.005 s): raise slop", "slop", 0.05),
        ("exact", "stamps differ by 12 ms", "thermal_offset", 0.012),
        ("hold", "within max_thermal_age (0.01 s): raise it", "max_thermal_age", 0.1),
    ],
)
def test_where_few_frames_pair_the_advice_is_one_that_the_policy_takes(
    robot, policy, said, parameter, enough
):
    r = robot(
        **{"sync.policy": policy, "slop": 0.005, "max_thermal_age": 0.01, "warn_after": 0.5}
    ).activate()
    late = {"thermal_late_s": 0.012, "grid": True}
    assert r.until(lambda: r.parts and said in r.parts["pairing"].message, **late), r.parts
    message = r.parts["pairing"].message
    assert ("slop" in message) == (policy == "nearest")
    assert ("sync.policy to nearest" in message) == (policy == "exact")
    set_parameter(r, parameter, enough)
    assert r.until(lambda: r.parts["pairing"].level == OK, **late), r.parts["pairing"]


def test_frames_that_are_lost_on_the_way_are_noticed_by_their_stamps(robot):
    r = robot().activate()

    def noticed():
        r.until(lambda: True, grid=True, visible=r.sent % 3 > 0)
        return r.parts and "never arrived" in r.parts["visible camera"].message

    assert spin_until(r.executor, noticed, 30.0), r.parts.get("visible camera")
    assert float(r.value("visible_stamped_rate_hz")) == pytest.approx(30, rel=0.02)
    assert float(r.value("visible_lost_percent")) == pytest.approx(33, abs=12)
    assert float(r.value("thermal_lost_percent")) < 10


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_publisher_that_cannot_be_heard_is_reported_by_the_policy_that_differs(robot, comes_back):
    override = "qos_overrides./thermal/image_raw.subscription.reliability"
    r = robot(**{override: "reliable"}).activate()
    best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    wrong = r.node.create_publisher(Image, "thermal/image_raw", best_effort)
    assert r.until(lambda: r.value("thermal_incompatible_qos") == "RELIABILITY"), r.parts
    assert override.rpartition(".")[0] in r.parts["thermal camera"].message
    assert r.value("visible_incompatible_qos") == "none"
    r.node.destroy_publisher(wrong)  # the driver is started again, as it should be, or not at all
    if not comes_back:
        r.node.destroy_publisher(r.publishers["thermal"])
    gone = {"thermal": comes_back}
    assert r.until(lambda: r.value("thermal_incompatible_qos") == "none", **gone), r.parts
    assert override.rpartition(".")[0] not in r.parts["thermal camera"].message


def test_without_a_clock_the_report_still_comes_and_says_so(robot):
    r = robot(use_sim_time=True).activate()
    assert r.until(lambda: r.parts)
    assert "/clock" in r.parts["visible camera"].message
    assert r.parts["visible camera"].level == ERROR


def test_timing_names_its_fields_and_agrees_with_the_frame(robot):
    r = robot().activate()
    heard = []
    r.node.create_subscription(Float64MultiArray, "fusion/timing", heard.append, 10)
    assert r.until(lambda: heard and len(r.fused) > 1)
    (dimension,) = heard[-1].layout.dim
    assert (dimension.label.split(","), dimension.size) == (list(FIELDS), len(FIELDS))
    record = dict(zip(FIELDS, heard[-1].data, strict=True))
    stamps = [m.header.stamp.sec + m.header.stamp.nanosec * 1e-9 for m in r.fused]
    assert min(abs(record["stamp_s"] - stamp) for stamp in stamps) < 1e-3
    stages = sum(record[f"{s}_ms"] for s in ("decode", "gain", "warp", "engine", "publish"))
    assert 0 < stages < record["latency_ms"]


def test_live_parameters_change_between_frames_and_cost_none(robot):
    reliable = {
        f"qos_overrides./{camera}/image_raw.subscription.{policy}": value
        for camera in ("visible", "thermal")
        for policy, value in (("reliability", "reliable"), ("depth", 100))
    }
    r = robot(**reliable).activate()
    heard_by = [publisher.get_subscription_count for publisher in r.publishers.values()]
    assert spin_until(r.executor, lambda: all(count() for count in heard_by), 10.0)
    client = r.node.create_client(SetParameters, "fusion/set_parameters")
    assert ask(r.executor, client, SetParameters.Request(), 10.0) is not None  # it knows us now
    live = [f for f in dataclasses.fields(Settings) if f.metadata["live"]]
    changed = {
        "gain__mode": "percentile", "gain__time_constant": 0.0, "gain__high_percentile": 90.0,
        "overlay_alpha": 0.9, "slop": 0.02, "max_wait": 0.02, "warn_after": 60.0,
    }  # fmt: skip
    asked = []
    for field in live:
        value = changed.get(field.name, field.default)
        parameter = rclpy.parameter.Parameter(ros_name(field.name), value=value)
        request = SetParameters.Request(parameters=[parameter.to_parameter_msg()])
        asked.append(client.call_async(request))
        r.send()  # a frame beside each; the next when it is fused, so that no machine is too slow
        assert spin_until(r.executor, lambda: len(r.fused) == r.sent, 20.0), r.process.output
    assert spin_until(r.executor, lambda: all(future.done() for future in asked), 20.0)
    assert all(future.result().results[0].successful for future in asked), asked
    assert spin_until(r.executor, lambda: int(r.value("fused") or 0) == r.sent, 20.0)
    counts = {key: int(r.value(key)) for key in ("dropped_by_worker", "bad_frames")}
    counts |= {key: int(r.value(key)) for key in ("unpaired_visible", "unpaired_thermal")}
    assert set(counts.values()) == {0}, counts


def test_a_snapshot_is_a_pair_that_evaluate_reads_and_that_fuses_to_the_same_image(robot, tmp_path):
    from ssvif_core.data.sources import open_pairs
    from ssvif_core.inference.engine import EngineOptions, create_engine
    from ssvif_core.models import open_model

    folder = tmp_path / "shots"
    r = robot(snapshot_folder=str(folder)).activate()
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    answers = [r.snapshot(image=image) for _ in range(2)]
    assert all(answer.success for answer in answers), answers
    pairs = open_pairs(folder)
    assert len(pairs) == 2
    first = pairs[0]
    assert (first.visible == image).all()
    assert first.labels is None  # what the model said is not the truth
    read = {
        part: cv2.imread(str(folder / part / f"{first.name}.png"), cv2.IMREAD_UNCHANGED)
        for part in ("thermal_raw", "fused", "predicted")
    }
    assert read["thermal_raw"].dtype == np.uint16 and read["thermal_raw"].max() == 9000
    engine, _ = create_engine(open_model("tiny"), options=EngineOptions(threads=1))
    fused, labels = engine.infer(first.visible, first.thermal)
    assert (fused == read["fused"][..., ::-1]).all()
    assert (labels == read["predicted"]).all()
    about = json.loads((folder / "about" / f"{first.name}.json").read_text())
    assert about["parameters"]["slop"] == 0.05
    assert about["frames"]["thermal"]["encoding"] == "mono16"
    assert about["engine"]["engine"] == "onnxruntime"
    assert about["model"]["name"] == "tiny"
    assert about["versions"]["rmw"]
    assert not list(folder.glob(".*"))


def test_a_snapshot_that_cannot_be_written_says_why_leaves_nothing_and_the_node_goes_on(
    robot, tmp_path
):
    (tmp_path / "file").write_text("in the way")
    r = robot(snapshot_folder=str(tmp_path / "file" / "shots"))
    assert "not active" in r.snapshot().message
    r.activate()
    answer = r.snapshot()
    assert not answer.success
    assert "snapshot_folder" in answer.message and str(tmp_path / "file") in answer.message
    set_parameter(r, "snapshot_folder", "~nobody.of.this.name/shots")
    answer = r.snapshot()
    assert not answer.success
    assert "home folder" in answer.message and "snapshot_folder" in answer.message
    # A disk that takes no more: the process may write no file of more than 8 kB.
    full = tmp_path / "full"
    set_parameter(r, "snapshot_folder", str(full))
    pid = r.process.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (8192, before[1]))
    answer = r.snapshot(image=noise)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    assert not answer.success
    assert "Make room" in answer.message
    assert [path for path in full.rglob("*") if path.is_file()] == []
    fused = len(r.fused)
    assert r.until(lambda: len(r.fused) > fused + 2)
    assert r.snapshot().success


def test_a_snapshot_is_answered_though_the_node_was_deactivated_meanwhile(robot, tmp_path):
    r = robot(snapshot_folder=str(tmp_path)).activate()
    client = r.node.create_client(Trigger, "fusion/snapshot")
    assert client.wait_for_service(20.0)
    answer = client.call_async(Trigger.Request())
    assert not spin_until(r.executor, answer.done, 1.0)  # it waits for a pair
    assert r.lifecycle.change("deactivate")
    assert spin_until(r.executor, answer.done, 30.0)
    assert "No pair was fused" in answer.result().message
    r.node.destroy_client(client)


@pytest.mark.parametrize(
    ("gone", "parts", "stem"),
    [
        (None, {"visible", "thermal", "thermal_raw", "fused", "predicted"}, "7_000000008"),
        ("thermal", {"visible", "fused", "predicted"}, "7_000000008"),
        ("visible", {"thermal", "thermal_raw", "fused", "predicted"}, "6_000000009"),
    ],
)
def test_a_snapshot_is_of_the_cameras_that_live_and_shares_its_pixels_with_nobody(
    gone, parts, stem
):
    arrays = np.full((48, 64, 3), 90, np.uint8), np.full((24, 32), 7000, np.uint16)
    stamps = Time(seconds=7, nanoseconds=8), Time(seconds=6, nanoseconds=9)
    sent = [
        (to_image(array, encoding, Header(stamp=stamp.to_msg())), array)
        for array, encoding, stamp in zip(arrays, ("rgb8", "mono16"), stamps, strict=True)
    ]
    cameras = ("visible", "thermal")
    pair = [(None, None) if c == gone else x for c, x in zip(cameras, sent, strict=True)]
    gray = np.full((48, 64), 40, np.uint8)
    result = FusionResult(arrays[0] + 1, gray + 1, gray)
    messages, images = zip(*pair, strict=True)
    shot = Snapshot.of(messages, images, result, {})
    assert shot.images.keys() == parts and shot.stem == stem
    assert shot.about["frames"].keys() == set(cameras) - {gone}
    shown = {"visible": arrays[0], "thermal_raw": arrays[1], "fused": result.fused}
    shown |= {"predicted": result.labels, "thermal": result.thermal}
    for part, image in shot.images.items():
        assert (image == shown[part]).all() and not np.shares_memory(image, shown[part])


def test_a_snapshot_of_a_bag_that_is_played_again_keeps_the_one_before(tmp_path):
    pictures = [np.full((4, 6), level, np.uint8) for level in (1, 2, 3)]
    for picture in pictures:
        save(tmp_path, Snapshot("1_000000000", {"thermal": picture}, {}))
    stems = ["1_000000000", "1_000000000_2", "1_000000000_3"]
    for part, suffix in (("thermal", "png"), ("about", "json")):
        assert {path.name for path in (tmp_path / part).iterdir()} == {
            f"{stem}.{suffix}" for stem in stems
        }
    for stem, picture in zip(stems, pictures, strict=True):
        read = cv2.imread(str(tmp_path / "thermal" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
        assert (read == picture).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_snapshot_gives_back_every_pixel_to_the_bit(tmp_path, dtype):
    pixels = np.linspace(0, 255, 48 * 64).reshape(48, 64).astype(dtype)
    if dtype == np.float32:
        pixels += 273.15
    images = {"thermal_raw": pixels, "visible": np.dstack([pixels.astype(np.uint8)] * 3)}
    files = save(tmp_path, Snapshot("1_000000000", images, {}))
    suffix = ".tiff" if dtype == np.float32 else ".png"
    assert files[0] == tmp_path / "thermal_raw" / f"1_000000000{suffix}"
    read = cv2.imread(str(files[0]), cv2.IMREAD_UNCHANGED)
    assert read.dtype == dtype and (read == pixels).all()


def test_the_rate_of_a_camera_begins_anew_where_the_clock_is_set_back():
    rate = InputRate()
    for n in range(60):
        rate.tick(1000.0 + n / 30)
    assert rate.rate_hz(1002.0) == pytest.approx(29.5, abs=0.6)
    assert rate.rate_hz(5.0) == 0.0 and rate.rate_hz(8.0) == 0.0
    assert rate.received == 60


def test_a_snapshot_without_cameras_says_that_nothing_is_fused(robot, tmp_path):
    r = robot(snapshot_folder=str(tmp_path)).activate()
    answer = r.snapshot(visible=False, thermal=False)
    assert not answer.success
    assert "No pair was fused" in answer.message


def set_parameter(r, name, value):
    client = r.node.create_client(SetParameters, "fusion/set_parameters")
    parameter = rclpy.parameter.Parameter(name, value=value).to_parameter_msg()
    request = SetParameters.Request(parameters=[parameter])
    answer = ask(r.executor, client, request, 10.0)
    assert answer is not None and answer.results[0].successful


def has_threads(r, at_most):
    """Waited for: Python has joined a thread a moment before the kernel has ended it."""
    return r.until(lambda: process_usage(r.process.process.pid)["threads"] <= at_most)


def test_a_configure_that_fails_half_way_leaves_nothing_in_the_way_of_the_next(robot):
    r = robot(**{"registration.mode": "camera_info", "registration.extrinsics": "1 2"})
    threads = process_usage(r.process.process.pid)["threads"]
    assert not r.lifecycle.change("configure")
    assert "is no pose" in r.process.output
    set_parameter(r, "registration.mode", "none")  # refused if a half of it were there
    assert has_threads(r, at_most=threads + 1)
    r.activate()
    assert r.until(lambda: r.fused)


def test_an_activation_that_fails_half_way_leaves_nothing_of_itself(robot):
    r = robot(**{"qos_overrides./thermal/image_raw.subscription.reliability": "bogus"})
    assert r.lifecycle.change("configure")
    threads = process_usage(r.process.process.pid)["threads"]
    for _ in range(2):
        assert not r.lifecycle.change("activate")
        assert r.lifecycle.state() == "inactive"
    assert "other values of qos_overrides./thermal/image_raw.subscription" in r.process.output
    assert "Traceback" not in r.process.output
    heard = r.node.get_subscriptions_info_by_topic
    assert spin_until(r.executor, lambda: not heard("/visible/image_raw"), 10.0)
    assert has_threads(r, at_most=threads)  # no worker, no engine
    assert "not active" in r.snapshot().message
    assert r.lifecycle.change("cleanup")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_lifecycle_all_the_way_round_again_and_again_leaks_nothing(robot):
    r = robot()
    pid = r.process.process.pid
    seen = []
    for _ in range(WARM_UP + ROUNDS):
        for transition in ("configure", "activate"):
            assert r.lifecycle.change(transition), r.process.output
        fused = len(r.fused)
        assert r.until(lambda fused=fused: len(r.fused) > fused), r.process.output
        active = process_usage(pid)["threads"]
        assert r.lifecycle.change("deactivate")
        assert has_threads(r, at_most=active - 1), r.process.output
        assert r.lifecycle.change("cleanup")
        seen.append(process_usage(pid))
    before, after = seen[WARM_UP - 1], seen[-1]
    assert has_threads(r, at_most=before["threads"])
    assert after["open_files"] <= before["open_files"]
    # An engine that stayed would be 10 MiB a round; the allocator settles within 3 in all.
    assert after["rss_mib"] - before["rss_mib"] < 4, [s["rss_mib"] for s in seen]


def test_two_nodes_have_parts_of_their_own(ros_domain, tmp_path):
    node, executor = ros_domain
    names = set()
    node.create_subscription(
        DiagnosticArray, "/diagnostics", lambda m: names.update(s.name for s in m.status), 10
    )
    command = [sys.executable, "-m", "ssvif_ros.fusion_node", "--ros-args", "-p", "model:=tiny"]
    processes = []
    try:
        for namespace in ("/front", "/rear"):
            processes.append(
                subprocess.Popen([*command, "-r", f"__ns:={namespace}"], env=child_environment())
            )
            lifecycle = LifecycleClient(node, executor, f"{namespace}/fusion")
            lifecycle.wait()
            assert lifecycle.change("configure") and lifecycle.change("activate")
        wanted = {f"{ns}/fusion: {part}" for ns in ("/front", "/rear") for part in PARTS}
        assert spin_until(executor, lambda: wanted <= names, 20.0), names
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)
