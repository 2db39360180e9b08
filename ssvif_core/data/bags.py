"""Frame pairs from a recording: the two cameras' topics found, frames paired as the node does it.

The recording is gone through twice: first for stamps alone, to pair, then to decode only the frames
of the pairs that are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ssvif_core.data.bag_files import Bag, Recorded
from ssvif_core.data.collection import SkippedPair
from ssvif_core.data.image_fields import COMPRESSED, RAW, RecordedCompressed
from ssvif_core.data.pairs import FramePair, make_pair
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.encodings import thermal_of, visible_of
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.imaging.validity import check_image
from ssvif_core.pairing import NearestPairing, Pair, PairingCounts

__all__ = ["BagPairs", "ImageTopic", "choose_topics", "image_topics", "read_bag_pairs"]

#: Words of a topic name that say thermal. No maker's name: FLIR makes colour cameras, too. Nor
#: "infra", which is the near-infrared stereo pair of depth cameras.
THERMAL_WORDS = {"thermal", "ir", "infrared", "lwir", "tir"}
#: Depth images are 16 bit as well, and masks and fused images are what others made of the frames.
NO_CAMERA = re.compile("depth|disparity|label|mask|segment|fused|overlay")
#: Encodings of one channel and 8 bits.
GRAY = ("mono8", "8uc1")


@dataclass(frozen=True)
class ImageTopic:
    """A topic with images; `encoding` is that of its first message (`format` if compressed)."""

    name: str
    kind: str
    encoding: str

    @property
    def thermal(self) -> bool:
        """Whether it looks like a thermal camera's."""
        words = set(re.split("[^a-z]+", self.name.lower()))
        return self.encoding.lower().startswith(("mono16", "16uc1")) or bool(words & THERMAL_WORDS)

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.kind.rsplit('/', 1)[-1]}, {self.encoding or 'unknown encoding'})"
        )


@dataclass(frozen=True)
class BagPairs:
    """What a recording gave.

    Attributes:
        pairs: named by the visible stamp in nanoseconds, in order.
        skipped: files that are broken, messages that cannot be decoded.
        stamps_ns: visible and thermal stamp of each pair.
        counts: where all frames went; a frame without a partner is none that was skipped.
        visible_topic: what was taken for the visible camera.
        thermal_topic: what was taken for the thermal camera.
    """

    pairs: list[FramePair]
    skipped: list[SkippedPair]
    stamps_ns: list[tuple[int, int]]
    counts: PairingCounts
    visible_topic: str
    thermal_topic: str


def read_bag_pairs(
    path: Path,
    *,
    visible_topic: str | None = None,
    thermal_topic: str | None = None,
    slop_s: float = 0.05,
    offset_s: float = 0.0,
    limit: int = 400,
    make: Callable[..., FramePair] = make_pair,
) -> BagPairs:
    """Read up to `limit` pairs of a recording into memory, spread evenly over it.

    16-bit thermal frames go through one `ThermalGain` with their stamps, as they do in the node.

    Args:
        path: rosbag2 folder, .mcap or .db3 file, or ROS 1 .bag file.
        visible_topic: Image or CompressedImage topic; None to find it by name and encoding.
        thermal_topic: likewise.
        slop_s: greatest time between the frames of a pair, in seconds.
        offset_s: added to thermal stamps before comparing, in seconds.
        limit: pairs at most.
        make: what makes a pair of two frames; called as `make_pair` is.

    Raises:
        SsvifError: nothing can be read, or it is not clear which topics are the two cameras'.
    """
    with Bag(path) as bag:
        visible, thermal = choose_topics(image_topics(bag), visible_topic, thermal_topic, path)
        pairing: NearestPairing[int, int] = NearestPairing(slop_s=slop_s, thermal_offset_s=offset_s)
        skipped: list[SkippedPair] = []
        found = _paired(bag, visible, thermal, pairing, skipped)
        last = len(found) - 1
        picks = np.unique(np.linspace(0, last, min(limit, len(found))).round().astype(int))
        chosen = [found[i] for i in picks]
        frames = _decoded(bag, visible, thermal, chosen, skipped)
        broken = [SkippedPair(name, reason) for name, reason in bag.broken.items()]
    pairs, stamps = _pairs(chosen, frames, skipped, make)
    return BagPairs(pairs, broken + skipped, stamps, pairing.counts, visible, thermal)


def choose_topics(
    topics: Sequence[ImageTopic], visible: str | None, thermal: str | None, path: Path
) -> tuple[str, str]:
    """The names of the visible and of the thermal topic.

    Args:
        topics: what there is; depth images, masks, and compressed copies of topics that are there
            raw, are not considered. Of a colour and a gray topic, the gray one is taken for the
            thermal camera's where neither name says so.
        visible: the visible topic if it is known.
        thermal: the thermal topic if it is known.
        path: of the recording, for errors.

    Raises:
        SsvifError: a named topic is not there, or there is not exactly one candidate.
    """
    names = {topic.name for topic in topics}
    listed = ", ".join(map(str, topics)) or "none"
    for wanted in (visible, thermal):
        if wanted is not None and wanted not in names:
            raise SsvifError(f"{path} has no image topic {wanted}. Image topics: {listed}.")
    usable = [
        topic
        for topic in topics
        if not NO_CAMERA.search(topic.name.lower())
        and not (topic.kind == COMPRESSED and topic.name.removesuffix("/compressed") in names)
        and topic.name not in (visible, thermal)
    ]
    seen = [visible] if visible else [t.name for t in usable if not t.thermal]
    felt = [thermal] if thermal else [t.name for t in usable if t.thermal]
    gray = [t.name for t in usable if t.encoding.lower().startswith(GRAY)]
    if not felt and len(gray) == 1 and len(usable) == 2:
        felt, seen = gray, [name for name in seen if name not in gray]
    if len(seen) != 1 or len(felt) != 1:
        raise SsvifError(
            f"{path}: which topics are the two cameras'? Visible may be {seen or 'none'}, thermal "
            f"may be {felt or 'none'}. Image topics: {listed}. Name them with visible_topic and "
            "thermal_topic."
        )
    return seen[0], felt[0]


def image_topics(bag: Bag) -> list[ImageTopic]:
    """All topics with images in them, each with the encoding of its first message."""
    topics = []
    for name, kind in bag.topics().items():
        if kind not in (RAW, COMPRESSED) or name.endswith("/compressedDepth"):
            continue
        encoding = ""
        first = next(bag.messages([name]), None)
        if first is None:
            continue
        try:
            message = bag.image(first)
            encoding = (
                message.format if isinstance(message, RecordedCompressed) else message.encoding
            )
        except SsvifError:
            pass  # noted when it is its turn
        topics.append(ImageTopic(name, kind, encoding))
    return topics


def _paired(
    bag: Bag,
    visible: str,
    thermal: str,
    pairing: NearestPairing[int, int],
    skipped: list[SkippedPair],
) -> list[Pair[int, int]]:
    """Pairs of message numbers; each topic's messages are numbered from 0."""
    pairs: list[Pair[int, int]] = []
    numbers = {visible: 0, thermal: 0}
    for recorded in bag.messages([visible, thermal]):
        number = numbers[recorded.topic]
        numbers[recorded.topic] += 1
        try:
            message = bag.image(recorded)
            check_image(message, "visible" if recorded.topic == visible else "thermal")
        except SsvifError as error:
            skipped.append(SkippedPair(f"{recorded.topic} message {number}", str(error)))
            continue
        stamp_ns = message.stamp_ns
        add = pairing.add_visible if recorded.topic == visible else pairing.add_thermal
        pairs += add(stamp_ns, number, recorded.received_ns)
    return pairs + pairing.flush()


def _decoded(
    bag: Bag,
    visible: str,
    thermal: str,
    chosen: Sequence[Pair[int, int]],
    skipped: list[SkippedPair],
) -> dict[tuple[str, int], np.ndarray]:
    """Pixels of the chosen frames, by "visible" or "thermal" and message number."""
    wanted = {visible: {p.visible for p in chosen}, thermal: {p.thermal for p in chosen}}
    numbers = {visible: 0, thermal: 0}
    frames: dict[tuple[str, int], np.ndarray] = {}
    for recorded in bag.messages([visible, thermal]):
        number = numbers[recorded.topic]
        numbers[recorded.topic] += 1
        if number not in wanted[recorded.topic]:
            continue
        camera = "visible" if recorded.topic == visible else "thermal"
        try:
            frames[camera, number] = _pixels(bag, recorded, camera)
        except (SsvifError, cv2.error) as error:
            skipped.append(SkippedPair(f"{recorded.topic} message {number}", str(error)))
    return frames


def _pixels(bag: Bag, recorded: Recorded, camera: str) -> np.ndarray:
    """A copy of the pixels, which keeps no message alive."""
    message: Any = bag.image(recorded)
    return (visible_of if camera == "visible" else thermal_of)(message).copy()


def _pairs(
    chosen: Sequence[Pair[int, int]],
    frames: dict[tuple[str, int], np.ndarray],
    skipped: list[SkippedPair],
    make: Callable[..., FramePair],
) -> tuple[list[FramePair], list[tuple[int, int]]]:
    """Frame pairs with their stamps; those with an undecodable frame are in `skipped` already."""
    gain = ThermalGain()
    pairs: list[FramePair] = []
    stamps: list[tuple[int, int]] = []
    for pair in chosen:
        visible = frames.pop(("visible", pair.visible), None)
        thermal = frames.pop(("thermal", pair.thermal), None)
        if visible is None or thermal is None:
            continue
        stamp_s = pair.thermal_stamp_ns / 1e9
        name = str(pair.visible_stamp_ns)
        try:
            pairs.append(make(name, visible, thermal, gain=gain, stamp_s=stamp_s))
        except SsvifError as error:
            skipped.append(SkippedPair(name, str(error)))
            continue
        stamps.append((pair.visible_stamp_ns, pair.thermal_stamp_ns))
    return pairs, stamps
