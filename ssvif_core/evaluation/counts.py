"""How often each true class met each predicted id: the table that all mask figures come from."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from ssvif_core.data.pairs import UNKNOWN
from ssvif_core.errors import SsvifError

__all__ = ["CountTable"]

Self = TypeVar("Self", bound="CountTable")


class CountTable:
    """Counts of (true class, predicted id) over any number of images.

    Attributes:
        counts: (classes, ids) int64, rows are the truth.
    """

    #: What the columns are called in errors.
    column = "class"

    def __init__(self, classes: int, ids: int) -> None:
        self.counts = np.zeros((classes, ids), np.int64)

    def update(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Add one image.

        Args:
            truth: integers of any shape; 255 is left out.
            predicted: integers of the same shape.

        Raises:
            SsvifError: shapes differ, or an id is out of range.
        """
        if truth.shape != predicted.shape:
            raise SsvifError(f"Labels are {truth.shape} and predictions {predicted.shape}.")
        known = truth != UNKNOWN
        rows, columns = truth[known].astype(np.int64), predicted[known].astype(np.int64)
        names = ("class", self.column)
        for name, found, size in zip(names, (rows, columns), self.counts.shape, strict=True):
            if found.size and found.max() >= size:
                raise SsvifError(f"There is a {name} {found.max()}, which is not one of {size}.")
        flat = rows * self.counts.shape[1] + columns
        self.counts += np.bincount(flat, minlength=self.counts.size).reshape(self.counts.shape)

    def __add__(self: Self, other: Self) -> Self:
        total = type(self).__new__(type(self))
        total.counts = self.counts + other.counts
        return total
