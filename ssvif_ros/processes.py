"""Child processes with an environment of their own ROS domain, and lifecycle calls to them.

Used by the demo and by the tests: both run the real executables over real topics.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.client import Client
from rclpy.executors import Executor
from rclpy.node import Node

from ssvif_core.errors import SsvifError
from ssvif_ros.share import LOCALHOST_VARIABLE, TRANSPORTS_VARIABLE, use_shared_memory_profile

__all__ = ["LifecycleClient", "RosProcess", "ask", "private_domain", "spin_until"]

#: Domain ids above 232 leave the range of UDP ports; the low ones are what people use by hand.
DOMAINS = range(40, 230)
#: What else decides whom a participant hears, for Fast DDS and for all.
DISCOVERY = ("ROS_DISCOVERY_SERVER", "ROS_SUPER_CLIENT", "ROS_STATIC_PEERS")
#: Locks on the domains that were taken last; more would run out in a process that takes hundreds.
_taken: deque[IO[str]] = deque(maxlen=8)


def private_domain(log_folder: Path) -> dict[str, str]:
    """Environment variables that keep ROS on this machine, in a domain of its own."""
    log_folder.mkdir(parents=True, exist_ok=True)
    variables = {
        "ROS_DOMAIN_ID": str(_free_domain()),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": str(log_folder),
    }
    if "AMENT_PREFIX_PATH" not in os.environ:  # ROS from wheels lives in the virtual environment
        variables["AMENT_PREFIX_PATH"] = sys.prefix
    # A discovery server of the user's would know nothing of this domain.
    variables |= {name: "" for name in DISCOVERY if name in os.environ}
    if os.environ.get(TRANSPORTS_VARIABLE, "").startswith("UDP"):  # shared memory may not work
        variables[TRANSPORTS_VARIABLE] = os.environ[TRANSPORTS_VARIABLE]
    if LOCALHOST_VARIABLE in os.environ:  # humble does not know the range above
        variables[LOCALHOST_VARIABLE] = os.environ[LOCALHOST_VARIABLE]
    use_shared_memory_profile(variables)
    return variables


def _free_domain() -> int:
    """A domain that no other program on this machine has from here; the kernel frees its lock."""
    for domain in random.sample(DOMAINS, len(DOMAINS)):
        with contextlib.suppress(OSError):  # it is taken, or was taken by another user
            lock = (Path(tempfile.gettempdir()) / f"ssvif_ros_domain_{domain}.lock").open("w")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _taken.append(lock)
            return domain
    raise SsvifError(f"All ROS domains {DOMAINS} are taken: end other programs that use them.")


def child_environment() -> dict[str, str]:
    """This process's environment, as a Python child needs it to set itself up again.

    The ROS wheels re-execute Python once to set LD_LIBRARY_PATH and leave a guard variable; a
    child that inherits one without the other cannot load ROS.
    """
    inherited = dict(os.environ)
    if inherited.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None) is not None:
        inherited.pop("LD_LIBRARY_PATH", None)
    return inherited


class RosProcess:
    """A Python module of this package as a separate process.

    Args:
        module: such as "ssvif_ros.fusion_node".
        parameters: ROS parameters.
        log: file that receives standard output and error.
        remappings: topics, each with what takes its place.
    """

    def __init__(
        self,
        module: str,
        parameters: Mapping[str, object],
        log: Path,
        remappings: Mapping[str, str] | None = None,
    ) -> None:
        self.module, self.log = module, log
        arguments = [("-p", f"{name}:={_yaml(value)}") for name, value in parameters.items()]
        arguments += [("-r", f"{name}:={to}") for name, to in (remappings or {}).items()]
        command = [sys.executable, "-m", module]
        if arguments:
            command += ["--ros-args"] + [word for pair in arguments for word in pair]
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                command, stdout=stream, stderr=subprocess.STDOUT, env=child_environment()
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def check(self) -> None:
        """Raise SsvifError with the end of its output if the process has ended."""
        status = self.process.poll()
        if status is not None:
            tail = "\n".join(self.output.splitlines()[-15:])
            raise SsvifError(f"{self.module} ended with status {status}:\n{tail}")

    def stop(self, signal_number: int = signal.SIGINT, timeout_s: float = 15.0) -> int:
        """Ask the process to end, kill it if it does not, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def _yaml(value: object) -> str:
    """A value as ROS parses it; an empty string needs quotes, which YAML doubles inside."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).replace("nan", ".nan").replace("inf", ".inf")


def spin_until(executor: Executor, condition: Callable[[], object], timeout_s: float) -> bool:
    """Spin until `condition()` is true; False if it never was within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        executor.spin_once(timeout_sec=0.05)
    return bool(condition())


#: After that long without an answer a request is sent once more. Servers answer in milliseconds.
ASK_AGAIN_S = 2.0


def ask(executor: Executor, client: Client[Any, Any], request: Any, timeout_s: float) -> Any:
    """The answer to a request that may be sent more than once; None if there never was one.

    A server that is ready for requests may not have discovered where its answers go: it waits for
    that for 0.1 s and then drops the answer ("client will not receive response"; rmw_fastrtps,
    rmw_response.cpp). On a busy machine a client's first request is lost so now and then.
    """
    deadline = time.monotonic() + timeout_s
    if not spin_until(executor, client.service_is_ready, timeout_s):
        return None
    while (left := deadline - time.monotonic()) > 0:
        future = client.call_async(request)
        if spin_until(executor, future.done, min(left, ASK_AGAIN_S)):
            return future.result()
        client.remove_pending_request(future)
    return None


class LifecycleClient:
    """Drives another node's lifecycle through its services.

    Args:
        node: to call from; `executor` must spin it.
        executor: is spun while a call is under way.
        name: of the lifecycle node, such as "/fusion".
    """

    TRANSITIONS = {
        "configure": Transition.TRANSITION_CONFIGURE,
        "activate": Transition.TRANSITION_ACTIVATE,
        "deactivate": Transition.TRANSITION_DEACTIVATE,
        "cleanup": Transition.TRANSITION_CLEANUP,
        "shutdown": Transition.TRANSITION_ACTIVE_SHUTDOWN,
    }

    def __init__(self, node: Node, executor: Executor, name: str) -> None:
        self._executor, self._name = executor, name
        # In this order: a server that has answered the second has discovered the first, and a
        # transition, which must not be asked for twice, is answered then (see `ask`).
        self._change: Client[Any, Any] = node.create_client(ChangeState, f"{name}/change_state")
        self._state: Client[Any, Any] = node.create_client(GetState, f"{name}/get_state")

    def wait(self, timeout_s: float = 30.0) -> None:
        """Wait for the node to be there and to answer. Raises SsvifError if it never does."""
        deadline = time.monotonic() + timeout_s
        if spin_until(self._executor, self._change.service_is_ready, timeout_s):
            left = deadline - time.monotonic()
            if ask(self._executor, self._state, GetState.Request(), left) is not None:
                return
        raise SsvifError(f"{self._name} did not appear within {timeout_s:.0f} s.")

    def change(self, transition: str, timeout_s: float = 60.0) -> bool:
        """Request a transition by name; whether the node took it."""
        request = ChangeState.Request()
        request.transition.id = self.TRANSITIONS[transition]
        future = self._change.call_async(request)
        if not spin_until(self._executor, future.done, timeout_s):
            raise SsvifError(f"{self._name} did not answer '{transition}' in {timeout_s:.0f} s.")
        answer = future.result()
        return bool(answer is not None and answer.success)

    def state(self, timeout_s: float = 10.0) -> str:
        """Label of the present state, such as "inactive"."""
        answer = ask(self._executor, self._state, GetState.Request(), timeout_s)
        if answer is None:
            raise SsvifError(f"{self._name} did not say its state in {timeout_s:.0f} s.")
        return str(answer.current_state.label)
