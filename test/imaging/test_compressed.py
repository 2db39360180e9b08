"""Compressed images: the size in the header is believed before memory is taken."""

from __future__ import annotations

import struct
import unittest.mock
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssvif_core.imaging import compressed
from ssvif_core.imaging.compressed import MAX_PIXELS, claimed_size, decompressed
from ssvif_core.imaging.encodings import EncodingError, thermal_of, visible_of
from ssvif_core.imaging.validity import check_image

WEBP_LOSSLESS = [cv2.IMWRITE_WEBP_QUALITY, 101]


def message(data, text="jpeg"):
    return SimpleNamespace(format=text, data=bytes(data))


def encoded(pixels, suffix, options=()):
    return cv2.imencode(suffix, pixels, list(options))[1].tobytes()


def png_claiming(width, height):
    """A PNG with right checksums whose header promises more than its 100 bytes of data."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".jpg", []),
        (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        (".png", []),
        (".tiff", []),
        (".webp", [cv2.IMWRITE_WEBP_QUALITY, 80]),
        (".webp", WEBP_LOSSLESS),
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_size_is_read_from_the_header_of_every_format(suffix, options, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, channels), np.uint8)
    if suffix == ".jpg" and channels == 4:
        pixels = pixels[..., :3]
    data = encoded(np.squeeze(pixels), suffix, options)
    assert claimed_size(memoryview(data)) == (53, 37)
    for length in range(0, min(len(data), 64)):  # cut within the header: no answer, no exception
        assert claimed_size(memoryview(data[:length])) in (None, (53, 37))
    assert visible_of(message(data)).shape == (37, 53, 3)


def test_thermal_pixels_survive_in_png_and_tiff():
    counts = np.array([[6743, 7077], [0, 65535]], np.uint16)
    celsius = np.array([[-12.5, 36.6], [0.0, 400.0]], np.float32)
    np.testing.assert_array_equal(thermal_of(message(encoded(counts, ".png"))), counts)
    np.testing.assert_array_equal(thermal_of(message(encoded(counts, ".tiff"))), counts)
    np.testing.assert_array_equal(thermal_of(message(encoded(celsius, ".tiff"))), celsius)


def test_a_jpeg_of_16_bit_thermal_holds_the_upper_eight_bits():
    # compressed_image_transport gives such an image back as 16 bits, times 256.
    levels = np.repeat(np.array([[26, 200]], np.uint8), 16, 0).repeat(8, 1)
    data = encoded(levels, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, 100])
    read = thermal_of(message(data, "mono16; jpeg compressed mono8"))
    assert read.dtype == np.uint16
    assert np.abs((read >> 8).astype(int) - levels).max() <= 1
    assert thermal_of(message(data, "mono8; jpeg compressed mono8")).dtype == np.uint8


def test_colours_are_those_of_the_file_whatever_the_format_text_says():
    bgr = np.full((16, 16, 3), (10, 60, 200), np.uint8)
    for text in ("rgb8; png compressed bgr8", "bgr8; png compressed bgr8", "png", ""):
        assert (visible_of(message(encoded(bgr, ".png"), text)) == (200, 60, 10)).all()
    sixteen = bgr.astype(np.uint16) * 257
    assert (visible_of(message(encoded(sixteen, ".png"), "rgb16; png")) == (200, 60, 10)).all()


@pytest.mark.parametrize("text", ["mono16; png compressed ", "16UC1; jpeg compressed ", "32FC1; "])
def test_a_thermal_image_on_the_visible_topic_asks_whether_topics_are_swapped(text):
    sent = message(encoded(np.full((8, 8), 7000, np.uint16), ".png"), text)
    for look in (visible_of, lambda m: check_image(m, "visible")):
        with pytest.raises(EncodingError, match="swapped"):
            look(sent)
    check_image(sent, "thermal")


def test_a_mosaic_in_a_png_gets_its_colours_and_one_in_a_jpeg_is_gray_already():
    mosaic = np.tile(np.array([[200, 60], [60, 10]], np.uint8), (8, 8))
    text = "bayer_rggb8; png compressed "
    for pixels, name in ((mosaic, text), (mosaic.astype(np.uint16) * 257, text.replace("8", "16"))):
        assert (visible_of(message(encoded(pixels, ".png"), name)) == (200, 60, 10)).all()
    gray = visible_of(
        message(
            encoded(np.full((16, 16), 77, np.uint8), ".jpg"), "bayer_rggb8; jpeg compressed mono8"
        )
    )
    assert np.ptp(gray) == 0


def test_a_turned_jpeg_stays_as_the_sensor_saw_it():
    pixels = np.zeros((8, 16, 3), np.uint8)
    jpeg = encoded(pixels, ".jpg")
    # EXIF with one entry: Orientation (0x0112) = 6, turn by 90 degrees.
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + tiff
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (16, 8, 3)
    assert visible_of(message(turned)).shape == (8, 16, 3)
    assert thermal_of(message(turned)).shape == (8, 16)


def jpeg_claiming(width, height):
    jpeg = bytearray(encoded(np.zeros((8, 8), np.uint8), ".jpg"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(jpeg)


def tiff_claiming(width, height, tile=0):
    entries = [(256, width), (257, height), (258, 8), (262, 1), (277, 1)]
    entries += [(322, tile), (323, tile)] if tile else []
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4)


@pytest.mark.parametrize(
    "data",
    [
        png_claiming(2**31 - 1, 2**31 - 1),
        png_claiming(2**32 - 1, 2**32 - 1),
        png_claiming(MAX_PIXELS, 2),
        jpeg_claiming(65535, 65535),
        tiff_claiming(2**32 - 1, 2**32 - 1),
        tiff_claiming(64, 64, tile=2**16),
        b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6,
    ],
)
def test_a_few_bytes_that_claim_a_huge_image_take_no_memory(data):
    import tracemalloc

    tracemalloc.start()
    try:
        for read in (visible_of, thermal_of):
            with pytest.raises(EncodingError, match="more than 67108864 are not decoded"):
                read(message(data))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_an_image_of_the_limit_is_not_refused_for_its_size():
    # The header passes; what follows it is damaged.
    with pytest.raises(EncodingError, match="damaged"):
        decompressed(message(png_claiming(4096, 4096)), cv2.IMREAD_COLOR)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"BM" + bytes(100), "neither JPEG"),
        (bytes(12) + encoded(np.zeros((4, 4), np.uint16), ".png"), "compressedDepth"),
        (encoded(np.zeros((32, 32), np.uint8), ".png")[:40], "damaged"),
    ],
)
def test_what_cannot_be_decoded_is_refused_with_the_reason(data, reason):
    with pytest.raises(EncodingError, match=reason):
        thermal_of(message(data))


_WHOLE = [encoded(np.full((9, 7, 3), 50, np.uint8), s) for s in (".jpg", ".png", ".tiff", ".webp")]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(_WHOLE), st.data())
def test_damaged_files_give_an_image_or_an_encoding_error(whole, data):
    spoiled = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 8))):
        spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))
    spoiled = spoiled[: data.draw(st.integers(0, len(spoiled)))]
    for read in (visible_of, thermal_of):
        try:
            with unittest.mock.patch.object(compressed, "MAX_PIXELS", 1 << 16):  # else it is slow
                pixels = read(message(spoiled))
        except EncodingError:
            continue
        assert 0 < pixels.size <= 3 << 16


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff", b"II*\0", b"MM\0*"]), st.binary())
def test_random_bytes_give_no_size_or_a_size_and_never_another_error(magic, rest):
    size = claimed_size(memoryview(magic + rest))
    assert size is None or len(size) == 2
