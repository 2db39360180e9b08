"""How well held-out frames are told from what is not hidden of them, in figures and in pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssvif_core.data.pairs import FramePair
from ssvif_core.network.fusion_network import pad_to_stride
from ssvif_core.training.masked import (
    STRIDE,
    Hidden,
    MaskedPrediction,
    draw_hidden,
    local_statistics,
    masked_losses,
)
from ssvif_core.training.validation import as_tensors, strip

__all__ = ["validate_masked"]

PICTURES = 4
#: In pictures, what is hidden is this grey.
GREY = 0.5


@torch.inference_mode()
def validate_masked(
    prediction: MaskedPrediction, pairs: Sequence[FramePair], device: torch.device
) -> tuple[dict[str, float], np.ndarray]:
    """Score masked prediction on whole frames, the same blocks of which are hidden each time.

    Args:
        prediction: in any mode; it is left in evaluation mode.
        pairs: held-out frames.
        device: of the network.

    Returns:
        The losses (`hidden/visible`, `hidden/thermal`), and one picture (H, W, 3) uint8: of the
        first pairs, visible and thermal with what is hidden, and both as they were told.
    """
    prediction.eval()
    sums: dict[str, float] = {}
    rows: list[np.ndarray] = []
    for number, pair in enumerate(pairs):
        visible, thermal = (pad_to_stride(image) for image in as_tensors(pair, device))
        height, width = visible.shape[-2:]
        hidden = draw_hidden(1, height, width, [number]).on(device)
        told = prediction(visible * (1 - hidden.visible), thermal * (1 - hidden.thermal))
        for camera, loss in masked_losses(told, visible, thermal, hidden).items():
            name = f"hidden/{camera}"
            sums[name] = sums.get(name, 0.0) + float(loss) / len(pairs)
        if len(rows) < PICTURES:
            rows.append(_row(told, visible, thermal, hidden))
    return sums, np.vstack(rows)


def _row(told: Tensor, visible: Tensor, thermal: Tensor, hidden: Hidden) -> np.ndarray:
    """Brightness and contrast of each place are the true ones: only its shape was asked for."""
    images = torch.cat([visible, thermal], 1)
    mean, deviation = local_statistics(images)
    drawn = mean + deviation * F.interpolate(told.float(), scale_factor=STRIDE, mode="bilinear")
    where = torch.cat([hidden.visible.expand(-1, 3, -1, -1), hidden.thermal], 1)
    shown = torch.where(where > 0, torch.full_like(images, GREY), images)
    drawn = torch.where(where > 0, drawn, images)
    parts = [part for image in (shown, drawn) for part in (image[:, :3], image[:, 3:])]
    return strip([_pixels(part) for part in parts])


def _pixels(image: Tensor) -> np.ndarray:
    colour = image[0].expand(3, -1, -1).clamp(0, 1) * 255
    return colour.byte().permute(1, 2, 0).cpu().numpy()
