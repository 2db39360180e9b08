"""The offset between the two cameras' clocks, from what moves in both.

Both cameras see the same motion: when the robot turns or something passes, both images change. How
far the whole image moves, sideways and upright, and how much of it changes, are put on one time
grid and compared at every offset. The one of the three that correlates best is used: when the
cameras turn, that is a shift; when they stand still, shifts are made up by what passes, which each
camera sees differently, and the change is better. The peak is taken between the grid's steps by a
parabola. The same is done for parts of the recording: their spread says how sure
the offset is, and a peak that is no better than others far from it is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ssvif_core.calibration.motion import Motion
from ssvif_core.errors import SsvifError

__all__ = ["TimeOffset", "check_offset", "estimate_offset"]

#: A longer one is a clock that was set, or two recordings: what lies in it is not known.
MOST_GAP_S = 60.0
STEP_S = 0.005
#: Slower changes than this are light and gain, not motion.
SLOW_S = 2.0
LEAST_OVERLAP_S = 5.0
#: What is advised: in less, motion is seldom irregular enough for one peak.
ADVISED_S = 20
PARTS = 4
#: The offset is not surer than this part of the time between frames.
PERIOD_PART = 0.05
#: Peaks are apart by this many steps at least (0.25 s, a turn to and fro is slower).
APART = 50
#: The least correlation (unrelated recordings of 15 s gave up to 0.70), and the least lead over the
#: best peak elsewhere.
LEAST_CORRELATION = 0.75
LEAST_LEAD = 0.1
#: The most that the parts' offsets may differ by (median absolute deviation).
MOST_SPREAD_S = 0.03


@dataclass(frozen=True)
class TimeOffset:
    """An offset and how sure it is.

    Attributes:
        offset_s: to be added to thermal stamps, as `thermal_offset` of the node.
        spread_s: spread of the offsets of parts of the recording (1.48 median deviation).
        correlation: of the two motion signals at the offset, -1..1.
        lead: how much less the best other peak correlates.
        period_s: time between frames of the slower camera.
    """

    offset_s: float
    spread_s: float
    correlation: float
    lead: float
    period_s: float

    @property
    def error_s(self) -> float:
        """What the offset may be off by: two deviations of a part, and a part of a frame's time.

        Parts share errors (things that each camera sees differently), so that the whole recording
        is not taken for surer than a part of it. Recordings that moved evenly, so that parts agreed
        to a millisecond, were off by up to 4 ms with a core of 9 Hz.
        """
        return math.hypot(2 * self.spread_s, self.period_s * PERIOD_PART)


def estimate_offset(visible: Motion, thermal: Motion, reach_s: float = 1.0) -> TimeOffset:
    """Find the offset within +- `reach_s`.

    Args:
        visible: motion of the visible camera's image.
        thermal: motion of the thermal camera's image; any rate.
        reach_s: greatest offset that is looked for.

    Raises:
        SsvifError: the two do not overlap in time for long enough, or stamps jump.
    """
    grid = _grid(visible, thermal, reach_s)
    seen, felt = (
        _signals(visible, grid, thermal.period_s),
        _signals(thermal, grid, visible.period_s),
    )
    reach = round(reach_s / STEP_S)
    curves = [_correlation(*pair, reach) for pair in zip(seen, felt, strict=True)]
    best = int(np.argmax([curve.max() for curve in curves]))
    curve, line, other = curves[best], seen[best], felt[best]
    peak = int(curve.argmax())
    apart = max(round(2.5 * max(visible.period_s, thermal.period_s) / STEP_S), APART)
    others = np.r_[curve[: max(0, peak - apart)], curve[peak + apart :]]
    parts = [
        _summit(_correlation(line[piece], other[piece], min(reach, len(piece) // 3)))
        for piece in np.array_split(np.arange(len(grid)), PARTS)
    ]
    offset = _summit(curve)
    deviation = 1.4826 * float(np.median(np.abs(np.array(parts) - np.median(parts))))
    lead = float(curve[peak] - others.max()) if len(others) else 0.0
    period_s = max(visible.period_s, thermal.period_s)
    return TimeOffset(float(offset), deviation, float(curve[peak]), lead, period_s)


def check_offset(found: TimeOffset, reach_s: float = 1.0) -> None:
    """Raise SsvifError with what to do if an offset is not distinct."""
    seen = (
        f"{1e3 * found.offset_s:+.0f} ms, correlation {found.correlation:.2f} (at least "
        f"{LEAST_CORRELATION}), {found.lead:.2f} above the next peak (at least {LEAST_LEAD}), "
        f"parts of the recording differ by {1e3 * found.spread_s:.0f} ms (at most "
        f"{1e3 * MOST_SPREAD_S:.0f})"
    )
    good = found.correlation >= LEAST_CORRELATION and found.lead >= LEAST_LEAD
    if not good or found.spread_s > MOST_SPREAD_S or abs(found.offset_s) > 0.97 * reach_s:
        raise SsvifError(
            f"No distinct time offset: {seen}. Record {ADVISED_S} seconds or more in which the "
            "cameras turn to and fro in an irregular way, or people walk through both images."
        )


def _grid(visible: Motion, thermal: Motion, reach_s: float) -> np.ndarray:
    start = max(visible.times_s[0], thermal.times_s[0] - reach_s)
    end = min(visible.times_s[-1], thermal.times_s[-1] + reach_s)
    if end - start < LEAST_OVERLAP_S:
        apart_s = visible.times_s[0] - thermal.times_s[0]
        clocks = ""
        if abs(apart_s) > reach_s:
            clocks = f" If it was, the clocks differ: add {apart_s:+.1f} to --offset."
        raise SsvifError(
            f"The two cameras' times overlap for {max(0.0, end - start):.1f} s (within {reach_s:g} "
            f"s of offset): record {ADVISED_S} s or more of both at once.{clocks}"
        )
    for name, motion in (("visible", visible), ("thermal", thermal)):
        steps = np.diff(motion.times_s)
        if steps.max(initial=0.0) > MOST_GAP_S:
            raise SsvifError(
                f"The stamps of the {name} camera jump by {steps.max():.0f} s after "
                f"{motion.times_s[steps.argmax()] - motion.times_s[0]:.0f} s: record in one piece, "
                "after the clock has been set."
            )
    return np.arange(start, end, STEP_S)


def _signals(motion: Motion, grid: np.ndarray, other_period_s: float) -> np.ndarray:
    """(3, N) energy and shift on the grid, as blurred as the slower camera's, slow changes gone."""
    rows = [np.log(motion.energy + 1e-3), *motion.shift.T]
    out = []
    # A frame difference is a mean over one period; the faster camera's is averaged as long.
    blur = max(other_period_s, motion.period_s)
    for row in rows:
        row = np.clip(row, *np.quantile(row, [0.01, 0.99]))
        line = np.interp(grid, motion.times_s, row)
        extra = np.sqrt(max(0.0, blur**2 - motion.period_s**2))
        line = _mean(line, extra)
        line = _mean(line, 0.05)
        line = line - _mean(line, SLOW_S)
        out.append(line / max(float(line.std()), 1e-9))
    return np.array(out)


def _mean(line: np.ndarray, span_s: float) -> np.ndarray:
    """Running mean; the ends lean on what there is."""
    count = 2 * round(span_s / STEP_S / 2) + 1
    if count <= 1:
        return line
    kernel = np.ones(count)
    return np.convolve(line, kernel, "same") / np.convolve(np.ones_like(line), kernel, "same")


def _correlation(seen: np.ndarray, felt: np.ndarray, reach: int) -> np.ndarray:
    """(2 reach + 1,) correlation of two signals (N,) with the thermal one moved by each offset."""
    out = np.zeros(2 * reach + 1)
    n = len(seen)
    for k in range(-reach, reach + 1):  # thermal stamps + k steps
        a = seen[max(0, k) : n + min(0, k)]
        b = felt[max(0, -k) : n - max(0, k)]
        norm = np.sqrt((a @ a) * (b @ b))
        out[k + reach] = a @ b / norm if norm > 0 else 0.0
    return out


def _summit(curve: np.ndarray) -> float:
    """Offset of the peak in seconds, between steps by a parabola through a few of them."""
    reach, peak = len(curve) // 2, int(curve.argmax())
    span = 3
    if peak < span or peak >= len(curve) - span:
        return (peak - reach) * STEP_S
    x = np.arange(-span, span + 1)
    a, b, _ = np.polyfit(x, curve[peak - span : peak + span + 1], 2)
    inside = a < 0 and abs(b / (2 * a)) <= span
    return (peak - reach - (b / (2 * a) if inside else 0.0)) * STEP_S
