"""YUV in planes: a plane of luma, then a plane of interleaved chroma. Knows no ROS.

nv21 and nv24 are names of sensor_msgs/image_encodings.hpp; nv12 is what Isaac ROS calls the format
of the Jetson's cameras. Values are of the video range (BT.601: luma 16 to 235), like those of the
packed formats, as V4L2 has them by default.
"""

from __future__ import annotations

import cv2
import numpy as np

from ssvif_core.imaging.messages import EncodingError, ImageMessage

__all__ = ["PLANAR_YUV", "check_planes", "planar_luma", "planar_rgb"]

#: The names, and whether chroma has half the size of luma.
PLANAR_YUV = {"nv12": True, "nv21": True, "nv24": False}
_TWO_PLANES = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
#: RGB of (Y, U, V, 1) in the video range: ITU-R BT.601.
_RGB_OF_YUV = np.array([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]])
_RANGE = np.array([255 / 219, 255 / 224, 255 / 224])
_BT601 = np.column_stack([_RGB_OF_YUV * _RANGE, -(_RGB_OF_YUV * _RANGE) @ [16.0, 128.0, 128.0]])


def planar_rgb(message: ImageMessage) -> np.ndarray:
    """The image as (H, W, 3) uint8 RGB.

    Raises:
        EncodingError: sizes, step and data do not fit, or an odd size with halved chroma.
    """
    luma, chroma = _planes(message)
    if PLANAR_YUV[message.encoding]:
        return cv2.cvtColorTwoPlane(luma, chroma, _TWO_PLANES[message.encoding])
    return cv2.transform(cv2.merge([luma, *cv2.split(chroma)]), _BT601)


def planar_luma(message: ImageMessage) -> np.ndarray:
    """The plane of luma, as it is: a view, (H, W) uint8. Errors are those of `planar_rgb`."""
    return _planes(message)[0]


def check_planes(message: ImageMessage) -> None:
    """Look at the numbers alone. Errors are those of `planar_rgb`."""
    _planes(message)


def _planes(message: ImageMessage) -> tuple[np.ndarray, np.ndarray]:
    """Views of luma (H, W) and of chroma (h, w, 2).

    Drivers disagree on `step` here: the bytes of a row of luma, or twice that, because ROS counts
    two channels. Where the data is as long as rows without padding make it, there is no padding.
    """
    halved = PLANAR_YUV[message.encoding]
    height, width, step = int(message.height), int(message.width), int(message.step)
    name = f"{width}x{height} {message.encoding}"
    if not height or not width:
        raise EncodingError(f"the image is empty: {width}x{height}")
    if halved and (height % 2 or width % 2):
        raise EncodingError(f"a {name} image cannot be: its sizes are odd")
    rows = height * 3 // 2 if halved else height * 3
    if len(message.data) == rows * width:
        step = width
    if step < width:
        raise EncodingError(f"step {step} is less than a row: {name} needs {width}")
    if len(message.data) < rows * step:
        raise EncodingError(
            f"data is truncated: {len(message.data)} bytes, and {name} with step {step} needs "
            f"{rows * step}"
        )
    luma = np.ndarray((height, width), np.uint8, message.data, 0, (step, 1))
    size, stride = ((height // 2, width // 2), step) if halved else ((height, width), 2 * step)
    return luma, np.ndarray((*size, 2), np.uint8, message.data, height * step, (stride, 2, 1))
