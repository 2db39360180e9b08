"""How much each camera's image moves, frame by frame: what the time offset is found from.

A frame is shrunk at once, so that a recording of any length needs little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from ssvif_core.calibration.frames import Source
from ssvif_core.data.bag_files import Bag, is_bag
from ssvif_core.data.bags import choose_topics, image_topics
from ssvif_core.data.streams import Modality, VideoStream, open_stream
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.encodings import thermal_of, visible_of

__all__ = ["Motion", "MotionMeter", "read_motion"]

WIDTH = 80


@dataclass(frozen=True)
class Motion:
    """Motion of one camera's image.

    Attributes:
        times_s: (N,) middle of the two frames that were compared, increasing.
        energy: (N,) how much changed, in grey levels a second relative to the image's contrast.
        shift: (N, 2) pixels a second by which the whole image moved, in image widths.
        period_s: median time between frames.
    """

    times_s: np.ndarray
    energy: np.ndarray
    shift: np.ndarray
    period_s: float


class MotionMeter:
    """Takes frames in order, of one camera."""

    def __init__(self) -> None:
        self._last: tuple[float, np.ndarray] | None = None
        self._rows: list[tuple[float, float, float, float, float]] = []
        self._window: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._rows) + (self._last is not None)

    def add(self, stamp_s: float, image: np.ndarray) -> None:
        """A frame: (H, W) or (H, W, 3), uint8 or uint16. One that is not newer is passed over."""
        small = self._small(image)
        if self._last is not None:
            before_s, before = self._last
            if stamp_s <= before_s or before.shape != small.shape:
                if stamp_s < before_s - 0.5 or before.shape != small.shape:  # starts again
                    self._last = (stamp_s, small)
                return
            elapsed = stamp_s - before_s
            (dx, dy), _ = cv2.phaseCorrelate(before, small, self._window)
            change = float(np.abs(small - before).mean())
            dx, dy = dx / WIDTH / elapsed, dy / WIDTH / elapsed
            self._rows.append(((stamp_s + before_s) / 2, change / elapsed, dx, dy, elapsed))
        self._last = (stamp_s, small)

    def _small(self, image: np.ndarray) -> np.ndarray:
        if image.ndim == 3:
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        size = (WIDTH, max(8, round(WIDTH * image.shape[0] / image.shape[1])))
        shrunk = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        small: np.ndarray = cv2.GaussianBlur(shrunk, (0, 0), 1.0)
        small -= small.mean()
        small /= max(float(small.std()), 1e-3)
        if self._window is None or self._window.shape != small.shape:
            self._window = cv2.createHanningWindow(size, cv2.CV_32F)
        return small

    def motion(self) -> Motion:
        """What was measured so far. Raises SsvifError if there is too little."""
        if len(self._rows) < 20:
            raise SsvifError(
                f"{len(self)} frames are too few to see motion in: record 10 seconds or more."
            )
        table = np.array(self._rows)
        table = table[np.argsort(table[:, 0], kind="stable")]
        return Motion(table[:, 0], table[:, 1], table[:, 2:4], float(np.median(table[:, 4])))


def read_motion(
    source: Source, progress: Callable[[int], None] = lambda _frames: None
) -> tuple[Motion, Motion]:
    """Motion of the visible and of the thermal camera, over all frames that there are.

    Args:
        source: a recording or two videos; folders of images have no times.
        progress: called with the number of frames read.

    Raises:
        SsvifError: the source has no times, or too few frames.
    """
    meters = {"visible": MotionMeter(), "thermal": MotionMeter()}
    for count, (camera, stamp_s, image) in enumerate(_timed(source)):
        meters[camera].add(stamp_s, image)
        progress(count + 1)
    return meters["visible"].motion(), meters["thermal"].motion()


def _timed(source: Source) -> Iterator[tuple[str, float, np.ndarray]]:
    videos = source.videos()
    if videos:
        cameras: tuple[Modality, Modality] = ("visible", "thermal")
        for camera, path in zip(cameras, videos, strict=True):
            stream = open_stream(path, camera)
            if not isinstance(stream, VideoStream) or not stream.rate_hz:
                raise SsvifError(f"{path} has no frame rate, so its frames have no times.")
            for index, (_, image) in enumerate(stream.frames()):
                yield camera, index / stream.rate_hz, image
        return
    if not is_bag(source.path):
        raise SsvifError(
            f"{source.path} is a folder of images, which have no times: give --time a recording or "
            "two videos."
        )
    with Bag(source.path) as bag:
        topics = choose_topics(
            image_topics(bag), source.visible_topic, source.thermal_topic, source.path
        )
        start_ns: int | None = None
        for recorded in bag.messages(topics):
            camera = "visible" if recorded.topic == topics[0] else "thermal"
            try:
                stamp_ns = bag.stamp_ns(recorded)
                pixels = (visible_of if camera == "visible" else thermal_of)(bag.message(recorded))
            except (SsvifError, cv2.error):
                continue  # reported where pairs are read
            start_ns = stamp_ns if start_ns is None else start_ns
            yield camera, (stamp_ns - start_ns) * 1e-9, pixels
