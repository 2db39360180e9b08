"""Encodings that only cv_bridge knows: what it is given, and what is refused before it is asked."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from sensor_msgs.msg import Image  # noqa: E402

from ssvif_ros import cv_bridge_images  # noqa: E402
from ssvif_ros.images import ImageError, thermal_array, visible_rgb  # noqa: E402
from ssvif_ros.validity import check_image  # noqa: E402

BIG = sys.byteorder == "big"
#: Encodings of a later release: type, channels, and what each is converted to.
LATER = {"later_bgr8": (np.uint8, 3, "rgb8"), "later_16": (np.uint16, 1, "mono16")}
READERS = {"visible": visible_rgb, "thermal": thermal_array}


class StandIn:
    """Reads a message as cv_bridge's Python half does (its compiled half is in no wheel)."""

    def encoding_to_dtype_with_channels(self, encoding):
        if encoding not in LATER:
            raise RuntimeError(f"Unrecognized image encoding [{encoding}]")
        return LATER[encoding][:2]

    def imgmsg_to_cv2(self, message, desired_encoding):
        kind, channels, target = LATER[message.encoding]
        if desired_encoding != target:
            raise RuntimeError("The conversion does not make sense")
        if bool(message.is_bigendian) != BIG:
            raise AttributeError("'numpy.ndarray' object has no attribute 'newbyteorder'")
        in_a_row = message.step // np.dtype(kind).itemsize // channels
        shape = (message.height, in_a_row, channels)
        image = np.ndarray(shape, kind, message.data)[:, : message.width]
        return image[..., ::-1] if channels == 3 else image[..., 0]


def forget():
    cv_bridge_images._bridge.cache_clear()
    cv_bridge_images._layout_or_reason.cache_clear()


@pytest.fixture(autouse=True)
def bridge(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", SimpleNamespace(CvBridge=StandIn))
    forget()
    yield
    forget()


def message_of(image, encoding, padding=0, big_endian=BIG):
    stored = image.byteswap() if big_endian != BIG else image
    rows = stored.reshape(len(image), -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xEE)
    message = Image(encoding=encoding, is_bigendian=int(big_endian), data=padded.tobytes())
    message.height, message.width = image.shape[:2]
    message.step = padded.shape[1]
    return message


@pytest.mark.parametrize("padding", [0, 1, 2, 3, 6])
@pytest.mark.parametrize("big_endian", [False, True])
def test_rows_with_any_padding_and_both_byte_orders_are_read(padding, big_endian):
    colours = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    counts = np.arange(7000, 7020, dtype=np.uint16).reshape(4, 5)
    seen = visible_rgb(message_of(colours, "later_bgr8", padding, big_endian))
    np.testing.assert_array_equal(seen, colours[..., ::-1])
    read = thermal_array(message_of(counts, "later_16", padding, big_endian))
    np.testing.assert_array_equal(read, counts)


@pytest.mark.parametrize("changes", [{"step": 14}, {"step": 0}, {"width": 0}, {"data": b"short"}])
def test_numbers_that_do_not_fit_are_refused_before_pairing_and_when_read(changes):
    message = message_of(np.zeros((4, 5, 3), np.uint8), "later_bgr8")
    for name, value in changes.items():
        setattr(message, name, value)
    for read in (visible_rgb, lambda m: check_image(m, "visible")):
        with pytest.raises(ImageError, match="are no"):
            read(message)


@pytest.mark.parametrize("camera", ["visible", "thermal"])
def test_what_cv_bridge_cannot_convert_is_refused_before_it_takes_a_partner(camera):
    others = {"visible": "later_16", "thermal": "later_bgr8"}
    for encoding in (others[camera], "no_such_encoding"):
        message = message_of(np.zeros((4, 4), np.uint8), encoding, padding=20)
        for read in (READERS[camera], lambda m: check_image(m, camera)):
            with pytest.raises(ImageError, match=f"cv_bridge cannot read encoding '{encoding}'"):
                read(message)


def test_what_cv_bridge_converts_is_let_through():
    check_image(message_of(np.zeros((4, 5, 3), np.uint8), "later_bgr8", padding=1), "visible")
    check_image(message_of(np.zeros((4, 5), np.uint16), "later_16", padding=1), "thermal")


@pytest.mark.parametrize("camera", ["visible", "thermal"])
def test_without_cv_bridge_it_says_what_to_install(camera, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)  # so that its import fails
    message = message_of(np.zeros((4, 5), np.uint8), "later_16")
    for read in (READERS[camera], lambda m: check_image(m, camera)):
        with pytest.raises(ImageError, match="install ros-.*cv-bridge"):
            read(message)
