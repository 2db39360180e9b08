"""Which of the two cameras lives, from what is received and when. Knows no messages and no clock.

**Time** is what the caller's clock shows, but only as far as it runs steadily: a step of more than
`MAX_STEP_S` between two looks (simulated time that is stepped, a bag that loops, a process that was
stopped) counts as `MAX_STEP_S`, a step back as nothing. So a jump of the clock is no silence.

**Missing**: a camera is out when it has been silent for `missing_after_s` while the other one was
sending all that time. It is back with its `STEADY_FRAMES`th frame without such a pause, so one that
sends a frame now and then does not make the output flap. Nothing is decided while both are silent.

**Frozen**: a camera that sends one picture for `frozen_after_s` while the other's goes on changing
is out too: on a moving robot its picture would be a lie. A real sensor's noise makes every frame
differ. Where both stand still (a still image to try things with, a simulation without noise)
neither is out, nor where one of them changes once. A shutter (flat-field correction) holds a
picture for up to half a second: only counted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median_low

import numpy as np

__all__ = ["CAMERAS", "CameraReport", "Presence", "PresenceReport", "fingerprint"]

CAMERAS = ("visible", "thermal")
OTHER = {"visible": "thermal", "thermal": "visible"}

#: Longest time that one look at the clock may add. The node looks ten times a second; simulators
#: publish /clock at 10 Hz and more.
MAX_STEP_S = 0.25
#: Frames by which a camera that was out shows that it is back: 0.2 s at 9 Hz.
STEADY_FRAMES = 3
#: Stamps further than this from the time of receipt are reported: no transport takes a second.
STALE_AFTER_S = 1.0
#: Ages that the smallest is taken of: transport only adds to what the clocks are apart.
AGES_KEPT = 16
#: Bytes that a large picture is known by.
FINGERPRINT_BYTES = 8192


def fingerprint(data: bytes | bytearray | memoryview | np.ndarray) -> bytes:
    """Some thousand bytes spread evenly over a picture's: two frames of a real sensor never agree.

    Args:
        data: any contiguous buffer, as `msg.data`.
    """
    pixels = np.frombuffer(data, np.uint8)
    # A step of 6 k + 1 walks through 2, 3 or 4 channels alike, and both bytes of 16-bit pixels.
    return pixels[:: pixels.size // FINGERPRINT_BYTES // 6 * 6 + 1].tobytes()


@dataclass(frozen=True)
class CameraReport:
    """What is known of one camera.

    Attributes:
        state: "never" (not heard yet), "ok", "missing" (silent), "late" (silent as well, but both
            are still paired: the other has not sent for long enough since), "frozen" (repeats its
            picture), "returning" (was out, not steady yet), or "stale" (sends, with stamps far from
            now).
        silent_s: time since its last frame, or all that was watched if it was never heard.
        unchanged_s: time since its picture last changed.
        age_s: time of receipt minus stamp, the smallest of the last frames.
        interval_s: the usual one between its last frames.
        repeated: frames so far that showed the picture of the one before.
    """

    state: str
    silent_s: float
    unchanged_s: float
    age_s: float
    interval_s: float
    repeated: int


@dataclass(frozen=True)
class PresenceReport:
    """The two cameras together.

    Attributes:
        mode: "both", "visible" or "thermal" (that one alone), or "none".
        cameras: by name.
        starved_s: for how long frames have come in without any going out.
        watched_s: for how long they were watched.
    """

    mode: str
    cameras: dict[str, CameraReport]
    starved_s: float
    watched_s: float


@dataclass
class _Camera:
    last_s: float | None = None  # last frame
    since_s: float = 0.0  # first frame since the last pause
    changed_s: float = 0.0  # last frame with a new picture
    moving_s: float = 0.0  # since when new pictures have come one soon after the other
    intervals_s: deque[float] = field(default_factory=lambda: deque(maxlen=3))
    steady: int = 0  # frames since the last pause
    repeated: int = 0
    out: bool = False
    picture: bytes | None = None
    ages_s: deque[float] = field(default_factory=lambda: deque(maxlen=AGES_KEPT))

    @property
    def still_since_s(self) -> float:
        """Since when it has sent one picture; one that it sent before a pause may be the same."""
        return max(self.changed_s, self.since_s)


class Presence:
    """Watches two cameras. Not thread safe.

    Args:
        missing_after_s: silence after which a camera is out. 0.5 s: four periods of a 9 Hz core.
        frozen_after_s: see the module; 0: never. 1 s: twice the longest shutter.

    Both may be set at any time.
    """

    def __init__(self, missing_after_s: float = 0.5, frozen_after_s: float = 1.0) -> None:
        self.missing_after_s = missing_after_s
        self.frozen_after_s = frozen_after_s
        self._cameras = {name: _Camera() for name in CAMERAS}
        self._time_s = 0.0
        self._now_ns: int | None = None
        self._starved_since_s: float | None = None
        self.mode = "none"

    @property
    def alone(self) -> str | None:
        """The camera that goes on alone, or None."""
        return self.mode if self.mode in CAMERAS else None

    def seen(self, name: str, stamp_ns: int, now_ns: int, picture: bytes | None = None) -> None:
        """A frame was received.

        Args:
            name: "visible" or "thermal".
            stamp_ns: of the frame.
            now_ns: time of receipt.
            picture: its `fingerprint`; None: not known, taken as a new picture.
        """
        self._pass_time(now_ns)
        camera, now_s = self._cameras[name], self._time_s
        if camera.last_s is not None:
            camera.intervals_s.append(now_s - camera.last_s)
        paused = self._silent(camera)
        if paused:
            camera.since_s, camera.steady = now_s, 0
        if picture is not None and picture == camera.picture:
            camera.repeated += 1
        else:
            if camera.last_s is None or now_s - camera.changed_s >= self.frozen_after_s:
                camera.moving_s = now_s
            camera.changed_s = now_s
        camera.picture = picture
        camera.steady += 1
        camera.last_s = now_s
        camera.ages_s.append((now_ns - stamp_ns) / 1e9)
        if self._starved_since_s is None:
            self._starved_since_s = now_s
        self._judge()

    def check(self, now_ns: int) -> None:
        """Look at the clock; call it many times a second."""
        self._pass_time(now_ns)
        self._judge()

    def went_out(self) -> None:
        """A pair or a single frame went out."""
        self._starved_since_s = None

    def report(self) -> PresenceReport:
        """The state at the last look at the clock."""
        starved = self._starved_since_s
        return PresenceReport(
            self.mode,
            {name: self._report(name) for name in CAMERAS},
            0.0 if starved is None or self.mode == "none" else self._time_s - starved,
            self._time_s,
        )

    def _report(self, name: str) -> CameraReport:
        camera = self._cameras[name]
        age_s = min(camera.ages_s, key=abs, default=0.0)
        return CameraReport(
            state=self._state(name, age_s),
            silent_s=self._time_s - (camera.last_s or 0.0),
            unchanged_s=0.0 if camera.last_s is None else self._time_s - camera.still_since_s,
            age_s=age_s,
            interval_s=median_low(camera.intervals_s) if camera.intervals_s else 0.0,
            repeated=camera.repeated,
        )

    def _state(self, name: str, age_s: float) -> str:
        camera = self._cameras[name]
        if camera.last_s is None:
            return "never"
        if self._silent(camera):
            return "late" if self.mode == "both" else "missing"
        if self._stands_still(camera):
            return "frozen"
        if camera.out:
            return "returning"
        return "stale" if abs(age_s) > STALE_AFTER_S else "ok"

    def _pass_time(self, now_ns: int) -> None:
        if self._now_ns is not None:
            self._time_s += min(max((now_ns - self._now_ns) / 1e9, 0.0), MAX_STEP_S)
        self._now_ns = now_ns

    def _silent(self, camera: _Camera) -> bool:
        return camera.last_s is None or self._time_s - camera.last_s > self.missing_after_s

    def _stands_still(self, camera: _Camera) -> bool:
        """Whether it has repeated one picture for too long, whatever the other does."""
        last_s = camera.last_s or 0.0  # what it has not sent, it has not repeated
        return 0 < self.frozen_after_s <= last_s - camera.still_since_s

    def _judge(self) -> None:
        visible, thermal = self._cameras.values()
        silent = [self._silent(camera) for camera in (visible, thermal)]
        if all(silent):
            visible.out = thermal.out = False
            self.mode = "none"
            return
        # Never both: each way to be out needs an other camera that sends and is not out itself.
        visible.out, thermal.out = self._is_out(visible, thermal), self._is_out(thermal, visible)
        if visible.out or thermal.out:
            self.mode = "thermal" if visible.out else "visible"
        else:
            waiting = any(silent) and self.mode != "both"
            self.mode = "none" if waiting else "both"

    def _is_out(self, camera: _Camera, other: _Camera) -> bool:
        if self._silent(camera):
            if camera.out or other.last_s is None:
                return camera.out
            # Counted up to the other's last frame: if both stop, neither goes on alone.
            since_s = other.since_s if camera.last_s is None else max(camera.last_s, other.since_s)
            return other.last_s - since_s >= self.missing_after_s
        if self._silent(other):
            return False
        if other.steady >= STEADY_FRAMES and self._frozen(camera, other):
            return True
        return camera.out and camera.steady < STEADY_FRAMES

    def _frozen(self, camera: _Camera, other: _Camera) -> bool:
        until_s = min(other.changed_s, camera.last_s or 0.0)
        since_s = max(other.moving_s, camera.still_since_s)
        return 0 < self.frozen_after_s <= until_s - since_s
