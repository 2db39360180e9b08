"""Records what the demo's cameras sent and what the node made of it: a video, a sheet, numbers."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import Image

from ssvif_core.data.video_writer import VideoWriter
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.panels import contact_sheet, panel_row, with_legend
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_ros.images import thermal_array, visible_rgb

__all__ = ["DemoRecorder"]

CAPTIONS = ("visible", "thermal", "fused", "labels on fused")
#: Height of a panel in the video; four of them side by side fit a laptop's screen.
PANEL_HEIGHT = 360
VIDEO_RATE_HZ = 10.0
#: A pause is not shown any longer than this.
MOST_HELD_NS = 1_000_000_000
SHEET_ROWS, SHEET_WIDTH = 8, 1280
#: Frames kept while their fused image is on its way.
KEPT = 60


class DemoRecorder:
    """Subscribes like any user would.

    Args:
        node: to subscribe with.
        output: folder; receives fused.mp4 and contact_sheet.png.
        duration_s: how long the recording is meant to be, to spread the sheet's rows over it.
        legend: name -> RGB of the classes on the overlay.
    """

    def __init__(
        self, node: Node, output: Path, duration_s: float, legend: dict[str, tuple[int, int, int]]
    ) -> None:
        self._node, self._output, self._legend = node, output, legend
        self.latencies_ms: list[float] = []
        self.stamps_ns: list[int] = []
        self.diagnostics: dict[str, str] = {}
        #: When the node said that, by its clock.
        self.said_ns = 0
        self.received = {"visible": 0, "thermal": 0}
        self._visible: OrderedDict[int, Image] = OrderedDict()
        self._thermal: OrderedDict[int, Image] = OrderedDict()
        self._fused: OrderedDict[int, Image] = OrderedDict()
        self._gain = ThermalGain()
        self._writer = VideoWriter(output / "fused.mp4", VIDEO_RATE_HZ)
        self._next_frame_ns = self._next_row_ns = 0
        self._row_period_ns = int(duration_s / SHEET_ROWS * 1e9)
        self._rows: list[np.ndarray] = []
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        subscribe = node.create_subscription
        subscribe(Image, "visible/image_raw", self._take_visible, qos)
        subscribe(Image, "thermal/image_raw", self._take_thermal, qos)
        subscribe(Image, "fusion/fused", self._take_fused, qos)
        subscribe(Image, "fusion/overlay", self._take_overlay, qos)
        subscribe(DiagnosticArray, "/diagnostics", self._take_diagnostics, 10)

    def now_ns(self) -> int:
        """By the clock that stamps are of."""
        return self._node.get_clock().now().nanoseconds

    def _take_visible(self, message: Image) -> None:
        self.received["visible"] += 1
        _keep(self._visible, message)

    def _take_thermal(self, message: Image) -> None:
        self.received["thermal"] += 1
        _keep(self._thermal, message)

    def _take_fused(self, message: Image) -> None:
        stamp_ns = Time.from_msg(message.header.stamp).nanoseconds
        self.latencies_ms.append((self.now_ns() - stamp_ns) * 1e-6)
        self.stamps_ns.append(stamp_ns)
        _keep(self._fused, message)

    def _take_overlay(self, message: Image) -> None:
        """The overlay is published last: everything else of its frame is here already."""
        stamp_ns = Time.from_msg(message.header.stamp).nanoseconds
        if stamp_ns < self._next_frame_ns or not self._thermal:
            return
        visible, fused = self._visible.get(stamp_ns), self._fused.get(stamp_ns)
        if visible is None or fused is None:
            return
        period_ns = int(1e9 / VIDEO_RATE_HZ)
        if stamp_ns - self._next_frame_ns > MOST_HELD_NS:  # the first one, or after a pause
            self._next_frame_ns = stamp_ns
        times = 1 + (stamp_ns - self._next_frame_ns) // period_ns
        self._next_frame_ns += times * period_ns
        nearest = min(self._thermal, key=lambda other: abs(other - stamp_ns))
        thermal = thermal_array(self._thermal[nearest])
        if thermal.dtype == np.uint16:
            thermal = self._gain.apply(thermal, nearest * 1e-9)
        images = visible_rgb(visible), thermal, visible_rgb(fused), visible_rgb(message)
        *panels, overlay = (_fit(image) for image in images)
        row = panel_row([*panels, with_legend(overlay, self._legend)], list(CAPTIONS))
        for _ in range(times):  # more than once where fewer frames come than the video has
            self._writer.append(row)  # a camera that changes its size is in the sheet only
        if stamp_ns >= self._next_row_ns:
            self._next_row_ns = stamp_ns + self._row_period_ns
            size = (SHEET_WIDTH, round(row.shape[0] * SHEET_WIDTH / row.shape[1]))
            self._rows.append(cv2.resize(row, size, interpolation=cv2.INTER_AREA))

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith("/fusion: "):
                self.said_ns = Time.from_msg(message.header.stamp).nanoseconds
                self.diagnostics.update({value.key: value.value for value in status.values})

    def close(self) -> None:
        """Finish the video and write the contact sheet.

        Raises:
            SsvifError: nothing was fused, or the video cannot be written.
        """
        if not self._rows:
            raise SsvifError("No fused image arrived: see the logs in the output folder.")
        self._writer.close()
        sheet = contact_sheet(self._rows)
        cv2.imwrite(str(self._output / "contact_sheet.png"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def _keep(store: OrderedDict[int, Image], message: Image) -> None:
    store[Time.from_msg(message.header.stamp).nanoseconds] = message
    while len(store) > KEPT:
        store.popitem(last=False)


def _fit(image: np.ndarray) -> np.ndarray:
    scale = PANEL_HEIGHT / image.shape[0]
    size = (round(image.shape[1] * scale), PANEL_HEIGHT)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
