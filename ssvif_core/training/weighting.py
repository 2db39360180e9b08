"""How much each loss counts, step by step: fixed, dynamic weight averaging, or a gradient gate.

Two places are weighted. `weights` scales whole terms. `gate` scales only the gradient that flows
from the pixel-level segmenter *through the fused image* into the fusion network, which is where
segmentation can spoil the picture:

    dL/dF = lambda_f dL_fus/dF + g lambda_c dL_pix/dF

All three are small states that a checkpoint holds, so that a resumed run weighs as it would have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from ssvif_core.training.config import WeightingConfig

__all__ = ["DynamicAverage", "FixedWeights", "GradientGate", "Weighting", "make_weighting"]

EPSILON = 1e-12


class Weighting(Protocol):
    """Called once a step, first `weights`, then `gate`."""

    def weights(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Factor of each loss. Its value at this step may be remembered for later ones."""
        ...

    def gate(self, fusion: float, segmentation: float) -> float:
        """Factor g in [0, 1] of the segmentation gradient at the fused image.

        Args:
            fusion: norm of the gradient of the fusion losses with respect to the fused images of
                the whole batch, also where several processes have a part of it each.
            segmentation: the same of the pixel-level segmentation losses.
        """
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class FixedWeights:
    """Nothing moves: every factor 1, the gate where the configuration puts it."""

    def __init__(self, config: WeightingConfig) -> None:
        self.config = config

    def weights(self, losses: Mapping[str, float]) -> dict[str, float]:
        return dict.fromkeys(losses, 1.0)

    def gate(self, fusion: float, segmentation: float) -> float:
        return self.config.through_image

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class DynamicAverage(FixedWeights):
    """Dynamic weight averaging (Liu, Johns & Davison, CVPR 2019, eq. 7).

    With L_k(i) the mean of loss k over the i-th interval of `interval` steps, r_k = L_k(i-1) /
    L_k(i-2), and K losses:

        w_k = K exp(r_k / T) / sum_j exp(r_j / T)

    A loss that falls more slowly than the others gets more weight. The first two intervals have
    weights of 1.
    """

    def __init__(self, config: WeightingConfig) -> None:
        super().__init__(config)
        self.means: list[dict[str, float]] = []
        self.sums: dict[str, float] = {}
        self.count = 0

    def weights(self, losses: Mapping[str, float]) -> dict[str, float]:
        factors = self._factors(list(losses))
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1
        if self.count == self.config.interval:
            mean = {name: value / self.count for name, value in self.sums.items()}
            self.means = [*self.means[-1:], mean]
            self.sums, self.count = {}, 0
        return factors

    def _factors(self, names: list[str]) -> dict[str, float]:
        if len(self.means) < 2:
            return dict.fromkeys(names, 1.0)
        before, last = self.means
        ratio = {n: last.get(n, 1.0) / max(before.get(n, 1.0), EPSILON) for n in names}
        powers = {n: math.exp(min(r, 10.0) / self.config.temperature) for n, r in ratio.items()}
        total = sum(powers.values())
        return {n: len(names) * power / total for n, power in powers.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"means": list(self.means), "sums": dict(self.sums), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.means, self.sums = list(state["means"]), dict(state["sums"])
        self.count = state["count"]


class GradientGate(FixedWeights):
    """Segmentation never pulls at the fused image harder than a part of what fusion does.

        g = min(1, rho ||dL_fus/dF|| / ||dL_pix/dF||)

    (ours; the ratio of gradient norms is GradNorm's measure, Chen et al. 2018, used as a limit).
    """

    def gate(self, fusion: float, segmentation: float) -> float:
        return min(1.0, self.config.rho * fusion / max(segmentation, EPSILON))


def make_weighting(config: WeightingConfig) -> Weighting:
    """The weighting that a configuration names."""
    kinds = {"fixed": FixedWeights, "dwa": DynamicAverage, "gate": GradientGate}
    return kinds[config.kind](config)
