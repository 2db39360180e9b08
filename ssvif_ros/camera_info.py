"""camera_info for an image that is cut, binned or scaled on its way."""

from __future__ import annotations

import copy

from sensor_msgs.msg import CameraInfo, RegionOfInterest

from ssvif_core.imaging.camera_model import matrices_of_image, window_of
from ssvif_core.imaging.pinhole import same_shape

__all__ = ["ScaledInfo", "mismatch", "scaled_info"]


def scaled_info(info: CameraInfo, height: int, width: int) -> CameraInfo:
    """The camera_info of the same view in an image of another size.

    K and P of `info` are of the whole sensor; its image shows the region `roi`, divided by
    `binning` (sensor_msgs/CameraInfo; REP-104). The result describes its own image directly: region
    and binning are worked into K and P (`matrices_of_image`), and cleared. Distortion needs no
    scaling: it acts on the ray.

    Args:
        info: of the camera's image.
        height, width: of the image that the result is for.
    """
    info = copy.deepcopy(info)
    _, window = window_of(info)
    if all(window):
        k, p = matrices_of_image(info, (width, height))
        info.k, info.p = k.ravel(), p.ravel()
        info.height, info.width = height, width
        info.roi, info.binning_x, info.binning_y = RegionOfInterest(), 0, 0
    return info


def mismatch(info: CameraInfo, frame_id: str, height: int, width: int) -> str:
    """Why a camera_info is hardly that of an image, and what to do; "" where it may be.

    Args:
        info: as it was received.
        frame_id: of the image.
        height, width: of the image, before it is scaled.
    """
    if info.header.frame_id and frame_id and info.header.frame_id != frame_id:
        return (
            f"visible/camera_info has the frame '{info.header.frame_id}', and the visible image "
            f"'{frame_id}': if it is another camera's, remap it to the right topic "
            "(visible_info_topic of the launch file)"
        )
    _, (columns, rows) = window_of(info)
    across, down = max(info.binning_x, 1), max(info.binning_y, 1)
    if rows and columns and not same_shape((rows * across, columns * down), (height, width)):
        return (
            f"visible/camera_info is of {columns // across}x{rows // down} images, and the visible "
            f"image is {width}x{height}, another shape: it is stretched to fit, which is wrong if "
            "the image is cut. Have the driver say in camera_info what it sends (roi, binning)"
        )
    return ""


class ScaledInfo:
    """`scaled_info`, worked out again only if something other than the header changed."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._scaled = CameraInfo()

    def of(self, info: CameraInfo, height: int, width: int) -> CameraInfo:
        """See `scaled_info`; the result is overwritten by the next call."""
        roi = info.roi
        key = (
            height, width, info.height, info.width, info.distortion_model, info.d.tobytes(),
            info.k.tobytes(), info.r.tobytes(), info.p.tobytes(), info.binning_x, info.binning_y,
            roi.x_offset, roi.y_offset, roi.width, roi.height,
        )  # fmt: skip
        if key != self._key:
            self._key, self._scaled = key, scaled_info(info, height, width)
        return self._scaled
