"""In whose name the core's log appears."""

from __future__ import annotations

import logging

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from ssvif_ros.core_log import forward_core_log, stop_core_log  # noqa: E402


def test_the_core_speaks_as_a_node_or_for_itself_where_there_are_several(ros_domain, capfd):
    front, rear = (rclpy.create_node(name) for name in ("front", "rear"))
    core = logging.getLogger("ssvif.engines")

    def said():
        capfd.readouterr()
        core.warning("made")
        core.info("more")
        return [line.split("]")[2].strip(" [") for line in capfd.readouterr().err.splitlines()]

    forward_core_log(front)
    assert said() == ["front", "front"]
    forward_core_log(rear)
    assert said() == ["ssvif", "ssvif"]
    stop_core_log(rear)
    assert said() == ["front", "front"]
    stop_core_log(front)
    assert "front" not in said()
    assert not logging.getLogger("ssvif").handlers
    for node in (front, rear):
        node.destroy_node()


def test_what_the_core_calls_an_error_is_one_in_the_log(ros_domain, capfd):
    node = rclpy.create_node("front")
    core = logging.getLogger("ssvif.engines")
    forward_core_log(node)
    core.error("lost")
    core.warning("slow")
    core.info("made")
    stop_core_log(node)
    lines = [line.split("[")[1].split("]")[0] for line in capfd.readouterr().err.splitlines()]
    assert lines == ["ERROR", "WARN", "INFO"]
    node.destroy_node()
