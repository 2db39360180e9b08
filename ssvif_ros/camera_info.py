"""camera_info for an image that is cut, binned or scaled on its way."""

from __future__ import annotations

import copy

from sensor_msgs.msg import CameraInfo, RegionOfInterest

from ssvif_core.imaging.camera_model import matrices_of_image, window_of

__all__ = ["ScaledInfo", "scaled_info"]


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
