"""A recording of two simulated drivers, with what real ones do to their frames, as messages in
order of receipt.

A driver takes frames at its own rate, with jitter; some are lost, a thermal core's shutter repeats
a frame, its clock may be wrong; and transport takes its time, so that the stamp of receipt is
later than the header's.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from ssvif_core.data.bag_writer import BagWriter
from ssvif_core.data.camera_sources import DrawnSource, FrameSource, pinhole, thermal_as
from ssvif_core.data.streams import Modality

__all__ = ["DemoCamera", "DemoFrame", "demo_frames", "write_frame"]

#: Beginning of the recording: 2023-11-14. Fixed, so that the same options give the same recording.
START_NS = 1_700_000_000_000_000_000
#: An exponential delay has no upper end; more than this times its mean is cut off.
LONGEST_DELAY = 6.0


@dataclass(frozen=True)
class DemoCamera:
    """One driver. Times are in seconds.

    Attributes:
        modality: "visible" or "thermal".
        rate_hz: nominal frame rate.
        jitter_s: standard deviation of capture times.
        drop: part of the frames that is lost, 0..1.
        delay_s: shortest transport time.
        delay_jitter_s: mean of the exponential part of the transport time.
        offset_s: error of the stamps; positive stamps are late.
        freeze_every_s: a shutter closes this often; 0: never.
        freeze_for_s: and repeats the frame before for this long.
        bits: of thermal pixels, 8 or 16.
        seed: of all chance.
    """

    modality: Modality
    rate_hz: float = 30.0
    jitter_s: float = 0.0
    drop: float = 0.0
    delay_s: float = 0.005
    delay_jitter_s: float = 0.003
    offset_s: float = 0.0
    freeze_every_s: float = 0.0
    freeze_for_s: float = 0.4
    bits: int = 16
    seed: int = 0


class DemoFrame(NamedTuple):
    """A frame that is to be recorded; its pixels are made when it is written."""

    received_ns: int
    stamp_ns: int
    modality: Literal["visible", "thermal"]
    #: Time of what it shows; of a frozen frame that of the frame it repeats.
    shown_s: float


def demo_frames(cameras: list[DemoCamera], duration_s: float) -> Iterator[DemoFrame]:
    """All frames of all cameras, in order of receipt."""
    return heapq.merge(*(_frames(camera, duration_s) for camera in cameras))


def _frames(camera: DemoCamera, duration_s: float) -> Iterator[DemoFrame]:
    random = np.random.default_rng([camera.seed, camera.modality == "visible"])
    latest_ns, captured_before = 0, -1.0
    frozen_s = 0.0
    for number in range(int(duration_s * camera.rate_hz)):
        captured = max(number / camera.rate_hz + random.normal(0.0, 1.0) * camera.jitter_s, 0.0)
        captured = max(captured, captured_before + 1e-4)  # a sensor cannot go back
        captured_before = captured
        delay = random.exponential(1.0) * camera.delay_jitter_s
        delay = camera.delay_s + min(delay, LONGEST_DELAY * camera.delay_jitter_s)
        lost = random.random() < camera.drop
        if not _is_frozen(camera, captured):
            frozen_s = captured
        if lost:
            continue
        # One topic is delivered in order.
        latest_ns = max(latest_ns + 1, START_NS + round((captured + delay) * 1e9))
        stamp_ns = START_NS + round((captured + camera.offset_s) * 1e9)
        yield DemoFrame(latest_ns, stamp_ns, camera.modality, frozen_s)


def _is_frozen(camera: DemoCamera, time_s: float) -> bool:
    every = camera.freeze_every_s
    return every > 0 and time_s >= every and time_s % every < camera.freeze_for_s


def write_frame(
    bag: BagWriter, frame: DemoFrame, source: FrameSource, bits: int = 16, labels: bool = False
) -> None:
    """Write image and camera_info, and the true labels of a drawn visible frame where asked for.

    Topics are those that the node listens to: /visible/image_raw, /visible/camera_info, the same
    of /thermal, and /labels/image_raw (mono8, class ids).
    """
    pixels, encoding = source.frame(frame.shown_s), "rgb8"
    if frame.modality == "thermal":
        pixels, encoding = thermal_as(pixels, bits)
    frame_id = f"{frame.modality}_optical_frame"
    times = frame.received_ns, frame.stamp_ns
    bag.image(f"/{frame.modality}/image_raw", *times, pixels, encoding, frame_id)
    lens = pinhole(*pixels.shape[:2])
    size = (pixels.shape[0], pixels.shape[1])
    bag.camera_info(f"/{frame.modality}/camera_info", *times, size, lens, frame_id)
    if labels and frame.modality == "visible" and isinstance(source, DrawnSource):
        truth = source.labels(frame.shown_s)
        bag.image("/labels/image_raw", *times, truth, "mono8", frame_id)
