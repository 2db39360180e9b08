"""Segmentation of an image as it is seen: the pixel-level branch of SSVIF. Trained, never deployed.

Knows tensors only. It sees three channels and nothing of how they came about, so what it can name
in a fused image is there for any other reader of that image too.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ssvif_core.network.fusion_network import pad_to_stride
from ssvif_core.network.layers import RepConv, upsample

__all__ = ["PixelSegmenter"]


class PixelSegmenter(nn.Module):
    """Small encoder and decoder, 0.4 M parameters at its default width.

    There is no pooling over the whole image: with it, label-free training finds one cluster for
    each image (docs/method.md).

    Args:
        classes: number of classes, background included.
        width: channels at 1/4; twice that at 1/8, four times at 1/16.

    Shapes: (B, 3, H, W) float RGB in [0, 1] -> (B, classes, H/4, W/4) logits, on the grid padded
    to multiples of 16.
    """

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()
        self.classes = classes
        self.quarter = nn.Sequential(RepConv(3, 16, 2), RepConv(16, width, 2))
        self.eighth = nn.Sequential(
            RepConv(width, 2 * width, 2),
            RepConv(2 * width, 2 * width),
            RepConv(2 * width, 2 * width),
        )
        self.sixteenth = nn.Sequential(
            RepConv(2 * width, 4 * width, 2), RepConv(4 * width, 4 * width)
        )
        self.lateral_eighth = nn.Conv2d(2 * width, width, 1)
        self.lateral_sixteenth = nn.Conv2d(4 * width, width, 1)
        self.decode = RepConv(width, width)
        self.refine = RepConv(width, width)
        self.labels = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        f4 = self.quarter(pad_to_stride(image))
        f8 = self.eighth(f4)
        f16 = self.sixteenth(f8)
        d8 = self.decode(F.relu(self.lateral_eighth(f8) + upsample(self.lateral_sixteenth(f16))))
        return self.labels(self.refine(f4 + upsample(d8)))
