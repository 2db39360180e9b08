"""A deployed model becomes trainable again: what `initialise_from: base` starts from.

The ONNX file holds each block as the one convolution that it was merged into. Batch norm computes
with the statistics of the batch while it trains, so the merged convolution is taken apart again
with statistics that real frames give:

    W x + b = gain (W x - mean) / sqrt(var + eps) + shift
    gain = sqrt(var + eps), shift = b + mean

which is exact in evaluation, and in training as good as a batch resembles those frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

from ssvif_core.deploy.graph import FULL_SCALE
from ssvif_core.errors import SsvifError
from ssvif_core.models import Model
from ssvif_core.network.fusion_network import STEMS, FusionNetwork
from ssvif_core.network.layers import RepConv

__all__ = ["reopen"]

PREFIX = "network."


def reopen(model: Model, frames: Sequence[tuple[Tensor, Tensor]]) -> FusionNetwork:
    """The network of an exported model, ready to be trained on.

    Args:
        model: opened and verified; exported by `ssvif export` in precision fp32.
        frames: at least one batch of (visible (B, 3, H, W), thermal (B, 1, H, W)) float in [0, 1],
            that the statistics of batch norm are measured on.

    Raises:
        SsvifError: the file does not hold the network that its card describes.
    """
    content = model.card.content
    network = FusionNetwork(content.get("variant", "base"), len(model.card.classes)).eval()
    weights = _weights(model.path)
    try:
        _fill(network, weights)
    except (KeyError, RuntimeError) as error:
        raise SsvifError(
            f"{model.path} cannot be trained further ({error}): it is not an fp32 export of a "
            f"'{network.variant}' network. Start from a checkpoint instead."
        ) from error
    _measure_statistics(network, frames)
    return network


def _weights(path: Path) -> dict[str, Tensor]:
    graph = onnx.load(str(path)).graph
    return {
        tensor.name.removeprefix(PREFIX): torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in graph.initializer
        if tensor.name.startswith(PREFIX)
    }


@torch.no_grad()
def _fill(network: FusionNetwork, weights: dict[str, Tensor]) -> None:
    """Merged convolutions into the 3x3 branch; the other branches start at nothing."""
    for name, module in network.named_modules():
        if isinstance(module, RepConv):
            scale = FULL_SCALE if name in STEMS else 1.0
            _copy(module.kernel3, weights[f"{name}.0.weight"] * scale)
            module.scale1.zero_()
            if module.scale0 is not None:
                module.scale0.zero_()
            _copy(module.norm.bias, weights[f"{name}.0.bias"])
            assert module.norm.running_var is not None
            module.norm.running_var.fill_(1 - module.norm.eps)
        elif isinstance(module, nn.Conv2d):
            _copy(module.weight, weights[f"{name}.weight"])
            assert module.bias is not None
            _copy(module.bias, weights[f"{name}.bias"])


def _copy(target: Tensor, source: Tensor) -> None:
    if target.shape != source.shape:
        raise RuntimeError(f"a kernel is {tuple(source.shape)} instead of {tuple(target.shape)}")
    target.copy_(source)


@torch.no_grad()
def _measure_statistics(network: FusionNetwork, frames: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Give each batch norm the statistics of what comes in, changing nothing of what comes out."""
    sums: dict[RepConv, list[Tensor]] = {}

    def listen(module: RepConv, inputs: tuple[Tensor]) -> None:
        out = F.conv2d(inputs[0], module.effective_kernel(), stride=module.stride, padding=1)
        moments = torch.stack([out.mean((0, 2, 3)), (out * out).mean((0, 2, 3))])
        sums.setdefault(module, []).append(moments)

    blocks = [module for module in network.modules() if isinstance(module, RepConv)]
    handles = [block.register_forward_pre_hook(listen) for block in blocks]
    for visible, thermal in frames:
        network(visible, thermal)
    for handle in handles:
        handle.remove()
    for block in blocks:
        mean, square = torch.stack(sums[block]).mean(0)
        norm = block.norm
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_((square - mean**2).clamp(min=0))
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.add_(mean)
