"""What happened in each second of a recording: the timeline of health."""

from __future__ import annotations

from collections import defaultdict

__all__ = ["SECOND_FIGURES", "Timeline"]

#: Messages of each camera, pairs, pairs that real time would have dropped, frames of one camera
#: that went on alone, images that were refused and pairs that could not be fused.
SECOND_FIGURES = ("visible", "thermal", "paired", "dropped", "alone", "refused", "bad")


class Timeline:
    """Counts by the second.

    Args:
        start_ns: beginning of the recording.
    """

    def __init__(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self._counts: dict[str, dict[int, int]] = {n: defaultdict(int) for n in SECOND_FIGURES}
        self.last = -1

    def count(self, figure: str, time_ns: int, number: int = 1) -> None:
        """Add to a figure of the second in which `time_ns` lies; before the start is the first."""
        second = max(0, (time_ns - self._start_ns) // 1_000_000_000)
        self.last = max(self.last, second)
        self._counts[figure][second] += number

    def second_of(self, time_ns: int) -> int:
        """Number of a second."""
        return max(0, (time_ns - self._start_ns) // 1_000_000_000)

    def at(self, second: int) -> dict[str, int]:
        """All figures of a second."""
        return {name: counts.get(second, 0) for name, counts in self._counts.items()}

    def series(self) -> dict[str, list[int]]:
        """Each figure, second by second from the first to the last."""
        return {
            name: [counts.get(second, 0) for second in range(self.last + 1)]
            for name, counts in self._counts.items()
        }
