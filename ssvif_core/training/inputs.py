"""What a stage is given in a step, and which labels teach it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["Inputs", "half_labels"]


class Inputs(NamedTuple):
    """One batch as a stage gets it, on the device.

    visible (B,3,H,W) and thermal (B,1,H,W) float in [0,1], with lost cameras lost; labels
    (B,H/2,W/2) int64, 255 unknown, see `half_labels`; lost (B,) 0 none, 1 visible, 2 thermal;
    whole_*: before any was lost.
    """

    visible: Tensor
    thermal: Tensor
    labels: Tensor
    lost: Tensor
    whole_visible: Tensor
    whole_thermal: Tensor


def half_labels(labels: Tensor, step: int) -> Tensor:
    """(B, H, W) labels -> (B, H/2, W/2): of each 2 x 2 pixels the one whose turn it is.

    A mask has one class for all four (`labels_from_logits`), so all four have to teach it: the same
    one in every step would move masks by half a pixel. Turns are those of the step, so that a run
    can be resumed and several processes take the same one.
    """
    row, column = divmod(step % 4, 2)
    return labels[:, row::2, column::2]
