"""Which pairs are worth most for a calibration, by thumbnails of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ssvif_core.calibration.structure import structure_map
from ssvif_core.errors import SsvifError

__all__ = ["Look", "choose", "look_at"]

#: Width of the thumbnails that frames are compared by.
THUMB = 96
#: A frame with less structure than this part of the richest one's, in either camera, is no use.
LEAST_TEXTURE = 0.35
#: Mean structure (0..1) below which a frame shows nothing: a black or a foggy image.
NOTHING = 0.01


class Look(NamedTuple):
    """What a pair is chosen by: mean structure in each image, and both thumbnails."""

    name: str
    sizes: tuple[tuple[int, ...], tuple[int, ...]]
    texture: list[float]
    thumb: np.ndarray


def look_at(name: str, visible: np.ndarray, thermal: np.ndarray) -> Look:
    """What is looked at of a pair: visible (H, W, 3) uint8 RGB, thermal (h, w) uint8."""
    fields = [_thumb(cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY)), _thumb(thermal)]
    texture = [float(np.linalg.norm(f, axis=-1).mean()) for f in fields]
    sizes = visible.shape[:2], thermal.shape[:2]
    return Look(name, sizes, texture, np.concatenate([f.ravel() for f in fields]))


def choose(looks: Sequence[Look], count: int) -> list[int]:
    """Numbers of the pairs that say most: structure in both images, and each unlike the others.

    Raises:
        SsvifError: fewer than two show anything in both.
    """
    if len(looks) < 2:
        raise SsvifError(
            f"There is {len(looks)} pair of frames, and a map needs two at least; twelve or more "
            "of different places say how sure it is."
        )
    texture = np.array([one.texture for one in looks])
    seen = (texture > NOTHING).all(1)
    rich = seen & (texture > LEAST_TEXTURE * texture.max(0)).all(1)
    usable = np.flatnonzero(rich if rich.sum() >= 2 else seen)
    if len(usable) < 2:
        dark = int((texture[:, 0] <= NOTHING).sum())
        raise SsvifError(
            f"Of {len(looks)} pairs, {len(usable)} show something in both cameras (visible black "
            f"or flat in {dark}): record by day, with edges of buildings, trees and people in view."
        )
    return _unlike(np.array([one.thumb for one in looks]), texture.min(1), usable, count)


def _thumb(grey: np.ndarray) -> np.ndarray:
    height = max(8, round(THUMB * grey.shape[0] / grey.shape[1]))
    return structure_map(cv2.resize(grey, (THUMB, height), interpolation=cv2.INTER_AREA), 1.0)


def _unlike(thumbs: np.ndarray, texture: np.ndarray, usable: np.ndarray, count: int) -> list[int]:
    """Farthest first: begin with the richest, then always the one least like those taken."""
    first = int(usable[texture[usable].argmax()])
    picks = [first]
    nearest = np.linalg.norm(thumbs - thumbs[first], axis=1)
    while len(picks) < min(count, len(usable)):
        rest = [i for i in usable if i not in picks]
        following = rest[int(nearest[rest].argmax())]
        picks.append(int(following))
        nearest = np.minimum(nearest, np.linalg.norm(thumbs - thumbs[following], axis=1))
    return sorted(picks)
