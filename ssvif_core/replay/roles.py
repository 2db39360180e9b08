"""Which topic of a recording is what to the node: its cameras, their camera_info, true labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ssvif_core.data.bag_files import Bag
from ssvif_core.data.camera_infos import Camera, camera_infos, first_of
from ssvif_core.data.image_topics import ImageTopic, choose_topics, image_topics, passed_over
from ssvif_core.errors import SsvifError

__all__ = [
    "AUTO", "CAMERA_INFOS", "NONE", "Role", "Roles", "TopicChoice", "choose_roles", "first_of",
]  # fmt: skip

LABELS = re.compile("label|mask|segment")
#: How the encoding of class ids begins; colours and floats are none.
IDS = ("mono8", "8uc1", "mono16", "16uc1")
#: Beside labels, in their namespace, these show that a fusion node sent them: they are no truth.
OF_A_FUSION_NODE = ("fused", "fused/compressed", "label_info", "vision_label_info")
#: What `--labels` may be instead of a topic.
AUTO, NONE = "auto", "none"
Role = Literal["visible", "thermal", "labels", "visible_info", "thermal_info"]
CAMERA_INFOS: dict[Camera, Role] = {"visible": "visible_info", "thermal": "thermal_info"}


@dataclass(frozen=True)
class TopicChoice:
    """Topics by name; None: to be found. `labels` may also be "auto" or "none"."""

    visible: str | None = None
    thermal: str | None = None
    labels: str = AUTO


@dataclass(frozen=True)
class Roles:
    """What was chosen.

    Attributes:
        topics: role -> topic.
        encodings: topic of images -> encoding of its first one.
        found: a sentence for each topic that was found and not named, and for each that was left
            out although it looks like one.
    """

    topics: dict[Role, str]
    encodings: dict[str, str]
    found: list[str]


def choose_roles(bag: Bag, wanted: TopicChoice) -> Roles:
    """Choose the topics.

    Args:
        bag: open.
        wanted: those that are known.

    Raises:
        SsvifError: there is no image, it is not clear which topics are the cameras', one is named
            for several, or labels cannot be class ids.
    """
    images = image_topics(bag)
    if all(topic.empty for topic in images):
        damage = "; ".join(f"{name} {why}" for name, why in bag.broken.items())
        raise SsvifError(f"{bag.path} holds no image that can be read. {damage}".strip())
    visible, thermal = choose_topics(images, wanted.visible, wanted.thermal, bag.path)
    topics: dict[Role, str] = {"visible": visible, "thermal": thermal}
    labels, own = _labels(bag, images, wanted.labels, {visible, thermal})
    if labels:
        topics["labels"] = labels
    if len({*topics.values()}) < len(topics):
        named = ", ".join(f"{role}: {topic}" for role, topic in topics.items())
        raise SsvifError(
            f"{bag.path}: one topic cannot be two ({named}). Name each with --visible-topic, "
            "--thermal-topic and --labels."
        )
    infos, shared = camera_infos(bag, {"visible": visible, "thermal": thermal})
    topics |= {CAMERA_INFOS[camera]: info for camera, info in infos.items()}
    said = [f"camera_info: {sentence}" for sentence in shared]
    encodings = {topic.name: topic.encoding for topic in images}
    return Roles(topics, encodings, [*_sentences(topics, images, wanted), *own, *said])


def _labels(
    bag: Bag, images: Sequence[ImageTopic], wanted: str, taken: set[str]
) -> tuple[str | None, list[str]]:
    """The topic of true labels, if any; and what was not taken for it, in words."""
    if wanted == NONE:
        return None, []
    if wanted != AUTO:
        return _named_labels(bag, images, wanted), []
    found = [
        topic.name
        for topic in images
        if LABELS.search(topic.name.lower())
        and topic.name not in taken
        and topic.encoding.lower().startswith(IDS)
    ]
    own = [name for name in found if _is_of_a_fusion_node(bag, name)]
    found = [name for name in found if name not in own]
    said = [
        f"labels: not {name}, which a fusion node sent; --labels {name} takes it all the same"
        for name in own
    ]
    return found[0] if len(found) == 1 else None, said


def _named_labels(bag: Bag, images: Sequence[ImageTopic], wanted: str) -> str:
    encodings = {topic.name: topic.encoding for topic in images}
    if wanted not in encodings:
        raise SsvifError(f"{bag.path} has no image topic {wanted}: it has {[*encodings]}.")
    encoding = encodings[wanted]
    if encoding and not encoding.lower().startswith(IDS):
        raise SsvifError(
            f"The labels {wanted} are {encoding}, and class ids are one of mono8, 8UC1, mono16 and "
            "16UC1: name another topic with --labels, or none."
        )
    return wanted


def _is_of_a_fusion_node(bag: Bag, labels: str) -> bool:
    return any(f"{_namespace(labels)}/{other}" in bag.topics() for other in OF_A_FUSION_NODE)


def _sentences(
    topics: dict[Role, str], images: Sequence[ImageTopic], wanted: TopicChoice
) -> list[str]:
    """What was found and not named, and what could have been taken instead."""
    encodings = {topic.name: topic.encoding for topic in images}
    sentences = []
    for role, topic in topics.items():
        if topic in (wanted.visible, wanted.thermal, wanted.labels):
            continue
        encoding = encodings.get(topic)
        sentence = f"{role.replace('_', ' ')}: {topic}" + (f" ({encoding})" if encoding else "")
        if role in CAMERA_INFOS:
            others = passed_over(images, topic, thermal=role == "thermal")
            others = [name for name in others if name not in topics.values()]
            sentence += f", rather than {', '.join(others)}" if others else ""
        sentences.append(sentence)
    return sentences


def _namespace(topic: str) -> str:
    """Where the topics lie that belong to one of images."""
    return topic.removesuffix("/compressed").rpartition("/")[0]
