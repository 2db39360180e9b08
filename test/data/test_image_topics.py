"""The two cameras among the topics that real robots record."""

from __future__ import annotations

import numpy as np
import pytest

from ssvif_core.data.image_fields import COMPRESSED, RAW
from ssvif_core.data.image_topics import ImageTopic, choose_topics, image_topics, passed_over
from ssvif_core.errors import SsvifError

#: name: (topics as {name: encoding}, the visible one, the thermal one). Compressed topics end so.
RIGS = {
    "realsense and a boson": (
        {
            "/camera/color/image_raw": "rgb8",
            "/camera/color/image_raw/compressed": "rgb8; jpeg compressed bgr8",
            "/camera/infra1/image_rect_raw": "mono8",
            "/camera/infra2/image_rect_raw": "mono8",
            "/camera/depth/image_rect_raw": "16UC1",
            "/camera/aligned_depth_to_color/image_raw": "16UC1",
            "/flir_boson/image_raw": "mono16",
        },
        "/camera/color/image_raw",
        "/flir_boson/image_raw",
    ),
    "old realsense whose infrared is called ir": (
        {
            "/camera/rgb/image_raw": "rgb8",
            "/camera/ir/image_raw": "mono16",
            "/thermal/image_raw": "mono16",
        },
        "/camera/rgb/image_raw",
        "/thermal/image_raw",
    ),
    "zed and a lepton with 8 bits": (
        {
            "/zed/zed_node/left/image_rect_color": "bgra8",
            "/zed/zed_node/right/image_rect_color": "bgra8",
            "/zed/zed_node/rgb/image_rect_color": "bgra8",
            "/zed/zed_node/depth/depth_registered": "32FC1",
            "/zed/zed_node/confidence/confidence_map": "32FC1",
            "/zed/zed_node/disparity/disparity_image": "32FC1",
            "/lepton/image": "mono8",
        },
        "/zed/zed_node/rgb/image_rect_color",
        "/lepton/image",
    ),
    "usb_cam and a boson that sends false colours": (
        {"/usb_cam/image_raw": "yuv422_yuy2", "/flir_boson/image_raw": "rgb8"},
        "/usb_cam/image_raw",
        "/flir_boson/image_raw",
    ),
    "all compressed": (
        {
            "/usb_cam/image_raw/compressed": "jpeg",
            "/thermal/image_raw/compressed": "16UC1; png compressed ",
            "/depth/image_raw/compressed": "16UC1; png compressed ",
        },
        "/usb_cam/image_raw/compressed",
        "/thermal/image_raw/compressed",
    ),
    "a mosaic, and what image_proc made of it": (
        {
            "/camera/image_raw": "bayer_rggb8",
            "/camera/image_color": "bgr8",
            "/camera/image_mono": "mono8",
            "/camera/image_rect": "mono8",
            "/camera/image_rect_color": "bgr8",
            "/lwir/image_raw": "mono16",
            "/lwir/image_rect": "mono16",
        },
        "/camera/image_raw",
        "/lwir/image_raw",
    ),
    "raw counts beside false colours": (
        {
            "/front/image_raw": "bgr8",
            "/thermal/image_pseudocolor": "rgb8",
            "/thermal/image_raw": "16UC1",
            "/thermal/image_mono8": "mono8",
        },
        "/front/image_raw",
        "/thermal/image_raw",
    ),
    "temperatures": (
        {"/front/image_raw": "bgr8", "/optris/thermal_image": "32FC1", "/map/cost": "32FC1"},
        "/front/image_raw",
        "/optris/thermal_image",
    ),
    "what others made of the frames": (
        {
            "/front/image_raw": "bgr8",
            "/ir/image_raw": "mono8",
            "/fusion/fused": "rgb8",
            "/fusion/overlay": "rgb8",
            "/fusion/labels": "mono8",
            "/yolo/detection_image": "bgr8",
            "/yolo/debug": "bgr8",
        },
        "/front/image_raw",
        "/ir/image_raw",
    ),
    "a gray camera beside one of colours": (
        {"/cam0/image_raw": "bgr8", "/cam1/image_raw": "mono8"},
        "/cam0/image_raw",
        "/cam1/image_raw",
    ),
    "a gray visible camera": (
        {"/oak/left/image": "mono8", "/boson": "16UC1"},
        "/oak/left/image",
        "/boson",
    ),
}


def topics_of(encodings):
    kinds = {True: COMPRESSED, False: RAW}
    return [ImageTopic(n, kinds[n.endswith("/compressed")], e) for n, e in encodings.items()]


@pytest.mark.parametrize("rig", RIGS)
def test_the_two_cameras_are_found(rig):
    encodings, visible, thermal = RIGS[rig]
    assert choose_topics(topics_of(encodings), None, None, "bag") == (visible, thermal)
    backwards = dict(reversed(encodings.items()))
    assert choose_topics(topics_of(backwards), None, None, "bag") == (visible, thermal)


@pytest.mark.parametrize(
    ("encodings", "visible", "thermal"),
    [
        ({"/front": "rgb8", "/rear": "rgb8", "/lwir": "mono16"}, ["/front", "/rear"], ["/lwir"]),
        ({"/cam": "rgb8", "/ir/a": "mono16", "/ir/b": "mono16"}, ["/cam"], ["/ir/a", "/ir/b"]),
        ({"/color": "rgb8", "/infra1": "mono8", "/infra2": "mono8"}, ["/color"], "none"),
        ({"/left": "bgra8", "/right": "bgra8", "/boson": "8UC1"}, ["/left", "/right"], ["/boson"]),
        ({"/thermal": "mono16"}, "none", ["/thermal"]),
        ({"/thermal": "mono16", "/boson": "mono8"}, "none", ["/thermal"]),
    ],
)
def test_cameras_that_look_alike_are_an_error_that_lists_them(encodings, visible, thermal):
    with pytest.raises(SsvifError) as caught:
        choose_topics(topics_of(encodings), None, None, "bag")
    said = f"Visible may be {visible}, thermal may be {thermal}."
    if "none" in (visible, thermal):
        camera = "visible" if visible == "none" else "thermal"
        said = f"no topic looks like a {camera} camera's"
        if len(encodings) == 1:
            said = f"there is no {camera} camera in it"
    assert said in str(caught.value)
    for name, encoding in encodings.items():
        assert f"{name} (Image, {encoding})" in str(caught.value)


def test_one_named_topic_leaves_the_other_to_be_found():
    topics = topics_of({"/front": "rgb8", "/rear": "rgb8", "/thermal": "mono16", "/cam": "mono8"})
    assert choose_topics(topics, "/rear", None, "bag") == ("/rear", "/thermal")
    assert choose_topics(topics_of({"/a": "rgb8", "/b": "mono8"}), "/a", None, "bag")[1] == "/b"
    with pytest.raises(SsvifError, match="may be"):
        choose_topics(topics, None, "/thermal", "bag")


def test_a_raw_topic_without_messages_does_not_hide_the_compressed_one():
    silent = ImageTopic("/camera/image_raw", RAW, "", empty=True)
    topics = topics_of({"/camera/image_raw/compressed": "bgr8; jpeg", "/thermal": "mono16"})
    chosen = choose_topics([silent, *topics], None, None, "bag")
    assert chosen == ("/camera/image_raw/compressed", "/thermal")
    both = [silent, ImageTopic("/camera/image_raw/compressed", COMPRESSED, "", empty=True)]
    assert choose_topics([*both, topics[1]], None, None, "bag")[0] == "/camera/image_raw"


def test_what_was_passed_over_is_known():
    topics = topics_of(RIGS["realsense and a boson"][0])
    assert passed_over(topics, "/camera/color/image_raw", thermal=False) == [
        "/camera/infra1/image_rect_raw", "/camera/infra2/image_rect_raw",
    ]  # fmt: skip
    assert passed_over(topics, "/flir_boson/image_raw", thermal=True) == []


def test_the_content_of_a_compressed_image_says_what_its_format_does_not(tmp_path):
    pytest.importorskip("rosbags", reason="needs the extra `bags`")
    from small_bags import START_NS, compressed, write_bag

    from ssvif_core.data.bag_files import Bag

    colour = np.full((24, 32, 3), (10, 60, 200), np.uint8)
    counts = np.full((24, 32), 7000, np.uint16)
    png, jpeg = compressed(colour, ".png", "png"), compressed(colour, ".jpg", "jpeg")
    images = {
        "/a/compressed": [jpeg],
        "/b/compressed": [compressed(counts, ".png", "png")],
        "/c/compressed": [compressed(counts.astype(np.uint8), ".jpg", "jpeg")],
        "/d/compressed": [compressed(counts, ".png", "16UC1; png compressed ")],
        "/e/compressedDepth": [compressed(counts, ".png", "16UC1; compressedDepth png")],
        "/f/other": [compressed(counts, ".png", "16UC1; compressedDepth png")],
        "/g/h264": [{"format": "h264", "data": np.arange(99, dtype=np.uint8)}],
        "/h/compressed": [{"format": "png", "data": png["data"][:50]}, png],  # the first is damaged
    }
    messages = [
        (topic, START_NS + i, START_NS + i, fields)
        for topic, sent in images.items()
        for i, fields in enumerate(sent)
    ]
    messages.sort(key=lambda m: m[2])
    with Bag(write_bag(tmp_path / "bag", messages)) as bag:
        found = {topic.name: topic.encoding for topic in image_topics(bag)}
    assert found == {
        "/a/compressed": "bgr8; jpeg",
        "/b/compressed": "mono16; png",
        "/c/compressed": "mono8; jpeg",
        "/d/compressed": "16UC1; png compressed ",
        "/f/other": "not read: 16UC1; compressedDepth png",
        "/g/h264": "not read: h264",
        "/h/compressed": "bgr8; png",
    }
