"""The executor of the fusion node: it does not wake itself, and others still wake it."""

from __future__ import annotations

import threading

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from ssvif_ros.executor import QuietExecutor  # noqa: E402


class Counting(QuietExecutor):
    """Counts how often it gathers what to wait for."""

    gathered = 0

    def get_nodes(self):
        self.gathered += 1
        return super().get_nodes()


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
    executor.spin_once(timeout_sec=20.0)
    waiting.join()
    while not called.is_set():
        executor.spin_once(timeout_sec=20.0)


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
