"""One recording as the node would have heard it: camera messages in order of receipt, undecoded.

Streams: one message is held at a time, and decoding is left to whoever needs the pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ssvif_core.data.bag_files import Bag, Recorded
from ssvif_core.data.image_fields import COMPRESSED, RAW, RecordedCompressed, RecordedImage
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.camera_model import CAMERAS
from ssvif_core.imaging.encodings import EncodingError, thermal_of, visible_of
from ssvif_core.imaging.poses import Pose
from ssvif_core.imaging.validity import check_image
from ssvif_core.presence import fingerprint
from ssvif_core.replay.roles import CAMERA_INFOS, Role, TopicChoice, choose_roles, first_of
from ssvif_core.replay.transforms import recorded_pose

__all__ = ["Arrival", "Recording", "Slice"]

#: Longest time [s] that a slice may begin after, or take: in nanoseconds it is still an int64.
LONGEST_SLICE_S = 1e9
#: A report with each second of a longer one would be of no use, and need memory without bound.
LONGEST_SILENCE_NS = 3_600_000_000_000


@dataclass(frozen=True)
class Slice:
    """A part of a recording, in seconds after its first camera frame was received.

    Raises:
        SsvifError: a value is no time that a recording could have.
    """

    start_s: float = 0.0
    duration_s: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("start", self.start_s), ("duration", self.duration_s)):
            if value is not None and not 0 <= value <= LONGEST_SLICE_S:
                raise SsvifError(
                    f"The {name} is {value} s: use 0 to {LONGEST_SLICE_S:g}, or leave it out for "
                    "the whole recording."
                )


class Arrival(NamedTuple):
    """One message when it came; times in nanoseconds.

    `step_ns` is what was left out of `received_ns`: the steps of the clock before it.
    `image` has the fields of an image, undecoded, and is None for other messages. Of a camera's,
    `picture` is the `fingerprint`, and `refused` says why the node would not take it, if so.
    """

    role: Role
    recorded: Recorded
    received_ns: int
    header_ns: int
    image: RecordedImage | RecordedCompressed | None = None
    refused: str = ""
    picture: bytes = b""
    step_ns: int = 0


class Recording:
    """A recording, open for reading. Use it as a context manager.

    Args:
        path: rosbag2 folder, .mcap, .db3 or ROS 1 .bag file, or a folder with the files of one.
        topics: which to take.
        part: which part of it.

    Attributes:
        topics: role -> topic that is read.
        found: a sentence for each topic that was found and not named.
        unreadable: messages that are none of their type, by role; no driver has sent them so.
        refused: images that the node would refuse when they come, by role.
        refusal: why the last of them.
        steps_s: by how much the clock of receipt went on at once, where that is left out; as far
            as it was read.
        start_ns: when the first camera frame of the slice could have come.

    Raises:
        SsvifError: nothing can be read, it is not clear which topics are the cameras', or the
            slice holds no frame. See also `choose_roles`.
    """

    def __init__(self, path: Path, topics: TopicChoice | None = None, part: Slice | None = None):
        self.path = path
        self._wanted, self._slice = topics or TopicChoice(), part or Slice()
        self._bag = Bag(path)
        self.topics: dict[Role, str] = {}
        self.encodings: dict[str, str] = {}
        self.found: list[str] = []
        self.start_ns = 0
        self._end_ns: int | None = None  # of all of it
        self._stop_ns: int | None = None
        self.unreadable: dict[str, int] = {}
        self.refused: dict[str, int] = {}
        self.refusal = ""
        self.steps_s: list[float] = []

    def __enter__(self) -> Recording:
        if not self.path.exists():
            raise SsvifError(f"There is no recording {self.path}.")
        self._bag.__enter__()
        try:
            roles = choose_roles(self._bag, self._wanted)
            self.topics, self.encodings, self.found = roles.topics, roles.encodings, roles.found
            self._cut()
        except BaseException:
            self._bag.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._bag.__exit__()

    @property
    def broken(self) -> dict[str, str]:
        """File name -> what is wrong with it; complete when everything was read."""
        return dict(self._bag.broken)

    @property
    def seconds(self) -> float | None:
        """Length of the slice, where it is known, without the steps of the clock so far."""
        end_ns, stop_ns = self._end_ns, self._stop_ns
        found = [] if end_ns is None else [(end_ns - self.start_ns) * 1e-9 - sum(self.steps_s)]
        found += [] if stop_ns is None else [(stop_ns - self.start_ns) * 1e-9]
        return max(0.0, min(found)) if found else None

    @property
    def most_pairs(self) -> int | None:
        """No camera has fewer messages in the whole recording, where the files say how many."""
        counts = [self._bag.count(t) for role, t in self.topics.items() if role in CAMERAS]
        return min((count for count in counts if count is not None), default=None)

    def arrivals(self) -> Iterator[Arrival]:
        """The messages of all roles in order of receipt; those of no use are counted.

        Images that the node would refuse are among them, and say so. A silence of all of them for
        more than `LONGEST_SILENCE_NS`, be it that the clock was set, is left out of their times.
        """
        self.steps_s, last_ns, step_ns = [], self.start_ns, 0
        roles = {topic: role for role, topic in self.topics.items()}
        # Of a whole recording all is read, so that the bag can say what is missing in it.
        begin_ns = self.start_ns if self._slice.start_s else None
        for recorded in self._bag.messages([*roles], begin_ns):
            if recorded.received_ns < self.start_ns:
                continue
            role = roles[recorded.topic]
            silence_ns, last_ns = recorded.received_ns - last_ns, recorded.received_ns
            if silence_ns > LONGEST_SILENCE_NS:
                self.steps_s.append(silence_ns * 1e-9)
                step_ns += silence_ns
            if self._stop_ns is not None and recorded.received_ns - step_ns >= self._stop_ns:
                return
            try:
                arrival = self._arrival(role, recorded, step_ns)
            except SsvifError:
                self.unreadable[role] = self.unreadable.get(role, 0) + 1
                continue
            if arrival.refused:
                self.refused[role] = self.refused.get(role, 0) + 1
                self.refusal = arrival.refused
            yield arrival

    def _arrival(self, role: Role, recorded: Recorded, step_ns: int) -> Arrival:
        received_ns = recorded.received_ns - step_ns
        if recorded.kind not in (RAW, COMPRESSED):
            stamp_ns = self._bag.stamp_ns(recorded)
            return Arrival(role, recorded, received_ns, stamp_ns, step_ns=step_ns)
        image, refused = self._bag.image(recorded), ""
        if role not in CAMERAS:
            return Arrival(role, recorded, received_ns, image.stamp_ns, image, step_ns=step_ns)
        try:
            check_image(image, role)
        except EncodingError as error:
            refused = f"bad {role} frame: {error}"
        picture = fingerprint(image.data)
        return Arrival(
            role, recorded, received_ns, image.stamp_ns, image, refused, picture, step_ns
        )

    def pixels(self, arrival: Arrival) -> np.ndarray:
        """Decode an image: RGB of the visible camera, counts of the others.

        Raises:
            SsvifError: it cannot be decoded.
        """
        image = arrival.image or self._bag.image(arrival.recorded)
        try:
            return (visible_of if arrival.role == "visible" else thermal_of)(image)
        except cv2.error as error:
            raise SsvifError(f"OpenCV does not take the {arrival.role} image: {error}") from error

    def message(self, arrival: Arrival) -> Any:
        """Decode any message. Raises SsvifError if it is damaged."""
        return self._bag.message(arrival.recorded)

    def image_size(self, role: Role) -> tuple[int, int]:
        """(height, width) of the first image of a role that can be decoded.

        Raises:
            SsvifError: there is none.
        """
        reason = "there is none"
        for recorded in self._bag.messages([self.topics[role]], self.start_ns):
            try:
                image = self.pixels(Arrival(role, recorded, recorded.received_ns, 0))
            except SsvifError as error:
                reason = str(error)
                continue
            return image.shape[0], image.shape[1]
        raise SsvifError(f"{self.path} has no usable image of {self.topics[role]}: {reason}")

    def camera_infos(self) -> dict[str, Any]:
        """The first readable CameraInfo of each camera that has any, by "visible" and "thermal"."""
        infos: dict[str, Any] = {}
        for camera, role in CAMERA_INFOS.items():
            if role not in self.topics:
                continue
            if (info := first_of(self._bag, self.topics[role])) is not None:
                infos[camera] = info
        return infos

    def pose(self, parent: str, child: str) -> tuple[Pose | None, str]:
        """Pose of a frame in another, and where it is from; or None, and why."""
        return recorded_pose(self._bag, parent, child)

    def _cut(self) -> None:
        cameras = [self.topics["visible"], self.topics["thermal"]]
        first = next(self._bag.messages(cameras), None)
        if first is None:
            raise SsvifError(f"{self.path} has no message of {cameras}.")
        self.start_ns = first.received_ns + round(self._slice.start_s * 1e9)
        if self._slice.duration_s is not None:
            self._stop_ns = self.start_ns + round(self._slice.duration_s * 1e9)
        self._end_ns = self._bag.end_ns
        if self.seconds == 0:
            raise SsvifError(f"{self.path} has ended before its second {self._slice.start_s:g}.")
