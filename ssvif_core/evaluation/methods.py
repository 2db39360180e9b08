"""Everything that turns a pair into one image, under one signature: cameras, baselines, models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.baselines import BASELINES
from ssvif_core.imaging.thermal_cleaning import ThermalCleaning
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.engine import Engine, EngineOptions, create_engine
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.inference.sized_engine import SizedEngine
from ssvif_core.models import Model, open_model

__all__ = ["SOURCES", "Fused", "Method", "baseline_method", "model_method", "open_models"]


class Fused(NamedTuple):
    """image (H, W, 3) uint8 RGB; labels (H, W) uint8, or None where the method gives no mask."""

    image: np.ndarray
    labels: np.ndarray | None = None


#: visible (H, W, 3) uint8 RGB and thermal (H, W) uint8 -> what came of them.
Method = Callable[[np.ndarray, np.ndarray], Fused]

#: One camera alone, as an image that any reader of RGB takes.
SOURCES: dict[str, Method] = {
    "visible": lambda visible, thermal: Fused(visible),
    "thermal": lambda visible, thermal: Fused(cv2.cvtColor(thermal, cv2.COLOR_GRAY2RGB)),
}


def baseline_method(name: str) -> Method:
    """One of `BASELINES` as a method."""
    fuse = BASELINES[name]
    return lambda visible, thermal: Fused(fuse(visible, thermal))


def model_method(model: Model, engine: str = "auto", threads: int = 1) -> Method:
    """A model as it runs on a robot: through `Pipeline`, thermal as it is in the files.

    The method belongs to one thread, and raises SsvifError where no engine can run the model at a
    size.
    """

    def make(size: tuple[int, int]) -> Engine:
        height, width = size
        return create_engine(model, engine, EngineOptions(threads, height=height, width=width))[0]

    engines = SizedEngine(make)

    def fuse(visible: np.ndarray, thermal: np.ndarray) -> Fused:
        height, width = visible.shape[:2]
        pipeline = Pipeline(
            engines.of((height, width)),
            ThermalGain(mode="none"),
            cleaning=ThermalCleaning("none"),  # frames of a set are not one camera's stream
        )
        result = pipeline.process(visible, thermal)
        return Fused(result.fused.copy(), result.labels.copy())

    return fuse


def open_models(names: Sequence[str]) -> dict[str, Model]:
    """Models by the name that tables show: that of the card, or the path where cards agree.

    Raises:
        SsvifError: a model cannot be opened, is given twice, or has the name of a baseline.
    """
    models = [open_model(name) for name in names]
    titles = [model.card.name for model in models]
    for index, title in enumerate(titles):
        if [model.card.name for model in models].count(title) > 1:
            titles[index] = str(names[index])
    taken = [*titles, *BASELINES, *SOURCES]
    for title in titles:
        if taken.count(title) > 1:
            raise SsvifError(f"'{title}' would stand twice in the tables: give each model once.")
    return dict(zip(titles, models, strict=True))
