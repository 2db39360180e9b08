"""What the node did, as numbers, and the message that carries them. report.py makes sense of them.

Knows no images. `Health` is written to by the worker and read by the timer; a lock keeps the two
apart. The message is made by hand and not by diagnostic_updater: that package is no wheel, and one
way on every machine is better than two.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.time import Time

from ssvif_core.inference.pipeline import StageTimes

__all__ = ["FrameRecord", "Health", "InputRate", "Part", "diagnostic_array"]

#: Frames that percentiles look back on: ten seconds at 30 Hz.
WINDOW = 300
#: After a pause longer than this a rate is counted anew.
PAUSE_S = 5.0


class InputRate:
    """Arrival rate of one topic over the last few seconds.

    Attributes:
        received: frames since the node was activated.
        stamps_ns: of the newest frames, in the order of arrival; empty for what has no stamps.
        age_s: the clock at the newest frame's arrival minus its stamp.
    """

    def __init__(self) -> None:
        self.received = 0
        self.stamps_ns: deque[int] = deque(maxlen=60)
        self.age_s: float | None = None
        self._times: deque[float] = deque(maxlen=60)

    def tick(self, now_s: float, stamp_ns: int | None = None) -> None:
        """Count a frame that arrives now."""
        if self._times and not 0 <= now_s - self._times[-1] <= PAUSE_S:
            self._times.clear()
        self._times.append(now_s)
        self.received += 1
        if stamp_ns is not None:
            self.stamps_ns.append(stamp_ns)
            self.age_s = now_s - stamp_ns * 1e-9

    def rate_hz(self, now_s: float) -> float:
        """Frames per second over the window; falls towards 0 while nothing comes."""
        if self._times and now_s < self._times[-1]:  # the clock was set back
            self._times.clear()
        if len(self._times) < 2:
            return 0.0
        return (len(self._times) - 1) / max(now_s - self._times[0], 1e-6)


@dataclass(frozen=True)
class FrameRecord:
    latency_ms: float
    delta_ms: float | None  # None: one camera alone
    decode_ms: float
    publish_ms: float
    times: StageTimes


#: Columns of a record that have percentiles.
STAGES = (
    "latency_ms", "decode_ms", "gain_ms", "warp_ms", "engine_ms", "blend_ms", "publish_ms"
)  # fmt: skip


def _row(record: FrameRecord) -> list[float]:
    times = record.times
    stages = [times.gain_ms, times.warp_ms, times.engine_ms, times.blend_ms]
    return [record.latency_ms, record.decode_ms, *stages, record.publish_ms]


class Health:
    """Counts and recent timings of the worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: deque[FrameRecord] = deque(maxlen=WINDOW)
        self.output = InputRate()
        self.fused = 0
        self.bad_frames = 0
        self.last_error = ""

    def frame(self, now_s: float, record: FrameRecord) -> None:
        with self._lock:
            self.fused += 1
            self.output.tick(now_s)
            self._records.append(record)

    def bad_frame(self, reason: str) -> None:
        with self._lock:
            self.bad_frames += 1
            self.last_error = reason

    def bad_message(self, reason: str) -> None:
        with self._lock:
            self.last_error = reason

    def values(self, now_s: float) -> dict[str, float | int | str]:
        """Everything that is known, by the keys that appear in /diagnostics."""
        with self._lock:
            records = list(self._records)
            values: dict[str, float | int | str] = {
                "fused": self.fused,
                "bad_frames": self.bad_frames,
                "last_error": self.last_error,
                "fused_rate_hz": self.output.rate_hz(now_s),
            }
        # One call for all: each costs more than its arithmetic, in the thread of the callbacks.
        table = np.array([_row(r) for r in records] or [[0.0] * len(STAGES)])
        p50, p99 = np.percentile(table, (50, 99), axis=0)
        for index, name in enumerate(STAGES):
            values[f"{name}_p50"], values[f"{name}_p99"] = float(p50[index]), float(p99[index])
        signed = np.array([r.delta_ms for r in records if r.delta_ms is not None] or [0.0])
        for label, percentile in (("p50", 50), ("p99", 99), ("max", 100)):
            values[f"delta_ms_{label}"] = float(np.percentile(np.abs(signed), percentile))
        values["delta_ms_mean"] = float(np.abs(signed).mean())
        values["delta_ms_bias"] = float(signed.mean())
        return values


@dataclass
class Part:
    """One line of rqt_robot_monitor: numbers, and what is wrong.

    Attributes:
        name: of the part, such as "thermal camera".
        values: by their keys, which are unique over all parts.
        good: what is said where nothing is wrong.
        level: the worst of what is wrong.
        follows: what is wrong is said elsewhere in the log.
    """

    name: str
    values: dict[str, object] = field(default_factory=dict)
    good: str = "ok"
    level: bytes = DiagnosticStatus.OK
    problems: list[str] = field(default_factory=list)
    follows: bool = True

    def follow(self, text: str, level: bytes = DiagnosticStatus.WARN) -> None:
        """Something is wrong that another part, or another line of the log, says already."""
        self._raise(level, text, follows=True)

    def warn(self, text: str) -> None:
        """Something is wrong; the text says what to do."""
        self._raise(DiagnosticStatus.WARN, text)

    def error(self, text: str) -> None:
        """Nothing useful comes of this part; the text says what to do."""
        self._raise(DiagnosticStatus.ERROR, text)

    def _raise(self, level: bytes, text: str, follows: bool = False) -> None:
        self.level = max(self.level, level)
        self.problems.append(text)
        self.follows = self.follows and follows

    @property
    def message(self) -> str:
        """One line."""
        return " ".join(" ".join(self.problems).split()) or self.good


def diagnostic_array(
    stamp: Time, node: str, hardware: str, parts: Sequence[Part]
) -> DiagnosticArray:
    """All parts in one message; values as text, numbers with three decimals.

    Args:
        stamp: now.
        node: fully qualified name, so that the parts of several instances keep apart.
        hardware: id that tools group by.
        parts: in the order of the message.
    """
    array = DiagnosticArray()
    array.header.stamp = stamp.to_msg()
    for part in parts:
        texts = {k: f"{v:.3f}" if isinstance(v, float) else str(v) for k, v in part.values.items()}
        array.status.append(
            DiagnosticStatus(
                level=part.level,
                name=f"{node}: {part.name}",
                message=part.message,
                hardware_id=hardware,
                values=[KeyValue(key=key, value=text) for key, text in texts.items()],
            )
        )
    return array
