"""The yardstick of segmentability: one small segmenter and one recipe, the same for every method.

Needs torch (extra `train`). It is fixed on purpose and shares no weights and no training with the
networks that are judged by it: change it, and old figures no longer compare.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from ssvif_core.data.pairs import UNKNOWN
from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.segmentation_metrics import ConfusionMatrix
from ssvif_core.network.fusion_network import pad_to_stride
from ssvif_core.network.layers import RepConv, upsample
from ssvif_core.training.losses import segmentation_losses

__all__ = ["LabelledImage", "Recipe", "SmallSegmenter", "score_segmenter", "train_segmenter"]

STRIDE = 16


@dataclass(frozen=True)
class LabelledImage:
    """image (H, W, 3) uint8 RGB and labels (H, W) uint8, 255 unknown."""

    image: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Recipe:
    """How the segmenter is trained.

    Attributes:
        steps: optimiser steps; 600 take three to four minutes on two CPU cores.
        batch_size: crops in a step.
        crop: rows and columns; reduced to what the smallest frame can give.
        object_crops: part of the crops that is centred on an object, class by class alike.
        learning_rate: of AdamW, before the schedule: warm-up over a tenth of the steps, times a
            cosine from 1 to 0 (Loshchilov & Hutter, arXiv 1608.03983).
        weight_decay: of AdamW.
    """

    steps: int = 600
    batch_size: int = 8
    crop: tuple[int, int] = (256, 320)
    object_crops: float = 0.5
    learning_rate: float = 0.004
    weight_decay: float = 0.02

    def rate(self, step: int) -> float:
        """Factor of the learning rate at a step, counted from 0; 0..1."""
        part = step / self.steps
        return min(1.0, (step + 1) / (0.1 * self.steps)) * (1 + math.cos(math.pi * part)) / 2

    def fitting(self, frames: Sequence[LabelledImage]) -> Recipe:
        """The same with a crop that every frame can give; raises SsvifError below 32 pixels."""
        rows, columns = (min(f.labels.shape[axis] for f in frames) for axis in (0, 1))
        smallest = min(self.crop[0], rows), min(self.crop[1], columns)
        if min(smallest) < 2 * STRIDE:
            raise SsvifError(f"Frames of {rows} x {columns} are too small: use 32 pixels or more.")
        return replace(self, crop=(smallest[0] // 16 * 16, smallest[1] // 16 * 16))


class SmallSegmenter(nn.Module):
    """Encoder to 1/16 and decoder with skips to 1/4: about 0.2 M parameters.

    Args:
        classes: number of classes.

    Shapes: (B, 3, H, W) float, standardised -> (B, classes, H, W) logits.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.quarter = nn.Sequential(RepConv(3, 16, 2), RepConv(16, 32, 2))
        self.eighth = nn.Sequential(RepConv(32, 64, 2), RepConv(64, 64))
        self.sixteenth = RepConv(64, 96, 2)
        self.down = nn.Conv2d(96, 64, 1)
        self.decode_eighth = RepConv(64, 64)
        self.narrow = nn.Conv2d(64, 32, 1)
        self.decode_quarter = RepConv(32, 32)
        self.labels = nn.Conv2d(32, classes, 1)
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.register_buffer("deviation", torch.ones(3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        f4 = self.quarter(pad_to_stride((image - self.mean) / self.deviation))
        f8 = self.eighth(f4)
        d8 = self.decode_eighth(f8 + upsample(self.down(self.sixteenth(f8))))
        d4 = self.decode_quarter(f4 + upsample(self.narrow(d8)))
        return upsample(self.labels(d4), 4)[..., :height, :width]


def train_segmenter(
    frames: Sequence[LabelledImage],
    classes: int,
    seed: int,
    recipe: Recipe | None = None,
    device: str = "cpu",
    on_step: Callable[[], None] = lambda: None,
) -> SmallSegmenter:
    """Train on flipped crops; the same seed gives the same weights and crops for every method.

    Images are standardised by the mean and deviation of the frames' channels, so that no method
    gains by brightness or contrast as such. Loss: cross-entropy + Dice on the known pixels.

    Args:
        frames: training images; those of all methods in the same order, with the same labels.
        classes: number of classes; labels are below it or 255.
        seed: of the weights and the crops.
        recipe: how; None for the published one.
        device: of torch.
        on_step: called after each step.

    Raises:
        SsvifError: there are no frames, or a label is out of range.
    """
    if not frames:
        raise SsvifError("There is no labelled frame to train the small segmenter on.")
    recipe = (recipe or Recipe()).fitting(frames)
    crops = _Crops(frames, recipe, classes, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SmallSegmenter(classes)
    _standardise(network, frames)
    network.to(device).train()
    solver = torch.optim.AdamW(
        network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(solver, recipe.rate)
    for step in range(recipe.steps):
        images, labels = (part.to(device) for part in crops.at(step))
        loss = sum(
            segmentation_losses(network(images), labels).values(), torch.zeros((), device=device)
        )
        solver.zero_grad()
        loss.backward()
        solver.step()
        schedule.step()
        on_step()
    return network.eval()


@torch.inference_mode()
def score_segmenter(network: SmallSegmenter, frames: Sequence[LabelledImage]) -> ConfusionMatrix:
    """Confusion matrix over whole frames at full resolution."""
    network.eval()
    matrix = ConfusionMatrix(network.labels.out_channels)
    for frame in frames:
        logits = network(_as_batch([frame.image]).to(network.mean.device))
        matrix.update(frame.labels, logits[0].argmax(0).cpu().numpy())
    return matrix


class _Crops:
    """Crops as a pure function of seed and step, blind to what the images show."""

    def __init__(
        self, frames: Sequence[LabelledImage], recipe: Recipe, classes: int, seed: int
    ) -> None:
        self.frames, self.recipe, self.seed = frames, recipe, seed
        self.holding: dict[int, list[int]] = {}
        for index, frame in enumerate(frames):
            for label in map(int, np.unique(frame.labels)):
                if label >= classes and label != UNKNOWN:
                    raise SsvifError(f"Label {label} is not one of {classes} classes: map it.")
                if label not in (0, UNKNOWN):
                    self.holding.setdefault(label, []).append(index)

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """(B, 3, h, w) float in [0, 1] and (B, h, w) int64."""
        rng = np.random.default_rng([self.seed, step])
        images, labels = zip(*(self._draw(rng) for _ in range(self.recipe.batch_size)), strict=True)
        return _as_batch(images), torch.from_numpy(np.stack(labels)).long()

    def _draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = self.recipe.crop
        point = np.array([-1, -1])
        if self.holding and rng.random() < self.recipe.object_crops:
            label = int(rng.choice(sorted(self.holding)))
            frame = self.frames[int(rng.choice(self.holding[label]))]
            points = np.argwhere(frame.labels == label)
            point = points[int(rng.integers(len(points)))]
        else:
            frame = self.frames[int(rng.integers(len(self.frames)))]
        height, width = frame.labels.shape
        top = _start(rng, rows, height, int(point[0]))
        left = _start(rng, columns, width, int(point[1]))
        window = slice(top, top + rows), slice(left, left + columns)
        flip = slice(None, None, -1 if rng.random() < 0.5 else 1)
        return frame.image[window][:, flip], frame.labels[window][:, flip]


def _start(rng: np.random.Generator, length: int, size: int, point: int) -> int:
    """First row or column of a window that holds `point`, or of any window where it is -1."""
    if point < 0:
        return int(rng.integers(size - length + 1))
    return int(np.clip(point - rng.integers(length), 0, size - length))


def _as_batch(images: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255.0


def _standardise(network: SmallSegmenter, frames: Sequence[LabelledImage]) -> None:
    sums = np.zeros((2, 3))
    for frame in frames:
        pixels = frame.image.reshape(-1, 3) / 255.0
        sums += np.stack([pixels.mean(0), (pixels**2).mean(0)]) / len(frames)
    deviation = np.sqrt(np.maximum(sums[1] - sums[0] ** 2, 1e-6))
    network.mean.copy_(torch.from_numpy(sums[0]).reshape(3, 1, 1))
    network.deviation.copy_(torch.from_numpy(deviation).reshape(3, 1, 1))
