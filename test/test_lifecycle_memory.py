"""What a node keeps of entities that were destroyed, and of memory that was freed; its end."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from std_msgs.msg import String  # noqa: E402

from ssvif_ros.lifecycle import CarefulLifecycleNode, logged  # noqa: E402
from ssvif_ros.processes import child_environment  # noqa: E402

ARENAS = """
import ctypes, os, sys, threading
import ssvif_ros.fusion_node
threads = [threading.Thread(target=lambda: [bytearray(1000) for _ in range(9)]) for _ in range(20)]
[t.start() for t in threads], [t.join() for t in threads]
c = ctypes.CDLL(None)
c.fopen.restype, c.fclose.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
c.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
file = c.fopen(sys.argv[1].encode(), b"w")
c.malloc_info(0, file), c.fclose(file)
"""


def test_a_node_forgets_what_was_destroyed_and_runs_what_was_not(ros_domain):
    _, executor = ros_domain
    node = CarefulLifecycleNode("forgetful")
    executor.add_node(node)
    called: list[int] = []
    kept = node.create_timer(0.01, lambda: called.append(1))
    before = len(node.default_callback_group.entities)
    for _ in range(20):
        node.destroy_timer(node.create_timer(60.0, lambda: None))
    executor.spin_once(timeout_sec=5.0)
    gc.collect()
    assert len(node.default_callback_group.entities) == before
    assert node.default_callback_group.has_entity(kept)
    while len(called) < 3:
        executor.spin_once(timeout_sec=5.0)
    node.destroy_node()


class Interrupted(CarefulLifecycleNode):
    """Configuring is what it does when a signal takes ROS away."""

    @logged
    def on_configure(self, state):
        self.context.shutdown()
        return self.create_publisher(String, "anything", 1)


def test_a_signal_in_the_middle_of_a_transition_is_no_error(capfd):
    context = rclpy.Context()
    context.init()
    node = Interrupted("interrupted", context=context)
    node.trigger_configure()
    node.destroy_node()
    assert "on_configure" not in capfd.readouterr().err


class Imports(CarefulLifecycleNode):
    """Configuring imports a package whose start Ctrl-C breaks off: pybind11 says ImportError."""

    @logged
    def on_configure(self, state):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed") from error


def test_ctrl_c_that_a_package_makes_another_error_of_is_no_error(capfd):
    context = rclpy.Context()
    context.init()
    node = Imports("imports", context=context)
    node.trigger_configure()
    node.destroy_node()
    context.shutdown()
    assert "on_configure" not in capfd.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="arenas are of Linux's C library")
def test_all_threads_of_the_node_share_one_arena(tmp_path):
    said = tmp_path / "malloc.xml"
    command = [sys.executable, "-c", ARENAS, str(said)]
    subprocess.run(command, env=child_environment(), check=True, timeout=120)
    assert said.read_text().count("<heap nr=") == 1
