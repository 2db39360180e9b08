"""Which camera_info of a recording is of which camera: one rule for replay and calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import cv2

from ssvif_core.data.bag_files import Bag
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.camera_model import image_size
from ssvif_core.imaging.encodings import thermal_of, visible_of

__all__ = ["Camera", "camera_infos", "first_of", "first_size"]

INFO = "sensor_msgs/msg/CameraInfo"
Camera = Literal["visible", "thermal"]
CAMERAS: tuple[Camera, Camera] = ("visible", "thermal")


def camera_infos(bag: Bag, images: Mapping[Camera, str]) -> tuple[dict[Camera, str], list[str]]:
    """Each camera's camera_info: as image_transport names it, beside the image.

    Args:
        bag: open.
        images: both cameras' topics of images.

    Returns:
        Camera -> topic, where there is one; and where both cameras lie beside the same one, a
        sentence that says whose it is.
    """
    kinds = bag.topics()
    beside = {camera: f"{_namespace(images[camera])}/camera_info" for camera in CAMERAS}
    found = {camera: info for camera, info in beside.items() if kinds.get(info) == INFO}
    if len(found) < 2 or beside["visible"] != beside["thermal"]:
        return found, []
    info = beside["visible"]
    owner, why = _owner(bag, info, images)
    return {} if owner is None else {owner: info}, [f"{info} {why}"]


def first_of(bag: Bag, topic: str) -> Any:
    """The first message of a topic that can be read, or None."""
    for recorded in bag.messages([topic]):
        try:
            return bag.message(recorded)
        except SsvifError:
            continue  # counted when it is its turn
    return None


def first_size(bag: Bag, camera: str, topic: str) -> tuple[int, int] | None:
    """(width, height) of a camera's first image, if it can be decoded."""
    recorded = next(bag.messages([topic]), None)
    try:
        if recorded is None:
            return None
        image = (visible_of if camera == "visible" else thermal_of)(bag.image(recorded))
    except (SsvifError, cv2.error):
        return None
    return image.shape[1], image.shape[0]


def _owner(bag: Bag, info: str, images: Mapping[Camera, str]) -> tuple[Camera | None, str]:
    """The camera that a camera_info is of, by its frame or else by its size; and why."""
    told = first_of(bag, info)
    if told is not None:
        looks: tuple[tuple[str, Any, Callable[..., Any]], ...] = (
            ("frame", told.header.frame_id, _frame_id),
            ("size", image_size(told), first_size),
        )
        for what, wanted, look in looks:
            fitting = [c for c in CAMERAS if look(bag, c, images[c]) == wanted]
            if wanted and len(fitting) == 1:
                return fitting[0], f"is the {fitting[0]} camera's, whose {what} it has"
    return None, "lies beside both cameras and is taken for none: neither frame nor size tells"


def _frame_id(bag: Bag, camera: Camera, topic: str) -> str | None:
    recorded = next(bag.messages([topic]), None)
    try:
        return None if recorded is None else bag.image(recorded).frame_id
    except SsvifError:
        return None


def _namespace(topic: str) -> str:
    """Where the topics lie that belong to one of images."""
    return topic.removesuffix("/compressed").rpartition("/")[0]
