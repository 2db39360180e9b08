"""The pose of one camera in the other, from the transforms of a recording.

The node listens to /tf_static alone, and so this looks there first. Where that does not join the
two cameras, /tf is gone through: a rig that is published there (tf 1 had no other way) is as good,
if it does not move, but then the node has to be told of it in another way, and the words say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ssvif_core.data.bag_files import Bag
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.poses import Pose
from ssvif_core.imaging.transforms import StaticTransforms, plain_frame, pose_of

__all__ = ["recorded_pose"]

KINDS = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")
STATIC, MOVING = "tf_static", "tf"
#: Further than this, in metres or radians, a transform has moved: less is an encoder's noise, and
#: half a pixel at 500 pixels of focal length.
STILL = 1e-3


def recorded_pose(bag: Bag, parent: str, child: str) -> tuple[Pose | None, str]:
    """Pose of the frame `child` in the frame `parent`.

    Args:
        bag: open.
        parent: of the visible camera.
        child: of the thermal camera.

    Returns:
        The pose, and in words where it is from; None, and why there is none.
    """
    tree = StaticTransforms()
    for stamped in _transforms(bag, STATIC):
        tree.take([stamped])
    pose = tree.pose(parent, child)
    if pose is not None:
        return pose, "pose from /tf_static"
    moved = _take_still(tree, bag)
    pose = tree.pose(parent, child)
    if pose is not None:
        return pose, (
            "pose from /tf, which the node does not read: publish it on /tf_static, or set "
            "registration.extrinsics"
        )
    why = f"; on /tf {', '.join(sorted(moved))} move" if moved else ""
    return None, (
        f"no pose between '{parent}' and '{child}' on /tf_static{why} (or set "
        "registration.extrinsics)"
    )


def _take_still(tree: StaticTransforms, bag: Bag) -> set[str]:
    """Add the transforms of /tf that never change; the children of those that do."""
    first: dict[str, tuple[Any, Pose]] = {}
    moved: set[str] = set()
    for stamped in _transforms(bag, MOVING):
        child = plain_frame(stamped.child_frame_id)
        if child in moved:
            continue
        pose = pose_of(stamped)
        before = first.setdefault(child, (stamped, pose))
        parents = {plain_frame(s.header.frame_id) for s in (stamped, before[0])}
        if len(parents) > 1 or _distance(before[1], pose) > STILL:
            moved.add(child)
    tree.take(stamped for child, (stamped, _) in first.items() if child not in moved)
    return moved


def _distance(one: Pose, other: Pose) -> float:
    """The larger of the way in metres and the angle in radians."""
    step = one.inverse() @ other
    cosine = np.clip((np.trace(step.rotation) - 1) / 2, -1.0, 1.0)
    return max(float(np.linalg.norm(step.translation)), float(np.arccos(cosine)))


def _transforms(bag: Bag, name: str) -> Iterator[Any]:
    """All transforms of the topics of a name, in any namespace; unreadable ones are left out."""
    topics = [t for t, k in bag.topics().items() if k in KINDS and t.rsplit("/", 1)[-1] == name]
    for recorded in bag.messages(topics) if topics else ():
        try:
            for stamped in bag.message(recorded).transforms:
                pose_of(stamped)
                yield stamped
        except SsvifError:
            continue
