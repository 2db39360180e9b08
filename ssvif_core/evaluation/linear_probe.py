"""How much of the classes is in a network's features: logistic regression on top, nothing else.

Needs torch (extra `train`). The features stay frozen; what the probe reaches, they made linearly
separable (Alain & Bengio, arXiv 1610.01644).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssvif_core.data.pairs import UNKNOWN, FramePair
from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.segmentation_metrics import ConfusionMatrix
from ssvif_core.network.fusion_network import FusionNetwork

__all__ = ["Features", "LinearProbe", "colour_features", "fit_linear_probe", "network_features"]

#: Grid cells that are drawn from each frame, and L2 penalty on the weights of the regression.
CELLS_A_FRAME, PENALTY = 1000, 1e-4
MAX_ITERATIONS = 200


@dataclass(frozen=True)
class Features:
    """Something that describes the cells of a grid over a pair.

    Attributes:
        extract: (H, W, 3) uint8 RGB and (H, W) uint8 -> (C, ceil(H/stride), ceil(W/stride)) float;
            rows and columns beyond, of a padded grid, are ignored.
        stride: side of a cell in pixels.
    """

    extract: Callable[[np.ndarray, np.ndarray], Tensor]
    stride: int

    def of(self, pair: FramePair) -> Tensor:
        """(C, h, w) float32, cut to the cells that the image reaches into."""
        rows, columns = (-(-size // self.stride) for size in pair.thermal.shape)
        return self.extract(pair.visible, pair.thermal)[:, :rows, :columns].float()


def network_features(network: FusionNetwork) -> Features:
    """The fused features at 1/8 that the network's own segmentation is read off."""
    device = next(network.parameters()).device
    network.eval()

    @torch.inference_mode()
    def extract(visible: np.ndarray, thermal: np.ndarray) -> Tensor:
        rgb = torch.from_numpy(visible).permute(2, 0, 1)[None].to(device) / 255.0
        return network.features(rgb, torch.from_numpy(thermal)[None, None].to(device) / 255.0)[0]

    return Features(extract, 8)


def colour_features(stride: int = 8) -> Features:
    """Mean and deviation of red, green, blue and thermal in each cell: the control."""

    def extract(visible: np.ndarray, thermal: np.ndarray) -> Tensor:
        image = np.dstack([visible, thermal]).astype(np.float32)
        rows, columns = (-size % stride for size in thermal.shape)
        padded = cv2.copyMakeBorder(image, 0, rows, 0, columns, cv2.BORDER_REPLICATE)
        cells = torch.from_numpy(padded).permute(2, 0, 1)
        mean = F.avg_pool2d(cells, stride)
        variance = F.avg_pool2d(cells * cells, stride) - mean**2
        return torch.cat([mean, variance.clamp(min=0).sqrt()])

    return Features(extract, stride)


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe: logits = ((features - mean) / deviation) weight + bias.

    Attributes:
        features: what it reads.
        mean: (C,), with `deviation` (C,), of the training cells.
        weight: (C, classes).
        bias: (classes,).
    """

    features: Features
    mean: Tensor
    deviation: Tensor
    weight: Tensor
    bias: Tensor

    def labels(self, pair: FramePair) -> np.ndarray:
        """(H, W) uint8; logits are interpolated to full resolution before the arg-max."""
        height, width = pair.thermal.shape
        grid = (self.features.of(pair) - self.mean[:, None, None]) / self.deviation[:, None, None]
        logits = torch.einsum("chw,ck->khw", grid, self.weight) + self.bias[:, None, None]
        logits = F.interpolate(
            logits[None], scale_factor=self.features.stride, mode="bilinear", align_corners=False
        )
        return logits[0, :, :height, :width].argmax(0).to(torch.uint8).cpu().numpy()

    def score(self, pairs: Sequence[FramePair]) -> ConfusionMatrix:
        """Count the labels of all pixels of the labelled ones among `pairs`."""
        matrix = ConfusionMatrix(len(self.bias))
        for pair in pairs:
            if pair.labels is not None:
                matrix.update(pair.labels, self.labels(pair))
        return matrix


def fit_linear_probe(
    features: Features, pairs: Sequence[FramePair], classes: int, seed: int = 0
) -> LinearProbe:
    """Multinomial logistic regression on standardised features, by L-BFGS on all drawn cells.

    Each class weighs 1 / sqrt(its frequency): without weights rare classes are hardly ever
    predicted, and with full balance (1 / frequency) false alarms on background ruin their IoU.
    The problem is convex, so the seed matters only through the cells that are drawn.

    Args:
        features: what is probed.
        pairs: training frames with labels (ids below `classes`, 255 unknown); others are left out.
        classes: number of classes.
        seed: of the drawing of 1000 known cells a frame.

    Raises:
        SsvifError: no frame has labels, or a label is out of range.
    """
    points, labels = _drawn_cells(features, pairs, seed)
    if int(labels.max()) >= classes:
        raise SsvifError(f"Label {int(labels.max())} is not one of {classes} classes: map it.")
    mean, deviation = points.mean(0), points.std(0).clamp(min=1e-6)
    points = (points - mean) / deviation
    frequency = torch.bincount(labels, minlength=classes).float() / len(labels)
    class_weights = torch.where(frequency > 0, frequency.clamp(min=1e-12).rsqrt(), 0.0)
    weight = torch.zeros(points.shape[1], classes, device=points.device, requires_grad=True)
    bias = torch.zeros(classes, device=points.device, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=MAX_ITERATIONS, history_size=20, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        value = F.cross_entropy(points @ weight + bias, labels, class_weights)
        value = value + PENALTY * weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    return LinearProbe(features, mean, deviation, weight.detach(), bias.detach())


def _drawn_cells(
    features: Features, pairs: Sequence[FramePair], seed: int
) -> tuple[Tensor, Tensor]:
    """(N, C) float and (N,) int64 of cells whose centre pixel has a known label."""
    rng = np.random.default_rng(seed)
    points, labels = [], []
    for pair in pairs:
        if pair.labels is None:
            continue
        grid = features.of(pair)
        half = features.stride // 2
        rows, columns = (
            np.minimum(np.arange(cells) * features.stride + half, size - 1)
            for cells, size in zip(grid.shape[1:], pair.labels.shape, strict=True)
        )
        centres = pair.labels[np.ix_(rows, columns)].ravel()
        known = np.flatnonzero(centres != UNKNOWN)
        drawn = rng.permutation(known)[:CELLS_A_FRAME]
        points.append(grid.flatten(1)[:, torch.from_numpy(drawn).to(grid.device)].T)
        labels.append(torch.from_numpy(centres[drawn].astype(np.int64)))
    if not labels or not sum(map(len, labels)):
        raise SsvifError("A linear probe needs frames with labels: give a folder that has them.")
    # A clone: what came out of inference mode cannot take part in a graph.
    return torch.cat(points).clone(), torch.cat(labels).to(points[0].device)
