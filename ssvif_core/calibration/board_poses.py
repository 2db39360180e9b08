"""How sure a board's map is: what changes at the corners without one of the board's poses.

A map always fits the board that it was found from: with a reprojection error of a tenth of a pixel
it was 10 to 20 pixels off at the corners. So it is fitted again without each pose (the delete-one
jackknife, as in `certainty.py`). Frames in which the board hardly moved share what is wrong with
them, and count once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ssvif_core.calibration.geometry import Size, apply, corners

__all__ = ["bare_corner", "common_corners", "corner_deviations", "poses_of"]

#: Boards whose points lie nearer than this to those of another frame, on average and as a part of
#: the width, are in the same pose. Hands that hold still move less.
SAME_POSE = 0.05
CORNERS = ("upper left", "upper right", "lower right", "lower left")


def poses_of(orders: Sequence[Sequence[np.ndarray]], width: int) -> np.ndarray:
    """(F,) int number of each frame's pose, from 0.

    Args:
        orders: of each frame the visible points, (N, 2) each, in every order they may be found in.
        width: of the image.
    """
    first: list[np.ndarray] = []
    numbers = []
    for options in orders:
        apart = [min(_apart(one, points) for one in options) for points in first]
        if not apart or min(apart) > SAME_POSE * width:
            first.append(options[0])
            numbers.append(len(first) - 1)
        else:
            numbers.append(int(np.argmin(apart)))
    return np.array(numbers)


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other, axis=1).mean())


def common_corners(homography: np.ndarray, visible_size: Size, thermal_size: Size) -> np.ndarray:
    """(4, 2) visible pixels: corners of what both cameras see, clockwise from the upper left.

    Nearly: where thermal ends inside the visible image its own corners, else those of the image.
    """
    limits = np.array(visible_size) - 1.0
    return np.clip(apply(homography, corners(thermal_size)), 0.0, limits)


def corner_deviations(
    homography: np.ndarray,
    poses: np.ndarray,
    fit_without: Callable[[np.ndarray], np.ndarray],
    places: np.ndarray,
) -> np.ndarray:
    """(C,) standard deviations in visible pixels by which a map is off in some places.

    Args:
        homography: (3, 3), fitted to all frames.
        poses: (F,) int, of each frame.
        fit_without: map of the frames for which an (F,) bool array is True.
        places: (C, 2) visible pixels.
    """
    count = len(np.unique(poses))
    if count < 2:
        return np.full(len(places), np.inf)
    felt = apply(np.linalg.inv(homography), places)
    found = [apply(fit_without(poses != pose), felt) for pose in range(count)]
    return np.asarray(np.sqrt((count - 1) * np.var(found, axis=0).sum(-1)))


def bare_corner(boards: Sequence[np.ndarray], places: np.ndarray) -> str:
    """The one of four corners (4, 2) that is farthest from all points (N, 2) of all boards."""
    points = np.concatenate(list(boards))
    far = [np.linalg.norm(points - corner, axis=1).min() for corner in places]
    return CORNERS[int(np.argmax(far))]
