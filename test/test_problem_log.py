"""When a trouble is worth a line."""

from __future__ import annotations

import pytest

pytest.importorskip("diagnostic_msgs", reason="needs ROS 2 (the extra `ros`)")

from ssvif_ros.diagnostics import Part  # noqa: E402
from ssvif_ros.problem_log import ProblemLog  # noqa: E402


class Lines:
    def __init__(self):
        self.said = []

    def info(self, message):
        self.said.append(f"info {message}")

    def warning(self, message):
        self.said.append(f"warning {message}")

    def error(self, message):
        self.said.append(f"error {message}")


@pytest.fixture
def look():
    lines = Lines()
    log = ProblemLog(lines)

    def at(now_s, *calls):
        """Lines that a report leads to; calls: (method of Part, text)."""
        part = Part("camera")
        for method, text in calls:
            getattr(part, method)(text)
        lines.said.clear()
        log.look([part], now_s)
        return list(lines.said)

    return at


def test_a_trouble_is_said_at_once_then_now_and_then_and_its_end_too(look):
    assert look(0.0) == []
    assert look(1.0, ("warn", "slow: 3 Hz.")) == ["warning camera: slow: 3 Hz."]
    for second in range(2, 31):
        assert look(second, ("warn", f"slow: {second}.5 Hz.")) == []
    assert look(31.0, ("warn", "slow: 2 Hz.")) == ["warning camera: slow: 2 Hz."]
    assert look(34.0, ("warn", "slow: 3 Hz.")) == []
    assert look(38.0) == []  # it may come back at once
    assert look(39.0) == ["info camera: well again (ok)"]
    assert look(50.0) == []


def test_what_is_worse_is_said_at_once_and_what_differs_soon(look):
    look(0.0, ("warn", "slow."))
    assert look(1.0, ("error", "gone.")) == ["error camera: gone."]
    assert look(2.0, ("warn", "slow.")) == []
    assert look(6.0, ("warn", "slow.")) == ["warning camera: slow."]


def test_what_follows_from_another_part_is_in_diagnostics_alone(look):
    assert look(0.0, ("follow", "see the other.")) == []
    assert look(1.0, ("follow", "see the other."), ("warn", "slow."))
    assert look(4.0, ("follow", "see the other.")) == []
    assert look(8.0) == []  # well for 4 s only
    assert look(9.0) == ["info camera: well again (ok)"]
    part = Part("pairing")
    part.follow("see the other.")
    assert (part.level, part.message) == (b"\x01", "see the other.")


def test_a_camera_that_comes_and_goes_all_the_time_does_not_fill_the_log(ros_domain, capfd):
    from ssvif_core.presence import CameraReport, PresenceReport
    from ssvif_ros.parameters import Settings
    from ssvif_ros.status import LINES, StatusPublisher

    node, _ = ros_domain
    publisher = StatusPublisher(node)
    for index in range(200):
        states = {"visible": "ok", "thermal": "missing" if index % 2 else "ok"}
        cameras = {k: CameraReport(state, 0.0, 0.0, 0.0, 0.03, 0) for k, state in states.items()}
        mode = "visible" if index % 2 else "both"
        publisher.update(PresenceReport(mode, cameras, 0.0, 0.0), Settings())
    publisher.destroy()
    assert capfd.readouterr().err.count("status: ") == LINES
