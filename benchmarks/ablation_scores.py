"""How good a network of the ablation is: masks, features and fused image on msrs/val."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from quality import LABEL_MAP

from ssvif_core.data.pairs import FramePair
from ssvif_core.data.sources import open_pairs
from ssvif_core.evaluation.linear_probe import fit_linear_probe, network_features
from ssvif_core.evaluation.methods import Fused
from ssvif_core.evaluation.segmentability import segmentability, summarise
from ssvif_core.evaluation.segmentation_metrics import OBJECTS, ConfusionMatrix
from ssvif_core.network.fusion_network import labels_from_logits, luminance
from ssvif_core.network.pixel_segmenter import PixelSegmenter
from ssvif_core.training.config import FUSION_TERMS, LossWeights
from ssvif_core.training.losses import fusion_losses
from ssvif_core.training.trainer import Trainer
from ssvif_core.training.validation import as_tensors, predict_pair

__all__ = ["Scorer"]

NAMES = ("background", "car", "person", "bicycle")
CLASSES = len(NAMES)
#: The probe is fitted to each n-th frame of msrs/train.
PROBED_EVERY = 3
DEVICE = torch.device("cpu")


class Scorer:
    """Opens the frames once, for any number of networks.

    Args:
        data: folder that holds msrs/train (weak labels, for the probe) and msrs/val.
    """

    def __init__(self, data: Path) -> None:
        val = open_pairs(data / "msrs" / "val", labels="labels", label_map=LABEL_MAP)
        train = open_pairs(data / "msrs" / "train", labels="weak_labels")
        self.val = [val[i] for i in range(len(val))]
        self.train = [train[i] for i in range(len(train))]
        self.probed = self.train[::PROBED_EVERY]

    def score(self, trainer: Trainer) -> dict[str, float]:
        """The figures of `ablation.py`; masks only where their names are true."""
        config, models = trainer.config, trainer.averaged.eval()
        named = config.mask_mode != "clusters" and any(
            s.kind not in ("fusion", "masked") for s in config.stages
        )
        masks = {name: ConfusionMatrix(CLASSES) for name in ("iou", "night", "pixel")}
        fusion = 0.0
        for pair in self.val:
            fused, labels = predict_pair(models.network, pair, DEVICE)
            fusion += _fusion_loss(fused, pair, config.loss) / len(self.val)
            if not named:
                continue
            masks["iou"].update(pair.labels, labels)
            if pair.name.endswith("N"):
                masks["night"].update(pair.labels, labels)
            if models.segmenter is not None:
                masks["pixel"].update(pair.labels, _pixel_labels(models.segmenter, fused))
        probe = fit_linear_probe(network_features(models.network), self.probed, CLASSES)
        masks["probe"] = probe.score(self.val)
        named_masks = {name: matrix for name, matrix in masks.items() if matrix.counts.any()}
        figures = {n: x for name, matrix in named_masks.items() for n, x in _iou(name, matrix)}
        return {"fusion": fusion, **figures}

    def read(self, trainer: Trainer, seeds: Sequence[int]) -> dict[str, float]:
        """Segmentability of the fused images: mean over the seeds of the small segmenter."""
        network = trainer.averaged.eval().network

        def fuse(visible: np.ndarray, thermal: np.ndarray) -> Fused:
            fused, labels = predict_pair(network, FramePair("", visible, thermal), DEVICE)
            image = (fused[0].permute(1, 2, 0) * 255).round().to(torch.uint8)
            return Fused(image.numpy(), labels)

        matrices = segmentability(fuse, self.train, self.val, CLASSES, seeds)
        return {"read": summarise(matrices, NAMES)[OBJECTS]}


def _fusion_loss(fused: torch.Tensor, pair: FramePair, weights: LossWeights) -> float:
    visible, thermal = as_tensors(pair, DEVICE)
    scales = weights.model_dump()
    terms = fusion_losses(
        luminance(fused), luminance(visible), thermal, weights.sharpness, weights.contrast,
        weights.room,
        [name for name in FUSION_TERMS if scales[name] > 0],
    )  # fmt: skip
    return sum(scales[name] * float(term) for name, term in terms.items())


@torch.inference_mode()
def _pixel_labels(segmenter: PixelSegmenter, fused: torch.Tensor) -> np.ndarray:
    return labels_from_logits(segmenter(fused), *fused.shape[-2:])[0].numpy()


def _iou(name: str, matrix: ConfusionMatrix) -> list[tuple[str, float]]:
    """Mean of the three classes, and each of them; 0 for a class that is never met."""
    car, person, bicycle = (float(x) for x in np.nan_to_num(matrix.iou()[1:]))
    classes = [("car", car), ("person", person), ("bicycle", bicycle)]
    return [(name, (car + person + bicycle) / 3), *((f"{name} {n}", x) for n, x in classes)]
