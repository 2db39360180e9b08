"""What /diagnostics makes of the rooms of a node, at the limits from which on it is said."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from rclpy.clock import ClockType, ROSClock  # noqa: E402
from rclpy.lifecycle import LifecycleNode  # noqa: E402
from rclpy.time import Time  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from ssvif_core.imaging.thermal_gain import ThermalGain  # noqa: E402
from ssvif_core.inference.engine import EngineOptions, create_engine  # noqa: E402
from ssvif_core.inference.pipeline import Pipeline, StageTimes  # noqa: E402
from ssvif_core.models import open_model  # noqa: E402
from ssvif_core.pairing import NearestPairing  # noqa: E402
from ssvif_ros.clock_watch import ClockWatch  # noqa: E402
from ssvif_ros.diagnostics import FrameRecord, Health, InputRate  # noqa: E402
from ssvif_ros.engine_switch import EngineSwitch  # noqa: E402
from ssvif_ros.host import HostMonitor  # noqa: E402
from ssvif_ros.images import to_image  # noqa: E402
from ssvif_ros.inputs import Inputs  # noqa: E402
from ssvif_ros.parameters import Settings  # noqa: E402
from ssvif_ros.registration_source import RegistrationSource  # noqa: E402
from ssvif_ros.report import Report, Rooms  # noqa: E402

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
FRAME = FrameRecord(50.0, 0.0, 1.0, 1.0, StageTimes(engine_ms=40.0))


class Active:
    """The rooms of a node that has just heard both cameras, and its report."""

    def __init__(self, tmp_path):
        self.node = LifecycleNode("fusion")
        model = open_model("tiny")
        engine, why = create_engine(model, "onnxruntime", EngineOptions(threads=1))
        self.pipeline = Pipeline(engine, ThermalGain())
        self.inputs = Inputs(
            self.node, NearestPairing(), {}, lambda *_: None, lambda _: None, lambda: None
        )
        self.now = self.node.get_clock().now()
        for camera, shape, encoding in (
            ("visible", (48, 64, 3), "rgb8"),
            ("thermal", (48, 64), "mono8"),
        ):
            header = Header(stamp=self.now.to_msg())
            image = to_image(np.zeros(shape, np.uint8), encoding, header)
            self.inputs.valid[camera].signalMessage(image)
        self.health, self.host = Health(), HostMonitor(tmp_path)
        keys = ("unstamped_visible", "unstamped_thermal", "dropped_by_worker", "in_work")
        self.counts = dict.fromkeys(keys, 0)
        self.settings = Settings(warn_after=60.0)
        rooms = Rooms(
            ClockWatch(self.node.get_clock()), self.inputs, self.health, self.pipeline, model.card,
            EngineSwitch(model, self.settings, why, self.pipeline, lambda *_: None),
            RegistrationSource(self.node, self.pipeline, self.settings), self.host,
            lambda: self.counts,
        )  # fmt: skip
        self.report = Report(rooms)

    def part(self, name):
        """(level, message) of a new report."""
        parts = self.report.parts(self.settings, self.now.nanoseconds * 1e-9)
        return next((p.level, p.message) for p in parts if p.name == name)

    def fused(self, frames):
        for _ in range(frames):
            self.health.frame(self.now.nanoseconds * 1e-9, FRAME)

    def received(self, camera, times_s):
        """As if the last of these frames had just come; stamps and arrivals agree."""
        self.inputs.rates[camera] = rate = InputRate()
        for time_s in times_s:
            then_ns = self.now.nanoseconds - round((times_s[-1] - time_s) * 1e9)
            rate.tick(then_ns * 1e-9, then_ns)

    def end(self):
        self.inputs.destroy()
        self.host.stop()
        self.pipeline.close()
        self.node.destroy_node()


@pytest.fixture
def active(ros_domain, tmp_path):
    made = Active(tmp_path)
    yield made
    made.end()


def test_where_no_frame_can_be_fused_it_is_an_error_and_where_some_cannot_a_warning(active):
    assert active.part("fusion") == (OK, "fusing")
    for _ in range(3):
        active.health.bad_frame("out of memory")
    assert active.part("fusion") == (ERROR, "No frame could be fused, 3 were bad: out of memory")
    assert active.part("fusion") == (OK, "fusing")  # nothing since
    active.health.bad_frame("bad visible frame")
    active.fused(1)
    assert active.part("fusion") == (WARN, "1 bad frames: bad visible frame")


@pytest.mark.parametrize(("dropped", "warned"), [(10, False), (11, True)])
def test_more_than_a_tenth_of_the_pairs_dropped_is_a_warning_with_the_time_of_a_frame(
    active, dropped, warned
):
    active.counts["dropped_by_worker"] = 1000  # of activations before
    assert active.part("fusion")[0] == OK
    active.fused(90)
    active.counts["dropped_by_worker"] += dropped
    level, message = active.part("fusion")
    assert level == (WARN if warned else OK)
    assert message.startswith("11 pairs came" if warned else "fusing")
    assert ("takes 40 ms in the engine" in message) == warned
    active.fused(90)
    assert active.part("fusion")[0] == OK  # it is over


@pytest.mark.parametrize(
    ("model", "said"), [("base", "Use the model tiny, "), ("tiny", "Use more threads")]
)
def test_who_runs_the_smallest_model_is_not_told_to_use_it(active, model, said):
    active.settings = Settings(warn_after=60.0, model=model)
    assert active.part("fusion")[0] == OK
    active.fused(10)
    active.counts["dropped_by_worker"] = 10
    assert said in active.part("fusion")[1]


def test_frames_without_a_stamp_are_an_error_while_they_come(active):
    active.counts["unstamped_visible"] = 3  # of activations before
    assert active.part("pairing") == (OK, "frames find partners")
    for camera in ("visible", "thermal"):
        active.counts[f"unstamped_{camera}"] += 1
        level, message = active.part("pairing")
        assert level == ERROR and "have the driver set it" in message
        assert active.part("pairing")[0] == OK


@pytest.mark.parametrize(("lost", "warned"), [(5, False), (6, True)])
def test_more_than_a_tenth_of_the_frames_lost_on_the_way_is_a_warning(active, lost, warned):
    stamped = 46 + lost  # 45 gaps and those that were lost: 10 % of 50, or 12 % of 51
    active.received("thermal", [n / 10 for n in range(stamped) if n % 7 != 3 or n > 7 * lost])
    level, message = active.part("thermal camera")
    assert level == (WARN if warned else OK)
    assert message.startswith("12 % of the frames" if warned else "frames arrive")
    assert active.part("visible camera") == (OK, "waiting for frames")


@pytest.mark.parametrize(("rate_hz", "warned"), [(9.1, False), (8.9, True)])
def test_less_than_nine_tenths_of_the_expected_rate_is_a_warning(active, rate_hz, warned):
    active.settings = Settings(warn_after=60.0, expected_rate__thermal=10.0)
    active.received("thermal", [n / rate_hz for n in range(40)])
    level, message = active.part("thermal camera")
    assert level == (WARN if warned else OK)
    assert message.startswith("8.9 of 10.0 Hz arrive" if warned else "frames arrive")


def test_a_clock_that_stands_still_is_noticed_after_the_time_and_not_before(monkeypatch):
    clock = ROSClock()
    assert clock.clock_type == ClockType.ROS_TIME
    steady_s = [100.0]
    beside = SimpleNamespace(monotonic=lambda: steady_s[0])
    monkeypatch.setattr("ssvif_ros.clock_watch.time", beside)
    clock._set_ros_time_is_active(True)
    watch = ClockWatch(clock)
    assert "no time comes on /clock" in watch.trouble(5.0)
    clock.set_ros_time_override(Time(seconds=7, clock_type=ClockType.ROS_TIME))
    assert watch.trouble(5.0) == ""
    steady_s[0] += 4.9
    assert watch.trouble(5.0) == ""
    steady_s[0] += 0.2
    assert watch.trouble(5.0).startswith("no new time on /clock for 5 s")
    assert watch.trouble(6.0) == ""
    clock.set_ros_time_override(Time(seconds=3, clock_type=ClockType.ROS_TIME))  # a bag that loops
    assert watch.trouble(5.0) == ""
