"""What goes out for one frame, pixel by pixel: real lifecycle publishers and a listener."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from rclpy.lifecycle import LifecycleNode  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from ssvif_core.inference.pipeline import FusionResult  # noqa: E402
from ssvif_core.models import open_model  # noqa: E402
from ssvif_ros.images import image_array, visible_rgb  # noqa: E402
from ssvif_ros.outputs import Outputs  # noqa: E402
from ssvif_ros.parameters import Settings  # noqa: E402
from ssvif_ros.processes import spin_until  # noqa: E402

FUSED = np.random.default_rng(0).integers(0, 256, (34, 46, 3), dtype=np.uint8)
FUSED[:, 20:] = (10, 100, 200)
#: A car beside a bicycle: what is between them by number is a person. Their border is odd.
LABELS = np.zeros((34, 46), np.uint8)
LABELS[5:30, 3:21] = 1
LABELS[5:30, 21:43] = 3


class Listener:
    """Everything that `Outputs` publishes of one frame."""

    def __init__(self, node, executor):
        self.executor, self.heard = executor, {}
        self.node = LifecycleNode("fusion")
        self.card = open_model("tiny").card
        self.outputs = Outputs(self.node, self.card)
        self.node.trigger_configure()
        self.node.trigger_activate()
        reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        for kind, suffix in ((Image, ""), (CompressedImage, "/compressed")):
            for name in ("fused", "labels", "overlay"):
                node.create_subscription(
                    kind, f"fusion/{name}{suffix}", self.callback(name + suffix), reliable
                )
        publishers = [
            publisher
            for topic in (self.outputs.fused, self.outputs.labels, self.outputs.overlay)
            for publisher in topic.publishers
        ]
        assert spin_until(executor, lambda: all(p.get_subscription_count() for p in publishers), 30)

    def callback(self, name):
        return lambda message: self.heard.update({name: message})

    def frame(self, settings):
        self.heard.clear()
        header = Header(frame_id="visible")
        self.outputs.publish_fused(FUSED, header, None, settings)
        self.outputs.publish_rest(FusionResult(FUSED, LABELS, LABELS), header, settings)
        assert spin_until(self.executor, lambda: len(self.heard) == 6, 30)
        return self.heard


@pytest.fixture
def listener(ros_domain):
    made = Listener(*ros_domain)
    yield made
    made.outputs.destroy()
    made.node.destroy_node()


def test_labels_are_made_smaller_without_a_class_that_is_not_there(listener):
    heard = listener.frame(Settings(output_scale=0.5))
    smaller = cv2.resize(LABELS, (23, 17), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(image_array(heard["labels"]), smaller)
    png = cv2.imdecode(np.frombuffer(heard["labels/compressed"].data, np.uint8), -1)
    np.testing.assert_array_equal(png, smaller)
    area = cv2.resize(FUSED, (23, 17), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(image_array(heard["fused"]), area)


@pytest.mark.parametrize(
    ("encoding", "of_overlay"), [("rgb8", "rgb8"), ("bgr8", "bgr8"), ("mono8", "rgb8")]
)
def test_masks_have_the_colours_of_the_card_as_opaque_as_is_asked_for(
    listener, encoding, of_overlay
):
    heard = listener.frame(Settings(output_encoding=encoding, overlay_alpha=0.8))
    overlay = heard["overlay"]
    assert overlay.encoding == of_overlay
    assert heard["overlay/compressed"].format == f"{of_overlay}; jpeg compressed bgr8"
    pixels = visible_rgb(overlay)
    for row, column in ((12, 10), (12, 30)):  # inside the car, inside the bicycle
        colour = next(c.color for c in listener.card.classes if c.id == LABELS[row, column])
        wanted = 0.2 * FUSED[row, column] + 0.8 * np.array(colour)
        assert pixels[row, column] == pytest.approx(wanted, abs=1)
    np.testing.assert_array_equal(pixels[:4], FUSED[:4])
    fused = cv2.cvtColor(FUSED, cv2.COLOR_RGB2GRAY) if encoding == "mono8" else FUSED
    shown = image_array(heard["fused"])
    np.testing.assert_array_equal(shown[..., ::-1] if encoding == "bgr8" else shown, fused)


@pytest.mark.parametrize("quality", [5, 60])
def test_jpeg_has_the_quality_that_is_asked_for(listener, quality):
    heard = listener.frame(Settings(compressed__jpeg_quality=quality))
    for name, pixels in (("fused", FUSED), ("overlay", visible_rgb(heard["overlay"]))):
        options = (cv2.IMWRITE_JPEG_QUALITY, quality)
        wanted = cv2.imencode(".jpg", pixels[..., ::-1], options)[1].tobytes()
        assert heard[f"{name}/compressed"].data.tobytes() == wanted
