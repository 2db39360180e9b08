"""`~/status`: which cameras live and what the node makes of it, said whenever it changes.

A latched diagnostic_msgs/DiagnosticStatus, so whoever subscribes knows at once. Knows the words;
what is the case comes from `ssvif_core.presence`.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile

from ssvif_core.parameter_limits import LIMITS
from ssvif_core.presence import CAMERAS, PresenceReport
from ssvif_ros.parameters import Settings
from ssvif_ros.wait_set import NO_EVENTS

__all__ = ["Status", "StatusPublisher", "reason_of", "status_of", "status_values"]

#: Frames that come in while none goes out for this long, beyond what makes a camera missing.
STARVED_AFTER_S = 1.0
#: Stamps that differ by more, beyond thermal_offset, are of two clocks.
APART_S = 0.1
#: A slow camera is silent when it has missed this many of its frames.
SILENT_PERIODS = 3
#: A camera that comes and goes may fill this many lines of the log in this time; the topic has all.
LINES, LINES_WITHIN_S = 10, 60.0
OTHER = {"visible": "thermal", "thermal": "visible"}


@dataclass(frozen=True)
class Status:
    """What is the case, in words. Two that are equal need no second message."""

    level: bytes
    message: str = field(compare=False)  # may hold a figure that changes
    mode: str
    states: tuple[str, ...]
    reasons: tuple[str, ...]
    on_missing: str
    thermal_offset: float  # its advice is of this one
    clock_goes_on: bool


def status_of(report: PresenceReport, settings: Settings, clock: str = "") -> Status:
    """What to say of the cameras.

    Args:
        report: of `Presence`.
        settings: of the node.
        clock: what is wrong with the node's clock, see `ClockWatch`.
    """
    states = tuple(report.cameras[name].state for name in CAMERAS)
    reasons = tuple(reason_of(name, report, settings) for name in CAMERAS)
    level, message = (DiagnosticStatus.ERROR, clock) if clock else _verdict(report, settings)
    told = settings.on_missing, settings.thermal_offset
    return Status(level, message, report.mode, states, reasons, *told, clock_goes_on=not clock)


def _verdict(report: PresenceReport, settings: Settings) -> tuple[bytes, str]:
    if report.mode in CAMERAS:
        lost = OTHER[report.mode]
        why = f"the {lost} camera {reason_of(lost, report, settings)}"
        if settings.on_missing == "stop":
            return DiagnosticStatus.ERROR, f"nothing is published: {why}"
        return DiagnosticStatus.WARN, f"{report.mode} alone: {why}"
    if report.mode == "none":
        silent = [name for name in CAMERAS if report.cameras[name].state in ("never", "missing")]
        return DiagnosticStatus.ERROR, f"nothing is published: no frames of {' and '.join(silent)}"
    if report.starved_s > settings.missing_after + STARVED_AFTER_S:
        return DiagnosticStatus.ERROR, _unpaired(report, settings)
    for state, text in (
        ("frozen", "the same picture comes again and again from"),
        ("stale", "stamps are far from now (another clock, or a recording) of"),
    ):
        odd = [name for name in CAMERAS if report.cameras[name].state == state]
        if odd:
            return DiagnosticStatus.WARN, f"fusing, but {text} {' and '.join(odd)}"
    return DiagnosticStatus.OK, "fusing"


def _unpaired(report: PresenceReport, settings: Settings) -> str:
    behind_s = report.cameras["thermal"].age_s - report.cameras["visible"].age_s
    if abs(behind_s - settings.thermal_offset) >= APART_S:
        way = "behind" if behind_s > 0 else "ahead of"
        advice = f"thermal stamps are about {abs(behind_s):.1f} s {way} visible ones: "
        if abs(behind_s) <= LIMITS["thermal_offset"]["high"]:
            advice += (
                f"set thermal_offset to {behind_s:.2f} (it is {settings.thermal_offset:g}), or "
            )
        advice += "synchronise the cameras' clocks"
    else:
        advice = "look at the rates and at the unpaired and unstamped frames on /diagnostics"
    return f"nothing is published: both cameras send, but no two frames belong together; {advice}"


def reason_of(name: str, report: PresenceReport, settings: Settings) -> str:
    """Why a camera is left out, or that it repeats itself; "" where neither is the case.

    The same between two frames as at a frame: what is said of a slow camera does not come and go.
    """
    camera = report.cameras[name]
    if camera.state == "frozen":
        return "repeats one picture: look at its driver, or set frozen_after"
    if report.mode != OTHER[name]:
        return ""
    if camera.state == "never":
        return "has never been heard"
    sends = camera.silent_s < SILENT_PERIODS * camera.interval_s
    if sends and camera.interval_s * 2 > settings.missing_after:
        return "is too slow: set missing_after to at least three of its frame periods"
    return "is silent" if camera.state == "missing" else "is coming back"


def status_values(report: PresenceReport, settings: Settings) -> dict[str, object]:
    """The same as keys and values, for /diagnostics too. Times in seconds, as text or numbers."""
    values: dict[str, object] = {"mode": report.mode}
    for name in CAMERAS:
        camera = report.cameras[name]
        values[f"{name}_state"] = camera.state
        values[f"{name}_silent_s"] = camera.silent_s
        values[f"{name}_unchanged_s"] = camera.unchanged_s
        values[f"{name}_age_s"] = camera.age_s
        values[f"{name}_repeated"] = camera.repeated
    values["sync_policy"] = settings.sync__policy
    values["on_missing"] = settings.on_missing
    return values


class StatusPublisher:
    """Publishes and logs each change of status.

    Args:
        node: to publish with; the publisher is not managed by the lifecycle, so that it can say
            that the node is inactive.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher = node.create_publisher(
            DiagnosticStatus, "~/status", latched, event_callbacks=NO_EVENTS
        )
        self._said: Status | None = None
        self._logged_s: deque[float] = deque(maxlen=LINES)
        self._not_logged = 0

    def update(self, report: PresenceReport, settings: Settings, clock: str = "") -> None:
        """Say it if it is new; cheap otherwise. Arguments are those of `status_of`."""
        status = status_of(report, settings, clock)
        if status == self._said:
            return
        before, self._said = self._said, status
        if before is None or before.message != status.message:
            self._log(status, first=before is None)
        self._publish(status.level, status.message, status_values(report, settings))

    def inactive(self) -> None:
        """Say that the node does not listen."""
        self._said = None
        self._publish(DiagnosticStatus.STALE, "inactive", {"mode": "inactive"})

    def _log(self, status: Status, *, first: bool) -> None:
        logger, now_s = self._node.get_logger(), time.monotonic()
        if len(self._logged_s) == LINES and now_s - self._logged_s[0] < LINES_WITHIN_S:
            self._not_logged += 1
            return
        self._logged_s.append(now_s)
        left_out = f" ({self._not_logged} changes were not logged)" if self._not_logged else ""
        self._not_logged = 0
        if status.level == DiagnosticStatus.OK or first:  # nothing can have been heard yet
            logger.info(f"status: {status.message}{left_out}")
        else:
            logger.warning(f"status: {status.message}{left_out}")

    def _publish(self, level: bytes, message: str, values: dict[str, object]) -> None:
        texts = {k: f"{v:.3f}" if isinstance(v, float) else str(v) for k, v in values.items()}
        self._publisher.publish(
            DiagnosticStatus(
                level=level,
                name=f"{self._node.get_fully_qualified_name()}: cameras",
                hardware_id=self._node.get_name(),
                message=message,
                values=[KeyValue(key=key, value=text) for key, text in texts.items()],
            )
        )

    def destroy(self) -> None:
        self._node.destroy_publisher(self._publisher)
