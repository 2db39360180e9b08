r"""`ros2 run ssvif_ros calibrate`: the registration file from two live cameras.

Collects pairs while somebody moves the cameras (or a board), then does what `ssvif calibrate` does.
Lenses whose camera_info comes meanwhile are undone first.

    ros2 run ssvif_ros calibrate --ros-args -r visible/image_raw:=/camera/image_raw \
        -r visible/camera_info:=/camera/camera_info -r thermal/image_raw:=/lepton/image_raw \
        -r thermal/camera_info:=/lepton/camera_info -p output:=calibration.yaml
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from ssvif_core.calibration.frames import Shots, shots_of
from ssvif_core.calibration.lenses import Lenses
from ssvif_core.calibration.result import (
    calibrate_target,
    calibrate_targetless,
    describe_target,
    known_offset,
    picture_path,
    place_of,
)
from ssvif_core.calibration.target import Board
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.calibration import Calibration
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.pairing import NearestPairing
from ssvif_ros.ending import undisturbed, until_signal
from ssvif_ros.image_topic import compressed_topic
from ssvif_ros.images import thermal_array, visible_rgb
from ssvif_ros.lens_listener import LensListener
from ssvif_ros.qos_overrides import QOS_OVERRIDES, overridable
from ssvif_ros.share import use_shared_memory_profile
from ssvif_ros.synchronizer import POLL_PERIOD_S, PairSynchronizer, Subscriber, header_stamp_ns

__all__ = ["Collector", "main"]

_DEFAULTS: dict[str, tuple[Any, str]] = {
    "output": ("calibration.yaml", "File to write; a picture goes beside it."),
    "frames": (24, "Pairs to use."),
    "pattern": ("", "Board: chessboard, circles or asymmetric; empty for none."),
    "grid": ("9x6", "Its inner corners or circles, COLUMNSxROWS."),
    "interval": (0.5, "Seconds between the pairs that are collected."),
    "candidates": (2, "Pairs that are collected for each one that is used."),
    "slop": (0.05, "Most seconds between frames of a pair."),
    "thermal_offset": (0.0, "Seconds to add to thermal stamps."),
    "timeout": (120.0, "Seconds to wait for all pairs."),
    "visible_transport": ("raw", "How the camera sends: raw or compressed."),
    "thermal_transport": ("raw", "The same of the thermal camera."),
    "undistort": (True, "Undo lens distortion first, where both cameras have camera_info."),
}
TRANSPORTS = ("raw", "compressed")
_RANGES = {
    "frames": (2, 10000), "candidates": (1, 100), "interval": (0, 3600), "slop": (0, 10),
    "thermal_offset": (-1e6, 1e6), "timeout": (0, 86400),
}  # fmt: skip


class Collector:
    """Collects pairs of a node's two image topics, some time apart.

    Args:
        node: to subscribe with.
        wanted: number of pairs.
        interval_s: least time between them.
        slop_s: as `NearestPairing`.
        offset_s: added to thermal stamps.
        compressed: cameras that send compressed images.
    """

    def __init__(
        self,
        node: Node,
        wanted: int,
        interval_s: float,
        slop_s: float,
        offset_s: float,
        compressed: Collection[str] = (),
    ) -> None:
        self._node, self._wanted, self._compressed = node, wanted, compressed
        self._interval_ns = round(interval_s * 1e9)
        self._next_ns: int | None = None
        self._gain = ThermalGain()
        self.pairs: list[tuple[str, np.ndarray, np.ndarray]] = []
        self.unusable: list[str] = []
        self.received = {"visible": 0, "thermal": 0}
        pairing: NearestPairing[Image, Image] = NearestPairing(
            slop_s=slop_s, thermal_offset_s=offset_s
        )
        self._synchronizer = PairSynchronizer(
            [self._subscribe(camera) for camera in self.received], pairing, clock=node.get_clock()
        )
        self._synchronizer.registerCallback(self._take)
        self._timer = node.create_timer(POLL_PERIOD_S, self._synchronizer.poll, clock=Clock())

    @property
    def topics(self) -> dict[str, str]:
        """Camera -> what it is heard on."""
        return {c: self._node.resolve_topic_name(self._name(c)) for c in self.received}

    def _name(self, camera: str) -> str:
        name = f"{camera}/image_raw"
        return compressed_topic(self._node, name) if camera in self._compressed else name

    @property
    def complete(self) -> bool:
        """Whether all pairs are there."""
        return len(self.pairs) >= self._wanted

    def shots(self) -> Shots:
        """What was collected. Raises SsvifError with what to look at if that is too little."""
        if len(self.pairs) < 2:
            heard = ", ".join(f"{self.received[c]} on {topic}" for c, topic in self.topics.items())
            raise SsvifError(
                f"{len(self.pairs)} pairs came (images: {heard}). Start the drivers, remap the "
                "topics, or raise slop. " + "; ".join(self.unusable[:2])
            )
        return shots_of(self.pairs, self.unusable)

    def _subscribe(self, camera: str) -> Subscriber:
        with overridable(self.topics[camera], "subscription"):
            subscriber = Subscriber(
                self._node,
                CompressedImage if camera in self._compressed else Image,
                self._name(camera),
                qos_profile=copy.copy(qos_profile_sensor_data),
                qos_overriding_options=QOS_OVERRIDES,
            )
        subscriber.registerCallback(lambda _message: self._count(camera))
        return subscriber

    def _count(self, camera: str) -> None:
        self.received[camera] += 1

    def _take(self, visible: Image, thermal: Image) -> None:
        stamp_ns = header_stamp_ns(visible)
        back = self._next_ns is not None and stamp_ns < self._next_ns - 2 * self._interval_ns
        if self.complete or not (self._next_ns is None or back or stamp_ns >= self._next_ns):
            return
        self._next_ns = stamp_ns + self._interval_ns
        try:
            felt = self._gain.apply(thermal_array(thermal), header_stamp_ns(thermal) * 1e-9)
            self.pairs.append((str(stamp_ns), visible_rgb(visible).copy(), felt.copy()))
        except (SsvifError, cv2.error) as error:
            self.unusable.append(str(error))
            return
        self._node.get_logger().info(f"{len(self.pairs)} of {self._wanted} pairs; keep moving")


def _settings(node: Node) -> dict[str, Any]:
    values = {
        name: node.declare_parameter(name, default, ParameterDescriptor(description=text)).value
        for name, (default, text) in _DEFAULTS.items()
    }
    for name, (low, high) in _RANGES.items():
        if not low <= values[name] <= high:
            raise SsvifError(f"{name} is {values[name]}: use {low:g} to {high:g}.")
    for name in ("visible_transport", "thermal_transport"):
        if values[name] not in TRANSPORTS:
            raise SsvifError(f"{name} is {values[name]!r}: use {' or '.join(TRANSPORTS)}.")
    return values


def _collect(node: Node, values: dict[str, Any]) -> tuple[Shots, Lenses | None]:
    """The pairs, and the lenses that are to be undone."""
    wanted = values["frames"] * values["candidates"]
    listener = LensListener(node)
    compressed = [c for c in ("visible", "thermal") if values[f"{c}_transport"] == "compressed"]
    collector = Collector(
        node, wanted, values["interval"], values["slop"], values["thermal_offset"], compressed
    )
    node.get_logger().info(
        f"waiting up to {values['timeout']:g} s for {wanted} pairs of "
        f"{' and '.join(collector.topics.values())}; move the cameras or the board"
    )
    clock = Clock()  # not the node's: simulated time may stand still
    deadline_ns = clock.now().nanoseconds + round(values["timeout"] * 1e9)
    while not collector.complete and clock.now().nanoseconds < deadline_ns:
        rclpy.spin_once(node, timeout_sec=0.1)
    shots = collector.shots()
    lenses, why = None, "as asked for"
    if values["undistort"]:
        lenses, why = listener.lenses(shots.visible_size, shots.thermal_size)
    done = "not undone" if lenses is None else "undone"
    node.get_logger().info(f"lens distortion: {done}, {why}")
    return shots, lenses


def _calibrate(node: Node, values: dict[str, Any], shots: Shots, lenses: Lenses | None) -> None:
    output = place_of(values["output"])
    node.get_logger().info(f"estimating from {len(shots)} pairs; this takes a minute or two")
    if values["pattern"]:
        board = Board.parse(values["pattern"], values["grid"])
        calibration, fit = calibrate_target(shots, board, output, lenses=lenses)
        node.get_logger().info(describe_target(fit))
    else:
        calibration, found = calibrate_targetless(shots, values["frames"], output, lenses=lenses)
        node.get_logger().info(
            f"corners within {found.error_px:.1f} px, agreement {found.agreement:.2f}"
        )
    more = ""
    if offset_s := values["thermal_offset"]:
        calibration = replace(calibration, thermal_offset_s=round(offset_s, 4))
        more = f" thermal_offset:={offset_s:.4f}"
    calibration.save(output)
    node.get_logger().info(
        f"written: {output}; look at {picture_path(output)}, then: ros2 launch ssvif_ros "
        f"fusion.launch.py calibration:={output.resolve()}{more}"
    )


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run ssvif_ros calibrate`. Returns the exit status."""
    use_shared_memory_profile(os.environ)
    return until_signal(_run, args)


def _run() -> int:
    node = Node("calibrate")
    try:
        _collect_and_calibrate(node)
    except (SsvifError, InvalidParameterTypeException) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 1
    finally:
        with undisturbed():
            node.destroy_node()
    return 0


def _collect_and_calibrate(node: Node) -> None:
    values = _settings(node)
    output = place_of(values["output"])  # before anybody moves a camera
    before = Calibration.load(output) if output.exists() else None
    if known := known_offset(values["thermal_offset"], before):
        values["thermal_offset"], why = known
        node.get_logger().info(f"thermal_offset {known[0]:+.4f} s, taken over from {why}")
    if values["pattern"]:
        Board.parse(values["pattern"], values["grid"])
    _calibrate(node, values, *_collect(node, values))


if __name__ == "__main__":
    sys.exit(main())
