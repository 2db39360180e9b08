"""Small recordings of simulated cameras."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")

from ssvif_core.data.bag_files import Bag  # noqa: E402
from ssvif_core.data.bag_writer import BagWriter  # noqa: E402
from ssvif_core.data.camera_sources import DrawnSource  # noqa: E402
from ssvif_core.replay.demo import START_NS, DemoCamera, demo_frames, write_frame  # noqa: E402

WIDTH, HEIGHT = 96, 72


@cache
def _source(modality, width, height):
    return DrawnSource("day", modality, width, height, 1)


def _record(
    path: Path, seconds=2.0, storage="mcap", compression="none", labels=True, scale=1, **thermal
):
    """A recording with a 10 Hz visible and a 5 Hz thermal camera; `thermal`: of `DemoCamera`."""
    size = WIDTH * scale, HEIGHT * scale
    faults = {"jitter_s": 0.004, "drop": 0.05, "seed": 1}
    cameras = [
        DemoCamera("visible", rate_hz=10.0, **faults),
        DemoCamera("thermal", **{"rate_hz": 5.0, **faults, **thermal}),
    ]
    sources = {c.modality: _source(c.modality, *size) for c in cameras}
    with BagWriter(path, storage, compression) as bag:
        for frame in demo_frames(cameras, seconds):
            write_frame(bag, frame, sources[frame.modality], labels=labels)
    return path


@pytest.fixture(scope="session")
def record():
    """Function that makes a recording, see `_record`."""
    return _record


def _monotonous(path: Path, seconds: float, rate_hz: float) -> Path:
    """A long recording that is made in no time: a few noise images of 64x48, over and over."""
    random = np.random.default_rng(0)
    visible = random.integers(0, 256, (4, 48, 64, 3), dtype=np.uint8)
    thermal = random.integers(7000, 8000, (4, 48, 64), dtype=np.uint16)
    with BagWriter(path, "mcap", "none") as bag:
        for number in range(int(seconds * rate_hz)):
            stamp_ns = START_NS + round(number / rate_hz * 1e9)
            for topic, images, encoding in (
                ("/visible/image_raw", visible, "rgb8"),
                ("/thermal/image_raw", thermal, "mono16"),
            ):
                frame = images[number % len(images)]
                bag.image(topic, stamp_ns + 5_000_000, stamp_ns, frame, encoding, "camera")
    return path


@pytest.fixture(scope="session")
def monotonous():
    """Function that makes a long recording, see `_monotonous`."""
    return _monotonous


@pytest.fixture(scope="session")
def drive(tmp_path_factory) -> Path:
    """Three seconds with true labels; mcap."""
    return _record(tmp_path_factory.mktemp("recordings") / "drive", 3.0)


#: Ways to damage an image message that its numbers show.
DAMAGES = (
    {"data": np.zeros(100, np.uint8)},
    {"step": 3},
    {"encoding": "hsv8"},
    {"height": 0},
    {"encoding": "mono16", "step": WIDTH * 2},
)


@pytest.fixture(scope="session")
def damaged(drive, tmp_path_factory) -> Path:
    """`drive` with every third visible image and one thermal image damaged."""
    path = tmp_path_factory.mktemp("recordings") / "damaged"
    count = {"/visible/image_raw": 0, "/thermal/image_raw": 0}
    with Bag(drive) as bag, BagWriter(path) as writer:
        for recorded in bag.messages([*bag.topics()]):
            fields = vars(bag.message(recorded)) | {}
            fields.pop("__msgtype__", None)
            if recorded.topic in count:
                number = count[recorded.topic]
                count[recorded.topic] += 1
                if recorded.topic.startswith("/visible") and number % 3 == 0:
                    fields |= DAMAGES[number // 3 % len(DAMAGES)]
                if recorded.topic.startswith("/thermal") and number == 3:
                    fields |= DAMAGES[0]
            writer.message(recorded.topic, recorded.kind, recorded.received_ns, fields)
    return path
