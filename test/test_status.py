"""What ~/status says of the two cameras, and when it says it."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402

from ssvif_core.presence import Presence  # noqa: E402
from ssvif_ros.parameters import Settings  # noqa: E402
from ssvif_ros.processes import spin_until  # noqa: E402
from ssvif_ros.status import StatusPublisher, status_of  # noqa: E402

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def report(mode, visible="ok", thermal="ok", starved_s=0.0, behind_s=0.0, **times):
    """Of two cameras in these states; thermal stamps are `behind_s` older than visible ones.

    The last frames came in intervals of 0.1 s, 0.2 s ago, or at other `times`.
    """
    times = {"interval_s": 0.1, "silent_s": 0.2} | times
    nothing = Presence().report()
    cameras = {
        name: replace(nothing.cameras[name], state=state, age_s=age_s, **times)
        for name, state, age_s in (
            ("visible", visible, 0.02),
            ("thermal", thermal, 0.02 + behind_s),
        )
    }
    return replace(nothing, mode=mode, cameras=cameras, starved_s=starved_s)


FROZEN = "repeats one picture: look at its driver, or set frozen_after"
TOO_SLOW = "is too slow: set missing_after to at least three of its frame periods"


@pytest.mark.parametrize(
    ("found", "settings", "level", "message"),
    [
        (report("both"), {}, OK, "fusing"),
        (
            report("visible", thermal="missing"), {},
            WARN, "visible alone: the thermal camera is silent",
        ),
        (
            report("thermal", visible="never"), {},
            WARN, "thermal alone: the visible camera has never been heard",
        ),
        (
            report("visible", thermal="frozen"), {"on_missing": "passthrough"},
            WARN, f"visible alone: the thermal camera {FROZEN}",
        ),
        (
            report("visible", thermal="missing"), {"on_missing": "stop"},
            ERROR, "nothing is published: the thermal camera is silent",
        ),
        # A period of more than half of missing_after is too long.
        (
            report("visible", thermal="returning", interval_s=0.25), {},
            WARN, "visible alone: the thermal camera is coming back",
        ),
        (
            report("visible", thermal="returning", interval_s=0.26), {},
            WARN, f"visible alone: the thermal camera {TOO_SLOW}",
        ),
        (
            report("visible", thermal="returning", interval_s=0.26), {"missing_after": 1.0},
            WARN, "visible alone: the thermal camera is coming back",
        ),
        # Between two of its frames a slow camera is missing, and still slow; later it is silent.
        (
            report("visible", thermal="missing", interval_s=1.0, silent_s=0.9), {},
            WARN, f"visible alone: the thermal camera {TOO_SLOW}",
        ),
        (
            report("visible", thermal="missing", interval_s=1.0, silent_s=3.1), {},
            WARN, "visible alone: the thermal camera is silent",
        ),
        (
            report("none", visible="missing", thermal="never"), {},
            ERROR, "nothing is published: no frames of visible and thermal",
        ),
        (
            report("none", thermal="missing"), {},
            ERROR, "nothing is published: no frames of thermal",
        ),
        (
            report("both", thermal="frozen"), {},
            WARN, "fusing, but the same picture comes again and again from thermal",
        ),
        (
            report("both", visible="stale", thermal="stale"), {}, WARN,
            "fusing, but stamps are far from now (another clock, or a recording) of visible and "
            "thermal",
        ),
    ],
)  # fmt: skip
def test_each_state_of_the_cameras_is_said_with_what_is_made_of_it(found, settings, level, message):
    said = status_of(found, Settings(**settings))
    assert (said.level, said.message, said.mode) == (level, message, found.mode)
    stopped = status_of(found, Settings(**settings), clock="no new time")
    assert (stopped.level, stopped.message) == (ERROR, "no new time") and stopped != said


@pytest.mark.parametrize(
    ("behind_s", "offset_s", "advice"),
    [
        (0.3, 0.0, "0.3 s behind visible ones: set thermal_offset to 0.30 (it is 0), or sync"),
        (-0.3, 0.0, "0.3 s ahead of visible ones: set thermal_offset to -0.30 (it is 0), or sync"),
        (0.3, -0.3, "0.3 s behind visible ones: set thermal_offset to 0.30 (it is -0.3), or sync"),
        (0.0, 0.3, "visible ones: set thermal_offset to 0.00 (it is 0.3), or sync"),
        (20.0, 0.0, "20.0 s behind visible ones: synchronise the cameras' clocks"),
        # Within a tenth of a second of what is set, the offset is not what is wrong.
        (0.05, 0.0, "look at the rates"),
        (0.35, 0.3, "look at the rates"),
        (-0.35, -0.3, "look at the rates"),
    ],
)
def test_where_no_two_frames_meet_the_advice_is_of_what_the_offset_leaves(
    behind_s, offset_s, advice
):
    settings = Settings(thermal_offset=offset_s)
    said = status_of(report("both", starved_s=2.0, behind_s=behind_s), settings)
    assert said.level == ERROR and "no two frames belong together" in said.message
    assert advice in said.message


@pytest.mark.parametrize(("starved_s", "level"), [(1.5, OK), (1.6, ERROR), (0.0, OK)])
def test_nothing_goes_out_for_a_second_beyond_missing_after_before_it_is_said(starved_s, level):
    assert (
        status_of(report("both", starved_s=starved_s), Settings(missing_after=0.5)).level == level
    )
    assert status_of(report("both", starved_s=starved_s), Settings(missing_after=0.7)).level == OK


def test_it_is_said_on_each_change_and_again_after_the_node_was_inactive(ros_domain):
    node, executor = ros_domain
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    heard, publisher = [], StatusPublisher(node)
    node.create_subscription(DiagnosticStatus, "test/status", heard.append, latched)

    def comes(message):
        assert spin_until(executor, lambda: heard and heard[-1].message == message, 30)

    fusing, alone = report("both"), report("visible", thermal="missing")
    slow = report("visible", thermal="missing", interval_s=1.0)
    for found in (fusing, alone, alone, slow, fusing):
        publisher.update(found, Settings())
        comes(status_of(found, Settings()).message)
    publisher.inactive()
    comes("inactive")
    publisher.update(fusing, Settings())  # what was said last before it was deactivated
    comes("fusing")
    silent = "visible alone: the thermal camera is silent"
    slow = f"visible alone: the thermal camera {TOO_SLOW}"
    assert [m.message for m in heard] == ["fusing", silent, slow, "fusing", "inactive", "fusing"]
    assert {v.key: v.value for v in heard[1].values}["thermal_state"] == "missing"
    publisher.destroy()
