"""One camera's stream as it was received: rate, gaps, repeated images, and how far the header
stamps can be trusted. Knows times and a fingerprint of the content, no pixels.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["FIRST_WAIT_S", "Span", "StreamWatch", "both_silent", "outside", "stamp_warnings"]

#: A pause of more than this many median periods is a gap, if it is also longer than GAP_S.
GAP_PERIODS, GAP_S = 3.0, 0.1
#: Less than this, in seconds, at the start is the wait for the first frame.
FIRST_WAIT_S = 0.5
#: Both cameras silent for longer than this: nothing was recorded. What is shorter are lost frames.
PAUSE_S = 2.0
#: The same content for longer than this is a frozen camera. Shorter ones are drivers that send at
#: 30 Hz what a core gives at 9.
FROZEN_S = 0.25
#: Header stamps that lie further than this from the receipt are of another clock, or not of the
#: capture.
FAR_S = 1.0


class Span(NamedTuple):
    """A part of a recording, in seconds after its start."""

    start_s: float
    seconds: float

    @property
    def end_s(self) -> float:
        """When it is over."""
        return self.start_s + self.seconds


class StreamWatch:
    """Told of each message of one camera; 16 bytes are kept of each.

    Args:
        start_ns: beginning of the recording.
        offset_ns: added to header stamps: `thermal_offset` for the thermal camera.

    Attributes:
        offset_ns: as given.
        repeated: messages with the image of the one before.
        frozen: spans of one image, as far as they have ended.
        unstamped: messages without a header stamp.
    """

    def __init__(self, start_ns: int, offset_ns: int = 0) -> None:
        self._start_ns, self.offset_ns = start_ns, offset_ns
        self._received, self._lags = array("q"), array("q")
        self._content: bytes | None = None
        self._same_since_ns = 0
        self.repeated = self.unstamped = 0
        self.frozen: list[Span] = []

    def see(self, received_ns: int, header_ns: int, picture: bytes, step_ns: int = 0) -> None:
        """Take note of a message.

        Args:
            received_ns: time of receipt.
            header_ns: its stamp.
            picture: the fingerprint of its image.
            step_ns: what was taken out of the time of receipt, see `Arrival`.
        """
        if picture == self._content:
            self.repeated += 1
        else:
            self.close()
            self._content, self._same_since_ns = picture, received_ns
        self._received.append(received_ns)
        self._lags.append(received_ns + step_ns - header_ns - self.offset_ns)
        self.unstamped += header_ns <= 0

    def close(self) -> None:
        """End a span of the same image; call it once more when the recording has ended."""
        if self._content is None:
            return
        seconds = (self._received[-1] - self._same_since_ns) * 1e-9
        if seconds > FROZEN_S:
            start_s = (self._same_since_ns - self._start_ns) * 1e-9
            self.frozen.append(Span(start_s, seconds))

    @property
    def frames(self) -> int:
        """Messages so far."""
        return len(self._received)

    @property
    def last_ns(self) -> int | None:
        """When the last message was received."""
        return self._received[-1] if self._received else None

    @property
    def lags_s(self) -> np.ndarray:
        """Receipt minus header stamp (with the offset) of each message, float64."""
        return np.array(self._lags, np.int64) * 1e-9

    @property
    def _period_s(self) -> float:
        """The usual time from one receipt to the next; 0 where there are not two."""
        periods = np.diff(np.array(self._received, np.int64)) * 1e-9
        return float(np.median(periods)) if len(periods) else 0.0

    def gaps(self, end_ns: int) -> list[Span]:
        """Silences from the start to `end_ns`, the end of the recording, also those at both ends.

        A camera that never sent was silent all the time.
        """
        return self._gaps(end_ns, 0.0)

    def _gaps(
        self, end_ns: int, least_s: float, by_stamps_s: np.ndarray | float = np.inf
    ) -> list[Span]:
        times = np.concatenate(([self._start_ns], self._received, [end_ns])).astype(np.int64)
        starts, silences = (times[:-1] - self._start_ns) * 1e-9, np.diff(times) * 1e-9
        long = silences > max(GAP_S, GAP_PERIODS * self._period_s, least_s)
        long[0] &= not self.frames or silences[0] > FIRST_WAIT_S
        long &= by_stamps_s > least_s
        return [Span(float(s), float(p)) for s, p in zip(starts[long], silences[long], strict=True)]

    def pauses(self, end_ns: int) -> list[Span]:
        """The gaps of more than `PAUSE_S`, as far as the stamps have them too: no burst follows."""
        return self._gaps(
            end_ns, PAUSE_S, np.diff(self._stamps * 1e-9, prepend=-np.inf, append=np.inf)
        )

    @property
    def _stamps(self) -> np.ndarray:
        """Stamps by the clock of receipt; the receipt itself where some are missing."""
        received = np.array(self._received, np.int64)
        return received if self.unstamped else received - np.array(self._lags, np.int64)

    def expected(self, end_ns: int, silent: Sequence[Span] = ()) -> int | None:
        """Frames that there would be without gaps; None where no period is known.

        A silence counts as far as both receipt and stamps show it: transport may hand on in bursts
        what a camera took evenly.

        Args:
            end_ns: end of the recording.
            silent: spans, in order, in which no frame was to be expected.
        """
        received, stamps = np.array(self._received, np.int64), self._stamps
        if len(received) < 2:
            return None
        period = max(float(np.median(np.diff(times))) for times in (received, stamps)) * 1e-9
        if not period > 0:
            return None
        times_s = (np.concatenate(([self._start_ns], received, [end_ns])) - self._start_ns) * 1e-9
        silences = np.diff(times_s)
        silences[1:-1] = np.minimum(silences[1:-1], np.diff(stamps) * 1e-9)
        silences[0] *= silences[0] > FIRST_WAIT_S
        silences -= np.diff(times_s - outside(silent, times_s))
        least = max(GAP_S, GAP_PERIODS * period)
        return self.frames + sum(max(0, round(s / period) - 1) for s in silences if s > least)

    def stale(self) -> list[Span]:
        """Runs of frames whose stamps lie further from their receipt than `FAR_S`, by receipt."""
        far = np.abs(self.lags_s) > FAR_S
        edges = np.flatnonzero(np.diff(np.concatenate(([0], far.astype(np.int8), [0]))))
        received = (np.array(self._received, np.int64) - self._start_ns) * 1e-9
        return [
            Span(float(received[first]), float(received[behind - 1] - received[first]))
            for first, behind in edges.reshape(-1, 2)
        ]

    def summary(self, end_ns: int, silent: Sequence[Span] = ()) -> dict[str, Any]:
        """Figures for reports; arguments as of `expected`."""
        received = np.array(self._received, np.int64)
        lags = self.lags_s
        figures: dict[str, Any] = {"frames": len(received), "repeated": self.repeated}
        if len(received) > 1:
            ends_s = (received[[0, -1]] - self._start_ns) * 1e-9
            seconds = float(np.diff(outside(silent, ends_s))[0])
            periods = np.diff(received - np.array(self._lags, np.int64)) * 1e-9
            figures["rate_hz"] = (len(received) - 1) / seconds if seconds > 0 else None
            figures["period_median_s"] = float(np.median(periods))
            figures["period_deviation_s"] = float(periods.std())
            figures["receipt_after_stamp_median_s"] = float(np.median(lags))
            figures["receipt_after_stamp_p99_s"] = float(np.percentile(lags, 99))
        figures["unstamped"] = self.unstamped
        figures["gaps"] = [span._asdict() for span in self.gaps(end_ns)]
        figures["stale"] = [span._asdict() for span in self.stale()]
        figures["frozen"] = [span._asdict() for span in self.frozen]
        return figures


def both_silent(one: StreamWatch, other: StreamWatch, end_ns: int) -> list[Span]:
    """When neither of two cameras sent for longer than `PAUSE_S`, in order.

    So it is where the recorder paused, or where both drivers were gone.
    """
    ours, theirs, found = deque(one.pauses(end_ns)), deque(other.pauses(end_ns)), []
    while ours and theirs:
        a, b = ours[0], theirs[0]
        start_s = max(a.start_s, b.start_s)
        common = Span(start_s, min(a.end_s, b.end_s) - start_s)
        if common.seconds > PAUSE_S:
            found.append(common)
        (ours if a.end_s < b.end_s else theirs).popleft()
    return found


def outside(spans: Sequence[Span], times_s: np.ndarray) -> np.ndarray:
    """How much of the time up to each of `times_s` lies outside of spans, which are in order."""
    if not spans:
        return times_s
    edges = np.array([edge for span in spans for edge in (span.start_s, span.end_s)])
    inside = np.cumsum(np.diff(edges, prepend=edges[0]) * (np.arange(len(edges)) % 2))
    return times_s - np.interp(times_s, edges, inside)


def stamp_warnings(
    visible: StreamWatch, thermal: StreamWatch, slop_s: float, by: str = "header"
) -> list[str]:
    """Where header stamps and stamps of receipt disagree so that pairs would suffer; in words.

    Args:
        visible: all that was received of the camera.
        thermal: likewise.
        slop_s: greatest time between the frames of a pair.
        by: what pairs were made by, "header" or "receive".
    """
    warnings, medians, offset = [], [], ""
    by_receipt = "Pairs were made by receipt" if by == "receive" else "Try --stamps receive"
    for camera, watch in (("visible", visible), ("thermal", thermal)):
        if not len(watch.lags_s):
            warnings.append(f"Nothing usable came from the {camera} camera.")
            continue
        if watch.unstamped:
            warnings.append(
                f"{watch.unstamped} {camera} messages have no header stamp, so that the node pairs "
                f"them with nothing: make the driver stamp its frames. {by_receipt}."
            )
            continue
        median = float(np.median(watch.lags_s))
        medians.append(median)
        offset = ", with thermal_offset," if watch.offset_ns else ""
        if abs(median) <= FAR_S and (stale := watch.stale()):
            longest = max(span.seconds for span in stale)
            warnings.append(
                f"Stamps of the {camera} camera{offset} lay more than {FAR_S:g} s from their "
                f"receipt {len(stale)} time(s), for {longest:.2f} s at the longest: its frames "
                "were late."
            )
        if abs(median) > FAR_S or median < 0:
            warnings.append(
                f"Header stamps of the {camera} camera{offset} lie {abs(median):.3f} s "
                f"{'after' if median < 0 else 'before'} their receipt: another clock, or no stamps "
                f"of capture. {by_receipt}."
            )
    if len(medians) == 2 and abs(medians[0] - medians[1]) > slop_s:
        apart = medians[0] - medians[1]
        warnings.append(
            f"Receipt says that thermal stamps{offset} are {apart:+.3f} s off those of the visible "
            f"camera, more than slop ({slop_s:g} s), unless transport differs so much: "
            f"see thermal_offset. {by_receipt}."
        )
    return warnings
