"""Poses between frames that never move: what /tf_static says.

A rig of two cameras is rigid, so robot_state_publisher and static_transform_publisher put it on
/tf_static. Listening to that alone spares a Python node the hundreds of messages a second of /tf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.poses import Pose

__all__ = ["StaticTransforms", "listen"]

#: As tf2 subscribes to it: every publisher sends what it has to late comers.
QOS = QoSProfile(
    depth=100,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    reliability=ReliabilityPolicy.RELIABLE,
)


class StaticTransforms:
    """A tree of frames; each has one parent, and the last that was heard counts."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, Pose]] = {}

    def take(self, transforms: Iterable[TransformStamped]) -> None:
        """Add what one message holds. Raises SsvifError for a transform without a rotation."""
        for stamped in transforms:
            t, q = stamped.transform.translation, stamped.transform.rotation
            pose = Pose.from_quaternion([t.x, t.y, t.z], [q.x, q.y, q.z, q.w])
            self._parents[_plain(stamped.child_frame_id)] = (_plain(stamped.header.frame_id), pose)

    def pose(self, parent: str, child: str) -> Pose | None:
        """Pose of `child` in `parent`, or None while the tree does not join them."""
        above_parent, above_child = self._to_root(_plain(parent)), self._to_root(_plain(child))
        for frame, child_in_frame in above_child.items():
            if frame in above_parent:
                return above_parent[frame].inverse() @ child_in_frame
        return None

    def _to_root(self, frame: str) -> dict[str, Pose]:
        """Every frame above this one and itself, nearest first -> pose of this one in it."""
        pose = Pose.from_quaternion([0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0])
        above = {frame: pose}
        while frame in self._parents:
            frame, step = self._parents[frame]
            if frame in above:  # a loop: whoever published it, it is no reason to hang
                break
            pose = step @ pose
            above[frame] = pose
        return above


def _plain(frame: str) -> str:
    return frame.lstrip("/")


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
