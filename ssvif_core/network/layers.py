"""Building blocks: a 3x3 convolution that trains with several branches and runs as one.

Knows nothing of what the network is for. RepVGG (Ding et al., arXiv 2101.03697) trains parallel
3x3, 1x1 and identity branches, each with its own batch norm, and merges them for deployment. Here
the kernels are summed *before* the convolution at every step (as in OREPA, Hu et al., arXiv
2204.00826), so a training step costs what the deployed network costs: one convolution per block.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["RepConv", "fuse_for_deployment", "upsample"]


def upsample(x: Tensor, factor: int = 2) -> Tensor:
    """(B, C, H, W) -> (B, C, factor H, factor W), bilinear."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


class RepConv(nn.Module):
    """3x3 convolution + batch norm + ReLU, over-parameterised while it trains.

    The effective kernel is `K3 + pad(s1 * K1) + s0 * I`: a 3x3 kernel, a 1x1 kernel with a learnt
    scale for each output channel and, where shapes allow, a scaled identity.

    Args:
        c_in: input channels.
        c_out: output channels.
        stride: 1 or 2. Padding is always 1, so H and W become ceil(H / stride).

    Shapes: (B, c_in, H, W) float -> (B, c_out, ceil(H/stride), ceil(W/stride)) float >= 0.
    """

    identity: Tensor

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.kernel3 = nn.Parameter(torch.empty(c_out, c_in, 3, 3))
        self.kernel1 = nn.Parameter(torch.empty(c_out, c_in, 1, 1))
        self.scale1 = nn.Parameter(torch.full((c_out, 1, 1, 1), 0.5))
        nn.init.kaiming_normal_(self.kernel3, nonlinearity="relu")
        nn.init.kaiming_normal_(self.kernel1, nonlinearity="relu")
        self.scale0: nn.Parameter | None = None
        if c_in == c_out and stride == 1:
            self.scale0 = nn.Parameter(torch.full((c_out, 1, 1, 1), 0.5))
            self.register_buffer("identity", torch.eye(c_in)[:, :, None, None], persistent=False)
        self.norm = nn.BatchNorm2d(c_out)

    def effective_kernel(self) -> Tensor:
        """The single (c_out, c_in, 3, 3) kernel that all branches add up to."""
        centre = self.scale1 * self.kernel1
        if self.scale0 is not None:
            centre = centre + self.scale0 * self.identity
        return self.kernel3 + F.pad(centre, (1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.effective_kernel(), stride=self.stride, padding=1)
        return F.relu(self.norm(x))

    def deployed(self) -> nn.Sequential:
        """Plain convolution with bias + ReLU that computes the same in evaluation mode."""
        norm = self.norm
        assert norm.running_var is not None and norm.running_mean is not None
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        kernel = self.effective_kernel()
        conv = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, self.stride, 1)
        conv.weight.data.copy_(kernel * gain[:, None, None, None])
        assert conv.bias is not None
        conv.bias.data.copy_(norm.bias - norm.running_mean * gain)
        return nn.Sequential(conv, nn.ReLU())


@torch.no_grad()
def fuse_for_deployment(module: nn.Module) -> nn.Module:
    """Replace every `RepConv` inside `module`, in place, by its single convolution."""
    for name, child in module.named_children():
        if isinstance(child, RepConv):
            setattr(module, name, child.deployed().to(child.kernel3.device))
        else:
            fuse_for_deployment(child)
    return module
