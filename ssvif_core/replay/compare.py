"""Two models on the same pairs: paired differences, and how sure one can be of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.evaluation.fusion_metrics import METRICS
from ssvif_core.replay.frame_table import Figures

__all__ = [
    "FIGURES", "LEAST_PAIRS", "UNITS", "Difference", "block_interval", "differences",
    "frames_of_both", "interval_text",
]  # fmt: skip

#: Figures that are compared, and whether more is better.
FIGURES: dict[str, bool] = {
    **dict.fromkeys(METRICS, True),
    "iou_objects": True,
    "pixel_accuracy": True,
    "flicker_fused": False,
    "flicker_labels": False,
    "engine_ms": False,
    "total_ms": False,
}
#: Of the figures above that are not plain numbers.
UNITS = {
    "flicker_fused": "grey levels",
    "flicker_labels": "part of pixels",
    "engine_ms": "ms",
    "total_ms": "ms",
}
RESAMPLES, COVERAGE = 4000, 0.95
#: A bootstrap of fewer values gives an interval that is much too narrow.
LEAST_PAIRS = 10


@dataclass(frozen=True)
class Difference:
    """A figure of two models over the pairs on which both have it.

    Attributes:
        figure: a column of the table.
        pairs: how many.
        first, second: means.
        mean: of second - first.
        low, high: 95 % confidence interval of that mean; NaN for fewer than 10 pairs.
    """

    figure: str
    pairs: int
    first: float
    second: float
    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Of the second against the first, in a word or two."""
        if np.isnan(self.low):
            return "too few pairs"
        if not (self.low > 0 or self.high < 0):
            return "no difference shown"
        return "better" if (self.mean > 0) == FIGURES[self.figure] else "worse"


def differences(first: Figures, second: Figures) -> list[Difference]:
    """All figures that both tables have; rows belong together by their index."""
    found = []
    for figure in FIGURES:
        a, b = _by_index(first, figure), _by_index(second, figure)
        common = [index for index in a if index in b]
        if not common:
            continue
        x, y = (np.array([values[i] for i in common]) for values in (a, b))
        low, high = block_interval(y - x)
        means = float(x.mean()), float(y.mean()), float((y - x).mean())
        found.append(Difference(figure, len(common), *means, low, high))
    return found


def _by_index(table: Figures, column: str) -> dict[int, float]:
    """Index of a pair -> its value, in order, where there is one."""
    index, values = table.column("index"), table.column(column)
    known = np.isfinite(values)
    pairs = zip(index[known].astype(int), values[known], strict=True)
    return {int(i): float(v) for i, v in sorted(pairs)}


def block_interval(
    values: np.ndarray, seed: int = 0, least: int = LEAST_PAIRS
) -> tuple[float, float]:
    """95 % interval of the mean of a series by the circular block bootstrap.

    Neighbouring frames are alike; a bootstrap of single frames would take them for independent and
    give too narrow an interval. Blocks of about sqrt(n) are drawn from the series closed to a ring
    (Politis and Romano, A circular block-resampling procedure for stationary data, 1992).

    Args:
        values: (n,) float64 in order of time.
        seed: of the draws.
        least: fewer values get no interval; at least 2.

    Returns:
        Lower and upper end; NaN for n < `least`.
    """
    n = len(values)
    if n < least:
        return float("nan"), float("nan")
    length = int(np.ceil(np.sqrt(n)))
    ring = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values[: length - 1]]))])
    block_sums = ring[length:] - ring[:-length]
    blocks = int(np.ceil(n / length))
    random = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        means[k] = block_sums[random.integers(0, n, blocks)].sum() / (blocks * length)
    tail = 100 * (1 - COVERAGE) / 2
    low, high = np.percentile(means, (tail, 100 - tail))
    return float(low), float(high)


def interval_text(low: float, high: float, form: str) -> str:
    """An interval in brackets; "-" where there is none. `form` is a format without its sign."""
    return "-" if np.isnan(low) else f"[{low:+{form}}, {high:+{form}}]"


def frames_of_both(first: Path, second: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames of two videos side by side, (H, W, 3) uint8 RGB, up to the end of the shorter one."""
    captures = [cv2.VideoCapture(str(path), cv2.CAP_FFMPEG) for path in (first, second)]
    try:
        while True:
            (a_there, a), (b_there, b) = (capture.read() for capture in captures)
            if not (a_there and b_there) or a.shape != b.shape:
                return
            yield cv2.cvtColor(a, cv2.COLOR_BGR2RGB), cv2.cvtColor(b, cv2.COLOR_BGR2RGB)
    finally:
        for capture in captures:
            capture.release()
