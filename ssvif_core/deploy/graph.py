"""The deployed graph: raw bytes in, raw bytes out, everything else inside (contract 1).

Wraps a trained `FusionNetwork` so that what is exported takes camera bytes and returns image and
label bytes. It works in grey levels 0..255 throughout: the scale to [0, 1] is folded into the stem
kernels, which saves three passes over the full-size image. Casts stand directly at the inputs and
outputs because TensorRT accepts uint8 nowhere else, not even for the input of a reshape.

Precision is in the graph (contract 2). In fp16 the network computes in half precision; what is
range-critical stays in fp32: the arithmetic on grey levels, of which fp16 resolves 1/8 near white,
and the coefficients that multiply them.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ssvif_core.network.affine_model import affine_model
from ssvif_core.network.fusion_network import (
    LUMA_WEIGHTS,
    STEMS,
    FusionNetwork,
    labels_from_logits,
    pad_to_stride,
)
from ssvif_core.network.layers import fuse_for_deployment, upsample

__all__ = ["DeployedGraph"]

FULL_SCALE = 255.0


class DeployedGraph(nn.Module):
    """`FusionNetwork` with re-parameterised blocks behind the uint8 contract.

    Args:
        network: trained network; it is copied, the original stays trainable.
        half: compute the network in fp16.

    Shapes:
        visible (1, H, W, 3) uint8 RGB, thermal (1, H, W) uint8
        -> fused (1, H, W, 3) uint8 RGB, labels (1, H, W) uint8.
    """

    luma: Tensor
    shift: Tensor
    #: Of a, b and r: the visible image is added to, so its own part is a - 1; and the half grey
    #: level turns the truncating cast at the end into rounding.
    SHIFT = (-1.0, 0.0, 0.5)

    def __init__(self, network: FusionNetwork, half: bool = False) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval().cpu()
        fuse_for_deployment(self.network)
        with torch.no_grad():
            for stem in STEMS:
                kernel = self.network.get_parameter(f"{stem}.0.weight")  # merged: no RepConv now
                kernel.div_(FULL_SCALE)
        self.dtype = torch.float16 if half else torch.float32
        self.network.to(self.dtype)
        self.register_buffer("luma", torch.tensor([LUMA_WEIGHTS]))
        self.register_buffer("shift", torch.tensor(self.SHIFT).reshape(1, 3, 1, 1))

    def forward(self, visible: Tensor, thermal: Tensor) -> tuple[Tensor, Tensor]:
        height, width = thermal.shape[-2:]
        rgb = pad_to_stride(visible.float().permute(0, 3, 1, 2))
        hot = pad_to_stride(thermal.float().unsqueeze(1))
        parts, logits = self.network.predict(rgb.to(self.dtype), hot.to(self.dtype))
        # Planes are flattened to rows: ONNX Runtime moves the transposes of an (H, W, 3) image
        # through element-wise operations otherwise, which makes those five times slower.
        planes = rgb.reshape(3, -1)
        luma = self.luma @ planes
        both = torch.cat([luma.reshape(hot.shape), hot], 1)
        gain = self.network.selected_gain
        maps = upsample(affine_model(parts, both, gain, FULL_SCALE) + self.shift)
        gain_y, gain_t, offset = maps.reshape(3, -1).split(1, 0)
        delta = gain_y * luma + gain_t * hot.reshape(1, -1) + offset
        fused = (planes + delta).clamp(0.0, FULL_SCALE).reshape(1, 3, *hot.shape[-2:])
        fused = fused[..., :height, :width]
        labels = labels_from_logits(logits.float(), height, width)
        return fused.permute(0, 2, 3, 1).to(torch.uint8), labels
