"""A tree of frames that do not move against each other: what /tf_static says. Knows no ROS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ssvif_core.imaging.poses import Pose

__all__ = ["StaticTransforms", "plain_frame", "pose_of"]


class StaticTransforms:
    """A tree of frames; each has one parent, and the last that was heard counts."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, Pose]] = {}

    def take(self, transforms: Iterable[Any]) -> None:
        """Add what one message holds.

        Args:
            transforms: with the fields of geometry_msgs/TransformStamped.

        Raises:
            SsvifError: a transform has no rotation.
        """
        for stamped in transforms:
            parent = plain_frame(stamped.header.frame_id)
            self._parents[plain_frame(stamped.child_frame_id)] = (parent, pose_of(stamped))

    def pose(self, parent: str, child: str) -> Pose | None:
        """Pose of `child` in `parent`, or None while the tree does not join them."""
        above_parent, above_child = (
            self._to_root(plain_frame(parent)),
            self._to_root(plain_frame(child)),
        )
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


def plain_frame(frame: str) -> str:
    """Without the slash of tf 1."""
    return frame.lstrip("/")


def pose_of(stamped: Any) -> Pose:
    """Pose of the child in its parent. Raises SsvifError for a transform without a rotation."""
    t, q = stamped.transform.translation, stamped.transform.rotation
    return Pose.from_quaternion([t.x, t.y, t.z], [q.x, q.y, q.z, q.w])
