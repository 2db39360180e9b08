"""From what the network predicts to the local affine model of both cameras' luminances.

    F = a Y + b T + r

says what of each camera is seen. The network predicts a, b and r, and is poor at one thing that a
formula does well: to tell which camera has more detail in a place takes squares and a ratio, and to
take more of it without moving the brightness takes a product with the local mean. So a fourth map
u in (0, 1) says how far to go from there to the detail of the camera that has more of it:

    d_X = X - mean X                          detail of a camera
    s   = v_Y^4 / (v_Y^4 + v_T^4)             v_X local variance of X: whose detail it is
    F'  = F + u ((k s - a) d_Y + (k (1 - s) - b) d_T)

which is an affine model again: all of it is done at 1/2 of the size and 1/4. Selection by activity
is as old as fusion by pyramids (Burt & Kolczynski, ICCV 1993); where it does harm, beside edges and
in noise, the network has learnt to leave it. What it is worth: docs/decisions/0007.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssvif_core.network.layers import upsample

__all__ = ["MAPS", "affine_model"]

#: What the network predicts for it: a, b, r and u.
MAPS = 4
#: Largest gain of a camera, and the gain k at which selected detail is shown.
LARGEST_GAIN, SELECTED_GAIN = 1.5, 1.07
#: Cells in which cameras are compared, and in how many of them in a row, 12 pixels.
CELL, CELLS = 4, 3
#: Variance in squared grey levels that counts for nothing: less than rounding to bytes leaves.
SILENT = 0.1
GREY_LEVELS = 255.0


def affine_model(parts: Tensor, luma: Tensor, thermal: Tensor, white: float = 1.0) -> Tensor:
    """The maps a, b and r, with the selected detail in them.

    Args:
        parts: (B, 4, H/2, W/2) float in (0, 1), of `FusionNetwork.predict`.
        luma: (B, 1, H, W) float in [0, `white`], of the visible image; sizes are multiples of 16.
        thermal: the same of the thermal image.
        white: value of full scale, 1 or 255; r is in the same unit.

    Returns:
        (B, 3, H/2, W/2) float.
    """
    gain_y, gain_t, offset, selected = parts.split(1, 1)
    gain_y, gain_t = LARGEST_GAIN * gain_y, LARGEST_GAIN * gain_t
    mean_y, mean_t, share = upsample(_activity(luma, thermal, white)).split(1, 1)
    more_y = selected * (SELECTED_GAIN * share - gain_y)
    more_t = selected * (SELECTED_GAIN - SELECTED_GAIN * share - gain_t)
    offset = (2 * offset - 1) * white - more_y * mean_y - more_t * mean_t
    return torch.cat([gain_y + more_y, gain_t + more_t, offset], 1)


def _activity(luma: Tensor, thermal: Tensor, white: float) -> Tensor:
    """(B, 3, H/4, W/4): local means of both cameras, and the visible one's share s of detail."""
    means, variances = [], []
    for image in (luma, thermal):
        mean = _mean(image)
        spread = (_mean(image * image) - mean * mean).clamp(min=0)
        means.append(mean)
        variances.append(spread * (GREY_LEVELS / white) ** 2 + SILENT)
    share = variances[0] / (variances[0] + variances[1])
    for _ in range(2):  # to the fourth power by two squares: no variance is too large for it
        share = share * share / (share * share + (1 - share) * (1 - share))
    return torch.cat([*means, share], 1)


def _mean(image: Tensor) -> Tensor:
    cells = F.avg_pool2d(image, CELL)
    return F.avg_pool2d(cells, CELLS, 1, CELLS // 2, count_include_pad=False)
