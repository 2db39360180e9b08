"""Scores and pictures of held-out frames while a network trains."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from ssvif_core.data.pairs import FramePair
from ssvif_core.evaluation.segmentation_metrics import OBJECTS, ConfusionMatrix, named_iou
from ssvif_core.imaging.palettes import colorize_labels, label_colors
from ssvif_core.network.fusion_network import FusionNetwork, labels_from_logits, luminance
from ssvif_core.training.config import LossWeights
from ssvif_core.training.losses import fusion_losses

__all__ = ["as_tensors", "predict_pair", "strip", "validate"]

PICTURES = 4
#: Rows and columns of one image in a strip.
TILE = (240, 320)


def as_tensors(pair: FramePair, device: torch.device) -> tuple[Tensor, Tensor]:
    """(1, 3, H, W) and (1, 1, H, W) float in [0, 1]."""
    visible = torch.from_numpy(pair.visible).permute(2, 0, 1).unsqueeze(0).to(device)
    thermal = torch.from_numpy(pair.thermal).unsqueeze(0).unsqueeze(0).to(device)
    return visible / 255.0, thermal / 255.0


@torch.inference_mode()
def predict_pair(
    network: FusionNetwork, pair: FramePair, device: torch.device
) -> tuple[Tensor, np.ndarray]:
    """Fused (1, 3, H, W) float and labels (H, W) uint8 of one pair, by the network in torch."""
    visible, thermal = as_tensors(pair, device)
    output = network(visible, thermal)
    return output.fused, labels_from_logits(output.logits, *pair.thermal.shape)[0].cpu().numpy()


def validate(
    network: FusionNetwork,
    pairs: Sequence[FramePair],
    classes: Sequence[str],
    device: torch.device,
    loss: LossWeights,
    with_iou: bool = True,
) -> tuple[dict[str, float], np.ndarray]:
    """Score the network on whole frames.

    Args:
        network: in any mode; it is left in evaluation mode.
        pairs: held-out frames.
        classes: names of the labels.
        device: of the network.
        loss: what the run asks of intensities and gradients.
        with_iou: whether the labels of the network and of the frames mean the same.

    Returns:
        IoU of each class that frames or masks hold (`iou/person`, ...) and of `iou/mean_objects`,
        their mean without the background, the fusion losses, and one picture (H, W, 3)
        uint8 with visible, thermal, fused and labels of the first pairs.
    """
    network.eval()
    matrix = ConfusionMatrix(len(classes))
    sums: dict[str, float] = {}
    rows: list[np.ndarray] = []
    for pair in pairs:
        fused, labels = predict_pair(network, pair, device)
        visible, thermal = as_tensors(pair, device)
        asked = (loss.sharpness, loss.contrast, loss.room)
        terms = fusion_losses(luminance(fused), luminance(visible), thermal, *asked)
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + float(term) / len(pairs)
        if with_iou and pair.labels is not None:
            matrix.update(pair.labels, labels)
        if len(rows) < PICTURES:
            rows.append(_picture(pair, fused, labels, len(classes)))
    scores: dict[str, float] = {}
    if matrix.counts.any():
        iou = named_iou(matrix, classes)
        iou["mean_objects"] = iou.pop(OBJECTS)
        scores = {f"iou/{name}": value for name, value in iou.items() if not np.isnan(value)}
    return scores | {f"fusion/{name}": value for name, value in sums.items()}, np.vstack(rows)


def _picture(pair: FramePair, fused: Tensor, labels: np.ndarray, classes: int) -> np.ndarray:
    gray = pair.thermal[..., None].repeat(3, -1)
    image = (fused[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).cpu().numpy()
    palette = np.zeros((256, 3), np.uint8)
    palette[:classes] = label_colors(classes)
    tinted = colorize_labels(labels, palette)
    return strip([pair.visible, gray, image], tinted)


def strip(images: Sequence[np.ndarray], mask: np.ndarray | None = None) -> np.ndarray:
    """Images side by side, each fitted whole into a tile of `TILE`.

    Args:
        images: (H, W, 3) uint8 of any size.
        mask: (H, W, 3) uint8, coloured labels: the last of the row, without mixing colours.

    Returns:
        (240, 320 n, 3) uint8 of n images, the mask among them.
    """
    tiles = [_tile(image, cv2.INTER_AREA) for image in images]
    if mask is not None:
        tiles.append(_tile(mask, cv2.INTER_NEAREST))
    return np.hstack(tiles)


def _tile(image: np.ndarray, interpolation: int) -> np.ndarray:
    """The image as large as fits, at the top left of a black tile."""
    height, width = TILE
    scale = min(height / image.shape[0], width / image.shape[1])
    rows, columns = (max(1, round(n * scale)) for n in image.shape[:2])
    tile = np.zeros((height, width, 3), np.uint8)
    tile[:rows, :columns] = cv2.resize(image, (columns, rows), interpolation=interpolation)
    return tile
