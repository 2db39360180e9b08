"""`ssvif_core.pairing` as a message_filters filter: two image topics in, pairs of messages out.

Works with `message_filters.Subscriber` and every other filter that has `registerCallback`. Where
message_filters is not installed, a `Subscriber` with the same interface takes its place: always
`from ssvif_ros.synchronizer import Subscriber`. Knows the stamp and the bytes of a message and
nothing else of it, and nothing of what is done with a pair. With a `Presence` it goes on with one
camera where the other is missing.

    subscribers = [Subscriber(node, Image, "visible/image_raw", qos_profile=qos),
                   Subscriber(node, Image, "thermal/image_raw", qos_profile=qos)]
    synchronizer = PairSynchronizer(subscribers, NearestPairing(), clock=node.get_clock())
    synchronizer.registerCallback(mailbox.put)
    node.create_timer(POLL_PERIOD_S, synchronizer.poll)
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ssvif_core.errors import SsvifError
from ssvif_core.pairing_base import Pair, Pairing, PairingCounts
from ssvif_core.presence import Presence, PresenceReport, fingerprint

__all__ = ["POLL_PERIOD_S", "PairSynchronizer", "Subscriber", "header_stamp_ns"]

POLL_PERIOD_S = 0.01
"""Timer period for `poll`: a wait that runs out is noticed this much late at the most."""


class _Filter(Protocol):
    def registerCallback(self, callback: Callable[..., None], *args: Any) -> Any: ...


class _Instant(Protocol):
    @property
    def nanoseconds(self) -> int: ...


class _Clock(Protocol):
    def now(self) -> _Instant: ...


class LocalSimpleFilter:
    """message_filters.SimpleFilter in little."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., None], tuple[Any, ...]]] = {}

    def registerCallback(self, callback: Callable[..., None], *args: Any) -> int:
        """Call `callback(*messages, *args)` for every output of this filter."""
        connection = len(self.callbacks)
        self.callbacks[connection] = (callback, args)
        return connection

    def signalMessage(self, *messages: Any) -> None:
        """Hand an output to all callbacks."""
        for callback, args in tuple(self.callbacks.values()):
            callback(*messages, *args)


class LocalSubscriber(LocalSimpleFilter):
    """message_filters.Subscriber in little: a topic as the source of a filter chain.

    Args:
        node: rclpy Node or LifecycleNode.
        msg_type: message class.
        topic: topic name.
        qos_profile: QoSProfile or depth; 10 as in message_filters.
        kwargs: passed on to `node.create_subscription` (`event_callbacks`, `callback_group`,
            `qos_overriding_options`, ...).

    `sub` is the subscription; `node.destroy_subscription(subscriber.sub)` ends it.
    """

    def __init__(
        self, node: Any, msg_type: Any, topic: str, qos_profile: Any = 10, **kwargs: Any
    ) -> None:
        super().__init__()
        self.node = node
        self.topic = topic
        self.sub = node.create_subscription(
            msg_type, topic, self.callback, qos_profile=qos_profile, **kwargs
        )

    def callback(self, message: Any) -> None:
        """Pass a received message on."""
        self.signalMessage(message)

    def getTopic(self) -> str:
        """The topic's name as it was given."""
        return self.topic


try:
    from message_filters import SimpleFilter, Subscriber
except ImportError:
    SimpleFilter, Subscriber = LocalSimpleFilter, LocalSubscriber  # type: ignore[misc]


def header_stamp_ns(message: Any) -> int:
    """`message.header.stamp` in nanoseconds.

    Raises:
        SsvifError: the message has no such field.
    """
    stamp = getattr(getattr(message, "header", None), "stamp", None)
    if stamp is None:
        raise SsvifError(
            f"a {type(message).__name__} has no header.stamp, so it cannot be paired: "
            "subscribe to a type with a std_msgs/Header, such as sensor_msgs/Image"
        )
    return stamp.sec * 1_000_000_000 + stamp.nanosec


class PairSynchronizer(SimpleFilter):  # type: ignore[misc, valid-type]
    """Filter whose output is `callback(visible_message, thermal_message, *args)`.

    With `presence`, one of the two is None while that camera is missing.

    Inputs may be called from different threads. Callbacks are run one at a time and in order, in
    the thread whose message (or poll) decided the pair or in one that is just delivering, and
    never under the lock that inputs need: a slow callback holds up no topic, an exception in it
    reaches its caller (the executor) and leaves nothing locked; later pairs are delivered with
    the next message or poll. All the same, do no more in it than to enqueue.

    Args:
        filters: the visible and the thermal source.
        pairing: decides; from here on only this object may touch it.
        clock: `node.get_clock()`; its time at receipt is what waits are measured by.
        presence: says when one camera goes on alone; without one, only pairs go out.

    Raises:
        SsvifError: not exactly two filters.
    """

    def __init__(
        self,
        filters: Sequence[_Filter],
        pairing: Pairing[Any, Any],
        *,
        clock: _Clock,
        presence: Presence | None = None,
    ) -> None:
        super().__init__()
        if len(filters) != 2:
            raise SsvifError(f"got {len(filters)} filters: pass [visible, thermal]")
        self._pairing = pairing
        self._clock = clock
        self._presence = presence
        self._lock = threading.Lock()
        self._delivering = threading.Lock()
        self._outbox: deque[Pair[Any, Any]] = deque()
        visible, thermal = filters
        self.input_connections = [
            visible.registerCallback(self._add, "visible", pairing.add_visible),
            thermal.registerCallback(self._add, "thermal", pairing.add_thermal),
        ]

    @property
    def counts(self) -> PairingCounts:
        """Where all frames went so far."""
        with self._lock:
            return self._pairing.counts

    @property
    def pending(self) -> tuple[int, int]:
        """Visible and thermal messages that wait for a partner."""
        with self._lock:
            return self._pairing.pending

    @property
    def due_ns(self) -> int | None:
        """Time at which `poll` will deliver something; None while no pair waits."""
        with self._lock:
            return self._pairing.due_ns

    @property
    def presence(self) -> PresenceReport | None:
        """Which cameras live; None where nobody looks."""
        with self._lock:
            return None if self._presence is None else self._presence.report()

    def configure(
        self,
        *,
        slop_s: float | None = None,
        max_wait_s: float | None = None,
        thermal_offset_s: float | None = None,
        max_thermal_age_s: float | None = None,
    ) -> None:
        """Change settings while running; None leaves one as it is.

        Raises:
            SsvifError: a value out of its range.
        """
        settings = {
            "slop_s": slop_s,
            "max_wait_s": max_wait_s,
            "thermal_offset_s": thermal_offset_s,
            "max_thermal_age_s": max_thermal_age_s,
        }
        with self._lock:
            for name, value in settings.items():
                if value is not None:
                    setattr(self._pairing, name, value)

    def configure_presence(
        self, *, missing_after_s: float, frozen_after_s: float, singles: bool
    ) -> None:
        """Change while running when a camera is missing, and whether the other goes on alone."""
        with self._lock:
            self._pairing.singles = singles
            if self._presence is not None:
                self._presence.missing_after_s = missing_after_s
                self._presence.frozen_after_s = frozen_after_s

    def poll(self) -> None:
        """Deliver the pairs whose wait has ended; for a timer of the node."""
        with self._lock:
            now_ns = self._clock.now().nanoseconds
            if self._presence is not None:
                self._presence.check(now_ns)
            self._go_on(lambda: self._pairing.poll(now_ns))
        self._deliver()

    def flush(self) -> None:
        """Decide and deliver everything that is queued."""
        with self._lock:
            self._outbox.extend(self._pairing.flush())
        self._deliver()

    def reset(self) -> None:
        """Forget all queued messages (deactivation, another bag)."""
        with self._lock:
            self._pairing.reset()
            self._outbox.clear()

    def _add(
        self,
        message: Any,
        camera: str,
        add: Callable[[int, Any, int], list[Pair[Any, Any]]],
    ) -> None:
        stamp_ns = header_stamp_ns(message)
        picture = None if self._presence is None else fingerprint(message.data)
        with self._lock:
            now_ns = self._clock.now().nanoseconds
            if self._presence is not None:
                self._presence.seen(camera, stamp_ns, now_ns, picture)
            self._go_on(lambda: add(stamp_ns, message, now_ns))
        self._deliver()

    def _go_on(self, decide: Callable[[], list[Pair[Any, Any]]]) -> None:
        """Pair, or go on with the camera that lives; the lock is held."""
        pairs = []
        if self._presence is not None:
            pairs = self._pairing.go_on_alone(self._presence.alone)
        pairs += decide()
        if pairs and self._presence is not None:
            self._presence.went_out()
        self._outbox.extend(pairs)

    def _deliver(self) -> None:
        # Whoever finds another thread delivering leaves its pairs to that one. The outer loop
        # looks again after the release: a pair put in just before it would be nobody's otherwise.
        while self._outbox:
            if not self._delivering.acquire(blocking=False):
                return
            try:
                while (pair := self._next()) is not None:
                    self.signalMessage(pair.visible, pair.thermal)
            finally:
                self._delivering.release()

    def _next(self) -> Pair[Any, Any] | None:
        with self._lock:
            return self._outbox.popleft() if self._outbox else None
