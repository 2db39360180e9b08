"""PairSynchronizer with real rclpy nodes, topics and executors."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros]')")

from rclpy.callback_groups import (  # noqa: E402
    MutuallyExclusiveCallbackGroup,
    ReentrantCallbackGroup,
)
from rclpy.event_handler import SubscriptionEventCallbacks  # noqa: E402
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor  # noqa: E402
from rclpy.lifecycle import LifecycleNode  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.qos import qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import Image, RegionOfInterest  # noqa: E402

from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.pairing import NearestPairing  # noqa: E402
from ssvif_ros.poll_timer import create_poll_timer  # noqa: E402
from ssvif_ros.synchronizer import (  # noqa: E402
    POLL_PERIOD_S,
    LocalSubscriber,
    PairSynchronizer,
    Subscriber,
)

MS = 1_000_000
DOMAIN_ID = 173
REPOSITORY = Path(__file__).resolve().parent.parent
DEADLINE_S = 20.0


@pytest.fixture
def context(tmp_path, monkeypatch) -> Iterator[rclpy.context.Context]:
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN_ID))
    context = rclpy.context.Context()
    rclpy.init(context=context)
    yield context
    context.try_shutdown()


def image(stamp_ms: float, name: str = "") -> Image:
    message = Image()
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(round(stamp_ms * MS), 10**9)
    message.header.frame_id = name
    return message


def stamps_ms(pairs: list[tuple[Image, Image]]) -> list[tuple[float, float]]:
    return [
        tuple(m.header.stamp.sec * 1000 + m.header.stamp.nanosec / MS for m in pair)
        for pair in pairs
    ]


def spin_until(executor, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        executor.spin_once(timeout_sec=0.05)


class Rig:
    """Two publishers, and a node that pairs what they publish."""

    def __init__(self, context, node_class=Node, subscriber=Subscriber, pairing=None, group=None):
        self.cameras = Node("cameras", context=context)
        self.node = node_class("pairs", context=context)
        self.publishers = [self.cameras.create_publisher(Image, t, 100) for t in ("vis", "thr")]
        self.subscribers = [
            subscriber(self.node, Image, topic, qos_profile=100, callback_group=group and group())
            for topic in ("vis", "thr")
        ]
        self.synchronizer = PairSynchronizer(
            self.subscribers,
            pairing or NearestPairing(queue_size=200, max_wait_s=DEADLINE_S),
            clock=self.node.get_clock(),
        )
        self.pairs: list[tuple[Image, Image]] = []
        self.synchronizer.registerCallback(lambda v, t: self.pairs.append((v, t)))

    def start(self, executor) -> None:
        executor.add_node(self.cameras)
        executor.add_node(self.node)
        spin_until(executor, lambda: all(p.get_subscription_count() for p in self.publishers))

    def publish(self, visible_ms: list[float], thermal_ms: list[float]) -> None:
        for publisher, stamps in zip(self.publishers, (visible_ms, thermal_ms), strict=True):
            for stamp in stamps:
                publisher.publish(image(stamp))

    @property
    def received(self) -> int:
        counts = self.synchronizer.counts
        return counts.received_visible + counts.received_thermal


@pytest.mark.parametrize("node_class", [Node, LifecycleNode])
@pytest.mark.parametrize("subscriber", [Subscriber, LocalSubscriber])
def test_images_from_two_topics_arrive_as_nearest_pairs(context, node_class, subscriber):
    rig = Rig(context, node_class, subscriber)
    executor = SingleThreadedExecutor(context=context)
    rig.start(executor)
    visible = [1000 + 33 * k for k in range(30)]
    thermal = [1007 + 111 * k for k in range(8)]
    rig.publish(visible, thermal)
    spin_until(executor, lambda: rig.received == 38)
    rig.synchronizer.flush()
    nearest = [(min(visible, key=lambda v, t=t: abs(v - t)), t) for t in thermal]
    assert stamps_ms(rig.pairs) == nearest


def test_a_timer_that_polls_ends_the_wait_for_a_better_match(context):
    rig = Rig(context, pairing=NearestPairing(max_wait_s=0.01))
    rig.node.create_timer(POLL_PERIOD_S, rig.synchronizer.poll)
    executor = SingleThreadedExecutor(context=context)
    rig.start(executor)
    rig.publish([1000], [1007])  # a visible frame at 1005 would be better: none comes
    spin_until(executor, lambda: bool(rig.pairs))
    assert stamps_ms(rig.pairs) == [(1000, 1007)]


def test_the_poll_timer_is_aimed_at_the_end_of_a_wait_and_at_rest_otherwise(context, monkeypatch):
    monkeypatch.setattr("ssvif_ros.poll_timer.IDLE_PERIOD_S", 10 * DEADLINE_S)
    rig = Rig(context, pairing=NearestPairing(max_wait_s=0.01))
    timer, _ = create_poll_timer(rig.node, rig.synchronizer, rig.subscribers)
    executor = SingleThreadedExecutor(context=context)
    rig.start(executor)
    for start_ms in (1000, 2000):  # a visible frame 5 ms later would be better: none comes
        rig.publish([start_ms], [start_ms + 7])
        spin_until(executor, lambda n=start_ms // 1000: len(rig.pairs) == n)
        assert timer.timer_period_ns == 10 * DEADLINE_S * 1e9
    assert stamps_ms(rig.pairs) == [(1000, 1007), (2000, 2007)]


def test_the_offset_can_be_changed_while_running(context):
    rig = Rig(context)
    executor = SingleThreadedExecutor(context=context)
    rig.start(executor)
    with pytest.raises(SsvifError, match="slop_s"):
        rig.synchronizer.configure(slop_s=-1)
    rig.synchronizer.configure(thermal_offset_s=-2.0, slop_s=0.01, max_wait_s=0.5)
    rig.publish([1000], [3004])
    spin_until(executor, lambda: rig.received == 2)
    rig.synchronizer.flush()
    assert stamps_ms(rig.pairs) == [(1000, 3004)]


def test_two_threads_deliver_every_pair_once_and_in_order(context):
    # Each topic has a callback group of its own, so the two run in different threads at a time.
    rig = Rig(context, group=MutuallyExclusiveCallbackGroup)
    executor = MultiThreadedExecutor(2, context=context)
    rig.start(executor)
    stamps = [1000 + 33 * k for k in range(100)]
    for stamp in stamps:
        rig.publish([stamp], [stamp + 2])
    spin_until(executor, lambda: rig.received == 200)
    executor.shutdown()
    rig.synchronizer.flush()
    assert stamps_ms(rig.pairs) == [(stamp, stamp + 2) for stamp in stamps]


class Source:
    """A filter that is called by hand, as a message_filters chain calls its next filter."""

    def registerCallback(self, callback, *args) -> None:
        self.send = lambda message: callback(message, *args)


def hand_driven(**kwargs) -> tuple[Source, Source, PairSynchronizer]:
    clock = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=time.monotonic_ns()))
    visible, thermal = Source(), Source()
    return (
        visible,
        thermal,
        PairSynchronizer([visible, thermal], NearestPairing(**kwargs), clock=clock),
    )


def test_an_exception_in_a_callback_reaches_the_caller_and_wedges_nothing():
    visible, thermal, synchronizer = hand_driven()
    made = []

    def callback(v: Image, t: Image, name: str) -> None:
        made.append((v, t))
        assert name == "extra"
        if len(made) == 1:
            raise ValueError("the user's mistake")

    synchronizer.registerCallback(callback, "extra")
    visible.send(image(1000))
    thermal.send(image(1001))
    with pytest.raises(ValueError, match="the user's mistake"):
        visible.send(image(1500))  # now nothing can be nearer to 1001 than 1000
    thermal.send(image(1501))
    synchronizer.flush()
    assert stamps_ms(made) == [(1000, 1001), (1500, 1501)]
    assert synchronizer.pending == (0, 0)


def test_a_callback_that_is_still_busy_holds_up_neither_topic():
    visible, thermal, synchronizer = hand_driven()
    busy, release, made = threading.Event(), threading.Event(), []

    def callback(v: Image, t: Image) -> None:
        made.append((v, t))
        busy.set()
        release.wait(DEADLINE_S)

    synchronizer.registerCallback(callback)
    visible.send(image(1000))
    thermal.send(image(1001))
    thread = threading.Thread(target=synchronizer.flush)
    thread.start()
    assert busy.wait(DEADLINE_S)
    visible.send(image(1500))  # returns, although the first pair is still with its callback
    thermal.send(image(1501))
    synchronizer.flush()
    assert len(made) == 1
    release.set()
    thread.join(DEADLINE_S)
    assert stamps_ms(made) == [(1000, 1001), (1500, 1501)]


def test_a_callback_may_call_back_into_the_synchronizer():
    visible, thermal, synchronizer = hand_driven()
    made = []

    def callback(v: Image, t: Image) -> None:
        made.append((v, t))
        synchronizer.poll()
        synchronizer.configure(slop_s=0.02)
        assert synchronizer.counts.paired == 1

    synchronizer.registerCallback(callback)
    visible.send(image(1000))
    thermal.send(image(1001))
    synchronizer.flush()
    assert len(made) == 1


def test_many_threads_lose_no_message():
    visible, thermal, synchronizer = hand_driven(queue_size=10_000)
    made = []
    synchronizer.registerCallback(lambda v, t: made.append((v, t)))
    stamps = range(1000, 1000 + 33 * 500, 33)
    threads = [
        threading.Thread(target=lambda s=source: [s.send(image(stamp)) for stamp in stamps])
        for source in (visible, thermal)
    ]
    threads.append(threading.Thread(target=lambda: [synchronizer.poll() for _ in range(500)]))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    synchronizer.flush()
    assert stamps_ms(made) == [(stamp, stamp) for stamp in stamps]


def test_reset_forgets_what_is_queued():
    visible, thermal, synchronizer = hand_driven()
    made = []
    synchronizer.registerCallback(lambda v, t: made.append((v, t)))
    visible.send(image(1000))
    synchronizer.reset()
    thermal.send(image(1001))
    synchronizer.flush()
    assert made == []
    assert synchronizer.counts.stale_visible == 1


def test_a_message_without_a_stamp_is_a_clear_error():
    visible, _, _ = hand_driven()
    with pytest.raises(SsvifError, match="RegionOfInterest has no header.stamp.*subscribe to"):
        visible.send(RegionOfInterest())


def test_anything_but_two_filters_is_a_clear_error():
    with pytest.raises(SsvifError, match="3 filters: pass"):
        PairSynchronizer([Source()] * 3, NearestPairing(), clock=None)


def test_the_local_subscriber_passes_options_on_and_can_be_destroyed(context):
    node = LifecycleNode("pairs", context=context)
    events = SubscriptionEventCallbacks(incompatible_qos=lambda event: None)
    group = ReentrantCallbackGroup()
    subscriber = LocalSubscriber(
        node,
        Image,
        "vis",
        qos_profile=qos_profile_sensor_data,
        event_callbacks=events,
        callback_group=group,
    )
    assert subscriber.getTopic() == "vis"
    assert subscriber.sub.callback_group is group
    assert subscriber.sub.qos_profile.reliability == qos_profile_sensor_data.reliability
    received = []
    subscriber.registerCallback(lambda message, extra: received.append((message, extra)), "extra")
    subscriber.registerCallback(lambda message: received.append(message))
    message = image(1000)
    subscriber.callback(message)
    assert received == [(message, "extra"), message]
    assert node.destroy_subscription(subscriber.sub)
    assert not list(node.subscriptions)


def test_message_filters_is_used_where_it_is_installed(tmp_path):
    # A stand-in package on the path of a child process: which classes are taken is decided at
    # import. The real message_filters is on no package index that pip knows.
    (tmp_path / "message_filters.py").write_text(
        "class SimpleFilter: pass\nclass Subscriber(SimpleFilter): pass\n"
    )
    code = (
        "import message_filters as m, ssvif_ros.synchronizer as s;"
        "assert s.Subscriber is m.Subscriber and issubclass(s.PairSynchronizer, m.SimpleFilter)"
    )
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})
