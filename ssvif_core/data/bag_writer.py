"""Writing rosbag2 recordings (mcap or sqlite3) without ROS. Knows arrays and stamps.

Uses `rosbags`. The messages have the same fields in every ROS 2 release; they are written with the
definitions of humble, which later releases, Foxglove and `ros2 bag` read.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ssvif_core.errors import SsvifError

__all__ = ["COMPRESSIONS", "STORAGES", "BagWriter"]

STORAGES = ("mcap", "sqlite3")
COMPRESSIONS = ("none", "zstd")
ROSBAG2_VERSION: Literal[8, 9] = 9
#: Of the file system, and of SQLite on top of it.
FAILURES = (OSError, sqlite3.Error)


class BagWriter:
    """Writes one recording. Use it as a context manager; a topic begins with its first message.

    Args:
        path: folder to make; it must not exist.
        storage: one of `STORAGES`.
        compression: one of `COMPRESSIONS`; zstd compresses chunks of an mcap file, and messages
            of an sqlite3 one.

    Raises:
        SsvifError: `rosbags` is not installed, or the folder cannot be made or written, here or
            later.
    """

    def __init__(self, path: Path, storage: str = "mcap", compression: str = "none") -> None:
        try:
            from rosbags import rosbag2
            from rosbags.typesys import Stores, get_typestore
        except ImportError as error:
            raise SsvifError(
                f"Writing {path.name} needs the package rosbags: pip install rosbags ({error})."
            ) from error
        if storage not in STORAGES or compression not in COMPRESSIONS:
            raise SsvifError(
                f"A recording cannot be {storage} with compression {compression}: use one of "
                f"{STORAGES} and one of {COMPRESSIONS}."
            )
        self.path = path
        self._store: Any = get_typestore(Stores.ROS2_HUMBLE)
        plugin = rosbag2.StoragePlugin[storage.upper()]
        try:
            self._writer = rosbag2.Writer(path, version=ROSBAG2_VERSION, storage_plugin=plugin)
        except rosbag2.WriterError as error:
            raise SsvifError(f"Cannot write {path}: {error} Name another folder.") from error
        if compression == "zstd":
            modes = rosbag2.CompressionMode
            mode = modes.STORAGE if storage == "mcap" else modes.MESSAGE
            self._writer.set_compression(mode, rosbag2.CompressionFormat.ZSTD)
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> BagWriter:
        try:
            self._writer.open()
        except Exception as error:  # rosbags' own, and the file system's
            raise SsvifError(f"Cannot write {self.path}: {error}") from error
        return self

    def __exit__(self, *error: object) -> None:
        # What was written before an error or Ctrl-C is a whole recording, too.
        try:
            self._writer.close()
        except FAILURES as failed:
            if error[0] is None:  # else what went wrong before says it
                raise self._failed(failed) from failed

    def image(
        self, topic: str, received_ns: int, stamp_ns: int, pixels: np.ndarray, encoding: str,
        frame_id: str,
    ) -> None:  # fmt: skip
        """Write a sensor_msgs/Image of (H, W) or (H, W, C) uint8 or uint16 pixels."""
        data = np.ascontiguousarray(pixels)
        height, width = data.shape[:2]
        big = data.dtype.byteorder == ">"
        fields = {
            "header": self._header(stamp_ns, frame_id),
            "height": height,
            "width": width,
            "encoding": encoding,
            "is_bigendian": int(big),
            "step": data.nbytes // height,
            "data": data.reshape(-1).view(np.uint8),
        }
        self.message(topic, "sensor_msgs/msg/Image", received_ns, fields)

    def camera_info(
        self, topic: str, received_ns: int, stamp_ns: int, size: tuple[int, int],
        lens: Mapping[str, Any], frame_id: str, model: str = "plumb_bob",
    ) -> None:  # fmt: skip
        """Write a sensor_msgs/CameraInfo.

        Args:
            topic, received_ns, stamp_ns, frame_id: as of `image`.
            size: (height, width).
            lens: d, k, r and p (REP-104).
            model: of the distortion.
        """
        types = self._store.types
        region = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        fields = {
            "header": self._header(stamp_ns, frame_id),
            "height": size[0],
            "width": size[1],
            "distortion_model": model,
            **{key: np.asarray(lens[key], np.float64) for key in "dkrp"},
            "binning_x": 0,
            "binning_y": 0,
            "roi": region,
        }
        self.message(topic, "sensor_msgs/msg/CameraInfo", received_ns, fields)

    def text(self, topic: str, received_ns: int, text: str, *, latched: bool = False) -> None:
        """Write a std_msgs/String; players offer a latched one to late subscribers too."""
        self.message(topic, "std_msgs/msg/String", received_ns, {"data": text}, latched=latched)

    def diagnostics(
        self, received_ns: int, name: str, level: int, message: str, values: Mapping[str, object]
    ) -> None:
        """Write a diagnostic_msgs/DiagnosticArray with one status to /diagnostics.

        Args:
            received_ns: also its stamp.
            name: of the status.
            level: 0 ok, 1 warning, 2 error.
            message: in words.
            values: numbers get three decimals; what is not finite is left out.
        """
        types = self._store.types
        key_value = types["diagnostic_msgs/msg/KeyValue"]
        pairs = [
            key_value(key, f"{value:.3f}" if isinstance(value, float) else str(value))
            for key, value in values.items()
            if not isinstance(value, float) or math.isfinite(value)
        ]
        status = types["diagnostic_msgs/msg/DiagnosticStatus"](level, name, message, "", pairs)
        fields = {"header": self._header(received_ns, ""), "status": [status]}
        self.message("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", received_ns, fields)

    def message(
        self, topic: str, kind: str, received_ns: int, fields: Mapping[str, Any],
        *, latched: bool = False,
    ) -> None:  # fmt: skip
        """Write any message by its fields."""
        data = self._store.serialize_cdr(self._store.types[kind](**fields), kind)
        self.serialised(topic, kind, received_ns, data, latched=latched)

    def serialised(
        self, topic: str, kind: str, received_ns: int, data: bytes | memoryview,
        *, latched: bool = False,
    ) -> None:  # fmt: skip
        """Write a message of ROS 2 as it was read from another recording (CDR)."""
        try:
            self.add_topic(topic, kind, latched=latched)
            self._writer.write(self._connections[topic], received_ns, data)
        except FAILURES as error:
            raise self._failed(error) from error

    def add_topic(self, topic: str, kind: str, *, latched: bool = False) -> None:
        """Begin a topic before its first message, or without any."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=self._store, offered_qos_profiles=_qos(latched)
            )

    def _failed(self, error: Exception) -> SsvifError:
        return SsvifError(f"Cannot write {self.path}: {error}. Make room or give permission.")

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        stamp = self._store.types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 1_000_000_000))
        return self._store.types["std_msgs/msg/Header"](stamp, frame_id)


def _qos(latched: bool) -> list[Any]:
    if not latched:
        return []
    from rosbags.interfaces import (
        Qos,
        QosDurability,
        QosHistory,
        QosLiveliness,
        QosReliability,
        QosTime,
    )

    forever = QosTime(9223372036, 854775807)  # RMW's infinite duration
    return [
        Qos(
            QosHistory.KEEP_LAST,
            1,
            QosReliability.RELIABLE,
            QosDurability.TRANSIENT_LOCAL,
            forever,
            forever,
            QosLiveliness.AUTOMATIC,
            forever,
            False,
        )
    ]
