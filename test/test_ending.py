"""How the executables end when a signal comes before they are there."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from ssvif_ros.processes import child_environment  # noqa: E402

#: A signal right after ROS has begun: the node is not made yet. SIGTERM takes effect in a thread.
PROGRAM = """
import importlib, os, sys, time
import rclpy
module, number = importlib.import_module(sys.argv[1]), int(sys.argv[2])
init = rclpy.init
def init_and_signal(**arguments):
    init(**arguments)
    os.kill(os.getpid(), number)
    while rclpy.ok():
        time.sleep(0.01)
rclpy.init = init_and_signal
sys.exit(module.main([]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["fusion_node", "calibrate", "simulated_cameras"])
def test_a_signal_while_the_node_is_being_made_ends_it_quietly(module, number, ros_domain):
    command = [sys.executable, "-c", PROGRAM, f"ssvif_ros.{module}", str(int(number))]
    ran = subprocess.run(
        command, env=child_environment(), capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_a_bug_is_not_taken_for_a_signal(ros_domain):
    program = "from ssvif_ros.ending import until_signal\nuntil_signal(lambda: int('a bug'), [])\n"
    ran = subprocess.run(
        [sys.executable, "-c", program], env=child_environment(), capture_output=True, text=True
    )
    assert ran.returncode == 1 and "ValueError" in ran.stderr


@pytest.mark.parametrize(
    ("module", "part"),
    [("fusion_node", "spin_on"), ("calibrate", "_collect"), ("simulated_cameras", "_show")],
)
def test_a_bug_outside_of_callbacks_ends_a_program_with_a_traceback(module, part, ros_domain):
    program = f"""
import sys
from ssvif_ros import {module}
{module}.{part} = lambda *_: int("a bug")
sys.exit({module}.main([]))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=child_environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 1 and "ValueError" in ran.stderr
    assert "Traceback" in ran.stderr


#: Two callbacks with a bug each, in a node that a third one ends once both were called often.
BUGS = """
import os, signal, sys
from ssvif_ros import fusion_node
called = []
class Node(fusion_node.FusionNode):
    def __init__(self):
        super().__init__()
        for error in (KeyError("one"), RuntimeError("other")):
            self.create_timer(0.01, lambda error=error: self.fail(error))
    def fail(self, error):
        called.append(type(error))
        if called.count(KeyError) >= 5 and called.count(RuntimeError) >= 5:
            os.kill(os.getpid(), signal.SIGTERM)
        if type(error) is KeyError:
            raise error
        raise error
fusion_node.FusionNode = Node
sys.exit(fusion_node.main([]))
"""


def test_a_bug_in_a_callback_is_said_once_with_a_traceback_and_the_node_lives(ros_domain):
    ran = subprocess.run(
        [sys.executable, "-c", BUGS],
        env=child_environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("Traceback") == 2
    assert "KeyError: 'one'" in ran.stderr and "RuntimeError: other" in ran.stderr
