"""QoS of image topics that the user may set, with the parameters `qos_overrides.<topic>.…`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rclpy.exceptions import InvalidParameterTypeException
from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions

from ssvif_core.errors import SsvifError

__all__ = ["QOS_OVERRIDES", "overridable"]

#: What may be set: rclpy's default leaves durability out. Give it a profile of its own, for rclpy
#: writes what was set into it.
QOS_OVERRIDES = QoSOverridingOptions(
    [
        QoSPolicyKind.HISTORY,
        QoSPolicyKind.DEPTH,
        QoSPolicyKind.RELIABILITY,
        QoSPolicyKind.DURABILITY,
    ]
)
_VERBS = {"subscription": "subscribed to", "publisher": "published"}


@contextlib.contextmanager
def overridable(topic: str, entity: str) -> Iterator[None]:
    """Around the creation of an entity ("subscription" or "publisher") with `QOS_OVERRIDES`.

    Raises:
        SsvifError: a parameter has a value that cannot be used. It says which ones to look at.
    """
    try:
        yield
    except (RuntimeError, TypeError, InvalidParameterTypeException) as error:
        raise SsvifError(
            f"{topic} cannot be {_VERBS[entity]}: {error}. Start the node with other values of "
            f"qos_overrides.{topic}.{entity}.*"
        ) from error
