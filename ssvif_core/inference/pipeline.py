"""The walk of a pair: thermal cleaning, gain -> registration -> engine; node, replay and CLI.

Arrays in, arrays out; knows no messages, files or threads. What is evaluated is what runs on the
robot because both call `Pipeline.process`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import cv2
import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.registration import Registration
from ssvif_core.imaging.thermal_cleaning import ThermalCleaning
from ssvif_core.imaging.thermal_gain import THERMAL_DTYPES, ThermalGain
from ssvif_core.inference.engine import Engine
from ssvif_core.inference.one_camera import StandIn
from ssvif_core.memory import give_back_freed

__all__ = ["Followed", "FusionResult", "Pipeline", "StageTimes"]

logger = logging.getLogger("ssvif.pipeline")

#: Longer than any frame takes; who deactivates a node whose GPU hangs shall not wait for ever.
STUCK_S = 10.0


@dataclass
class StageTimes:
    """Wall time of each stage, in milliseconds; the engine's is what the frame waited for it."""

    gain_ms: float = 0.0
    warp_ms: float = 0.0
    engine_ms: float = 0.0
    blend_ms: float = 0.0


@dataclass
class FusionResult:
    """One fused frame.

    Attributes:
        fused: (H, W, 3) uint8 RGB, at the visible camera's size.
        labels: (H, W) uint8, ids of the model card's classes.
        thermal: (H, W) uint8 as the engine saw it: after gain and warp.
        times: wall time of each stage.

    All of these may be buffers that the next call overwrites: copy what is kept.
    """

    fused: np.ndarray
    labels: np.ndarray
    thermal: np.ndarray
    times: StageTimes = field(default_factory=StageTimes)


@dataclass
class Followed:
    """A frame between the two halves of the walk.

    Attributes:
        visible: (H, W, 3) uint8 RGB, or None.
        thermal: (h, w) uint8 after cleaning and gain, or None.
        size: (H, W) of the output.
        times: of the stages so far.
    """

    visible: np.ndarray | None
    thermal: np.ndarray | None
    size: tuple[int, int]
    times: StageTimes


class Pipeline:
    """Gain, warp and engine in order. Not thread safe: one thread owns a pipeline.

    Args:
        engine: see `ssvif_core.inference.engine`.
        gain: raw thermal counts to 8 bit.
        registration: thermal onto the visible grid; None: both cameras have the same field of view.
            May be replaced at any time and from any thread, and applies from the next frame on.
        cleaning: bad pixels and stripes, before the gain; the default replaces bad pixels.
    """

    def __init__(
        self,
        engine: Engine,
        gain: ThermalGain,
        registration: Registration | None = None,
        cleaning: ThermalCleaning | None = None,
    ) -> None:
        self.engine, self.gain, self.registration = engine, gain, registration
        self.cleaning = cleaning or ThermalCleaning()
        #: (width, height) of the last visible and of the last thermal frame.
        self.sizes: tuple[tuple[int, int], tuple[int, int]] | None = None
        #: Whether the engine was freed by `release`, so that nothing can be fused until `resume`.
        self.released = False
        self._next: Engine | None = None
        self._next_lock = threading.Lock()
        self._running = threading.Lock()  # for `release`, which comes from another thread
        self._stand_in = StandIn()
        self._sizes_told: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()

    def process(
        self,
        visible: np.ndarray | None,
        thermal: np.ndarray | None,
        stamp_s: float | None = None,
        *,
        passthrough: bool = False,
        on_fused: Callable[[np.ndarray], None] | None = None,
    ) -> FusionResult:
        """Fuse one pair, or the image of one camera where the other is missing (None).

        The network then gets a black image for it, as it was trained to. Without a visible image
        the output has the size of the last one; before the first, that of the thermal image.

        Args:
            visible: (H, W, 3) uint8 RGB.
            thermal: (h, w) uint8 or uint16, or float32 temperatures. Without a registration it is
                resized to (H, W) where it differs, which is right only for cameras that look
                through the same optics. It must not change until the next frame: `cleaning` learns
                from it then, or in `cleaning.look`.
            stamp_s: time of the thermal frame in seconds, for the gain's time constant.
            passthrough: where one camera is missing, hand on the other's own image, with every
                label unknown (255), instead of running the network.
            on_fused: called once with the fused image, before the labels are there where the engine
                can do that: whoever waits for the image need not wait for them. Its time is no
                stage's.

        Raises:
            SsvifError: an array has another shape or dtype, or is empty, or there is none.
        """
        followed = self.follow(visible, thermal, stamp_s)
        return self.fuse(followed, passthrough=passthrough, on_fused=on_fused)

    def follow(
        self, visible: np.ndarray | None, thermal: np.ndarray | None, stamp_s: float | None = None
    ) -> Followed:
        """What a frame owes to those before it: cleaning, gain, size. Frames in their order.

        Arguments and errors are those of `process`.
        """
        _check(visible, thermal)
        size = self._stand_in.size(visible, thermal)
        if visible is not None and thermal is not None:
            self.sizes = (size[1], size[0]), (thermal.shape[1], thermal.shape[0])
        times, start = StageTimes(), time.perf_counter()
        if thermal is not None:
            thermal = self.gain.apply(self.cleaning.apply(thermal), stamp_s)
        _lap(times, "gain_ms", start)
        return Followed(visible, thermal, size, times)

    def fuse(
        self,
        followed: Followed,
        *,
        passthrough: bool = False,
        on_fused: Callable[[np.ndarray], None] | None = None,
    ) -> FusionResult:
        """The rest of `process`: it needs no frame before, so others may do it beside this one.

        Raises:
            SsvifError: the engine cannot take the frame.
        """
        with self._running:
            self._take_next_engine()
        registration = self.registration  # one and the same for the whole frame
        visible, thermal, size = followed.visible, followed.thermal, followed.size
        times = followed.times
        alone = visible is None or thermal is None
        start = time.perf_counter()
        if thermal is None:
            thermal, registration = self._stand_in.black(*size), None
        elif registration is None:
            thermal = self._resized(thermal, size)
        else:
            thermal = registration.warp(thermal, (size[1], size[0]))
        start = _lap(times, "warp_ms", start)
        shown = self._stand_in.black(*size, 3) if visible is None else visible
        arrival = _Arrival(registration, shown, on_fused, times)
        if alone and passthrough:
            fused, labels = self._stand_in.passed_on(visible, thermal)
        else:
            with self._running:
                if self.released:
                    raise SsvifError("The engine is closed: make another one, see `resume`.")
                shown = np.ascontiguousarray(shown)
                fused, labels = self.engine.infer(shown, thermal, arrival)
        arrival(fused)
        times.engine_ms = (time.perf_counter() - start - arrival.seconds) * 1e3
        return FusionResult(arrival.fused(), labels, thermal, times)

    def _resized(self, thermal: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
        """Thermal at the visible image's size, for cameras that are not registered."""
        if thermal.shape == size:
            return np.ascontiguousarray(thermal)
        if (thermal.shape, size) not in self._sizes_told:  # a folder may mix sizes
            self._sizes_told.add((thermal.shape, size))
            logger.warning(
                "thermal is %dx%d and visible %dx%d: thermal is resized to visible. This is "
                "right only if both cameras have the same field of view; else register them "
                "(docs/registration.md).",
                *(thermal.shape[::-1] + size[::-1]),
            )
        return cv2.resize(thermal, size[::-1], interpolation=cv2.INTER_LINEAR)

    def replace_engine(self, engine: Engine) -> bool:
        """Have another engine run from the next frame on; may be called from any thread.

        The one that runs now is closed before that frame, by the thread that owns the pipeline.

        Returns:
            False for a pipeline that was released: it takes none, the engine is closed at once.
        """
        with self._next_lock:
            taken = not self.released
            replaced: Engine | None = engine
            if taken:
                replaced, self._next = self._next, engine
        if replaced is not None:
            replaced.close()
        return taken

    def _take_next_engine(self) -> None:
        with self._next_lock:
            engine, self._next = self._next, None
        if engine is not None:
            self.engine.close()
            give_back_freed()
            self.engine = engine

    def release(self) -> None:
        """Free the memory of the engine, and of one that waits to take over, until `resume`.

        What is known of frames, such as the limits of the gain, stays. What closing an engine
        raises is raised when all is done: the pipeline is released then, too.
        """
        with self._next_lock:
            if self.released:
                return
            self.released, waiting, self._next = True, self._next, None
        running = self._running
        with ExitStack() as to_do:  # all of it, the last first, though one raises
            to_do.callback(give_back_freed)
            if running.acquire(timeout=STUCK_S):  # no engine is closed in the middle of a frame
                to_do.callback(running.release)
                to_do.callback(self.engine.close)
            else:
                logger.error(
                    "the engine hangs in a frame, its memory is not freed: restart this program"
                )
            if waiting is not None:
                to_do.callback(waiting.close)

    def resume(self, engine: Engine) -> None:
        """Go on after `release`, with this engine."""
        with self._next_lock:
            self.engine, self.released = engine, False
            self._running = threading.Lock()  # an engine that hangs keeps the one before

    def close(self) -> None:
        """Free the engine, and one that waits to take over; the pipeline is used no more."""
        self.release()


class _Arrival:
    """The fused image on its way out: blended where thermal ends, handed on, both once."""

    def __init__(
        self,
        registration: Registration | None,
        visible: np.ndarray,
        hand_on: Callable[[np.ndarray], None] | None,
        times: StageTimes,
    ) -> None:
        self._registration, self._visible = registration, visible
        self._hand_on, self._times = hand_on, times
        self._fused: np.ndarray | None = None
        self._error: Exception | None = None
        self.seconds = 0.0

    def __call__(self, fused: np.ndarray) -> None:
        """For an engine to call. What the receiver raises is no failure of the engine's."""
        if self._fused is not None or self._error is not None:
            return  # an engine that took over has computed the frame anew
        start = time.perf_counter()
        try:
            if self._registration is not None:
                fused = self._registration.blend(fused, self._visible)
                _lap(self._times, "blend_ms", start)
            self._fused = fused
            if self._hand_on is not None:
                self._hand_on(fused)
        except Exception as error:
            self._error = error
        self.seconds = time.perf_counter() - start

    def fused(self) -> np.ndarray:
        """The image; raises what came of handing it on."""
        if self._error is not None:
            raise self._error
        assert self._fused is not None
        return self._fused


def _check(visible: np.ndarray | None, thermal: np.ndarray | None) -> None:
    for name, image in (("visible", visible), ("thermal", thermal)):
        if image is not None and image.size == 0:
            raise SsvifError(f"The {name} image is empty: {image.shape}.")
    if visible is not None and (
        visible.ndim != 3 or visible.shape[2] != 3 or visible.dtype != np.uint8
    ):
        raise SsvifError(
            f"visible is {visible.dtype} {visible.shape}: it must be uint8 (H, W, 3) RGB."
        )
    if thermal is not None and (thermal.ndim != 2 or thermal.dtype not in THERMAL_DTYPES):
        raise SsvifError(
            f"thermal is {thermal.dtype} {thermal.shape}: it must be uint8, uint16 or "
            "float32 (H, W)."
        )


def _lap(times: StageTimes, stage: str, start: float) -> float:
    now = time.perf_counter()
    setattr(times, stage, (now - start) * 1e3)
    return now
