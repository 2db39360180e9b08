"""Pixels of camera messages, worked out by hand; any object with the fields will do."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ssvif_core.imaging.encodings import (
    DECODED,
    EncodingError,
    pixels_of,
    thermal_of,
    visible_of,
)
from ssvif_core.imaging.planar_yuv import PLANAR_YUV

RED = (200, 20, 90)


def image(encoding, rows, *, width, step=None, big=False):
    data = b"".join(rows)
    return SimpleNamespace(
        height=len(rows),
        width=width,
        encoding=encoding,
        is_bigendian=big,
        step=len(rows[0]) if step is None else step,
        data=data,
    )


def test_padding_behind_rows_is_no_part_of_the_image_and_nothing_is_copied():
    message = image("mono8", [bytes([1, 2, 3, 99]), bytes([4, 5, 6, 99])], width=3)
    pixels = pixels_of(message)
    assert pixels.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert np.shares_memory(pixels, np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize("big", [False, True])
def test_16_bit_counts_have_the_byte_order_that_the_message_says(big):
    order = "big" if big else "little"
    row = (7000).to_bytes(2, order) + (300).to_bytes(2, order)
    assert thermal_of(image("16UC1", [row], width=2, big=big)).tolist() == [[7000, 300]]


@pytest.mark.parametrize(
    ("encoding", "pixel"),
    [
        ("rgb8", RED),
        ("bgr8", RED[::-1]),
        ("8UC3", RED[::-1]),
        ("rgba8", (*RED, 255)),
        ("bgra8", (*RED[::-1], 255)),
    ],
)
def test_colour_orders_all_become_rgb(encoding, pixel):
    message = image(encoding, [bytes(pixel) * 2], width=2)
    assert visible_of(message).tolist() == [[list(RED)] * 2]
    luminance = round(0.299 * RED[0] + 0.587 * RED[1] + 0.114 * RED[2])
    assert abs(int(thermal_of(message)[0, 0]) - luminance) <= 1


@pytest.mark.parametrize(
    ("encoding", "tile"),
    [
        ("bayer_rggb8", "RG GB"),
        ("bayer_bggr8", "BG GR"),
        ("bayer_gbrg8", "GB RG"),
        ("bayer_grbg8", "GR BG"),
    ],
)
def test_a_bayer_mosaic_of_one_colour_becomes_that_colour(encoding, tile):
    value = dict(zip("RGB", RED, strict=True))
    rows = [bytes([value[c] for c in row]) * 4 for row in tile.split()] * 4
    assert (visible_of(image(encoding, rows, width=8)) == RED).all()


@pytest.mark.parametrize(
    ("encoding", "pair"),
    [
        ("yuv422", (128, 60, 128, 200)),
        ("uyvy", (128, 60, 128, 200)),
        ("yuv422_yuy2", (60, 128, 200, 128)),
        ("yuyv", (60, 128, 200, 128)),
    ],
)
def test_yuv_without_chroma_is_gray_of_the_two_lumas(encoding, pair):
    pixels = visible_of(image(encoding, [bytes(pair)], width=2))[0]
    # Video range, 16 to 235, becomes 0 to 255.
    expected = [(luma - 16) * 255 / 219 for luma in (60, 200)]
    assert np.abs(pixels - np.array(expected)[:, None]).max() <= 1.5
    with pytest.raises(EncodingError, match="odd"):
        visible_of(image(encoding, [bytes(6)], width=3))


@pytest.mark.parametrize("encoding", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2", "nv12", "nv24"])
def test_yuv_of_a_thermal_camera_keeps_its_hottest_and_coldest(encoding):
    """On the way to RGB, luma below 16 and above 235 would be cut off; chroma is no matter."""
    luma = np.arange(256, dtype=np.uint8).reshape(2, 128)
    if encoding in PLANAR_YUV:
        rows = [luma.tobytes() + bytes(128 if encoding == "nv12" else 512)]
    else:
        first = encoding in ("yuyv", "yuv422_yuy2")
        rows = [np.stack([r, r * 0] if first else [r * 0, r], 1).tobytes() for r in luma]
    message = image(encoding, rows, width=128)
    message.height = 2
    if encoding in PLANAR_YUV:
        message.step = 128
    np.testing.assert_array_equal(thermal_of(message), luma)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (image("rgb8", [bytes(5)], width=2), "step 5 is less than a row"),
        (image("rgb8", [bytes(6)], width=2, step=6), None),
        (image("mono8", [bytes(4)] * 2, width=4, step=8), "truncated"),
        (image("mono8", [b""], width=0), "empty"),
        (image("64FC1", [bytes(16)], width=2), "not one of"),
        (image("mono16", [bytes(8)], width=4), "topics swapped"),
        (image("32FC1", [bytes(16)], width=4), "topics swapped"),
        (image("nv21", [bytes(4)] * 3, width=4), "odd"),
        (image("nv12", [bytes(4)] * 2, width=4), "truncated"),
        (image("nv24", [bytes(2)] * 2, width=4), "step 2 is less than a row"),
        (image("nv21", [b""], width=0), "empty"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_with_the_reason(message, reason):
    if reason is None:
        assert visible_of(message).shape == (1, 2, 3)
        return
    with pytest.raises(EncodingError, match=reason):
        visible_of(message)


@pytest.mark.parametrize("tile", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_a_picture_behind_a_bayer_pattern_comes_back_in_its_colours(tile, depth, size):
    height, width = size
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.linspace(30, 220, width)
    picture[..., 1] = np.linspace(220, 60, height)[:, None]
    picture[..., 2] = np.linspace(20, 120, width) + np.linspace(0, 100, height)[:, None]
    channel = np.array(["rgb".index(c) for c in tile]).reshape(2, 2)
    rows, columns = np.mgrid[:height, :width]
    mosaic = picture[rows, columns, channel[rows % 2, columns % 2]]
    if depth == 16:
        mosaic = mosaic.astype(np.uint16) * 257
    message = image(f"bayer_{tile}{depth}", [r.tobytes() + b"pad" for r in mosaic], width=width)
    read = visible_of(message)
    # Interpolation between neighbours of a gentle slope; the border is a copy of its neighbours.
    error = np.abs(read.astype(int) - picture)[2:-2, 2:-2]
    assert error.max() <= 6
    gray = thermal_of(message).astype(int)
    assert np.abs(gray - cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))[2:-2, 2:-2].max() <= 6


@pytest.mark.parametrize(
    ("encoding", "order"),
    [("rgb16", [0, 1, 2]), ("bgr16", [2, 1, 0]), ("rgba16", [0, 1, 2]), ("bgra16", [2, 1, 0])],
)
@pytest.mark.parametrize("big", [False, True])
def test_16_bit_colour_is_scaled_to_8_bits(encoding, order, big):
    values = [RED[channel] * 257 for channel in order] + [65535] * (encoding[3] == "a")
    pixel = b"".join(v.to_bytes(2, "big" if big else "little") for v in values)
    message = image(encoding, [pixel * 3 + b"odd"], width=3, big=big)
    assert visible_of(message).tolist() == [[list(RED)] * 3]


def yuv_of(rgb):
    """BT.601 in the video range, as the standard has it."""
    r, g, b = (channel / 255 for channel in rgb)
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    return (
        round(16 + 219 * luma),
        round(128 + 224 * (b - luma) / 1.772),
        round(128 + 224 * (r - luma) / 1.402),
    )


@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
@pytest.mark.parametrize("layout", ["tight", "padded", "step of two channels"])
def test_yuv_in_planes_becomes_rgb_whatever_a_driver_takes_step_for(encoding, layout):
    width, height, stride = 6, 4, 6 if layout != "padded" else 8
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, :2], picture[:, 2:4], picture[:, 4:] = RED, (20, 160, 40), (10, 30, 230)
    planes = np.apply_along_axis(yuv_of, 2, picture).astype(np.uint8)
    data = np.full((height, stride), 0xEE, np.uint8)
    data[:, :width] = planes[..., 0]
    chroma = planes[..., 1:] if encoding != "nv21" else planes[..., :0:-1]
    if encoding == "nv24":
        rows = np.full((height, 2 * stride), 0xEE, np.uint8)
        rows[:, : 2 * width] = chroma.reshape(height, -1)
    else:
        rows = np.full((height // 2, stride), 0xEE, np.uint8)
        rows[:, :width] = chroma[::2, ::2].reshape(height // 2, -1)
    message = image(encoding, [data.tobytes() + rows.tobytes()], width=width, step=stride)
    message.height = height
    if layout == "step of two channels":
        message.step = 2 * width
    error = np.abs(visible_of(message).astype(int) - picture)
    assert error.max() <= 4
    np.testing.assert_array_equal(thermal_of(message), planes[..., 0])


@pytest.mark.parametrize("big", [False, True])
def test_signed_counts_and_temperatures_are_thermal_images(big):
    order = ">" if big else "<"
    counts = np.array([[-150, 366], [0, 32767]])
    rows = [row.astype(order + "i2").tobytes() for row in counts]
    read = thermal_of(image("16SC1", rows, width=2, big=big))
    assert (read.dtype, read.tolist()) == (np.float32, counts.tolist())
    celsius = np.array([[-12.5, 36.6], [np.nan, 400.0]], np.float32)
    rows = [row.astype(order + "f4").tobytes() + b"pad" for row in celsius]
    read = thermal_of(image("32FC1", rows, width=2, big=big))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, celsius)


@pytest.mark.parametrize("encoding", sorted(DECODED))
@pytest.mark.parametrize(
    "claim",
    [{"height": 2**32 - 1}, {"width": 2**32 - 1}, {"height": 2**32 - 1, "width": 2**32 - 1}],
)
def test_a_size_that_the_data_cannot_hold_takes_no_memory(encoding, claim):
    message = image(encoding, [bytes(4096)], width=2)
    message.step = 2**32 - 1
    vars(message).update(claim)
    tracemalloc.start()
    try:
        for read in (visible_of, thermal_of):
            with pytest.raises(EncodingError):
                read(message)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_compressed_data_is_decoded_by_what_it_is_and_damage_is_an_error():
    counts = np.array([[7000, 8000]], np.uint16)
    png = SimpleNamespace(format="jpeg", data=cv2.imencode(".png", counts)[1].tobytes())
    assert thermal_of(png).tolist() == counts.tolist()
    for data, reason in ((b"", "empty"), (b"no image at all", "cannot be decoded")):
        with pytest.raises(EncodingError, match=reason):
            thermal_of(SimpleNamespace(format="png", data=data))
