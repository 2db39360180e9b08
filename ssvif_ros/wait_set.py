"""Fewer things for the executor to look at.

rclpy builds its wait set anew, in Python, whenever anything happens: every publisher adds two event
handlers to it by default, and those of the fusion node's twelve were 24 of its 49 entities and more
than half of the time of each wake-up, some three of which every pair costs.
"""

from __future__ import annotations

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # humble
    from rclpy.qos_event import (  # type: ignore[no-redef]
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
    )

__all__ = ["NO_EVENTS", "UNWATCHED"]

NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)
"""For publishers that are reliable, so that no subscription's reliability is incompatible.

A subscription that asks in vain for durability, or for reliability where the user took that away,
is told so in its own process.
"""

UNWATCHED = SubscriptionEventCallbacks(use_default_callbacks=False)
"""For subscriptions that are best effort and volatile, which no publisher is incompatible with."""
