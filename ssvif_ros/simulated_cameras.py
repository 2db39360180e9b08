"""Two camera drivers to try the node with: drawn scenes with ground truth, videos, or folders.

Each camera is a node of its own, in a thread of its own, with its own rate, jitter and clock
offset: as independent as two real drivers. What they film is a pure function of time, so they also
agree when they run in two processes with the same `epoch`; with one, they share a trigger, too.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from ssvif_core.data.camera_sources import SCENES, DrawnSource, FileSource, pinhole, thermal_as
from ssvif_core.data.streams import MODALITIES, Modality
from ssvif_core.errors import SsvifError
from ssvif_core.memory import keep_image_buffers
from ssvif_core.simulation.misalignment import Misalignment
from ssvif_core.simulation.scenes import SCENE_KINDS
from ssvif_ros.ending import undisturbed, until_signal
from ssvif_ros.images import to_image
from ssvif_ros.share import use_shared_memory_profile

__all__ = ["SimulatedCamera", "main"]

_failed = threading.Event()

_DEFAULTS: dict[str, tuple[Any, str]] = {
    "cameras": ("both", "Which cameras this process plays: both, visible or thermal."),
    "scene": ("show", f"Drawn scene: show (all in turn) or one of {', '.join(SCENE_KINDS)}."),
    "seed": (0, "Seed of the drawn scene."),
    "width": (640, "Width of drawn images."),
    "height": (480, "Height of drawn images."),
    "visible_file": ("", "Video, folder of images or image to play instead of a drawn scene."),
    "thermal_file": ("", "The same for the thermal camera."),
    "visible_rate": (30.0, "Frames per second."),
    "thermal_rate": (30.0, "Frames per second; many thermal cores give 9."),
    "thermal_bits": (16, "16: raw counts (mono16); 8: after gain control (mono8)."),
    "thermal_scale": (1.0, "Part of the visible image's width that thermal sees; 0.7: narrower."),
    "thermal_shift_x": (0.0, "Thermal looks to the right by this part of the visible width."),
    "thermal_shift_y": (0.0, "Thermal looks downwards by this part of the visible width."),
    "thermal_rotation": (0.0, "Thermal is turned clockwise about its axis [deg]."),
    "thermal_width": (0, "Width of thermal images; 0: as drawn or as in the file."),
    "thermal_height": (0, "Height of thermal images; 0: as drawn or as in the file."),
    "jitter": (0.0, "Standard deviation of the capture times [s]."),
    "thermal_offset": (0.0, "Error of the thermal stamps [s]; positive stamps are late."),
    "drop": (0.0, "Part of the frames of each camera that is never sent, 0 to 1."),
    "thermal_freeze_every": (0.0, "The shutter closes once in this time [s]; 0: never."),
    "thermal_freeze_for": (0.5, "How long the thermal picture then stands still [s]."),
    "thermal_silent_every": (0.0, "The thermal camera is silent once in this time [s]; 0: never."),
    "thermal_silent_for": (3.0, "For how long [s]."),
    "reliability": ("reliable", "Of the image topics: reliable or best_effort."),
    "epoch": (
        0.0,
        "Time in seconds at which the scene or file begins and from which frames are counted: "
        "cameras with one epoch are triggered together; 0: each runs freely, the scene begins when "
        "the cameras start.",
    ),
}
_CHOICES: dict[str, tuple[Any, ...]] = {
    "cameras": ("both", "visible", "thermal"),
    "scene": SCENES,
    "thermal_bits": (8, 16),
    "reliability": ("reliable", "best_effort"),
}
_RANGES = {
    "seed": (0, 2**31), "width": (16, 16384), "height": (16, 16384),
    "visible_rate": (0.1, 240), "thermal_rate": (0.1, 240), "thermal_scale": (0.1, 10),
    "thermal_shift_x": (-10, 10), "thermal_shift_y": (-10, 10), "thermal_rotation": (-360, 360),
    "thermal_width": (0, 16384), "thermal_height": (0, 16384), "jitter": (0, 10),
    "thermal_offset": (-1e6, 1e6), "drop": (0, 1), "thermal_freeze_every": (0, 1e6),
    "thermal_freeze_for": (0, 1e6), "thermal_silent_every": (0, 1e6),
    "thermal_silent_for": (0, 1e6), "epoch": (0, 2**31),
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Values of the parameters, see `_DEFAULTS`."""

    cameras: str
    scene: str
    seed: int
    width: int
    height: int
    visible_file: str
    thermal_file: str
    visible_rate: float
    thermal_rate: float
    thermal_bits: int
    thermal_scale: float
    thermal_shift_x: float
    thermal_shift_y: float
    thermal_rotation: float
    thermal_width: int
    thermal_height: int
    jitter: float
    thermal_offset: float
    drop: float
    thermal_freeze_every: float
    thermal_freeze_for: float
    thermal_silent_every: float
    thermal_silent_for: float
    reliability: str
    epoch: float

    @classmethod
    def declare(cls, node: Node) -> Settings:
        """Declare all parameters on `node` and read them. Raises SsvifError for a bad value."""
        values = {
            name: node.declare_parameter(name, default, ParameterDescriptor(description=text)).value
            for name, (default, text) in _DEFAULTS.items()
        }
        settings = cls(**values)
        for name, choices in _CHOICES.items():
            if values[name] not in choices:
                raise SsvifError(f"{name} is {values[name]!r}: use one of {choices}.")
        for name, (low, high) in _RANGES.items():
            if not low <= values[name] <= high:
                raise SsvifError(f"{name} is {values[name]}: use {low:g} to {high:g}.")
        if (settings.thermal_width > 0) != (settings.thermal_height > 0):
            raise SsvifError("thermal_width and thermal_height belong together: give both.")
        return settings

    @property
    def thermal_view(self) -> Misalignment:
        size = (self.thermal_width, self.thermal_height) if self.thermal_width > 0 else None
        shift = self.thermal_shift_x, self.thermal_shift_y
        return Misalignment(self.thermal_scale, *shift, self.thermal_rotation, size)


class SimulatedCamera:
    """One driver: a node, its timer and its source.

    Args:
        node: the camera's own node.
        modality: "visible" or "thermal".
        settings: of the process.
    """

    def __init__(self, node: Node, modality: Modality, settings: Settings) -> None:
        self._node, self._modality, self._settings = node, modality, settings
        visible = modality == "visible"
        self._rate = settings.visible_rate if visible else settings.thermal_rate
        path = settings.visible_file if visible else settings.thermal_file
        self._source = (
            FileSource(Path(path), modality, self._rate)
            if path
            else DrawnSource(
                settings.scene, modality, settings.width, settings.height, settings.seed
            )
        )
        self._random = np.random.default_rng([settings.seed, visible])
        qos = QoSProfile(
            depth=5,
            reliability=ReliabilityPolicy.RELIABLE
            if settings.reliability == "reliable"
            else ReliabilityPolicy.BEST_EFFORT,
        )
        self._images = node.create_publisher(Image, f"{modality}/image_raw", qos)
        self._infos = node.create_publisher(CameraInfo, f"{modality}/camera_info", qos)
        now = node.get_clock().now().nanoseconds * 1e-9
        self.begin(now)
        self._start, self._count = settings.epoch or now, 0
        self._shown: np.ndarray | None = None
        self._timer = node.create_timer(1.0 / self._rate, self._tick, clock=Clock())
        self._aim()

    def begin(self, at_s: float) -> None:
        """Scene or file begin at this time, unless the parameter `epoch` says when."""
        self._epoch = self._settings.epoch or at_s

    def _tick(self) -> None:
        """Capture, send, and aim the timer at the next capture."""
        stamp = self._node.get_clock().now()
        if self._random.random() >= self._settings.drop:
            self._send(stamp)
        self._aim()

    def _aim(self) -> None:
        """At the next capture that is to come: a camera that is late leaves frames out."""
        now = self._node.get_clock().now().nanoseconds * 1e-9
        passed = math.floor((now - self._start) * self._rate)
        self._count = max(self._count, passed) + 1
        jitter = self._random.normal(0.0, self._settings.jitter) if self._settings.jitter else 0.0
        due = self._start + self._count / self._rate
        self._timer.timer_period_ns = int(max(due + jitter - now, 5e-4) * 1e9)
        self._timer.reset()

    def _send(self, stamp: Time) -> None:
        scene_s = max(0.0, stamp.nanoseconds * 1e-9 - self._epoch)
        s, thermal = self._settings, self._modality == "thermal"
        if thermal and _in_last(scene_s, s.thermal_silent_for, s.thermal_silent_every):
            return
        shut = thermal and _in_last(scene_s, s.thermal_freeze_for, s.thermal_freeze_every)
        if self._shown is None or not shut:
            self._shown = self._source.frame(scene_s)
        image, encoding = self._shown, "rgb8"
        matrix = np.array(pinhole(*image.shape[:2])["k"]).reshape(3, 3)
        if thermal:
            matrix = s.thermal_view.intrinsics((image.shape[1], image.shape[0]), matrix)
            image = s.thermal_view.apply(image)
            offset_ns = int(self._settings.thermal_offset * 1e9)
            stamp = Time(nanoseconds=max(0, stamp.nanoseconds + offset_ns))  # simulated: from 0 on
            image, encoding = thermal_as(image, self._settings.thermal_bits)
        header = Header(stamp=stamp.to_msg(), frame_id=f"{self._modality}_optical_frame")
        self._images.publish(to_image(image, encoding, header))
        self._infos.publish(_camera_info(header, image, matrix))


def _in_last(time_s: float, length_s: float, period_s: float) -> bool:
    """Whether it is the last part, `length_s` long, of a period; never where there is none."""
    return period_s > 0 and time_s % period_s >= period_s - length_s


def _camera_info(header: Header, image: np.ndarray, matrix: np.ndarray) -> CameraInfo:
    """Of a lens without distortion (REP-104)."""
    height, width = image.shape[:2]
    return CameraInfo(
        header=header, height=height, width=width, distortion_model="plumb_bob", d=[0.0] * 5,
        k=matrix.ravel(), r=np.eye(3).ravel(),
        p=np.column_stack([matrix, np.zeros(3)]).ravel(),
    )  # fmt: skip


def _spin(executor: SingleThreadedExecutor) -> None:
    """Spin one camera; what ends it, as a source that cannot be read, ends the whole program."""
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception as error:
        _fail(error)


def _fail(error: Exception) -> None:
    """Say it and end the program; but not what comes of an end that is under way.

    A signal, or a camera that failed, takes ROS away in the middle of a call.
    """
    if not rclpy.ok():
        return
    expected = isinstance(error, SsvifError)
    text = str(error) if expected else f"a bug, please report it: {traceback.format_exc()}"
    print(f"simulated_cameras: {text}", file=sys.stderr)
    _failed.set()
    rclpy.try_shutdown()


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run ssvif_ros simulated_cameras`. Returns the exit status."""
    use_shared_memory_profile(os.environ)
    keep_image_buffers()
    cv2.setNumThreads(1)
    return until_signal(_run, args)


def _run() -> int:
    threads: list[threading.Thread] = []
    try:
        _show(threads)
    except (SsvifError, InvalidParameterTypeException) as error:
        print(f"simulated_cameras: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception as error:
        _fail(error)
    finally:
        # The threads end with the context; leaving before they do would abort inside the middleware
        # and leave its shared memory behind.
        with undisturbed():
            rclpy.try_shutdown()
            for thread in threads:
                thread.join()
    return 1 if _failed.is_set() else 0


def _show(threads: list[threading.Thread]) -> None:
    """Run all cameras until something ends them; `threads` receives what spins them."""
    nodes = [Node("simulated_cameras")]
    settings = Settings.declare(nodes[0])
    wanted = [m for m in MODALITIES if settings.cameras in ("both", m)]
    cameras, executors = [], []
    for modality in wanted:
        node = Node(f"simulated_{modality}_camera")
        nodes.append(node)
        cameras.append(SimulatedCamera(node, modality, settings))
        executors.append(SingleThreadedExecutor())
        executors[-1].add_node(node)
    begin_s = nodes[0].get_clock().now().nanoseconds * 1e-9
    for camera in cameras:  # drawing a scene for the first time takes each a while
        camera.begin(begin_s)
    for executor in executors:
        threads.append(threading.Thread(target=_spin, args=[executor]))
        threads[-1].start()
    rclpy.spin(nodes[0])


if __name__ == "__main__":
    sys.exit(main())
