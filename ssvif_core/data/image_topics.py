"""Which topics of a recording are the two cameras'? By type, name and content.

A choice is made where one topic stands out, and said aloud by who asks; where none does, the error
lists what there is. Nothing is guessed between two cameras that look alike.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ssvif_core.data.bag_files import Bag
from ssvif_core.data.image_fields import COMPRESSED, RAW, RecordedCompressed
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.compressed import decompressed
from ssvif_core.imaging.encodings import DECODED, EncodingError

__all__ = ["ImageTopic", "choose_topics", "image_topics", "passed_over"]

#: What a topic is called that can only be a thermal camera's. Boson and Lepton are cores; no
#: maker's name, for FLIR makes colour cameras, too.
THERMAL_NAME = re.compile("thermal|lwir|microbolometer|(?<![a-z])(tir|boson|lepton)(?![a-z])")
#: And one that may be. Not "infra", the near-infrared stereo pair of depth cameras.
INFRARED_NAME = re.compile("(?<![a-z])(ir|infrared)(?![a-z])")
#: And one that says that it is the camera for colours.
COLOUR_NAME = re.compile("(?<![a-z])(rgb|colou?r|visible|vis)(?![a-z])")
#: Depth images are 16 bit as well, and masks and fused images are what others made of the frames.
NO_CAMERA = re.compile(
    "depth|disparity|confidence|label|mask|segment|fused|overlay|heatmap|annotated|detection|debug"
)
#: Encodings of one channel and 8 bits, of raw counts, and of temperatures.
GRAY, COUNTS, FLOAT = ("mono8", "8uc1"), ("mono16", "16uc1", "16sc1"), ("32fc1",)
#: What image_proc makes of the image_raw beside it.
PROCESSED = re.compile(r"/image_(rect|mono|color|rect_color|rect_mono)$")
#: In a format of a driver's own; the encoding is then read from the image.
UNREAD = "not read: "
#: Messages that are looked at until one can be read.
TRIED = 5
DECODED_NAMES = {name.lower() for name in DECODED}


@dataclass(frozen=True)
class ImageTopic:
    """A topic with images.

    `encoding` is that of its first message that can be read: of a compressed image its `format`,
    with the encoding before it where it does not say one. `empty`: there is no message.
    """

    name: str
    kind: str
    encoding: str
    empty: bool = False

    @property
    def base(self) -> str:
        """The name without its transport."""
        return self.name.removesuffix("/compressed")

    @property
    def thermal(self) -> bool:
        """Whether it looks like a thermal camera's."""
        return self.heat > 0

    @property
    def heat(self) -> int:
        """How much speaks for a thermal camera; 0: nothing. The name weighs more than the type."""
        name, encoding = self.name.lower(), self.encoding.lower()
        named = 8 * bool(THERMAL_NAME.search(name)) or 2 * bool(INFRARED_NAME.search(name))
        counts = 4 * encoding.startswith(COUNTS)
        if not named and not counts:
            return 0
        # Of a camera's raw and false-coloured images, the raw one.
        return named + counts + encoding.startswith((*GRAY, *FLOAT))

    @property
    def colour(self) -> int:
        """How much speaks for a visible camera; 0: it cannot be one's."""
        encoding = self.encoding.lower()
        if self.thermal or encoding.startswith((*COUNTS, *FLOAT)):
            return 0
        place, _, last = self.base.lower().rpartition("/")  # image_rect_color is not yet a name
        place = place if last.startswith("image") else self.base.lower()
        named = 2 * bool(COLOUR_NAME.search(place))
        return 1 + named + (not encoding.startswith(GRAY))

    def __str__(self) -> str:
        kind = self.kind.rsplit("/", 1)[-1]
        what = "no message" if self.empty else self.encoding or "unknown encoding"
        return f"{self.name} ({kind}, {what})"


def choose_topics(
    topics: Sequence[ImageTopic], visible: str | None, thermal: str | None, path: Path
) -> tuple[str, str]:
    """The names of the visible and of the thermal topic.

    Of a colour and a gray topic, the gray one is taken for the thermal camera's where neither name
    says so. A topic without messages is taken where nothing else fits: of a camera that was asked
    for and sent nothing, as the node would have waited for it.

    Args:
        topics: what there is.
        visible: the visible topic if it is known.
        thermal: the thermal topic if it is known.
        path: of the recording, for errors.

    Raises:
        SsvifError: a named topic is not there, or none or several fit equally well.
    """
    names = {topic.name for topic in topics}
    listed = ", ".join(map(str, topics)) or "none"
    for wanted in (visible, thermal):
        if wanted is not None and wanted not in names:
            raise SsvifError(f"{path} has no image topic {wanted}. Image topics: {listed}.")
    usable = [topic for topic in _usable(topics) if topic.name not in (visible, thermal)]
    heard, silent = ([t for t in usable if t.empty == empty] for empty in (False, True))
    felt = [thermal] if thermal else _best(heard, "heat")
    gray = [t.name for t in heard if t.encoding.lower().startswith(GRAY)]
    if not felt and len(gray) == 1 and len(heard) + bool(visible) == 2:
        felt = gray
    felt = felt or _best(silent, "heat")
    seen = [visible] if visible else _best([t for t in heard if t.name not in felt], "colour")
    seen = seen or _best(silent, "colour")
    if len(seen) != 1 or len(felt) != 1:
        raise SsvifError(_unclear(path, seen, felt, topics))
    return seen[0], felt[0]


def _unclear(
    path: Path, seen: Sequence[str], felt: Sequence[str], topics: Sequence[ImageTopic]
) -> str:
    """Why the two cameras are not known, and what to do."""
    if not topics:
        return f"{path} holds no images: record the image topics of both cameras."
    listed = f"Image topics: {', '.join(map(str, topics))}."
    for camera, found in (("visible", seen), ("thermal", felt)):
        if not found and len(topics) == 1:
            return f"{path}: there is no {camera} camera in it. {listed} Record both cameras."
        if not found:
            return (
                f"{path}: no topic looks like a {camera} camera's, by name or encoding. {listed} "
                f"If one of them is, name it with --{camera}-topic ({camera}_topic in a training "
                "file)."
            )
    return (
        f"{path}: which topics are the two cameras'? Visible may be {[*seen]}, thermal may be "
        f"{[*felt]}. {listed} Name them with --visible-topic and --thermal-topic (visible_topic "
        "and thermal_topic in a training file)."
    )


def passed_over(topics: Sequence[ImageTopic], chosen: str, *, thermal: bool) -> list[str]:
    """Other topics that could have been a camera's, and stood out less."""
    return [
        t.name
        for t in _usable(topics)
        if t.name != chosen and not t.empty and (t.heat if thermal else t.colour)
    ]  # fmt: skip


def _best(topics: Sequence[ImageTopic], measure: str) -> list[str]:
    """The topics that stand out: those of the greatest measure above 0."""
    marks = {topic.name: getattr(topic, measure) for topic in topics}
    most = max(marks.values(), default=0)
    return [name for name, mark in marks.items() if mark == most and mark > 0]


def _usable(topics: Sequence[ImageTopic]) -> list[ImageTopic]:
    """Without what is no camera's, and without copies of what is there as well.

    A raw topic may be there and empty: declared by a driver that was told to send `compressed`.
    """
    names = {topic.name for topic in topics}
    full = {topic.name for topic in topics if not topic.empty}
    bases = {topic.base for topic in topics}
    return [
        topic
        for topic in topics
        if not NO_CAMERA.search(topic.name.lower())
        and not topic.encoding.startswith(UNREAD)
        and not (
            topic.kind == COMPRESSED
            and topic.base != topic.name
            and topic.base in (names if topic.empty else full)
        )
        and not (
            PROCESSED.search(topic.base) and f"{topic.base.rpartition('/')[0]}/image_raw" in bases
        )
    ]


def image_topics(bag: Bag) -> list[ImageTopic]:
    """All topics of images, each with the encoding of its first readable message."""
    topics = []
    for name, kind in bag.topics().items():
        if kind not in (RAW, COMPRESSED) or name.endswith("/compressedDepth"):
            continue
        first = list(itertools.islice(bag.messages([name]), TRIED))
        encodings = [encoding for message in first if (encoding := _encoding(bag, message))]
        read = [e for e in encodings if not e.startswith(UNREAD)]
        topics.append(ImageTopic(name, kind, (read or encodings or [""])[0], not first))
    return topics


def _encoding(bag: Bag, recorded: Any) -> str:
    """What is in a message; "" where it cannot be read."""
    try:
        image = bag.image(recorded)
    except SsvifError:
        return ""  # noted when it is its turn
    if not isinstance(image, RecordedCompressed):
        return image.encoding
    if "compresseddepth" in image.format.lower():
        return f"{UNREAD}{image.format}"
    if image.format.split(";")[0].strip().lower() in DECODED_NAMES:
        return image.format
    try:
        pixels = decompressed(image, cv2.IMREAD_UNCHANGED)
    except EncodingError:
        return f"{UNREAD}{image.format}"
    gray, wide = pixels.ndim == 2, pixels.dtype != np.uint8
    return f"{'mono' if gray else 'bgr'}{16 if wide else 8}; {image.format}"
