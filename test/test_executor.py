"""The executor of the fusion node: it does not wake itself, and others still wake it."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from rclpy.clock import Clock, ClockType  # noqa: E402
from rclpy.executors import ExternalShutdownException  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.service import Service  # noqa: E402
from rclpy.timer import Timer  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from ssvif_ros.executor import QuietExecutor  # noqa: E402

STEADY = Clock(clock_type=ClockType.STEADY_TIME)


class Counting(QuietExecutor):
    """Counts the wait sets of a node with one timer, and those of them that hold its service."""

    gathered = with_service = 0

    def can_execute(self, entity):
        waits = super().can_execute(entity)
        self.gathered += isinstance(entity, Timer)
        self.with_service += waits and isinstance(entity, Service) and entity.srv_name == "~/ask"
        return waits


class NewSpin(Counting):
    """`spin` as it calls itself since rclpy 7.1.9 and 9.1.5: not through `spin_once`."""

    def spin(self):
        while self.context.ok() and not self._is_shutdown:
            self._spin_once_impl()


EACH_SPIN = pytest.mark.parametrize("executor_class", [Counting, NewSpin])


@contextlib.contextmanager
def in_a_thread(executor):
    def spin():
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    yield thread
    thread.join(10.0)
    assert not thread.is_alive()


@pytest.fixture
def spun(ros_domain):
    node = rclpy.create_node("spun")
    executor = Counting()
    executor.add_node(node)
    yield node, executor
    executor.shutdown()
    node.destroy_node()


def test_a_callback_costs_one_wait(spun):
    node, executor = spun
    called = []
    node.create_timer(0.02, lambda: called.append(None))
    while not called:
        executor.spin_once(timeout_sec=5.0)
    executor.gathered, before = 0, len(called)
    while len(called) < before + 20:
        executor.spin_once(timeout_sec=5.0)
    assert executor.gathered <= 25  # rclpy's own: twice for each callback


def test_what_another_thread_makes_is_waited_for_at_once(spun):
    node, executor = spun
    called = threading.Event()
    waiting = threading.Timer(0.3, lambda: node.create_timer(0.01, called.set))
    waiting.start()
    begin = time.monotonic()
    while not called.is_set():
        executor.spin_once(timeout_sec=20.0)
    assert time.monotonic() - begin < 10.0  # woken up, not found when the wait was over


def test_what_a_callback_makes_is_waited_for(spun):
    node, executor = spun
    made = []

    def make():
        first.cancel()
        made.append(node.create_timer(0.01, lambda: made.append("called")))

    first = node.create_timer(0.01, make)
    while len(made) < 2:
        executor.spin_once(timeout_sec=20.0)
    assert made[1] == "called"


def spin_for(executor, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=0.01)


def test_services_are_seldom_waited_for_while_other_things_happen_and_answered(spun):
    node, executor = spun
    answered = []
    node.create_service(Trigger, "~/ask", lambda _, answer: answered.append(1) or answer)
    client = node.create_client(Trigger, "~/ask")
    assert client.wait_for_service(20.0)
    node.create_timer(0.005, lambda: None, clock=STEADY)
    spin_for(executor, 1.0)
    assert executor.gathered > 50
    assert 2 <= executor.with_service < 0.5 * executor.gathered
    for count in range(1, 4):
        client.call_async(Trigger.Request())
        end = time.monotonic() + 20.0
        while len(answered) < count and time.monotonic() < end:
            executor.spin_once(timeout_sec=1.0)
        assert len(answered) == count


@EACH_SPIN
def test_spin_itself_looks_at_services_seldom(ros_domain, executor_class):
    node, executor = rclpy.create_node("spun"), executor_class()
    executor.add_node(node)
    node.create_service(Trigger, "~/ask", lambda _, answer: answer)
    called = []

    def count():
        called.append(None)
        if len(called) == 100:
            executor.shutdown(0)

    with in_a_thread(executor):
        node.create_timer(0.005, count, clock=STEADY)
    assert len(called) == 100
    assert 1 <= executor.with_service < 0.5 * executor.gathered
    node.destroy_node()


def test_where_no_timer_ends_the_wait_soon_services_are_always_waited_for(ros_domain):
    """Simulated time stands still here, and the timer that goes on is a second away."""
    simulated = Parameter("use_sim_time", value=True)
    node, executor = rclpy.create_node("simulated", parameter_overrides=[simulated]), Counting()
    executor.add_node(node)
    node.create_service(Trigger, "~/ask", lambda _, answer: answer)
    node.create_timer(1.0, lambda: None, clock=STEADY)
    node.create_timer(0.005, lambda: None)
    spin_for(executor, 0.5)
    # Two timers are counted for each wait set.
    assert executor.with_service == executor.gathered / 2 > 20
    executor.shutdown()
    node.destroy_node()


@EACH_SPIN
def test_an_end_that_wakes_nobody_is_noticed_by_a_node_without_timers(ros_domain, executor_class):
    """As where the executor has looked just before a SIGTERM took ROS away."""
    node, executor = rclpy.create_node("idle"), executor_class()
    executor.add_node(node)
    with in_a_thread(executor):
        time.sleep(0.5)
        context = rclpy.get_default_context().handle
        with context:
            context.shutdown()  # without the callbacks, one of which would wake it
    node.destroy_node()
