"""What the fusion node subscribes to, and the watch on it: rates, silence, unmatched QoS."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from rclpy.exceptions import InvalidParameterTypeException
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import (
    QoSCompatibility,
    QoSPolicyKind,
    qos_check_compatible,
    qos_policy_name_from_kind,
    qos_profile_sensor_data,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ssvif_core.errors import SsvifError
from ssvif_core.pairing_base import Pairing
from ssvif_core.presence import Presence
from ssvif_ros.diagnostics import InputRate
from ssvif_ros.image_topic import compressed_topic
from ssvif_ros.poll_timer import create_poll_timer
from ssvif_ros.synchronizer import PairSynchronizer, Subscriber, header_stamp_ns
from ssvif_ros.validity import ValidImages
from ssvif_ros.wait_set import UNWATCHED

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # humble
    from rclpy.qos_event import SubscriptionEventCallbacks

__all__ = ["QOS_OVERRIDES", "Inputs"]

TOPICS = {"visible": "visible/image_raw", "thermal": "thermal/image_raw"}
RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
#: What `qos_overrides` may set of a camera's subscription: rclpy's default leaves durability out.
QOS_OVERRIDES = QoSOverridingOptions(
    [
        QoSPolicyKind.HISTORY,
        QoSPolicyKind.DEPTH,
        QoSPolicyKind.RELIABILITY,
        QoSPolicyKind.DURABILITY,
    ]
)


class Inputs:
    """The subscriptions of one active node.

    Args:
        node: to subscribe with.
        pairing: decides which frames belong together.
        transports: of each camera, "raw" or "compressed"; one that is not named sends raw.
        on_pair: called with (visible message, thermal message), one of them None while that camera
            is missing; must only enqueue.
        on_invalid: called with the reason for each image message that cannot be used.
        on_look: called some times a second, whatever comes.

    Attributes:
        valid: what each camera's messages pass through before they count as frames.
        look: to be called once a second, see `create_poll_timer`.

    Raises:
        SsvifError: a parameter qos_overrides has a value that cannot be used.
    """

    def __init__(
        self,
        node: LifecycleNode,
        pairing: Pairing,
        transports: Mapping[str, str],
        on_pair: Callable[[Image | None, Image | None], None],
        on_invalid: Callable[[str], None],
        on_look: Callable[[], None],
    ) -> None:
        self._node = node
        self._compressed = {c for c in TOPICS if transports.get(c) == "compressed"}
        self.rates = {camera: InputRate() for camera in TOPICS}
        self.pairs = InputRate()
        self._incompatible: dict[str, str] = {}
        self.info: CameraInfo | None = None
        with ExitStack() as made:  # where something fails, it takes the rest away again
            self._subscribers = {camera: self._subscribe(camera, made) for camera in TOPICS}
            self.valid = {
                camera: self._validate(camera, subscriber, on_invalid)
                for camera, subscriber in self._subscribers.items()
            }
            self.synchronizer = PairSynchronizer(
                list(self.valid.values()),
                pairing,
                clock=node.get_clock(),
                presence=Presence(),
            )
            self.synchronizer.registerCallback(on_pair)
            self.synchronizer.registerCallback(self._count_pair)
            timer, self.look = create_poll_timer(
                node, self.synchronizer, self._subscribers.values(), on_look
            )
            made.callback(node.destroy_timer, timer)
            info = node.create_subscription(
                CameraInfo,
                "visible/camera_info",
                self._take_info,
                qos_profile_sensor_data,
                event_callbacks=UNWATCHED,
            )
            made.callback(node.destroy_subscription, info)
            self._made = made.pop_all()

    def _subscribe(self, camera: str, made: ExitStack) -> Subscriber:
        def on_incompatible(event) -> None:  # type: ignore[no-untyped-def]
            # Said with what to do by report.py, in /diagnostics and in the log.
            self._incompatible[camera] = qos_policy_name_from_kind(event.last_policy_kind)

        try:
            subscriber = Subscriber(
                self._node,
                CompressedImage if camera in self._compressed else Image,
                self._name(camera),
                # rclpy writes overrides into the profile, and this one is everybody's.
                qos_profile=copy.copy(qos_profile_sensor_data),
                event_callbacks=SubscriptionEventCallbacks(incompatible_qos=on_incompatible),
                qos_overriding_options=QOS_OVERRIDES,
            )
        except (RuntimeError, TypeError, InvalidParameterTypeException) as error:
            topic = self.topic(camera)
            raise SsvifError(
                f"{topic} cannot be subscribed to: {error}. Start the node with other values of "
                f"qos_overrides.{topic}.subscription.*"
            ) from error
        made.callback(self._node.destroy_subscription, subscriber.sub)
        return subscriber

    def _validate(
        self, camera: str, subscriber: Subscriber, on_invalid: Callable[[str], None]
    ) -> ValidImages:
        valid, rate = ValidImages(subscriber, camera, on_invalid), self.rates[camera]
        valid.registerCallback(lambda m: rate.tick(_seconds(self._node), header_stamp_ns(m)))
        return valid

    def _count_pair(self, visible: Image | None, thermal: Image | None) -> None:
        if visible is not None and thermal is not None:
            self.pairs.tick(_seconds(self._node))

    def _take_info(self, info: CameraInfo) -> None:
        self.info = info

    def topic(self, camera: str) -> str:
        """Full name of a camera's topic, after remapping and with its transport."""
        return self._node.resolve_topic_name(self._name(camera))

    def _name(self, camera: str) -> str:
        """The name to subscribe to; rclpy applies remappings to it, once."""
        name = TOPICS[camera]
        return compressed_topic(self._node, name) if camera in self._compressed else name

    def incompatible(self, camera: str) -> str | None:
        """QoS policy in which a publisher of this camera does not match; None if all do by now."""
        policy = self._incompatible.get(camera)
        if policy is None:
            return None
        ours = self._subscribers[camera].sub.qos_profile
        found = self._node.get_publishers_info_by_topic(self.topic(camera))
        matches = [qos_check_compatible(info.qos_profile, ours)[0] for info in found]
        return policy if QoSCompatibility.ERROR in matches else None  # its driver was restarted

    def silent(self, after_s: float) -> dict[str, str]:
        """Cameras that have been silent for longer than `after_s`, each with what to look at."""
        reports = {}
        presence = self.synchronizer.presence
        for camera, found in presence.cameras.items() if presence is not None else ():
            if found.silent_s > after_s:
                seen = f"has been silent {found.silent_s:.0f} s"
                if found.state == "never":
                    seen = "has never been heard"
                reports[camera] = f"{self.topic(camera)} {seen}. {self._publishers(camera)}"
                if reason := self.valid[camera].reason:
                    reports[camera] = f"{self.topic(camera)} sends nothing that is usable. {reason}"
        return reports

    def _publishers(self, camera: str) -> str:
        """Who publishes what this camera's subscription does not hear, and what to do."""
        found = self._node.get_publishers_info_by_topic(self.topic(camera))
        ours = self._subscribers[camera].sub.qos_profile.reliability.name
        if not found:
            return (
                f"Nobody publishes it (this node subscribes with reliability {ours}): start the "
                "driver, or remap the topic."
            )
        kinds = {info.topic_type for info in found}
        if self._kind(camera) not in kinds:
            return self._other_kind(camera, sorted(kinds))
        theirs = sorted({info.qos_profile.reliability.name for info in found})
        return (
            f"{len(found)} publisher(s) with reliability {', '.join(theirs)}; this node's is "
            f"{ours}. If they match, look at the driver, or at the size of images against the "
            "transport (config/fastdds_shm.xml)."
        )

    def _kind(self, camera: str) -> str:
        return COMPRESSED if camera in self._compressed else RAW

    def _other_kind(self, camera: str, kinds: list[str]) -> str:
        """What to do where nobody publishes the type of message that is listened for."""
        topic, name = self.topic(camera), f"{TOPICS[camera]} ({camera}_topic of the launch file)"
        base = topic.removesuffix("/compressed")
        if kinds == [RAW]:
            advice = f"set {camera}_transport to raw, and remap {name} to {topic}"
        elif kinds == [COMPRESSED] and base == topic:
            advice = (
                f"set {camera}_transport to compressed, and remap {TOPICS[camera]}/compressed to it"
            )
        elif kinds == [COMPRESSED]:
            advice = f"set {camera}_transport to compressed, and remap {name} to {base}"
        else:
            advice = f"remap {name} to a topic of images"
        theirs = " and ".join(kinds)
        return f"It carries {theirs}, and this node listens for {self._kind(camera)}: {advice}."

    def destroy(self) -> None:
        self._made.close()
        self.synchronizer.reset()  # what waited for a partner gets none


def _seconds(node: LifecycleNode) -> float:
    return node.get_clock().now().nanoseconds * 1e-9
