"""The network that is deployed: two cameras in, one fused image and one label mask out.

Knows tensors only. There are two paths. The trunk has a stem for each camera down to 1/4 of the
resolution and sees both from there on; segmentation is read off its decoder at 1/8 and refined at
1/4. Fusion has a narrow path of its own, at 1/2 and 1/4, which sees the pixels of both cameras and
what the trunk knows of them: what makes a good mask makes a poor picture
(docs/decisions/0005-own-path-for-fusion.md). It predicts a local affine model of both luminances,
smooth like that of a guided filter (He et al. 2013), and never draws a pixel from features alone,
so what is seen in the fused image was seen by a camera:

    Y_f   = a * Y + b * T + r          a, b in (0, 1.5), r in (-1, 1), predicted at 1/2
    fused = clip(visible + (Y_f - Y))  every channel moves alike, so chroma is kept

a + b may exceed 1, with r taking the surplus brightness back: detail of both cameras is then kept
in the same place, which a blend (a + b = 1) cannot do. A fourth map says how far the camera with
more detail in a place is followed (`affine_model.py`).

Predicting at 1/2 and upsampling bilinearly was measured against pixel shuffle (checkerboard in flat
sky) and against 1/4 (dark halos at silhouettes). At 1/2 what was decided at 1/4 meets the cameras'
edges through a depthwise convolution: a full one there took a seventh of the time of `tiny`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssvif_core.errors import SsvifError
from ssvif_core.network.affine_model import MAPS, affine_model
from ssvif_core.network.layers import RepConv, upsample

__all__ = [
    "FUSION_PATH",
    "LUMA_WEIGHTS",
    "SEGMENTATION_HEAD",
    "STEMS",
    "TRUNK",
    "VARIANTS",
    "FusionNetwork",
    "FusionOutput",
    "Variant",
    "labels_from_logits",
    "luminance",
    "pad_to_stride",
]

#: Luma of ITU-R BT.601, the weights that OpenCV and MATLAB use for RGB to gray.
LUMA_WEIGHTS = (0.299, 0.587, 0.114)
#: The deepest features are at 1/16: inputs are padded to a multiple of it.
STRIDE = 16
#: Parts that see pixels: where the scale of the input is folded in.
STEMS = ("visible_stem", "thermal_stem", "detail_stem")
#: Parts that the fused image alone depends on: they train without changing a mask.
FUSION_PATH = (
    "detail_stem",
    "detail_quarter",
    "detail_top",
    "detail",
    "detail_half_top",
    "detail_half",
    "coefficients",
)
#: Parts that see both cameras for masks and picture: what `FusionNetwork.trunk` runs.
TRUNK = (
    "visible_stem",
    "thermal_stem",
    "visible_quarter",
    "thermal_quarter",
    "eighth",
    "sixteenth",
    "context",
    "decode_lateral",
    "decode_sixteenth",
    "decode",
    "fuse_top",
    "fuse_lateral",
    "fuse_quarter",
)
#: Parts of the network that the labels alone depend on.
SEGMENTATION_HEAD = ("labels_eighth", "labels_quarter")


@dataclass(frozen=True)
class Variant:
    """Channel counts. Multiples of 16 fill the vector registers of CPUs and tensor cores.

    `selected_gain`: at which detail that was selected is shown (`affine_model.py`). What it wins in
    sharpness it costs in likeness; chosen after training, for each network by itself.
    """

    stem: int
    quarter: int
    eighth: int
    sixteenth: int
    decoder: int
    blocks_eighth: int
    blocks_sixteenth: int
    selected_gain: float


VARIANTS = {
    "base": Variant(16, 32, 64, 128, 64, 2, 3, 1.077),
    "tiny": Variant(16, 16, 32, 64, 32, 2, 3, 1.087),
}


class FusionOutput(NamedTuple):
    """What the network says of a batch of pairs; B, 3 or 1 or classes, H, W."""

    fused: Tensor  # (B, 3, H, W) float in [0, 1]
    logits: Tensor  # (B, classes, H/4, W/4) float, on the padded grid


def luminance(rgb: Tensor) -> Tensor:
    """(B, 3, H, W) RGB -> (B, 1, H, W) luma, ITU-R BT.601."""
    weights = rgb.new_tensor(LUMA_WEIGHTS).reshape(1, 3, 1, 1)
    return (rgb * weights).sum(1, keepdim=True)


def pad_to_stride(x: Tensor) -> Tensor:
    """Repeat the last row and column until both sizes are multiples of `STRIDE`."""
    # Not `-size % STRIDE`: TensorRT cannot tell that a remainder of a negative number is none.
    right, bottom = ((size + STRIDE - 1) // STRIDE * STRIDE - size for size in x.shape[:1:-1])
    return F.pad(x, (0, right, 0, bottom), mode="replicate")


def labels_from_logits(logits: Tensor, height: int, width: int) -> Tensor:
    """(B, classes, H/4, W/4) logits -> (B, H, W) uint8 labels, cropped to the unpadded size.

    The arg-max is taken at 1/2 and repeated, which costs a quarter of doing it at full size and
    moves a mask's edge by at most one pixel.
    """
    labels = upsample(logits).argmax(1, keepdim=True).float()
    labels = F.interpolate(labels, scale_factor=2, mode="nearest")
    return labels.squeeze(1)[:, :height, :width].to(torch.uint8)


class FusionNetwork(nn.Module):
    """Feature-level fusion of a visible and a thermal image, with segmentation.

    Args:
        variant: a key of `VARIANTS`.
        classes: number of segmentation classes, background included.

    Raises:
        SsvifError: the variant is unknown.
    """

    def __init__(self, variant: str = "base", classes: int = 4) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise SsvifError(f"Unknown network variant '{variant}': use one of {list(VARIANTS)}.")
        self.variant, self.classes = variant, classes
        v = VARIANTS[variant]
        self.selected_gain = v.selected_gain
        self.visible_stem = RepConv(3, v.stem, 2)
        self.thermal_stem = RepConv(1, v.stem, 2)
        self.visible_quarter = RepConv(v.stem, v.quarter, 2)
        self.thermal_quarter = RepConv(v.stem, v.quarter, 2)
        self.eighth = nn.Sequential(
            RepConv(2 * v.quarter, v.eighth, 2),
            *(RepConv(v.eighth, v.eighth) for _ in range(v.blocks_eighth)),
        )
        self.sixteenth = nn.Sequential(
            RepConv(v.eighth, v.sixteenth, 2),
            *(RepConv(v.sixteenth, v.sixteenth) for _ in range(v.blocks_sixteenth)),
        )
        self.context = nn.Conv2d(v.sixteenth, v.sixteenth, 1)
        self.decode_lateral = nn.Conv2d(v.eighth, v.decoder, 1)
        self.decode_sixteenth = nn.Conv2d(v.sixteenth, v.decoder, 1)
        self.decode = RepConv(v.decoder, v.decoder)
        self.labels_eighth = nn.Conv2d(v.decoder, classes, 1)

        self.fuse_top = nn.Conv2d(v.decoder, v.quarter, 1)
        self.fuse_lateral = nn.Conv2d(2 * v.quarter, v.quarter, 1)
        self.fuse_quarter = RepConv(v.quarter, v.quarter)
        self.labels_quarter = nn.Conv2d(v.quarter, classes, 1)
        self.detail_stem = RepConv(4, v.stem, 2)
        self.detail_quarter = RepConv(v.stem, v.stem, 2)
        self.detail_top = nn.Conv2d(v.quarter, v.stem, 1)
        self.detail = RepConv(v.stem, v.stem)
        self.detail_half_top = nn.Conv2d(v.stem, v.stem, 1)
        self.detail_half = nn.Conv2d(v.stem, v.stem, 3, padding=1, groups=v.stem)
        self.coefficients = nn.Conv2d(v.stem, MAPS, 1)
        nn.init.zeros_(self.coefficients.weight)
        assert self.coefficients.bias is not None
        with torch.no_grad():  # a = b = 1.5 * sigmoid(-ln 2) = 1/2, half-way from the average
            self.coefficients.bias.copy_(torch.tensor([-math.log(2), -math.log(2), 0.0, 0.0]))

    def forward(self, visible: Tensor, thermal: Tensor) -> FusionOutput:
        """Fuse a batch.

        Args:
            visible: (B, 3, H, W) float RGB in [0, 1].
            thermal: (B, 1, H, W) float in [0, 1], white is hot.
        """
        height, width = visible.shape[-2:]
        rgb, hot = pad_to_stride(visible), pad_to_stride(thermal)
        parts, logits = self.predict(rgb, hot)
        # In full precision even under autocast: bfloat16 resolves only 256 grey levels near white.
        both = torch.cat([luminance(rgb), hot], 1)
        maps = upsample(affine_model(parts, both, self.selected_gain))
        delta = (maps[:, :2] * both).sum(1, keepdim=True) + maps[:, 2:] - both[:, :1]
        delta = delta[..., :height, :width]
        return FusionOutput((visible + delta).clamp(0.0, 1.0), logits)

    def features(self, visible: Tensor, thermal: Tensor) -> Tensor:
        """What both cameras' features are fused to, and segmentation is read off.

        Shapes: as `forward` -> (B, decoder channels, H/8, W/8) float >= 0, on the padded grid.
        """
        return self._decoded(pad_to_stride(visible), pad_to_stride(thermal))[0]

    def _decoded(self, visible: Tensor, thermal: Tensor) -> tuple[Tensor, Tensor]:
        """Decoder features at 1/8, and both cameras' at 1/4."""
        v2, t2 = self.visible_stem(visible), self.thermal_stem(thermal)
        f4 = torch.cat([self.visible_quarter(v2), self.thermal_quarter(t2)], 1)
        f8 = self.eighth(f4)
        f16 = self.sixteenth(f8)
        f16 = f16 + self.context(F.adaptive_avg_pool2d(f16, 1))
        d8 = self.decode(F.relu(self.decode_lateral(f8) + upsample(self.decode_sixteenth(f16))))
        return d8, f4

    def trunk(self, visible: Tensor, thermal: Tensor) -> tuple[Tensor, Tensor]:
        """Features at 1/8 and at 1/4, on sizes that are multiples of 16."""
        d8, f4 = self._decoded(visible, thermal)
        return d8, self.fuse_quarter(F.relu(self.fuse_lateral(f4) + upsample(self.fuse_top(d8))))

    def predict(self, visible: Tensor, thermal: Tensor) -> tuple[Tensor, Tensor]:
        """Everything that is learnt, on sizes that are multiples of 16.

        Returns:
            parts: (B, 4, H/2, W/2) float32 in (0, 1), for `affine_model`.
            logits: (B, classes, H/4, W/4).
        """
        d8, d4 = self.trunk(visible, thermal)
        logits = self.labels_quarter(d4) + upsample(self.labels_eighth(d8))
        own2 = self.detail_stem(torch.cat([visible, thermal], 1))
        own4 = self.detail(self.detail_quarter(own2) + self.detail_top(d4))
        own2 = F.relu(self.detail_half(own2) + upsample(self.detail_half_top(own4)))
        # Full precision from here on: near 1 half precision has few steps between two gains.
        return self.coefficients(own2).float().sigmoid(), logits
