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
#: Largest gain of a camera.
LARGEST_GAIN = 1.5
#: Cells in which cameras are compared, and in how many of them in a row, 12 pixels.
CELL, CELLS = 4, 3
#: Variance in squared grey levels that says nothing: what rounding to bytes leaves is 1/12.
SILENT = 0.1
GREY_LEVELS = 255.0


def affine_model(parts: Tensor, both: Tensor, gain: float, white: float = 1.0) -> Tensor:
    """The maps a, b and r, with the selected detail in them.

    Args:
        parts: (B, 4, H/2, W/2) float in (0, 1), of `FusionNetwork.predict`.
        both: (B, 2, H, W) float in [0, `white`], luminance of the visible image and thermal image;
            sizes are multiples of 16.
        gain: k, at which selected detail is shown; `Variant.selected_gain`.
        white: value of full scale, 1 or 255; r is in the same unit.

    Returns:
        (B, 3, H/2, W/2) float.
    """
    # Few operations on both cameras at once: each costs ONNX Runtime more than its arithmetic.
    gains, offset, selected = LARGEST_GAIN * parts[:, :2], parts[:, 2:3], parts[:, 3:]
    activity = upsample(_activity(both, gain, white))
    means, wanted = activity[:, :2], activity[:, 2:]
    more = selected * (torch.cat([wanted, gain - wanted], 1) - gains)
    moved_y, moved_t = (more * means).split(1, 1)
    offset = 2 * white * offset - white - moved_y - moved_t
    return torch.cat([gains + more, offset], 1)


def _activity(both: Tensor, gain: float, white: float) -> Tensor:
    """(B, 3, H/4, W/4): local means of both cameras, and k s, the visible one's part of detail."""
    means = _mean(both)
    spread = (_mean(both * both) - means * means).clamp(min=0)
    visible, thermal = (spread * (GREY_LEVELS / white) ** 2 + SILENT).split(1, 1)
    share = visible / (visible + thermal)
    for _ in range(2):  # to the fourth power by two squares: no variance is too large for it
        share = share * share / (share * share + (1 - share) * (1 - share))
    return torch.cat([means, gain * share], 1)


def _mean(images: Tensor) -> Tensor:
    cells = F.avg_pool2d(images, CELL)
    return F.avg_pool2d(cells, CELLS, 1, CELLS // 2, count_include_pad=False)
