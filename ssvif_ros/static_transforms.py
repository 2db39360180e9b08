"""Poses between frames that never move: what /tf_static says.

A rig of two cameras is rigid, so robot_state_publisher and static_transform_publisher put it on
/tf_static. Listening to that alone spares a Python node the hundreds of messages a second of /tf.
"""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.transforms import StaticTransforms

__all__ = ["StaticTransforms", "listen"]

#: As tf2 subscribes to it: every publisher sends what it has to late comers.
QOS = QoSProfile(
    depth=100,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    reliability=ReliabilityPolicy.RELIABLE,
)


def listen(node: Node, on_change: Callable[[], None]) -> tuple[StaticTransforms, object]:
    """Follow /tf_static; `on_change` is called after each message.

    Returns:
        The tree, and the subscription, for the node to destroy.

    Raises:
        SsvifError: tf2_msgs is not installed.
    """
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError as error:
        raise SsvifError(
            "poses from TF need tf2_msgs, which cannot be imported: install "
            "ros-$ROS_DISTRO-tf2-msgs, or give registration.extrinsics"
        ) from error
    tree = StaticTransforms()

    def take(message: TFMessage) -> None:
        try:
            tree.take(message.transforms)
        except SsvifError as error:
            node.get_logger().error(f"/tf_static: {error}", throttle_duration_sec=5.0)
        on_change()

    return tree, node.create_subscription(TFMessage, "/tf_static", take, QOS)
