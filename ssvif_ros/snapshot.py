"""~/snapshot: one fused pair as files, for bug reports and for training.

    ros2 service call /fusion/snapshot std_srvs/srv/Trigger

The folder is one that `ssvif fuse`, `evaluate` and `train` read (`--data`): a file of the same name
in `visible/` and `thermal/`. What the model said lies in `predicted/`, not in `labels/`, where a
training would take it for the truth.

    visible/      RGB, 8 bit                         thermal_raw/  as received: 8 or 16 bit, or
                                                                   floats as TIFF
    thermal/      as the engine saw it, 8 bit        fused/        RGB, 8 bit
    predicted/    class ids, 8 bit                   about/        JSON: stamps, parameters, model,
                                                                   engine, versions, diagnostics
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.utilities import get_rmw_implementation_identifier
from std_srvs.srv import Trigger

from ssvif_core.benchmark.machine import describe_machine
from ssvif_core.errors import SsvifError
from ssvif_core.inference.pipeline import FusionResult
from ssvif_ros.synchronizer import header_stamp_ns

__all__ = ["Snapshot", "SnapshotService", "save", "snapshot_folder"]

#: How long a request waits for a pair to be fused.
WAIT_S = 5.0
#: Between two looks at the thread that saves.
LOOK_S = 0.002
#: Of the thread that saves: nice(1).
NICENESS = 10
#: PNG's fastest: a 640x480 pair takes a third of the time of the default, and 15 % more space.
COMPRESSION = (cv2.IMWRITE_PNG_COMPRESSION, 1)


@dataclass(frozen=True)
class Snapshot:
    """What is saved.

    Attributes:
        stem: name of all files, without extension.
        images: folder -> (H, W) uint8, uint16 or float32, or (H, W, 3) uint8 RGB. Not shared with
            anybody.
        about: what else is known of this frame; JSON types.
    """

    stem: str
    images: Mapping[str, np.ndarray]
    about: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        messages: tuple[Any, Any],
        arrays: tuple[np.ndarray | None, np.ndarray | None],
        result: FusionResult,
        about: Mapping[str, Any],
    ) -> Snapshot:
        """Of one fused pair: (visible, thermal) as messages and as arrays, and what came of them.

        A camera that is missing is None in both. Everything is copied; the files are named after
        the stamp of the visible frame, or of the thermal one where it is alone.
        """
        images: dict[str, np.ndarray | None] = {
            "visible": arrays[0],
            "thermal": None if arrays[1] is None else result.thermal,
            "thermal_raw": arrays[1],
            "fused": result.fused,
            "predicted": result.labels,
        }
        frames = {
            camera: {
                "stamp_ns": header_stamp_ns(message),
                "frame_id": message.header.frame_id,
                "encoding": getattr(message, "encoding", getattr(message, "format", "unknown")),
            }
            for camera, message in zip(("visible", "thermal"), messages, strict=True)
            if message is not None
        }
        stamp_ns = next(iter(frames.values()))["stamp_ns"]
        stem = f"{stamp_ns // 10**9}_{stamp_ns % 10**9:09d}"
        copies = {name: np.array(image) for name, image in images.items() if image is not None}
        return cls(stem, copies, {"frames": frames, **about})


def snapshot_folder(parameter: str) -> Path:
    """The folder that a parameter asks for; empty: beside ROS's own logs.

    Raises:
        SsvifError: it is in a home folder that cannot be found.
    """
    home = os.environ.get("ROS_HOME") or "~/.ros"
    folder = parameter or f"{home}/ssvif_snapshots"
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        raise SsvifError(
            f"The home folder in {folder} cannot be found: set the parameter snapshot_folder to a "
            "folder that can be written."
        ) from error


def save(folder: Path, snapshot: Snapshot) -> list[Path]:
    """Write all files of a snapshot, or none.

    Everything is written beside its place and moved there when it is complete, so that nobody finds
    half a file.

    Returns:
        The files; about/NAME.json is the last to appear.

    Raises:
        OSError: the folder cannot be made, the disk is full, ...
    """
    stem, number = snapshot.stem, 1
    while (folder / "about" / f"{stem}.json").exists():  # a bag that is played again
        number += 1
        stem = f"{snapshot.stem}_{number}"
    contents = {}
    for part, image in snapshot.images.items():
        suffix, data = _encoded(image)
        contents[f"{part}/{stem}{suffix}"] = data
    contents[f"about/{stem}.json"] = json.dumps(snapshot.about, indent=2, default=str).encode()
    partial = folder / f".{stem}.partial"
    written: list[Path] = []
    try:
        for name, content in contents.items():
            place = partial / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # a full disk may say so only now
        for name in contents:
            (folder / name).parent.mkdir(exist_ok=True)
            os.replace(partial / name, folder / name)
            written.append(folder / name)
    except OSError:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return written


def _versions() -> dict[str, Any]:
    return {
        **describe_machine(),
        "ros_distro": os.environ.get("ROS_DISTRO", "unknown"),
        "rmw": get_rmw_implementation_identifier(),
    }


def _encoded(image: np.ndarray) -> tuple[str, bytes]:
    """Suffix and content of a file that gives the image back to the bit."""
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    # As PNG, OpenCV would write floats in 8 bit, and say nothing.
    suffix, options = (".tiff", ()) if image.dtype == np.float32 else (".png", COMPRESSION)
    done, data = cv2.imencode(suffix, pixels, options)
    if not done:
        raise SsvifError(f"OpenCV cannot write {image.dtype} {image.shape} as {suffix[1:]}.")
    return suffix, data.tobytes()


class _Job:
    """One request: a thread that waits for a frame, saves it, and calls `ended` in the end."""

    def __init__(self, folder: Callable[[], Path], ended: Callable[[], None]) -> None:
        self._folder, self._tell = folder, ended
        self._ended = threading.Event()
        self._frames: queue.SimpleQueue[Snapshot] = queue.SimpleQueue()
        self._offered = False
        self.success, self.message = False, ""
        self._thread = threading.Thread(target=self._run, name="snapshot", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        return self._ended.is_set()

    def offer(self, make: Callable[[], Snapshot]) -> None:
        """In the thread that fuses: the first frame is taken, the others cost nothing."""
        if not self._offered:
            self._offered = True
            self._frames.put(make())

    def _run(self) -> None:
        with contextlib.suppress(
            OSError
        ):  # on Linux this is of the thread: those who fuse go first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            self.message, self.success = self._saved(), True
        except SsvifError as error:
            self.message = f"Nothing was saved: {error}"
        except Exception:  # whatever it was: the answer must come, and the node lives on
            self.message = f"Nothing was saved: {traceback.format_exc()}"
        self._ended.set()
        self._tell()

    def _saved(self) -> str:
        """Wait for a frame and save it; what to answer."""
        folder = self._folder()
        try:
            snapshot = self._frames.get(timeout=WAIT_S)
            about = {**snapshot.about, "versions": _versions()}
            files = save(folder, replace(snapshot, about=about))
        except queue.Empty:
            raise SsvifError(
                f"No pair was fused within {WAIT_S:.0f} s: /diagnostics says why."
            ) from None
        except OSError as error:
            raise SsvifError(
                f"{error.strerror or error}, in {folder}. Make room, or set the parameter "
                "snapshot_folder to a folder that can be written."
            ) from error
        return f"saved {files[0]} and {len(files) - 1} more files"


class _NextSpin:
    """Awaited, it lets the executor do everything else that is due."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class SnapshotService:
    """The service of one node.

    Args:
        node: to offer it on.
        is_active: whether pairs are being fused.
        folder: where to save; asked at each request.
    """

    def __init__(
        self, node: LifecycleNode, is_active: Callable[[], bool], folder: Callable[[], Path]
    ) -> None:
        self._node, self._is_active, self._folder = node, is_active, folder
        self._job: _Job | None = None
        # A group of its own: the default one would hold back all subscriptions until the answer.
        node.create_service(
            Trigger, "~/snapshot", self._answer, callback_group=MutuallyExclusiveCallbackGroup()
        )

    def offer(self, make: Callable[[], Snapshot]) -> None:
        """From the thread that fuses, for each frame; `make` is called only if one is wanted."""
        job = self._job
        if job is not None:
            job.offer(make)

    def _wake(self) -> None:
        """Any thread: have the executor come back to the answer, though nothing else happens."""
        if self._node.executor is not None:
            self._node.executor.wake()

    async def _answer(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        if not self._is_active():
            response.message = "The node is not active, so nothing is being fused: activate it."
            return response
        self._job = job = _Job(self._folder, self._wake)
        while not job.done:
            # The executor comes back here with everything that happens: the pause leaves the
            # processor to those who fuse and save.
            time.sleep(LOOK_S)
            await _NextSpin()
        self._job = None
        response.success, response.message = job.success, job.message
        if job.success:
            self._node.get_logger().info(f"snapshot: {job.message}")
        else:
            self._node.get_logger().error(f"snapshot: {job.message}")
        return response
