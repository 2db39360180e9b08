"""What the worker does with a pair: messages to arrays, the pipeline, arrays to messages, a record.

Runs in the worker's thread; nothing here knows of pairing or of the lifecycle. A pair that cannot
be fused raises, and the next one is fused.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from ssvif_core.errors import SsvifError
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.models import ModelCard
from ssvif_ros.diagnostics import FrameRecord, Health
from ssvif_ros.headers import OutputHeaders
from ssvif_ros.images import thermal_array, visible_rgb
from ssvif_ros.outputs import Outputs
from ssvif_ros.parameters import Settings, ros_name
from ssvif_ros.snapshot import Snapshot, SnapshotService
from ssvif_ros.timing import TimingPublisher

__all__ = ["FrameFuser", "Pair"]

Message: TypeAlias = Image | CompressedImage
#: Visible and thermal message; one is None while that camera is missing.
Pair: TypeAlias = tuple[Message | None, Message | None]
#: Seconds between two log lines of the same kind.
THROTTLE_S = 5.0


class FrameFuser:
    """Fuses and publishes the pairs of one configured node, and counts what it could not.

    Args:
        node: its clock and its log are used.
        pipeline: fuses.
        card: of the model that it runs.
        outputs, timing, snapshots: where a fused frame goes.
        settings: the parameters of now.
        camera_info: the visible camera's, or None while it is not known.

    Attributes:
        health: counts and recent timings.
        said: the newest values of /diagnostics, which a snapshot holds too.
    """

    def __init__(
        self,
        node: LifecycleNode,
        pipeline: Pipeline,
        card: ModelCard,
        outputs: Outputs,
        timing: TimingPublisher,
        snapshots: SnapshotService,
        settings: Callable[[], Settings],
        camera_info: Callable[[], CameraInfo | None],
    ) -> None:
        self._node, self._pipeline, self._card = node, pipeline, card
        self._outputs, self._timing, self._snapshots = outputs, timing, snapshots
        self._settings, self._camera_info = settings, camera_info
        self._headers = OutputHeaders()
        self._complain_after_s = 0.0
        self.health = Health()
        self.said: dict[str, object] = {}

    def fuse(self, pair: Pair) -> None:
        """Worker thread: one pair from messages to messages.

        Raises:
            SsvifError: a message cannot be decoded, or the engine failed.
        """
        visible_message, thermal_message = pair
        start = time.perf_counter()
        visible = _decoded("visible", visible_rgb, visible_message)
        thermal = _decoded("thermal", thermal_array, thermal_message)
        decoded = time.perf_counter()
        settings = self._settings()
        header, info = self._header_and_info(pair, settings)
        visible_ns = thermal_ns = Time.from_msg(header.stamp).nanoseconds
        if thermal_message is not None:
            thermal_ns = Time.from_msg(thermal_message.header.stamp).nanoseconds
        publishing_s = 0.0

        def publish_fused(fused: np.ndarray) -> None:
            nonlocal publishing_s
            began = time.perf_counter()
            self._outputs.publish_fused(fused, header, info, settings)
            publishing_s = time.perf_counter() - began

        result = self._pipeline.process(
            visible,
            thermal,
            thermal_ns * 1e-9,
            passthrough=settings.on_missing == "passthrough",
            on_fused=publish_fused,
        )
        processed = time.perf_counter()
        self._outputs.publish_rest(result, header, settings)
        publishing_s += time.perf_counter() - processed
        now_ns = self._node.get_clock().now().nanoseconds
        both = visible is not None and thermal is not None
        delta_ns = thermal_ns + settings.thermal_offset * 1e9 - visible_ns
        record = FrameRecord(
            latency_ms=(now_ns - visible_ns) * 1e-6,
            delta_ms=delta_ns * 1e-6 if both else None,
            decode_ms=(decoded - start) * 1e3,
            publish_ms=publishing_s * 1e3,
            times=result.times,
        )
        self.health.frame(now_ns * 1e-9, record)
        self._timing.publish(visible_ns * 1e-9, record)
        self._snapshots.offer(
            lambda: Snapshot.of(pair, (visible, thermal), result, self._about(record))
        )
        self._pipeline.cleaning.look()  # now that nobody waits for this frame

    def _header_and_info(self, pair: Pair, settings: Settings) -> tuple[Header, CameraInfo | None]:
        """Of the output. A thermal image's own size and view are not the visible camera's."""
        info, offset_s = self._camera_info(), settings.thermal_offset
        grid = ""
        if info is not None and self._pipeline.registration is not None:
            grid = info.header.frame_id
        header = self._headers.of(*pair, offset_s, grid)
        return header, info if self._headers.visible_seen else None

    def _about(self, record: FrameRecord) -> dict[str, object]:
        """What ~/snapshot saves beside the images."""
        return {
            "timing": asdict(record),
            "parameters": {ros_name(k): v for k, v in asdict(self._settings()).items()},
            "model": self._card.content,
            "engine": self._pipeline.engine.describe(),
            "diagnostics": self.said,
        }

    def report_bad_frame(self, error: Exception) -> None:
        """Worker thread: count and log a pair that raised."""
        if not self._node.context.ok():  # a signal took ROS away while this frame was being fused
            return
        expected = isinstance(error, SsvifError)
        self.health.bad_frame(str(error) if expected else f"a bug: {error!r} (see the log)")
        text = str(error)
        if not expected:
            text = "a bug, please report it: " + "".join(traceback.format_exception(error))
        self._node.get_logger().error(f"frame dropped: {text}", throttle_duration_sec=THROTTLE_S)

    def report_bad_message(self, reason: str) -> None:
        """Callback thread: note and log a message that never became a frame."""
        self.health.bad_message(reason)
        now_s = time.monotonic()
        if now_s >= self._complain_after_s:  # rclpy takes 1 ms to find that it need not log
            self._complain_after_s = now_s + THROTTLE_S
            self._node.get_logger().error(f"message dropped: {reason}")


def _decoded(
    camera: str, decode: Callable[[Any], np.ndarray], message: Message | None
) -> np.ndarray | None:
    try:
        return None if message is None else decode(message)
    except SsvifError as error:
        raise SsvifError(f"bad {camera} frame: {error}") from error
