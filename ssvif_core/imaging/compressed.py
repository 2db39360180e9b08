"""Compressed camera images: JPEG, PNG, TIFF and WebP. Knows no ROS.

A few bytes can claim an image of gigabytes. OpenCV's own limit is 2^30 pixels, too much for a
robot, and it is read from the environment before anybody can set it; so the size that the file's
header claims is read here, before OpenCV takes memory for it.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np

from ssvif_core.imaging.messages import CompressedMessage, EncodingError

__all__ = ["MAX_PIXELS", "claimed_size", "decompressed"]

#: Largest compressed image that is decoded. Cameras end at about 50 million pixels.
MAX_PIXELS = 1 << 26
#: JPEG markers that carry no segment (ITU-T T.81, table B.1): TEM, RST0-7, SOI.
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}
#: Start-of-frame markers: all of C0-CF but DHT, JPG and DAC.
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_END = {0xD9, 0xDA}
#: Tags of TIFF 6.0: ImageWidth, ImageLength, TileWidth, TileLength.
_TIFF_SIZES = (256, 257, 322, 323)


def decompressed(message: CompressedMessage, flags: int) -> np.ndarray:
    """Decode a compressed image with OpenCV's imread `flags`; channels in OpenCV's order.

    `format` differs between drivers, so the data decides and not the text. A tag that turns the
    picture (EXIF) is ignored, as compressed_image_transport does: camera_info describes the sensor.

    Raises:
        EncodingError: no data, damaged, a format that is not read, or more than `MAX_PIXELS`.
    """
    data = np.frombuffer(message.data, np.uint8)
    if not data.size:
        raise EncodingError("the compressed image is empty")
    what = f"{data.size} bytes of format '{message.format[:60]}'"
    size = claimed_size(data.data)
    if size is None:
        raise EncodingError(
            f"{what} cannot be decoded: damaged, or neither JPEG, PNG, TIFF nor WebP; other "
            "transports (compressedDepth, theora, ffmpeg) are not read: send 'raw' or 'compressed'"
        )
    if size[0] * size[1] > MAX_PIXELS:
        raise EncodingError(
            f"{what} claim {size[0]}x{size[1]} pixels: more than {MAX_PIXELS} are not decoded"
        )
    if flags != cv2.IMREAD_UNCHANGED:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(data, flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise EncodingError(f"{what} cannot be decoded: the data is damaged")
    return pixels


def claimed_size(data: memoryview) -> tuple[int, int] | None:
    """Width and height that the header of an image file claims, or None where none is found.

    Args:
        data: the bytes of a file, or the beginning of one.
    """
    magic = bytes(data[:12])
    try:
        if magic.startswith(b"\x89PNG\r\n\x1a\n"):
            return struct.unpack(">II", data[16:24]) if data[12:16] == b"IHDR" else None
        if magic.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
        if magic.startswith((b"II*\0", b"MM\0*")):
            return _tiff_size(data, "<" if magic.startswith(b"II") else ">")
        if magic.startswith(b"RIFF") and magic.endswith(b"WEBP"):
            return _webp_size(bytes(data[12:30]))
    except (struct.error, IndexError):  # the data ends within the header
        pass
    return None


def _jpeg_size(data: memoryview) -> tuple[int, int] | None:
    """Size in the frame header: walks from marker to marker (T.81, B.2)."""
    at = 2
    for _ in range(1000):  # far more segments than any file has before its frame
        if data[at] != 0xFF:  # decoders skip what lies between segments
            at += bytes(data[at:]).find(b"\xff")
        marker = data[at + 1]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        if marker in _JPEG_END:
            return None
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker == 0 or marker in _JPEG_BARE:
            at += 2
        else:
            at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None


def _tiff_size(data: memoryview, order: str) -> tuple[int, int] | None:
    """Size in the first directory; for tiles the larger of picture and tile, both take memory."""
    at = struct.unpack(order + "I", data[4:8])[0]
    sizes = {}
    for entry in range(struct.unpack(order + "H", data[at : at + 2])[0]):
        start = at + 2 + 12 * entry
        tag, kind = struct.unpack(order + "HH", data[start : start + 4])
        if tag in _TIFF_SIZES:  # SHORT or LONG
            short = kind == 3
            end = start + (10 if short else 12)
            sizes[tag] = struct.unpack(order + "HI"[not short], data[start + 8 : end])[0]
    width, height, tile_width, tile_height = (sizes.get(tag, 0) for tag in _TIFF_SIZES)
    if not width or not height:
        return None
    return max((width, height), (tile_width, tile_height), key=lambda size: size[0] * size[1])


def _webp_size(chunk: bytes) -> tuple[int, int] | None:
    """Size in the first chunk (RFC 9649): extended, lossless or lossy."""
    kind, body = chunk[:4], chunk[8:]
    if len(body) < (5 if kind == b"VP8L" else 10):
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    return None
