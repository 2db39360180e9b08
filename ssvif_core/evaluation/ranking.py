"""One order from many metrics: the mean rank."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ssvif_core.errors import SsvifError

__all__ = ["mean_rank", "ranks"]


def ranks(values: Mapping[str, float]) -> dict[str, float]:
    """Rank of each method by one metric: 1 for the highest; equal values share their mean rank.

    A method without a figure (NaN) comes after all that have one.
    """
    numbers = np.array(list(values.values()), np.float64)
    numbers[np.isnan(numbers)] = -np.inf
    higher = (numbers[None] > numbers[:, None]).sum(1)
    equal = (numbers[None] == numbers[:, None]).sum(1)
    return dict(zip(values, map(float, higher + (equal + 1) / 2), strict=True))


def mean_rank(table: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Mean over the metrics of each method's rank.

    Args:
        table: method -> metric -> value, higher is better.

    Raises:
        SsvifError: the methods do not have the same metrics.
    """
    metrics = [set(values) for values in table.values()]
    if not metrics or any(names != metrics[0] for names in metrics):
        raise SsvifError("Every method needs a value for the same metrics to be ranked.")
    by_metric = [ranks({m: values[name] for m, values in table.items()}) for name in metrics[0]]
    return {method: float(np.mean([r[method] for r in by_metric])) for method in table}
