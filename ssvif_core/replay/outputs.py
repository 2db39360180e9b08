"""What a replay leaves besides figures: a video of the fused images, and a recording of the output.

The recording has the node's topics, so that viewers set up for the node show it. Of pairs that an
earlier run has done (`earlier.py`), its frames and messages are taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ssvif_core.data.bag_files import Recorded
from ssvif_core.data.bag_writer import BagWriter
from ssvif_core.data.video_writer import VideoWriter, why_not_h264
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.camera_model import lens_field, matrices_of_image, window_of
from ssvif_core.inference.pipeline import FusionResult
from ssvif_core.models import ModelCard

__all__ = [
    "BAG", "CAMERA_INFO", "DIAGNOSTICS", "FUSED", "LABELS", "VIDEO", "OutputBag", "Video",
]  # fmt: skip

VIDEO, BAG = "fused.mp4", "bag"
FUSED, LABELS = "/fusion/fused", "/fusion/labels"
LABEL_INFO, CAMERA_INFO = "/fusion/label_info", "/fusion/camera_info"
DIAGNOSTICS = "/diagnostics"  # of `BagWriter.diagnostics`
#: Frames by whose times the rate of the video is set.
RATE_FROM = 12
LOWEST_HZ, HIGHEST_HZ, USUAL_HZ = 1.0, 120.0, 30.0


class Video:
    """fused.mp4 at the median rate of the first pairs; frames of another size are resized.

    Args:
        path: to write.
        size: (height, width) of the video. That of the visible frames, although thermal ones alone
            may come first.
        before: frames of an earlier run, for `again`.
    """

    def __init__(
        self, path: Path, size: tuple[int, int], before: Iterable[np.ndarray] = ()
    ) -> None:
        self.path, self._size = path, size
        self._before = iter(before)
        self._first: list[tuple[float, np.ndarray]] = []
        self._writer: VideoWriter | None = None
        why_not_h264()  # loads the coder now, and not beside pairs that are timed

    def append(self, stamp_s: float, fused: np.ndarray) -> None:
        """Add an (H, W, 3) uint8 RGB frame.

        Raises:
            SsvifError: the file cannot be written.
        """
        if fused.shape[:2] != self._size:
            fused = cv2.resize(fused, self._size[::-1])
        if self._writer is not None:
            self._writer.append(fused)
        else:
            self._first.append((stamp_s, fused.copy()))
            if len(self._first) >= RATE_FROM:
                self._begin()

    def again(self, stamp_s: float) -> None:
        """Add the next frame that the earlier run has added; its coding is lossy.

        Raises:
            SsvifError: it is not there.
        """
        fused = next(self._before, None)
        if fused is not None:
            fused = fused[: self._size[0], : self._size[1]]  # without what makes its size even
        if fused is None or fused.shape[:2] != self._size:
            raise SsvifError(f"{self.path} cannot be gone on with: replay without --resume.")
        self.append(stamp_s, fused)

    def close(self) -> None:
        if self._writer is None and self._first:
            self._begin()
        if self._writer is not None:
            self._writer.close()

    def _begin(self) -> None:
        steps = np.diff([stamp_s for stamp_s, _ in self._first])
        steps = steps[steps > 0]
        rate = 1 / float(np.median(steps)) if len(steps) else USUAL_HZ
        rate = min(max(rate, LOWEST_HZ), HIGHEST_HZ)
        self._writer = VideoWriter(self.path, rate)
        for _, fused in self._first:
            self._writer.append(fused)
        self._first = []


class OutputBag:
    """Fused images, labels, camera_info, label_info and diagnostics as an mcap recording.

    Args:
        path: folder to make.
        card: of the model, for label_info.
        before: messages of an earlier run, pair by pair, for `again`.

    Raises:
        SsvifError: it cannot be made.
    """

    def __init__(self, path: Path, card: ModelCard, before: Iterable[list[Recorded]] = ()) -> None:
        self._bag = BagWriter(path, "mcap", "zstd")
        self._before = iter(before)
        self._card = card
        self._begun = False
        self._last_ns = 0

    def __enter__(self) -> OutputBag:
        self._bag.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bag.__exit__(*error)

    def frame(
        self, time_ns: int, stamp_ns: int, frame_id: str, result: FusionResult, info: Any
    ) -> None:
        """Write one pair.

        Args:
            time_ns: when the node would have published it, had it dropped nothing; a pair that
                would overtake the one before it comes right after that.
            stamp_ns: of the visible frame.
            frame_id: of the output, see `OutputHeaders`.
            result: of the pipeline.
            info: CameraInfo of what is shown, in whatever size; or None.
        """
        time_ns = self._last_ns = max(time_ns, self._last_ns + 1)
        if not self._begun:
            self._begun = True
            self._bag.text(LABEL_INFO, time_ns, self._label_info(), latched=True)
        self._bag.image(FUSED, time_ns, stamp_ns, result.fused, "rgb8", frame_id)
        self._bag.image(LABELS, time_ns, stamp_ns, result.labels, "mono8", frame_id)
        if info is not None:
            height, width = result.fused.shape[:2]
            k, p = matrices_of_image(info, (width, height))
            size = (height, width) if all(window_of(info)[1]) else (info.height, info.width)
            lens = {
                "d": lens_field(info, "d"),
                "k": k.ravel(),
                "r": lens_field(info, "r"),
                "p": p.ravel(),
            }
            self._bag.camera_info(
                CAMERA_INFO, time_ns, stamp_ns, size, lens, frame_id,
                info.distortion_model,
            )  # fmt: skip

    def again(self) -> None:
        """Write the messages of the next pair of the earlier run, byte for byte.

        Raises:
            SsvifError: they are not there.
        """
        messages = next(self._before, None)
        if messages is None:
            raise SsvifError(f"{self._bag.path} cannot be gone on with: replay without --resume.")
        self._begun = True
        for topic, kind, time_ns, raw, _ in messages:
            self._bag.serialised(topic, kind, time_ns, raw, latched=topic == LABEL_INFO)
            self._last_ns = time_ns

    def second(self, time_ns: int, values: Mapping[str, object], warning: str = "") -> None:
        """Write the figures of a second of the recording to /diagnostics."""
        level, message = (1, warning) if warning else (0, "replayed")
        self._bag.diagnostics(time_ns, "/fusion: fusion", level, message, values)

    def _label_info(self) -> str:
        card = self._card
        classes = [{"id": c.id, "name": c.name, "color": list(c.color)} for c in card.classes]
        content = {"model": card.name, "mode": card.mode, "classes": classes, "unknown": 255}
        return json.dumps(content)
