"""The fusion node as a process: driven by its services, judged by what it says on /diagnostics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from ssvif_core.errors import SsvifError
from ssvif_ros.accounting import unaccounted
from ssvif_ros.processes import LifecycleClient, RosProcess, ask, spin_until

__all__ = ["RELIABLE_INPUTS", "FusionProcess", "Resources"]

#: Parameters by which no message is lost on the way, so that what was sent can be compared.
RELIABLE_INPUTS = {
    f"qos_overrides./{camera}/image_raw.subscription.{policy}": value
    for camera in ("visible", "thermal")
    for policy, value in (("reliability", "reliable"), ("depth", 2000))
}
SMALL = {"model": "tiny", "threads": 1, "warm_up_width": 160, "warm_up_height": 128}


@dataclass(frozen=True)
class Resources:
    """What a process holds of the machine, as /proc says.

    `rss_mib` is the resident memory without `shared_mib`: the middleware's segments, of a fixed
    size, in which pages become resident as they are first used.
    """

    rss_mib: float
    shared_mib: float
    threads: int
    files: int

    @classmethod
    def of(cls, pid: int) -> Resources:
        """Raises OSError when the process has ended."""
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines if ":" in line)
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        rss, shared = (int(status[key].split()[0]) / 1024 for key in ("VmRSS", "RssShmem"))
        return cls(rss - shared, shared, int(status["Threads"]), files)


class FusionProcess:
    """A fusion node, started at once and in no state yet.

    Args:
        node, executor: to call and listen with.
        log: file for what it prints.
        parameters: over `SMALL`.
    """

    def __init__(self, node: Node, executor: Executor, log: Path, **parameters: object) -> None:
        self._node, self._executor = node, executor
        self.diagnostics: dict[str, str] = {}
        self.reports = self.level = 0
        self.fused: list[Image] = []
        reliable = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        self._subscriptions = [
            node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnose, 10),
            node.create_subscription(Image, "fusion/fused", self.fused.append, reliable),
        ]
        self.process = RosProcess("ssvif_ros.fusion_node", {**SMALL, **parameters}, log)
        self.lifecycle = LifecycleClient(node, executor, "/fusion")

    def _diagnose(self, message: DiagnosticArray) -> None:
        self.diagnostics = {v.key: v.value for s in message.status for v in s.values}
        self.diagnostics["message"] = " ".join(status.message for status in message.status)
        self.level = max(ord(status.level) for status in message.status)
        self.reports += 1

    @property
    def pid(self) -> int:
        return self.process.process.pid

    def alive(self) -> bool:
        return self.process.process.poll() is None

    def until(self, condition: Any, timeout_s: float = 60.0) -> bool:
        """Spin until `condition()`; whether it came true."""
        return spin_until(self._executor, condition, timeout_s)

    def activate(self) -> FusionProcess:
        """Configure and activate; raises AssertionError with the log if it does not."""
        try:
            assert self.until(self._answers), self.process.output
            for transition in ("configure", "activate"):
                assert self.lifecycle.change(transition), self.process.output
        except BaseException:
            self.close()  # the fixture that asked for it has nothing yet that it could close
            raise
        return self

    def _answers(self) -> bool:
        """Whether this process answers; services of one that was killed linger for a while."""
        try:
            return bool(self.lifecycle.state(timeout_s=2.0))
        except SsvifError:
            return False

    def count(self, key: str) -> int:
        """A count of the newest diagnostics, 0 before the first."""
        return int(self.diagnostics.get(key, 0))

    def says(self, text: str) -> bool:
        """Whether the message of the newest diagnostics contains it."""
        return text in self.diagnostics.get("message", "")

    def settled(self) -> dict[str, str]:
        """Diagnostics of a moment in which nothing was under way; the cameras must be quiet."""
        keys = ("received_visible", "received_thermal", "pending_visible", "pending_thermal")
        seen: list[tuple[str, ...]] = []

        def quiet() -> bool:
            if self.reports == heard[0] or not self.diagnostics:
                return False
            heard[0] = self.reports
            seen.append(tuple(self.diagnostics[key] for key in keys))
            return len(seen) > 2 and seen[-1] == seen[-2] and not self.count("in_work")

        heard = [self.reports]
        assert self.until(quiet), (self.diagnostics, self.process.output)
        return self.diagnostics

    def missing(self) -> dict[str, int]:
        """What a settled node leaves unaccounted, where something is: empty if all is well."""
        return {key: n for key, n in unaccounted(self.settled()).items() if n}

    def set(self, name: str, value: float | str) -> bool:
        """Set a parameter; whether the node took it."""
        message = (
            ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
            if isinstance(value, str)
            else ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
        )
        client = self._node.create_client(SetParameters, "fusion/set_parameters")
        request = SetParameters.Request(parameters=[ParameterMessage(name=name, value=message)])
        answer = ask(self._executor, client, request, 20.0)
        self._node.destroy_client(client)
        return bool(answer.results[0].successful)

    def close(self) -> None:
        """End the process and stop listening."""
        self.process.stop()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
