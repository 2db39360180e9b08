"""Frame pairs from a recording: the two cameras' topics found, frames paired as the node does it.

The recording is gone through twice: first for stamps alone, to pair, then to decode only the frames
of the pairs that are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.data.bag_files import Bag, Recorded
from ssvif_core.data.collection import SkippedPair
from ssvif_core.data.image_topics import ImageTopic, choose_topics, image_topics
from ssvif_core.data.no_pair import why_no_pair
from ssvif_core.data.pairs import FramePair, make_pair
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.encodings import thermal_of, visible_of
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.imaging.validity import check_image
from ssvif_core.pairing import NearestPairing, Pair, PairingCounts

__all__ = ["BagPairs", "ImageTopic", "choose_topics", "image_topics", "read_bag_pairs"]


@dataclass(frozen=True)
class BagPairs:
    """What a recording gave.

    Attributes:
        pairs: named by the visible stamp in nanoseconds, in order.
        skipped: files that are broken, messages that cannot be decoded.
        stamps_ns: visible and thermal stamp of each pair.
        counts: where all frames went; a frame without a partner is none that was skipped.
        no_pair: why no two frames belong together, for people; "" if some do.
        visible_topic: what was taken for the visible camera.
        thermal_topic: what was taken for the thermal camera.
    """

    pairs: list[FramePair]
    skipped: list[SkippedPair]
    stamps_ns: list[tuple[int, int]]
    counts: PairingCounts
    no_pair: str
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
    """Read up to `limit` pairs of a recording, spread evenly over it.

    16-bit thermal frames go through one `ThermalGain` with their stamps, as they do in the node.

    Args:
        path: rosbag2 folder, .mcap or .db3 file, or ROS 1 .bag file.
        visible_topic: Image or CompressedImage topic; None to find it by name and encoding.
        thermal_topic: likewise.
        slop_s: greatest time between the frames of a pair, in seconds.
        offset_s: added to thermal stamps before comparing, in seconds.
        limit: pairs at most.
        make: what makes a pair of two frames; called as `make_pair` is, in order. Of the frames
            nothing else is kept.

    Raises:
        SsvifError: nothing can be read, or it is not clear which topics are the two cameras'.
    """
    with Bag(path) as bag:
        visible, thermal = choose_topics(image_topics(bag), visible_topic, thermal_topic, path)
        turns = -1
        while turns < bag.turns:  # the frames have other numbers when it is read around damage
            turns = bag.turns
            pairing = NearestPairing[int, int](slop_s=slop_s, thermal_offset_s=offset_s)
            skipped: list[SkippedPair] = []
            times: dict[str, list[tuple[int, int]]] = {"visible": [], "thermal": []}
            found = _paired(bag, visible, thermal, pairing, skipped, times)
        last = len(found) - 1
        picks = np.unique(np.linspace(0, last, min(limit, len(found))).round().astype(int))
        chosen = [found[i] for i in picks]
        frames = _decoded(bag, visible, thermal, chosen, skipped)
        pairs, stamps = _pairs(frames, skipped, make)
        broken = [SkippedPair(name, reason) for name, reason in bag.broken.items()]
    no_pair = "" if found else why_no_pair(times, slop_s, offset_s)
    return BagPairs(pairs, broken + skipped, stamps, pairing.counts, no_pair, visible, thermal)


def _paired(
    bag: Bag,
    visible: str,
    thermal: str,
    pairing: NearestPairing[int, int],
    skipped: list[SkippedPair],
    times: dict[str, list[tuple[int, int]]],
) -> list[Pair[int, int]]:
    """Pairs of message numbers; each topic's messages are numbered from 0.

    `times` is told each camera's stamps and times of receipt.
    """
    pairs: list[Pair[int, int]] = []
    numbers = {visible: 0, thermal: 0}
    for recorded in bag.messages([visible, thermal]):
        number = numbers[recorded.topic]
        numbers[recorded.topic] += 1
        camera = "visible" if recorded.topic == visible else "thermal"
        try:
            message = bag.image(recorded)
            check_image(message, camera)
        except SsvifError as error:
            skipped.append(SkippedPair(f"{recorded.topic} message {number}", str(error)))
            continue
        stamp_ns = message.stamp_ns
        times[camera].append((stamp_ns, recorded.received_ns))
        add = pairing.add_visible if recorded.topic == visible else pairing.add_thermal
        pairs += add(stamp_ns, number, recorded.received_ns)
    return pairs + pairing.flush()


def _decoded(
    bag: Bag,
    visible: str,
    thermal: str,
    chosen: Sequence[Pair[int, int]],
    skipped: list[SkippedPair],
) -> Iterator[tuple[Pair[int, int], np.ndarray, np.ndarray]]:
    """The chosen pairs with their pixels, in order; those of which a frame fails are left out.

    A frame is kept until its partner has been read, too.
    """
    wanted = {
        visible: {p.visible: p.visible_stamp_ns for p in chosen},
        thermal: {p.thermal: p.thermal_stamp_ns for p in chosen},
    }
    numbers = {visible: 0, thermal: 0}
    frames: dict[tuple[str, int], np.ndarray | None] = {}
    coming = deque(chosen)
    for recorded in bag.messages([visible, thermal]):
        number = numbers[recorded.topic]
        numbers[recorded.topic] += 1
        if number not in wanted[recorded.topic]:
            continue
        camera = "visible" if recorded.topic == visible else "thermal"
        frames[camera, number] = None
        try:
            frames[camera, number] = _pixels(bag, recorded, camera, wanted[recorded.topic][number])
        except (SsvifError, cv2.error) as error:
            skipped.append(SkippedPair(f"{recorded.topic} message {number}", str(error)))
        while coming and all(key in frames for key in _keys(coming[0])):
            pair = coming.popleft()
            seen, felt = (frames.pop(key) for key in _keys(pair))
            if seen is not None and felt is not None:
                yield pair, seen, felt


def _keys(pair: Pair[int, int]) -> tuple[tuple[str, int], tuple[str, int]]:
    return ("visible", pair.visible), ("thermal", pair.thermal)


def _pixels(bag: Bag, recorded: Recorded, camera: str, stamp_ns: int) -> np.ndarray:
    """A copy of the pixels, which keeps no message alive. SsvifError if they have another stamp."""
    message = bag.image(recorded)
    if message.stamp_ns != stamp_ns:
        raise SsvifError("the recording has changed while it was read: read it again")
    return (visible_of if camera == "visible" else thermal_of)(message).copy()


def _pairs(
    frames: Iterable[tuple[Pair[int, int], np.ndarray, np.ndarray]],
    skipped: list[SkippedPair],
    make: Callable[..., FramePair],
) -> tuple[list[FramePair], list[tuple[int, int]]]:
    """Frame pairs with their stamps."""
    gain = ThermalGain()
    pairs: list[FramePair] = []
    stamps: list[tuple[int, int]] = []
    for pair, visible, thermal in frames:
        stamp_s = pair.thermal_stamp_ns / 1e9
        name = str(pair.visible_stamp_ns)
        try:
            pairs.append(make(name, visible, thermal, gain=gain, stamp_s=stamp_s))
        except SsvifError as error:
            skipped.append(SkippedPair(name, str(error)))
            continue
        stamps.append((pair.visible_stamp_ns, pair.thermal_stamp_ns))
    return pairs, stamps
