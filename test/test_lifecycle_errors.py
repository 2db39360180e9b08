"""Transitions that fail half-way: the node ends up in one state as a whole, and can go on."""

from __future__ import annotations

import threading

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from lifecycle_msgs.msg import State  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from ssvif_ros.fusion_node import FusionNode  # noqa: E402

SUCCESS = TransitionCallbackReturn.SUCCESS
SMALL = {"model": "tiny", "threads": 1, "warm_up_width": 160, "warm_up_height": 120}
TOPICS = ("visible/image_raw", "thermal/image_raw", "fusion/fused", "fusion/status")


class Broken(Exception):
    """Of a library, out of what a node calls in a transition."""


def fail(*_):
    raise Broken


@pytest.fixture
def node(ros_domain):
    made = FusionNode(parameter_overrides=[Parameter(k, value=v) for k, v in SMALL.items()])
    assert made.trigger_configure() == SUCCESS
    yield made
    made.destroy_node()


def state(node):
    return node._state_machine.current_state[0]


def is_as_before_configure(node):
    ours = [node.resolve_topic_name(topic) for topic in TOPICS]
    entities = [*node.publishers, *node.subscriptions]
    assert not [e.topic_name for e in entities if e.topic_name in ours]
    assert not [thread for thread in threading.enumerate() if thread.name == "fusion"]
    assert state(node) == State.PRIMARY_STATE_UNCONFIGURED
    changed = node.set_parameters([Parameter("threads", value=2)])[0]
    assert changed.successful, changed.reason  # refused if a half of it were there
    return True


def goes_on(node):
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    return state(node) == State.PRIMARY_STATE_ACTIVE


def break_engine(node):
    node._pipeline.engine.close = fail


def break_inputs(node):
    node._inputs.destroy = fail


def break_stop(node):
    """And undoing it: `_stop` is what both begin with."""
    broken = [None, None]
    stop = node._stop

    def fails_twice():
        stop()
        if broken:
            broken.pop()
            fail()

    node._stop = fails_twice


@pytest.mark.parametrize("break_it", [break_engine, break_inputs, break_stop])
def test_a_deactivation_that_fails_leaves_no_half_of_an_active_node(node, break_it, capfd):
    assert node.trigger_activate() == SUCCESS
    break_it(node)
    assert node.trigger_deactivate() != SUCCESS
    said = capfd.readouterr().err
    assert "on_deactivate: Traceback" in said and "unconfigured now" in said
    if break_it is break_inputs:  # nobody can take these away
        assert state(node) == State.PRIMARY_STATE_UNCONFIGURED
        assert node._pipeline is None and node._worker is None
    else:
        assert is_as_before_configure(node)
    assert goes_on(node)


def test_a_clean_up_that_fails_leaves_nothing_behind(node):
    break_engine(node)
    assert node.trigger_cleanup() != SUCCESS
    assert is_as_before_configure(node)
    assert goes_on(node)


def test_an_activation_that_cannot_be_undone_ends_as_one_that_is_not_configured(node, monkeypatch):
    monkeypatch.setattr("ssvif_ros.fusion_node.HostMonitor", fail)  # late in the activation
    break_stop(node)
    assert node.trigger_activate() != SUCCESS
    assert is_as_before_configure(node)
    monkeypatch.undo()
    assert goes_on(node)
