"""Image messages to arrays and back: every encoding, padded rows, both byte orders, bad numbers."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from ssvif_ros.images import (  # noqa: E402
    LAYOUTS,
    ImageError,
    OutgoingImage,
    image_array,
    thermal_array,
    to_compressed,
    to_image,
    visible_rgb,
)

BIG = sys.byteorder == "big"


def message_of(pixels, encoding, padding=0, big_endian=BIG):
    """A message as a driver makes it: rows padded with 0xEE, in the given byte order."""
    stored = pixels.byteswap() if pixels.itemsize > 1 and big_endian != BIG else pixels
    rows = stored.reshape(pixels.shape[0], -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xEE)
    message = Image(encoding=encoding, is_bigendian=int(big_endian), data=padded.tobytes())
    message.height, message.width = pixels.shape[:2]
    message.step = padded.shape[1]
    return message


@st.composite
def images(draw):
    encoding = draw(st.sampled_from(sorted(LAYOUTS)))
    layout = LAYOUTS[encoding]
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    if layout.channels > 1:
        shape = (*shape, layout.channels)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = int(np.prod(shape)) * np.dtype(layout.dtype).itemsize
    return encoding, np.frombuffer(rng.bytes(count), layout.dtype).reshape(shape)


@settings(max_examples=200, deadline=None)
@given(images(), st.integers(0, 7), st.booleans())
def test_every_encoding_is_read_with_padded_rows_in_both_byte_orders(image, padding, big_endian):
    encoding, pixels = image
    message = message_of(pixels, encoding, padding, big_endian)
    read = image_array(message)
    assert read.tobytes() == pixels.tobytes()  # bit by bit: a float may be no number
    assert (read.dtype, read.shape) == (pixels.dtype, pixels.shape)
    swapped = pixels.itemsize > 1 and big_endian != BIG
    copied = swapped or message.step % pixels.itemsize
    assert np.shares_memory(read, np.frombuffer(message.data, np.uint8)) != copied


@settings(max_examples=100, deadline=None)
@given(images())
def test_what_is_written_is_read_back(image):
    encoding, pixels = image
    message = to_image(pixels, encoding, Header(frame_id="here"))
    assert image_array(message).tobytes() == pixels.tobytes()
    assert message.header.frame_id == "here"
    assert message.step * message.height == len(message.data)


def test_rgb8_is_a_view_and_the_others_become_rgb():
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    message = message_of(rgb, "rgb8")
    assert np.shares_memory(visible_rgb(message), np.frombuffer(message.data, np.uint8))
    alpha = np.full((2, 3, 1), 9, np.uint8)
    for encoding, pixels in {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "8UC3": rgb[..., ::-1],
        "rgba8": np.concatenate([rgb, alpha], 2),
        "bgra8": np.concatenate([rgb[..., ::-1], alpha], 2),
    }.items():
        read = visible_rgb(message_of(np.ascontiguousarray(pixels), encoding, padding=5))
        np.testing.assert_array_equal(read, rgb)
        assert read.flags.c_contiguous
    gray = visible_rgb(message_of(rgb[..., 0].copy(), "mono8"))
    np.testing.assert_array_equal(gray, np.repeat(rgb[..., :1], 3, 2))


def test_thermal_is_a_view_and_colour_becomes_luminance():
    raw = np.array([[6743, 7077], [0, 65535]], np.uint16)
    for encoding in ("mono16", "16UC1"):
        message = message_of(raw, encoding, padding=2)
        read = thermal_array(message)
        np.testing.assert_array_equal(read, raw)
        assert np.shares_memory(read, np.frombuffer(message.data, np.uint8))
    gray = np.full((2, 2, 3), 77, np.uint8)
    np.testing.assert_array_equal(thermal_array(message_of(gray, "rgb8")), gray[..., 0])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"width": 0}, "empty"),
        ({"height": 0}, "empty"),
        ({"data": b""}, "truncated"),
        ({"data": b"\0" * 17}, "truncated"),
        ({"step": 8}, "step 8"),
        ({"height": 2**31, "width": 2**31, "step": 2**32 - 1}, "less than a row"),
        ({"height": 2**32 - 1}, "truncated"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(changes, reason):
    message = message_of(np.zeros((2, 3, 3), np.uint8), "rgb8")
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(ImageError, match=reason):
        visible_rgb(message)


def test_the_last_row_need_not_be_padded():
    # Some drivers leave the padding out after the last row: 2 rows of 9 bytes with step 12 are 21.
    message = message_of(np.arange(18, dtype=np.uint8).reshape(2, 3, 3), "rgb8", padding=3)
    message.data = message.data[:21]
    assert visible_rgb(message)[1, 2, 2] == 17
    message.data = message.data[:20]
    with pytest.raises(ImageError, match="truncated"):
        visible_rgb(message)


def test_a_16_bit_image_on_the_visible_topic_asks_whether_topics_are_swapped():
    with pytest.raises(ImageError, match="swapped"):
        visible_rgb(message_of(np.zeros((4, 4), np.uint16), "mono16"))


def compressed(pixels, suffix, text):
    return CompressedImage(format=text, data=cv2.imencode(suffix, pixels)[1].tobytes())


def test_jpeg_becomes_rgb_and_png_keeps_16_bits():
    bgr = np.zeros((16, 16, 3), np.uint8)
    bgr[...] = (10, 60, 200)
    read = visible_rgb(compressed(bgr, ".jpg", "bgr8; jpeg compressed bgr8"))
    assert np.abs(read.astype(int) - (200, 60, 10)).max() <= 6
    raw = np.array([[6743, 7077], [0, 65535]], np.uint16)
    np.testing.assert_array_equal(thermal_array(compressed(raw, ".png", "16UC1; png")), raw)
    gray = thermal_array(compressed(bgr, ".png", "png"))
    assert gray.shape == (16, 16)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff garbage", bytes(range(256))])
def test_compressed_data_that_cannot_be_decoded_is_refused(data):
    for read in (visible_rgb, thermal_array):
        with pytest.raises(ImageError):
            read(CompressedImage(format="jpeg", data=data))


def test_an_array_that_is_not_what_the_encoding_says_is_refused():
    for pixels, encoding in [
        (np.zeros((2, 2), np.uint8), "rgb8"),
        (np.zeros((2, 2), np.uint8), "mono16"),
        (np.zeros((2, 2, 3), np.float32), "rgb8"),
        (np.zeros((2, 2), np.uint8), "yuv422"),
    ]:
        with pytest.raises(ImageError):
            to_image(pixels, encoding, Header())


def test_a_reused_message_holds_the_pixels_where_they_lie():
    image = OutgoingImage()
    for shape, encoding in (((3, 5, 3), "rgb8"), ((3, 5, 3), "bgr8"), ((2, 4), "mono8")):
        pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        message = image.of(pixels, encoding, Header(frame_id="here"))
        assert np.shares_memory(np.frombuffer(message.data, np.uint8), pixels)
        sent = deserialize_message(serialize_message(message), Image)
        assert sent == to_image(pixels, encoding, Header(frame_id="here"))
    with pytest.raises(ImageError):
        image.of(pixels, "rgb8", Header())


def test_a_part_of_an_image_is_sent_as_an_image_of_its_own():
    part = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)[1:, ::2]
    sent = deserialize_message(serialize_message(OutgoingImage().of(part, "rgb8", Header())), Image)
    np.testing.assert_array_equal(visible_rgb(sent), part)


def test_compressed_outputs_are_described_as_compressed_image_transport_does():
    rgb = np.full((16, 16, 3), (200, 60, 10), np.uint8)
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for encoding, quality, text in [
        ("rgb8", 90, "rgb8; jpeg compressed bgr8"),
        ("bgr8", 90, "bgr8; jpeg compressed bgr8"),
        ("rgb8", None, "rgb8; png compressed bgr8"),
    ]:
        message = to_compressed(rgb, encoding, Header(frame_id="here"), quality)
        assert (message.format, message.header.frame_id) == (text, "here")
        assert np.abs(visible_rgb(message).astype(int) - rgb).max() <= (3 if quality else 0)
    gray = to_compressed(rgb, "mono8", Header(), 90)
    assert gray.format == "mono8; jpeg compressed mono8"
    assert cv2.imdecode(np.frombuffer(gray.data, np.uint8), cv2.IMREAD_UNCHANGED).ndim == 2
    message = to_compressed(labels, "mono8", Header(), None)
    assert message.format == "mono8; png compressed "
    np.testing.assert_array_equal(thermal_array(message), labels)
