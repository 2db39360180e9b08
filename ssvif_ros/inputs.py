"""What the fusion node subscribes to, and the watch on it: rates, silence, unmatched QoS."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image

from ssvif_core.pairing_base import Pairing
from ssvif_core.presence import Presence
from ssvif_ros.diagnostics import InputRate
from ssvif_ros.synchronizer import PairSynchronizer, Subscriber

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # humble
    from rclpy.qos_event import SubscriptionEventCallbacks

__all__ = ["Inputs"]

TOPICS = {"visible": "visible/image_raw", "thermal": "thermal/image_raw"}


class Inputs:
    """The subscriptions of one active node.

    Args:
        node: to subscribe with.
        pairing: decides which frames belong together.
        on_pair: called with (visible message, thermal message), one of them None while that camera
            is missing; must only enqueue.
    """

    def __init__(
        self,
        node: LifecycleNode,
        pairing: Pairing,
        on_pair: Callable[[Image | None, Image | None], None],
    ) -> None:
        self._node, self._since = node, _seconds(node)
        self.rates = {camera: InputRate() for camera in TOPICS}
        self.incompatible: dict[str, str] = {}
        self._subscribers = {camera: self._subscribe(camera) for camera in TOPICS}
        self.synchronizer = PairSynchronizer(
            list(self._subscribers.values()),
            pairing,
            clock=node.get_clock(),
            presence=Presence(),
        )
        self.synchronizer.registerCallback(on_pair)
        self.info: CameraInfo | None = None
        self._info_subscription = node.create_subscription(
            CameraInfo, "visible/camera_info", self._take_info, qos_profile_sensor_data
        )

    def _subscribe(self, camera: str) -> Subscriber:
        def on_incompatible(event) -> None:  # type: ignore[no-untyped-def]
            policy = str(event.last_policy_kind).rsplit(".", 1)[-1]
            self.incompatible[camera] = policy
            self._node.get_logger().error(
                f"A publisher on {self.topic(camera)} cannot be heard: its QoS does not match in "
                f"{policy}. Set qos_overrides.{self.topic(camera)}.subscription.* of this node."
            )

        subscriber = Subscriber(
            self._node,
            Image,
            TOPICS[camera],
            qos_profile=qos_profile_sensor_data,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=on_incompatible),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        subscriber.registerCallback(lambda _message: self.rates[camera].tick(_seconds(self._node)))
        return subscriber

    def _take_info(self, info: CameraInfo) -> None:
        self.info = info

    def topic(self, camera: str) -> str:
        """Full name of a camera's topic, after remapping."""
        return self._node.resolve_topic_name(TOPICS[camera])

    def silent(self, after_s: float) -> dict[str, str]:
        """Cameras that have been silent for longer than `after_s`, each with what to look at."""
        now = _seconds(self._node)
        reports = {}
        for camera, rate in self.rates.items():
            silence = rate.silence_s(now)
            if silence is None and now < self._since:  # the clock was set back (a looping bag)
                self._since = now
            waited = now - self._since if silence is None else silence
            if waited > after_s:
                seen = (
                    "has never been heard" if silence is None else f"has been silent {waited:.0f} s"
                )
                reports[camera] = f"{self.topic(camera)} {seen}. {self._publishers(camera)}"
        return reports

    def _publishers(self, camera: str) -> str:
        found = self._node.get_publishers_info_by_topic(self.topic(camera))
        ours = self._subscribers[camera].sub.qos_profile.reliability.name
        if not found:
            return (
                f"Nobody publishes it (this node subscribes with reliability {ours}): start the "
                "driver, or remap the topic."
            )
        theirs = sorted({info.qos_profile.reliability.name for info in found})
        return (
            f"{len(found)} publisher(s) with reliability {', '.join(theirs)}; this node's is "
            f"{ours}. If they match, look at the driver, or at the size of images against the "
            "transport (config/fastdds_shm.xml)."
        )

    def destroy(self) -> None:
        for subscriber in self._subscribers.values():
            self._node.destroy_subscription(subscriber.sub)
        self._node.destroy_subscription(self._info_subscription)


def _seconds(node: LifecycleNode) -> float:
    return node.get_clock().now().nanoseconds * 1e-9
