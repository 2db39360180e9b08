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
from ssvif_core.imaging.bad_pixels import fill_not_finite
from ssvif_core.imaging.encodings import thermal_of, visible_of

__all__ = ["Motion", "MotionMeter", "read_motion"]

#: Widths at which the shift is measured: the first for large shifts, the last for its accuracy.
WIDTHS = (40, 160)
STEPS = 3
#: Changes below this many times their median are noise.
NOISE_FACTOR = 4.0


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
    """Takes frames in order, of one camera, whose name is for errors."""

    def __init__(self, camera: str = "one") -> None:
        self._camera, self._came = camera, 0
        self._last: tuple[float, list[np.ndarray]] | None = None
        self._rows: list[tuple[float, float, float, float, float]] = []

    def __len__(self) -> int:
        return len(self._rows) + (self._last is not None)

    def add(self, stamp_s: float, image: np.ndarray) -> None:
        """A frame: (H, W) or (H, W, 3), uint8 or uint16, or (H, W) float32.

        One that is not newer is passed over, and one of which no pixel is finite.
        """
        if image.dtype == np.float32:
            try:
                image = fill_not_finite(image)
            except SsvifError:
                return
        self._came += 1
        pyramid = _pyramid(image)
        if self._last is not None:
            before_s, before = self._last
            same_size = before[0].shape == pyramid[0].shape
            if stamp_s <= before_s and stamp_s > before_s - 0.5 and same_size:
                return
            if stamp_s > before_s and same_size:
                elapsed = stamp_s - before_s
                dx, dy = _shift(before, pyramid) / elapsed
                change = _change(before[-1], pyramid[-1]) / elapsed
                middle_s = (stamp_s + before_s) / 2
                self._rows.append((middle_s, change, float(dx), float(dy), elapsed))
        self._last = (stamp_s, pyramid)

    def motion(self) -> Motion:
        """What was measured so far. Raises SsvifError if there is too little."""
        if len(self._rows) < 20:
            passed = self._came - len(self)
            if passed > len(self):
                raise SsvifError(
                    f"{passed} of {self._came} frames of the {self._camera} camera have no later "
                    "stamp than the one before: let its driver set header.stamp, and record again."
                )
            raise SsvifError(
                f"{len(self)} frames of the {self._camera} camera are too few to see motion in: "
                "record 10 seconds or more."
            )
        table = np.array(self._rows)
        table = table[np.argsort(table[:, 0], kind="stable")]
        return Motion(table[:, 0], table[:, 1], table[:, 2:4], float(np.median(table[:, 4])))


def _pyramid(image: np.ndarray) -> list[np.ndarray]:
    """Grey images of `WIDTHS`, smoothed, with mean 0 and standard deviation 1."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    out: list[np.ndarray] = []
    for width in WIDTHS:
        size = (width, max(8, round(width * image.shape[0] / image.shape[1])))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        smooth = cv2.GaussianBlur(small, (0, 0), 1.2)
        out.append((smooth - smooth.mean()) / max(float(smooth.std()), 1e-3))
    return out


def _shift(before: list[np.ndarray], after: list[np.ndarray]) -> np.ndarray:
    """(2,) how far the whole image moved, in image widths (Lucas and Kanade, IJCAI 1981)."""
    moved = np.zeros(2)
    for width, first, second in zip(WIDTHS, before, after, strict=True):
        border = width // 10
        inside = np.s_[border:-border, border:-border]
        for _ in range(STEPS):
            back = np.array([[1, 0, moved[0] * width], [0, 1, moved[1] * width]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            laid = cv2.warpAffine(
                second, back, second.shape[1::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE
            )
            gy, gx = np.asarray(np.gradient((first + laid) / 2))
            gx, gy, rest = gx[inside].ravel(), gy[inside].ravel(), (first - laid)[inside].ravel()
            # Things that move by themselves differ most: they count less.
            weight = 1 / (1 + (rest / (2 * np.abs(rest).mean() + 1e-6)) ** 2)
            wx, wy = weight * gx, weight * gy
            normal = np.array([[wx @ gx, wx @ gy], [wx @ gy, wy @ gy]]) + 1e-6 * np.eye(2)
            step = np.linalg.solve(normal, [wx @ rest, wy @ rest]) / width
            moved = moved + np.clip(step, -0.05, 0.05)
    return moved


def _change(before: np.ndarray, after: np.ndarray) -> float:
    """How much differs beyond noise."""
    differs = np.abs(after - before)
    return float(np.maximum(differs - NOISE_FACTOR * np.median(differs), 0).mean())


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
    meters = {camera: MotionMeter(camera) for camera in ("visible", "thermal")}
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
            for _, image, time_s in stream.frames():
                assert time_s is not None
                yield camera, time_s, image
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
