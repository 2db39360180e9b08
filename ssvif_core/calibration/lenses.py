"""Lens distortion of the two cameras, undone before anything is compared.

A homography takes straight lines to straight lines, and a lens does not. Where both lenses are
known, frames (or the points of a board) are brought to where a lens without distortion and with the
same K would show them, as `cv2.undistort` does it. The map is then one of undistorted images, and
the file holds the lenses; `imaging/registration.py` undoes both in its maps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ssvif_core.calibration.frames import Shots, Source
from ssvif_core.calibration.geometry import Size
from ssvif_core.data.bag_files import Bag, is_bag
from ssvif_core.data.bags import choose_topics, image_topics
from ssvif_core.data.camera_infos import camera_infos, first_of, first_size
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.camera_file import read_camera_file
from ssvif_core.imaging.camera_model import CAMERAS, camera_of
from ssvif_core.imaging.pinhole import Camera, same_shape

__all__ = ["Lenses", "lens_of", "lenses_of", "read_lenses"]

#: What image_proc and drivers call images whose distortion is undone already; their camera_info is
#: that of the raw ones beside them.
RECTIFIED = re.compile(r"/image_rect(_\w+)?$")


@dataclass(frozen=True)
class Lenses:
    """Both cameras, at least one of them with distortion."""

    visible: Camera
    thermal: Camera

    @property
    def both(self) -> tuple[Camera, Camera]:
        """Visible and thermal."""
        return self.visible, self.thermal

    def resized(self, visible_size: Size, thermal_size: Size) -> Lenses:
        """The same for images of other sizes (width, height).

        Raises:
            SsvifError: a lens is one of images of another shape.
        """
        for name, camera, size in zip(
            CAMERAS, self.both, (visible_size, thermal_size), strict=True
        ):
            _check_shape(name, camera, size)
        return Lenses(self.visible.resized(visible_size), self.thermal.resized(thermal_size))

    def undone(self, shots: Shots) -> tuple[Shots, tuple[np.ndarray, np.ndarray]]:
        """Frames without distortion, and for each camera where there is an image, (H, W) uint8."""
        lenses = self.resized(shots.visible_size, shots.thermal_size)
        seen, felt = _Unbend(lenses.visible), _Unbend(lenses.thermal)
        visible = [seen.image(image) for image in shots.visible]
        thermal = [felt.image(image) for image in shots.thermal]
        return Shots(shots.names, visible, thermal, shots.notes), (seen.mask, felt.mask)

    def undone_points(
        self, visible: np.ndarray, thermal: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, 2) of both cameras without distortion; NaN where the lens has no such one."""
        return _straight(self.visible, visible), _straight(self.thermal, thermal)


class _Unbend:
    """Takes images of one camera to those of a lens without distortion and with the same K."""

    def __init__(self, camera: Camera) -> None:
        width, height = camera.size
        x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
        points = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], -1)
        places = camera.pixels(points @ np.linalg.inv(camera.matrix).T).reshape(height, width, 2)
        with np.errstate(invalid="ignore"):
            inside = (places >= 0) & (places <= (width - 1, height - 1))
        self.mask = np.where(inside.all(-1), 255, 0).astype(np.uint8)
        self._map = np.nan_to_num(places, nan=-1e4).astype(np.float32)

    def image(self, image: np.ndarray) -> np.ndarray:
        return cv2.remap(image, self._map, None, cv2.INTER_LINEAR)  # type: ignore[call-overload]


def _straight(camera: Camera, pixels: np.ndarray) -> np.ndarray:
    rays = camera.rays(pixels)
    return rays @ camera.matrix[:2, :2].T + camera.matrix[:2, 2]


def read_lenses(
    source: Source, visible_file: Path | None = None, thermal_file: Path | None = None
) -> tuple[Lenses | None, str]:
    """The lenses of a source's cameras, or None and why, for people.

    Args:
        source: a recording may have camera_info beside its images.
        visible_file: YAML of a camera calibration, instead of what the recording has.
        thermal_file: the same of the thermal camera.

    Raises:
        SsvifError: a file cannot be used, or only one camera's lens is known from a file.
    """
    files = dict(zip(CAMERAS, (visible_file, thermal_file), strict=True))
    cameras = {c: read_camera_file(path) for c, path in files.items() if path is not None}
    notes = {c: "no camera_info and no file" for c in CAMERAS if c not in cameras}
    if notes and is_bag(source.path):
        _from_bag(source, cameras, notes)
    missing = [c for c in CAMERAS if c not in cameras]
    if missing and any(files.values()):
        raise SsvifError(
            f"The lens of the {missing[0]} camera is not known ({notes[missing[0]]}): the node "
            f"needs both to undo distortion. Give --{missing[0]}-info as well."
        )
    return lenses_of(cameras, notes)


def lens_of(info: Any, camera: str, topic: str, size: Size | None) -> tuple[Camera, str]:
    """The lens of a camera's images by its camera_info; and what else is to be said of it, or "".

    Args:
        info: camera_info, whichever library read it.
        camera: "visible" or "thermal".
        topic: of the images.
        size: of the images (width, height), where it is known.

    Raises:
        SsvifError: the camera is not calibrated, its model is not known, or the camera_info is of
            images of another shape.
    """
    lens = camera_of(info, camera)
    if size is not None:
        _check_shape(camera, lens, size)
    if lens.model and RECTIFIED.search(topic.removesuffix("/compressed")):
        return replace(lens, model="", distortion=()), f"{topic} is rectified already"
    return lens, ""


def _check_shape(camera: str, lens: Camera, size: Size) -> None:
    if not same_shape(lens.size[::-1], size[::-1]):
        raise SsvifError(
            f"the {camera} lens is one of images of {lens.size[0]}x{lens.size[1]}, and these are "
            f"{size[0]}x{size[1]}: use the camera_info or the camera file of these images"
        )


def lenses_of(cameras: Mapping[str, Camera], notes: Mapping[str, str]) -> tuple[Lenses | None, str]:
    """The lenses of the cameras that are known, or None and why, for people.

    Args:
        cameras: "visible" and "thermal" -> intrinsics.
        notes: why one of the two is not known, or what else is to be said of it.
    """
    missing = [c for c in CAMERAS if c not in cameras]
    if missing:
        return None, "; ".join(f"{c}: {notes[c]}" for c in missing)
    lenses = Lenses(cameras["visible"], cameras["thermal"])
    more = {c: f" ({notes[c]})" if notes.get(c) else "" for c in CAMERAS}
    if not (lenses.visible.model or lenses.thermal.model):
        return None, "neither lens has any" + "".join(more.values())
    return lenses, ", ".join(f"{c} {cameras[c].model or 'none'}{more[c]}" for c in CAMERAS)


def _from_bag(source: Source, cameras: dict[str, Camera], notes: dict[str, str]) -> None:
    with Bag(source.path) as bag:
        visible, thermal = choose_topics(
            image_topics(bag), source.visible_topic, source.thermal_topic, source.path
        )
        infos, shared = camera_infos(bag, {"visible": visible, "thermal": thermal})
        for camera, topic in (("visible", visible), ("thermal", thermal)):
            if camera in cameras:
                continue
            told = first_of(bag, infos[camera]) if camera in infos else None
            if told is None:
                notes[camera] = "; ".join([notes[camera], *shared])
                continue
            try:
                size = first_size(bag, camera, topic)
                cameras[camera], notes[camera] = lens_of(told, camera, topic, size)
            except SsvifError as error:
                notes[camera] = str(error)
