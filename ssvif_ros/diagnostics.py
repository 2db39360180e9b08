"""What the node did, as numbers: counted here, published on /diagnostics once a second.

Knows no images. `Health` is written to by the worker and read by the timer; a lock keeps the two
apart.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.time import Time

from ssvif_core.inference.pipeline import StageTimes

__all__ = ["Health", "InputRate", "diagnostic_array"]

#: Frames that percentiles look back on: ten seconds at 30 Hz.
WINDOW = 300


class InputRate:
    """Arrival rate of one topic over the last few seconds."""

    def __init__(self) -> None:
        self.received = 0
        self._times: deque[float] = deque(maxlen=60)

    def tick(self, now_s: float) -> None:
        if self._times and now_s < self._times[-1]:
            self._times.clear()
        self._times.append(now_s)
        self.received += 1

    def silence_s(self, now_s: float) -> float | None:
        """Seconds since the last frame, or None before the first."""
        return now_s - self._times[-1] if self._times else None

    def rate_hz(self, now_s: float) -> float:
        """Frames per second over the window; falls towards 0 while nothing comes."""
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


class Health:
    """Counts and recent timings of the worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: deque[FrameRecord] = deque(maxlen=WINDOW)
        self.output = InputRate()
        self.fused = 0
        self.bad_frames = 0
        self.failed_in_row = 0  # pairs, up to now
        self.last_error = ""

    def frame(self, now_s: float, record: FrameRecord) -> None:
        with self._lock:
            self.fused += 1
            self.failed_in_row = 0
            self.output.tick(now_s)
            self._records.append(record)

    def bad_frame(self, reason: str) -> None:
        with self._lock:
            self.bad_frames += 1
            self.failed_in_row += 1
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
        stages = {
            "latency_ms": [r.latency_ms for r in records],
            "decode_ms": [r.decode_ms for r in records],
            "gain_ms": [r.times.gain_ms for r in records],
            "warp_ms": [r.times.warp_ms for r in records],
            "engine_ms": [r.times.engine_ms for r in records],
            "publish_ms": [r.publish_ms for r in records],
            "delta_ms": [abs(r.delta_ms) for r in records if r.delta_ms is not None],
        }
        for name, samples in stages.items():
            for label, percentile in (("p50", 50), ("p99", 99)):
                values[f"{name}_{label}"] = (
                    float(np.percentile(samples, percentile)) if samples else 0.0
                )
        return values


def diagnostic_array(
    stamp: Time, name: str, hardware: str, level: bytes, message: str, values: dict[str, object]
) -> DiagnosticArray:
    """One status with `values` as text, numbers with three decimals."""
    texts = {k: f"{v:.3f}" if isinstance(v, float) else str(v) for k, v in values.items()}
    status = DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=hardware,
        values=[KeyValue(key=key, value=text) for key, text in texts.items()],
    )
    array = DiagnosticArray(status=[status])
    array.header.stamp = stamp.to_msg()
    return array
