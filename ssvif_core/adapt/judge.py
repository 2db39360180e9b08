"""Both models on the held-out frames: figures of each frame, and which of them are to be judged.

Figures of quality compare the fused image with both cameras. Training asks for three of them almost
by name (edges, structure, what each camera adds), so they must be seen to rise on frames that were
not trained on; the fourth (VIF) is asked for by nobody. The guards are what a better figure must
not cost: noise that no camera saw, the contrast of hot things, the masks, and flicker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np

from ssvif_core.adapt.material import Frame
from ssvif_core.evaluation.artefacts import flat_artefacts
from ssvif_core.evaluation.fusion_metrics import METRICS, evaluate_fusion
from ssvif_core.imaging.overlay import draw_overlay
from ssvif_core.inference.engine import Engine
from ssvif_core.models import Model
from ssvif_core.replay.compare import LEAST_PAIRS, block_interval
from ssvif_core.replay.pictures import Extremes, Picture, jpeg_of

__all__ = ["FIGURES", "TOO_FEW", "Figure", "Judged", "Measured", "judge", "measure"]

#: Smaller frames have no VIF.
LEAST_SIDE = 48
#: Part of a frame that counts as hot.
HOT_PART = 0.02
PICTURES = 4
#: What of fewer frames than an interval needs is said in the place of a change.
TOO_FEW = "too few pairs"
#: The difference is drawn this many times as large, about mid-gray.
MAGNIFIED = 4


@dataclass(frozen=True)
class Figure:
    """How a figure is judged.

    Attributes:
        meaning: in words.
        more_is_better: its direction.
        relative: a smaller change, as a part of the old model's mean, is too small to matter;
        absolute: likewise in the figure's own unit. The greater of the two counts.
        guard: must not get worse; getting better wins nothing.
    """

    meaning: str
    more_is_better: bool
    relative: float
    absolute: float = 0.0
    guard: bool = False


FIGURES: dict[str, Figure] = {
    "VIF": Figure("visual information of both cameras that is kept", True, 0.01),
    "Qabf": Figure("edges of both cameras that are kept", True, 0.01),
    "SSIM": Figure("structure of both cameras that is kept", True, 0.01),
    "SCD": Figure("what each camera adds to the other", True, 0.01),
    "artefacts": Figure(
        "noise that no camera saw [grey levels]", False, 0.1, absolute=0.1, guard=True
    ),
    "hot_contrast": Figure(
        "hottest 2 % brighter than the rest [grey levels]", True, 0.05, absolute=1.0, guard=True
    ),
    "masks_kept": Figure("IoU of the objects with the old model's masks", True, 0.1, guard=True),
    "iou_objects": Figure("masks against true labels", True, 0.0, absolute=0.01, guard=True),
    "flicker_fused": Figure(
        "flicker on static pixels [grey levels]", False, 0.05, absolute=0.05, guard=True
    ),
    "flicker_labels": Figure(
        "labels that change on static pixels", False, 0.1, absolute=0.001, guard=True
    ),
}


@dataclass(frozen=True)
class Judged:
    """A figure of both models over the same frames.

    Attributes:
        name: a key of `FIGURES`.
        frames: on how many.
        old, new: means.
        mean: of new - old; low, high: its 95 % interval (block bootstrap), NaN of too few frames.
    """

    name: str
    frames: int
    old: float
    new: float
    mean: float
    low: float
    high: float

    @property
    def change(self) -> str:
        """Better, worse, same (not shown, or too small to matter), or too few pairs."""
        if np.isnan(self.low):
            return TOO_FEW
        figure = FIGURES[self.name]
        matters = max(figure.absolute, figure.relative * abs(self.old))
        shown = self.low > 0 or self.high < 0
        if not shown or abs(self.mean) < matters:
            return "same"
        return "better" if (self.mean > 0) == figure.more_is_better else "worse"


@dataclass(frozen=True)
class Measured:
    """What was measured on the held-out frames.

    Attributes:
        names: of the frames.
        times_s: see `Frame`.
        old, new: figure -> its value on each frame, NaN where it has none.
        pictures: the frames that differ most: cameras, before, after.
        labels_changed: whether any label differs.
    """

    names: list[str]
    times_s: list[float]
    old: dict[str, np.ndarray]
    new: dict[str, np.ndarray]
    pictures: list[Picture]
    labels_changed: bool


def measure(
    frames: Iterable[Frame],
    engine: Callable[[tuple[int, int]], Engine],
    model: Model,
    done: Callable[[], None] = lambda: None,
) -> Measured:
    """Fuse the frames with the new model, too, and measure both.

    Args:
        frames: held out.
        engine: of the new model for (height, width); it stays the caller's.
        model: any of the two, for colours.
        done: called after each frame.
    """
    names: list[str] = []
    times: list[float] = []
    rows: list[tuple[dict[str, float], dict[str, float]]] = []
    most = Extremes(PICTURES, greatest=True)
    changed = False
    for frame in frames:
        fused, labels = engine((frame.visible.shape[0], frame.visible.shape[1])).infer(
            frame.visible, frame.thermal
        )
        fused = frame.blend(fused)
        old = _figures(frame.fused, frame) | {"masks_kept": 1.0}
        new = _figures(fused, frame) | {"masks_kept": _objects_iou(frame.labels, labels)}
        if np.isnan(new["masks_kept"]):
            old["masks_kept"] = np.nan
        rows.append((old, new))
        changed = changed or not np.array_equal(frame.labels, labels)
        apart = float(cv2.absdiff(frame.fused, fused).mean())
        picture = partial(_picture, frame, fused, labels, model.card.palette)
        most.offer(apart, len(names), frame.time_s, picture)
        names.append(frame.name)
        times.append(frame.time_s)
        done()
    figures = rows[0][0] if rows else {}
    old_rows, new_rows = ([pair[i] for pair in rows] for i in (0, 1))
    return Measured(
        names,
        times,
        {k: np.array([row[k] for row in old_rows]) for k in figures},
        {k: np.array([row[k] for row in new_rows]) for k in figures},
        most.pictures(),
        changed,
    )


def judge(measured: Measured) -> list[Judged]:
    """The figures of `FIGURES` that were measured, over the frames that have them."""
    found = []
    for name in FIGURES:
        if name not in measured.old:
            continue
        old, new = measured.old[name], measured.new[name]
        known = np.isfinite(old) & np.isfinite(new)
        if known.sum() < 2:
            continue
        old, new = old[known], new[known]
        # A guard may be too careful; an improvement may not be taken for sure too early.
        least = 2 if FIGURES[name].guard else LEAST_PAIRS
        low, high = block_interval(new - old, least=least)
        found.append(
            Judged(
                name,
                len(old),
                float(old.mean()),
                float(new.mean()),
                float((new - old).mean()),
                low,
                high,
            )
        )
    return found


def _figures(fused: np.ndarray, frame: Frame) -> dict[str, float]:
    if min(fused.shape[:2]) < LEAST_SIDE:
        return dict.fromkeys((*METRICS, "artefacts", "hot_contrast"), float("nan"))
    return {
        **evaluate_fusion(fused, frame.visible, frame.thermal),
        "artefacts": flat_artefacts(fused, frame.visible, frame.thermal),
        "hot_contrast": _hot_contrast(fused, frame.thermal),
    }


def _hot_contrast(fused: np.ndarray, thermal: np.ndarray) -> float:
    """How much brighter the hottest pixels are drawn than the rest; NaN where all are as hot."""
    hot = thermal >= np.percentile(thermal, 100 * (1 - HOT_PART))
    if hot.all():
        return float("nan")
    luminance = cv2.cvtColor(fused, cv2.COLOR_RGB2GRAY)
    return float(luminance[hot].mean() - luminance[~hot].mean())


def _objects_iou(old: np.ndarray, new: np.ndarray) -> float:
    """Pixels with the same object over pixels with any (background is 0); NaN without objects."""
    either = (old > 0) | (new > 0)
    if not either.any():
        return float("nan")
    return float(((old == new) & either).sum() / either.sum())


def _picture(frame: Frame, fused: np.ndarray, labels: np.ndarray, palette: np.ndarray) -> bytes:
    shown = {
        "visible": frame.visible, "thermal": frame.thermal, "before": frame.fused, "after": fused,
    }  # fmt: skip
    before, after = (cv2.cvtColor(i, cv2.COLOR_RGB2GRAY) for i in (frame.fused, fused))
    change = 128 + MAGNIFIED * (after.astype(np.float32) - before)
    shown[f"after - before, x {MAGNIFIED}"] = np.clip(change, 0, 255).astype(np.uint8)
    if not np.array_equal(labels, frame.labels):
        shown["masks before"] = draw_overlay(frame.fused, frame.labels, palette, 0.5)
        shown["masks after"] = draw_overlay(fused, labels, palette, 0.5)
    return jpeg_of(shown)


def means(values: dict[str, np.ndarray]) -> dict[str, Any]:
    """Mean of each figure over the frames that have it; None where none has."""
    return {
        name: float(np.nanmean(column)) if np.isfinite(column).any() else None
        for name, column in values.items()
    }


def named(judged: Sequence[Judged]) -> dict[str, Judged]:
    """By name."""
    return {figure.name: figure for figure in judged}
