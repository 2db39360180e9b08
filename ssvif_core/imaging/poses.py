"""Where one camera sits, seen from another: a rotation and a translation."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ssvif_core.errors import SsvifError

__all__ = ["Pose"]


@dataclass(frozen=True, eq=False)
class Pose:
    """Pose of a child frame in its parent: p_parent = rotation @ p_child + translation.

    Attributes:
        rotation: (3, 3) float64.
        translation: (3,) float64, metres.
    """

    rotation: np.ndarray
    translation: np.ndarray

    @classmethod
    def from_quaternion(cls, translation: list[float], xyzw: list[float]) -> Pose:
        """From x, y, z in metres and a quaternion x, y, z, w. Raises SsvifError if it has none."""
        values = np.array([*translation, *xyzw], np.float64)
        length = float(np.linalg.norm(values[3:]))
        if values.shape != (7,) or not np.isfinite(values).all() or length < 1e-6:
            raise SsvifError(f"{translation}, {xyzw} is no translation and quaternion")
        q = values[3:] / length * (1.0 if values[6] >= 0 else -1.0)
        sine = float(np.linalg.norm(q[:3]))
        axis = q[:3] / sine if sine > 1e-12 else np.zeros(3)
        rotation, _ = cv2.Rodrigues(axis * 2 * np.arctan2(sine, q[3]))
        return cls(rotation, values[:3])

    @classmethod
    def from_text(cls, text: str) -> Pose:
        """From "x y z roll pitch yaw" or "x y z qx qy qz qw", in metres and radians.

        Roll, pitch and yaw turn about the fixed axes x, y and z of the parent, in this order
        (REP-103, URDF).

        Raises:
            SsvifError: it is neither.
        """
        try:
            numbers = [float(word) for word in text.replace(",", " ").split()]
        except ValueError:
            numbers = []
        if len(numbers) == 7:
            return cls.from_quaternion(numbers[:3], numbers[3:])
        if len(numbers) != 6 or not np.isfinite(numbers).all():
            raise SsvifError(
                f"'{text}' is no pose: write 'x y z roll pitch yaw' or 'x y z qx qy qz qw', in "
                "metres and radians"
            )
        rotation = np.eye(3)
        for axis, angle in zip(np.eye(3), numbers[3:], strict=True):
            rotation = cv2.Rodrigues(axis * angle)[0] @ rotation
        return cls(rotation, np.array(numbers[:3]))

    def __matmul__(self, child: Pose) -> Pose:
        """Pose of the child's child."""
        return Pose(
            self.rotation @ child.rotation, self.rotation @ child.translation + self.translation
        )

    def inverse(self) -> Pose:
        """Pose of the parent in the child."""
        return Pose(self.rotation.T, -self.rotation.T @ self.translation)
