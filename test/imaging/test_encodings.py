"""Pixels of camera messages, worked out by hand; any object with the fields will do."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ssvif_core.imaging.encodings import EncodingError, pixels_of, thermal_of, visible_of

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


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (image("rgb8", [bytes(5)], width=2), "step 5 is less than a row"),
        (image("rgb8", [bytes(6)], width=2, step=6), None),
        (image("mono8", [bytes(4)] * 2, width=4, step=8), "truncated"),
        (image("mono8", [b""], width=0), "empty"),
        (image("32FC1", [bytes(8)], width=2), "not one of"),
        (image("mono16", [bytes(8)], width=4), "topics swapped"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_with_the_reason(message, reason):
    if reason is None:
        assert visible_of(message).shape == (1, 2, 3)
        return
    with pytest.raises(EncodingError, match=reason):
        visible_of(message)


def test_compressed_data_is_decoded_by_what_it_is_and_damage_is_an_error():
    counts = np.array([[7000, 8000]], np.uint16)
    png = SimpleNamespace(format="jpeg", data=cv2.imencode(".png", counts)[1].tobytes())
    assert thermal_of(png).tolist() == counts.tolist()
    for data, reason in ((b"", "empty"), (b"no image at all", "cannot be decoded")):
        with pytest.raises(EncodingError, match=reason):
            thermal_of(SimpleNamespace(format="png", data=data))
