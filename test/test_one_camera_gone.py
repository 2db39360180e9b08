"""The fusion node as its own process while cameras stop, freeze, come back or run at odd rates."""

from __future__ import annotations

import re

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from rcl_interfaces.msg import Parameter as ParameterMessage  # noqa: E402
from rcl_interfaces.msg import ParameterType, ParameterValue  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from rclpy.time import Time  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from ssvif_ros.images import to_image  # noqa: E402
from ssvif_ros.processes import LifecycleClient, RosProcess, ask, spin_until  # noqa: E402

SIZES = {"visible": (128, 160, 3), "thermal": (64, 80)}
RATES_HZ = {"visible": 20, "thermal": 9}


class Cameras:
    """Two cameras at real rates, each of which can be stopped or frozen, and an ear on the node."""

    def __init__(self, node, executor, rates_hz):
        self.node, self.executor = node, executor
        self.stopped: set[str] = set()
        self.frozen: set[str] = set()
        self.stamp_error_ns = {"visible": 0, "thermal": 0}
        self._rng = np.random.default_rng(0)
        self._last = {}
        self._publishers = {
            camera: node.create_publisher(Image, f"{camera}/image_raw", 20) for camera in SIZES
        }
        for camera, rate_hz in rates_hz.items():
            node.create_timer(1 / rate_hz, lambda camera=camera: self.send(camera))
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.fused, self.labels, self.said, self.diagnostics = [], [], [], {}
        self.parts = {}
        node.create_subscription(Image, "fusion/fused", self.fused.append, 20)
        node.create_subscription(Image, "fusion/labels", self.labels.append, 20)
        node.create_subscription(DiagnosticStatus, "fusion/status", self.said.append, latched)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnose, 10)

    def send(self, camera, now_ns=None):
        if camera in self.stopped:
            return
        if camera not in self.frozen or camera not in self._last:
            self._last[camera] = self._rng.integers(60, 120, SIZES[camera], dtype=np.uint8)
        now_ns = now_ns or self.node.get_clock().now().nanoseconds
        stamp_ns = now_ns + self.stamp_error_ns[camera]
        header = Header(stamp=Time(nanoseconds=stamp_ns).to_msg(), frame_id=f"{camera}_frame")
        encoding = "rgb8" if camera == "visible" else "mono8"
        self._publishers[camera].publish(to_image(self._last[camera], encoding, header))

    def _diagnose(self, message):
        self.diagnostics = {v.key: v.value for s in message.status for v in s.values}
        self.parts = {s.name.partition(": ")[2]: s for s in message.status}

    def until(self, condition, timeout_s=30.0):
        return spin_until(self.executor, condition, timeout_s)

    def until_said(self, *words):
        """Spin until the newest status has all these words."""
        return self.until(lambda: self.said and all(w in self.said[-1].message for w in words))

    def more_fused(self, count=4):
        wanted = len(self.fused) + count
        return self.until(lambda: len(self.fused) >= wanted)

    def counted(self, name):
        return int(self.diagnostics.get(name, 0))

    def set(self, name, value):
        message = (
            ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
            if isinstance(value, str)
            else ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
        )
        client = self.node.create_client(SetParameters, "fusion/set_parameters")
        request = SetParameters.Request(parameters=[ParameterMessage(name=name, value=message)])
        answer = ask(self.executor, client, request, 20.0)
        assert answer is not None and answer.results[0].successful
        self.node.destroy_client(client)


@pytest.fixture
def start(ros_domain, tmp_path):
    """Function that starts an active fusion node and two cameras."""
    node, executor = ros_domain
    processes = []

    def run(rates_hz=RATES_HZ, **parameters):
        height, width, _ = SIZES["visible"]
        settings = {"model": "tiny", "threads": 1, "warm_up_width": width, "warm_up_height": height}
        process = RosProcess(
            "ssvif_ros.fusion_node", {**settings, **parameters}, tmp_path / "fusion.log"
        )
        processes.append(process)
        lifecycle = LifecycleClient(node, executor, "/fusion")
        lifecycle.wait()
        assert lifecycle.change("configure"), process.output
        assert lifecycle.change("activate"), process.output
        return process, lifecycle, Cameras(node, executor, rates_hz)

    yield run
    for process in processes:
        process.stop()


def pixels(message):
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, -1)


def test_without_thermal_it_goes_on_as_it_is_told_and_pairs_again_when_it_is_back(start):
    process, _, cameras = start()
    assert cameras.until_said("fusing"), process.output
    assert cameras.more_fused()

    cameras.stopped.add("thermal")
    assert cameras.until_said("visible alone", "thermal camera is silent"), process.output
    assert cameras.said[-1].level == DiagnosticStatus.WARN
    values = {v.key: v.value for v in cameras.said[-1].values}
    assert (values["mode"], values["visible_state"], values["thermal_state"]) == (
        "visible", "ok", "missing"
    )  # fmt: skip
    assert cameras.more_fused()
    assert cameras.until(lambda: cameras.counted("single_visible") > 0)
    assert cameras.diagnostics["mode"] == "visible"
    assert (pixels(cameras.labels[-1]) < 255).all()

    cameras.set("on_missing", "passthrough")
    assert cameras.until(lambda: cameras.labels and (pixels(cameras.labels[-1]) == 255).all())
    assert pixels(cameras.fused[-1]).shape == SIZES["visible"]

    cameras.set("on_missing", "stop")
    assert cameras.until_said("nothing is published", "thermal camera is silent")
    assert cameras.said[-1].level == DiagnosticStatus.ERROR
    assert cameras.until(lambda: cameras.counted("withheld_visible") > 5)
    quiet = len(cameras.fused)
    assert cameras.until(lambda: cameras.counted("withheld_visible") > 20)
    assert len(cameras.fused) == quiet

    cameras.stopped.clear()
    assert cameras.until_said("fusing")
    paired = cameras.counted("paired")
    assert cameras.more_fused()
    assert cameras.until(lambda: cameras.counted("paired") > paired)
    assert (pixels(cameras.labels[-1]) < 255).all()
    assert "visible alone: the thermal camera is silent" in process.output


def test_without_visible_thermal_drives_and_without_both_it_waits(start):
    process, lifecycle, cameras = start(thermal_offset=-0.004)
    assert cameras.until_said("fusing"), process.output
    cameras.stopped.add("visible")
    assert cameras.until_said("thermal alone", "visible camera is silent"), process.output
    cameras.fused.clear()
    assert cameras.more_fused()
    message = cameras.fused[-1]
    assert (message.height, message.width) == SIZES["visible"][:2]
    assert message.header.frame_id == "visible_frame"
    latest_ns = cameras.node.get_clock().now().nanoseconds - 4_000_000
    assert 0 < Time.from_msg(message.header.stamp).nanoseconds < latest_ns

    cameras.stopped.add("thermal")
    assert cameras.until_said("no frames of visible and thermal"), process.output
    assert lifecycle.state() == "active"
    cameras.stopped.clear()
    assert cameras.until_said("fusing")
    assert cameras.more_fused()
    assert lifecycle.change("deactivate")
    assert cameras.until_said("inactive")
    # It says so before it is active too, and when it is shut down while active.
    assert lifecycle.change("cleanup")
    cameras.said.clear()
    assert lifecycle.change("configure"), process.output
    assert cameras.until_said("inactive")
    assert lifecycle.change("activate"), process.output
    assert cameras.until_said("fusing")
    assert lifecycle.change("shutdown")
    assert cameras.until_said("inactive")


def test_hold_gives_one_output_for_every_visible_frame(start):
    process, _, cameras = start(
        **{"sync.policy": "hold", "max_thermal_age": 5.0, "missing_after": 5.0}
    )
    assert cameras.more_fused(), process.output
    cameras.fused.clear()
    assert cameras.until(lambda: cameras.counted("paired") > 0)
    unpaired = cameras.counted("unpaired_visible")  # those before the first thermal frame
    assert cameras.until(lambda: cameras.counted("paired") > 40), cameras.diagnostics
    assert cameras.counted("unpaired_visible") == unpaired
    assert cameras.counted("received_visible") == cameras.counted("paired") + unpaired
    assert cameras.counted("reused_thermal") > cameras.counted("received_thermal") / 2
    stamps = [Time.from_msg(m.header.stamp).nanoseconds for m in cameras.fused]
    assert stamps == sorted(set(stamps))


def test_a_thermal_camera_that_freezes_is_reported_and_left_out_until_it_moves(start):
    process, _, cameras = start(frozen_after=0.6)
    assert cameras.until_said("fusing"), process.output
    cameras.frozen.add("thermal")
    assert cameras.until_said("visible alone", "thermal camera repeats one picture")
    assert cameras.until(lambda: cameras.counted("withheld_thermal") > 0)
    assert cameras.diagnostics["thermal_state"] == "frozen"
    thermal = cameras.parts["thermal camera"]
    assert thermal.level == DiagnosticStatus.WARN and "repeats one picture" in thermal.message
    assert cameras.parts["visible camera"].level == DiagnosticStatus.OK
    assert cameras.counted("thermal_repeated") > 3
    cameras.frozen.clear()
    assert cameras.until_said("fusing")
    assert cameras.more_fused()
    assert cameras.until(lambda: cameras.parts["thermal camera"].message == "frames arrive")


def test_a_camera_that_is_too_slow_is_so_at_every_moment_and_in_every_line(start):
    process, _, cameras = start(rates_hz={"visible": 20, "thermal": 1.5}, missing_after=0.4)
    assert cameras.until_said("visible alone", "is too slow: set missing_after"), process.output
    cameras.said.clear()
    reports = []
    cameras.node.create_subscription(
        DiagnosticArray, "/diagnostics", lambda m: reports.append(cameras.parts), 10
    )
    assert cameras.until(lambda: len(reports) > 4), process.output
    for parts in reports[1:]:
        for name in ("thermal camera", "fusion"):
            assert "is too slow: set missing_after" in parts[name].message, parts[name]
            assert parts[name].level == DiagnosticStatus.WARN
        assert parts["visible camera"].level == DiagnosticStatus.OK
    assert {s.message for s in cameras.said} == {cameras.said[-1].message}  # states come and go
    cameras.set("missing_after", 2.0)
    assert cameras.until_said("fusing"), process.output
    assert cameras.until(lambda: cameras.parts["thermal camera"].level == DiagnosticStatus.OK)


@pytest.mark.parametrize(("encoding", "width"), [("nv12", 160), ("uyvy", 161)])
def test_a_camera_that_sends_no_whole_yuv_is_missing_and_costs_the_other_no_frame(
    start, encoding, width
):
    process, _, cameras = start()
    assert cameras.until_said("fusing"), process.output
    cameras.stopped.add("visible")
    luma_only = Image(height=128, width=width, encoding=encoding, step=2 * width)
    luma_only.data = bytes(128 * width * (1 if encoding == "nv12" else 2))
    driver = cameras.node.create_publisher(Image, "visible/image_raw", 20)

    def send():
        luma_only.header.stamp = cameras.node.get_clock().now().to_msg()
        driver.publish(luma_only)

    cameras.node.create_timer(0.05, send)
    assert cameras.until_said("thermal alone", "visible camera is silent"), process.output
    assert cameras.more_fused(), process.output
    assert cameras.until(lambda: cameras.counted("invalid_visible") > 0)
    assert cameras.counted("bad_frames") == 0
    said = "truncated" if encoding == "nv12" else "161 wide: odd"
    assert said in process.output


def test_what_is_said_of_stamps_that_never_meet_makes_them_meet(start):
    process, _, cameras = start(thermal_offset=-7.0)  # the wrong way
    cameras.stamp_error_ns["thermal"] = -7_000_000_000
    assert cameras.until_said("no two frames belong together", "7.0 s behind"), process.output
    assert not cameras.fused
    cameras.set("thermal_offset", 6.0)  # not enough
    assert cameras.until_said("7.0 s behind", "(it is 6)"), process.output
    advice = re.search(r"set thermal_offset to (\S+)", cameras.said[-1].message)
    cameras.set("thermal_offset", float(advice[1]))
    assert cameras.more_fused(), process.output
    assert cameras.until_said("fusing")


class SimulatedTime:
    """A clock that goes on with the frames that are sent."""

    def __init__(self, cameras):
        self.cameras, self.now_ns = cameras, 100_000_000_000
        self._clock = cameras.node.create_publisher(Clock, "/clock", 20)

    def say(self):
        self._clock.publish(Clock(clock=Time(nanoseconds=self.now_ns).to_msg()))
        self.cameras.executor.spin_once(timeout_sec=0.02)

    def run(self, frames, step_ns=33_000_000):
        """Let time go on, with a pair of frames at each step, until they are fused."""
        self.cameras.fused.clear()

        def step():
            self.now_ns += step_ns
            for camera in SIZES:
                self.cameras.send(camera, self.now_ns)
            self.say()
            return len(self.cameras.fused) >= frames

        assert self.cameras.until(step), self.cameras.said


def test_simulated_time_that_stops_steps_and_jumps_back_makes_no_camera_missing(start):
    process, _, cameras = start(rates_hz={}, use_sim_time=True)
    simulated = SimulatedTime(cameras)
    simulated.run(10)
    assert cameras.until_said("fusing")
    cameras.said.clear()
    for jump_s in (60, -40, 3600, -3600):
        for _ in range(20):  # paused: /clock repeats itself, and nothing else comes
            simulated.say()
        simulated.now_ns += jump_s * 1_000_000_000
        simulated.run(20)
    assert {said.message.split(",")[0] for said in cameras.said} <= {"fusing"}, process.output
    cameras.stopped.add("thermal")
    simulated.run(5, 50_000_000)
    assert cameras.until_said("visible alone", "thermal camera is silent")


def test_simulated_time_that_begins_or_jumps_is_no_silence_on_diagnostics(start):
    process, _, cameras = start(rates_hz={}, use_sim_time=True)
    simulated = SimulatedTime(cameras)

    def messages_of_the_next_reports():
        said = []
        for _ in range(2):
            cameras.parts = {}

            def reported():
                simulated.now_ns += 20_000_000
                simulated.say()
                return cameras.parts

            assert cameras.until(reported), process.output
            said += [f"{name}: {part.message}" for name, part in cameras.parts.items()]
        return " ".join(said)

    assert cameras.until(lambda: cameras.parts)  # the node is active, and time has not begun
    simulated.now_ns = 1_700_000_000_000_000_000
    simulated.say()
    messages_of_the_next_reports()  # the first may be of the moment before
    said = messages_of_the_next_reports()
    assert "never been heard" not in said and "Nothing is being fused" not in said
    simulated.run(10)
    simulated.now_ns += 3_600_000_000_000
    said = messages_of_the_next_reports()
    assert "has been silent" not in said


def test_a_clock_that_has_stopped_is_an_error_until_it_goes_on(start):
    process, _, cameras = start(rates_hz={}, use_sim_time=True, warn_after=0.5)
    assert cameras.until_said("no time comes on /clock"), process.output
    simulated = SimulatedTime(cameras)
    simulated.run(10)
    assert cameras.until(lambda: (simulated.run(1), cameras.said[-1].message)[1] == "fusing")
    # The bag has ended: with its frames, the time of which they would be missed ends too.
    assert cameras.until_said("no new time on /clock"), process.output
    assert cameras.said[-1].level == DiagnosticStatus.ERROR
    for part in ("visible camera", "thermal camera", "fusion"):
        assert cameras.until(lambda part=part: "new time" in cameras.parts[part].message)
        assert cameras.parts[part].level == DiagnosticStatus.ERROR
    assert cameras.until(lambda: (simulated.run(1), cameras.said[-1].message)[1] == "fusing")

    def well():
        simulated.run(1)
        return cameras.parts["visible camera"].level == DiagnosticStatus.OK

    assert cameras.until(well), cameras.parts
