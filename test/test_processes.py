"""Domains of child processes, and calls of their services."""

from __future__ import annotations

import time
from threading import Event, Thread

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from fusion_process import FusionProcess  # noqa: E402
from lifecycle_msgs.srv import GetState  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402

from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_ros import processes  # noqa: E402


def test_programs_that_run_at_the_same_time_have_domains_of_their_own(tmp_path, monkeypatch):
    first = int(processes.private_domain(tmp_path)["ROS_DOMAIN_ID"])
    second = int(processes.private_domain(tmp_path)["ROS_DOMAIN_ID"])
    assert first != second
    monkeypatch.setattr(processes, "DOMAINS", [first, second])
    with pytest.raises(SsvifError, match="taken"):
        processes.private_domain(tmp_path)


def test_a_domain_stays_on_this_machine_where_the_user_asks_for_it_as_humble_does(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("ROS_LOCALHOST_ONLY", "1")
    assert processes.private_domain(tmp_path)["ROS_LOCALHOST_ONLY"] == "1"


def test_an_answer_that_got_lost_is_asked_for_again(ros_domain, monkeypatch):
    node, executor = ros_domain
    monkeypatch.setattr(processes, "ASK_AGAIN_S", 0.5)
    lost = []

    def serve():
        """Take the first request away unanswered; answer the next."""
        while not lost:
            with service.handle:
                request, _ = service.handle.service_take_request(GetState.Request)
            lost.extend([request] if request is not None else [])
            time.sleep(0.01)
        answering.add_node(server)
        while not done.is_set():
            answering.spin_once(timeout_sec=0.1)

    server, answering, done = rclpy.create_node("robot"), SingleThreadedExecutor(), Event()
    service = server.create_service(GetState, "get_state", lambda request, response: response)
    client = node.create_client(GetState, "get_state")
    thread = Thread(target=serve)
    thread.start()
    try:
        answer = processes.ask(executor, client, GetState.Request(), 20.0)
    finally:
        done.set()
        thread.join()
        answering.shutdown()
        server.destroy_node()
    assert len(lost) == 1
    assert isinstance(answer, GetState.Response)


def test_nobody_who_answers_is_no_answer(ros_domain):
    node, executor = ros_domain
    client = node.create_client(GetState, "nobody/get_state")
    assert processes.ask(executor, client, GetState.Request(), 0.2) is None


def test_a_node_that_does_not_come_up_leaves_no_process(ros_domain, tmp_path):
    fusion = FusionProcess(*ros_domain, tmp_path / "fusion.log", model="nowhere")
    with pytest.raises(AssertionError, match="nowhere"):
        fusion.activate()
    assert not fusion.alive()
