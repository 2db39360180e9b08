"""Messages that cannot be images are refused before they are paired."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from malformed import malformed  # noqa: E402
from rclpy.clock import Clock  # noqa: E402
from rclpy.time import Time  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from ssvif_core.imaging.encodings import (  # noqa: E402
    DECODED,
    EncodingError,
    thermal_of,
    visible_of,
)
from ssvif_core.pairing import NearestPairing  # noqa: E402
from ssvif_ros.images import to_image  # noqa: E402
from ssvif_ros.synchronizer import LocalSimpleFilter, PairSynchronizer  # noqa: E402
from ssvif_ros.validity import ValidImages, check_image  # noqa: E402

MS = 1_000_000
PIXELS = {"visible": np.zeros((8, 10, 3), np.uint8), "thermal": np.zeros((8, 10), np.uint16)}
ENCODINGS = {"visible": "rgb8", "thermal": "mono16"}


def image(camera: str, stamp_ms: int) -> Image:
    header = Header(stamp=Time(nanoseconds=stamp_ms * MS).to_msg())
    return to_image(PIXELS[camera], ENCODINGS[camera], header)


@pytest.mark.parametrize("camera", ["visible", "thermal"])
def test_every_kind_of_malformed_message_is_refused_and_a_good_one_is_not(camera):
    check_image(image(camera, 1), camera)
    for message in itertools.islice(malformed(camera, Header, seed=0), 300):
        with pytest.raises(EncodingError):
            check_image(message, camera)


@pytest.mark.parametrize("encoding", DECODED)
def test_what_is_let_through_can_be_decoded_and_what_is_refused_cannot(encoding):
    random = np.random.default_rng(0)
    decode = {"visible": visible_of, "thermal": thermal_of}
    outcomes = set()
    for _ in range(400):
        height, width, step, data = (int(n) for n in random.integers([0, 0, 0, 0], [7, 7, 60, 300]))
        message = Image(height=height, width=width, step=step, encoding=encoding, data=bytes(data))
        for camera, decoded in decode.items():
            try:
                decoded(message)
                error = ""
            except EncodingError as found:
                error = str(found)
            try:
                check_image(message, camera)
                said = ""
            except EncodingError as found:
                said = str(found)
            assert bool(said) == bool(error), (camera, message, error, said)
            outcomes.add((camera, bool(said)))
    assert ("thermal", False) in outcomes and ("visible", True) in outcomes


def test_thermal_pixels_on_the_visible_topic_are_refused():
    with pytest.raises(EncodingError, match="swapped"):
        check_image(image("thermal", 1), "visible")


def test_a_bad_frame_takes_no_partner():
    sources = {camera: LocalSimpleFilter() for camera in PIXELS}
    reasons: list[str] = []
    valid = [ValidImages(source, camera, reasons.append) for camera, source in sources.items()]
    synchronizer = PairSynchronizer(valid, NearestPairing(), clock=Clock())
    pairs = []
    synchronizer.registerCallback(lambda v, t: pairs.append((v, t)))
    bad = image("visible", 1000)
    bad.data = b"too short"
    sources["visible"].signalMessage(bad)  # the nearest to the thermal frame, if it were any good
    sources["thermal"].signalMessage(image("thermal", 1000))
    sources["visible"].signalMessage(image("visible", 1033))
    synchronizer.flush()
    assert [v.header.stamp.nanosec // MS for v, _ in pairs] == [33]
    assert [v.invalid for v in valid] == [1, 0]
    assert "truncated" in reasons[0]
    assert reasons[0].startswith("bad visible frame")
    assert valid[0].reason == ""  # the newest was good


def test_random_bytes_in_compressed_images_raise_the_error_that_is_counted_and_no_other():
    random = np.random.default_rng(0)
    starts = (b"\xff\xd8\xff\xe0\x00\x10JFIF", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"BM", b"")
    for n in range(1000):
        data = starts[n % len(starts)] + random.bytes(int(random.integers(0, 400)))
        for decode in (visible_of, thermal_of):
            with pytest.raises(EncodingError):
                decode(CompressedImage(format="jpeg", data=data))
    with pytest.raises(EncodingError, match="empty"):
        check_image(CompressedImage(format="png"), "thermal")
