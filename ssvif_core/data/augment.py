"""What cameras do to a scene, at random: crops, flips, blur, exposure, thermal gain, faults.

Geometry works on numpy pairs (OpenCV), photometry on torch batches; both are pure functions of
the random generator that is handed in, so that a run can be repeated and resumed. `degrade.py`
has the faults that a frame does not come back from; here is how often each is seen.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from ssvif_core.data import degrade
from ssvif_core.data.degrade import Draw, sometimes
from ssvif_core.data.pairs import UNKNOWN, FramePair

__all__ = ["augment_thermal", "augment_visible", "misregister", "random_crop"]

#: Crops show the scene enlarged up to twice and reduced to 0.6: people between 10 and 60 m.
SCALE_RANGE = (0.6, 2.0)
LUMA = (0.299, 0.587, 0.114)

#: Probability of each fault, for each crop.
BLUR, MOTION_BLUR, MISREGISTERED = 0.12, 0.08, 0.2
STRONG_CAST, HAZE, GLARE, SHOT_NOISE = 0.1, 0.06, 0.06, 0.1
GAIN_JUMP, VIGNETTE, STRIPES, DEAD_PIXELS = 0.15, 0.1, 0.15, 0.06
WASHED_OUT = 0.35
READ_NOISE = 0.5

#: Misalignment that is left after registration: pixels, degrees, parts. A degree is 2.8 pixels at
#: the edge of a crop 320 wide.
MAX_SHIFT_PX, MAX_ROTATION_DEG, MAX_SCALING = 3.0, 0.7, 0.01
#: Longest path of a point during one exposure.
MAX_MOTION_PX = 9


def random_crop(
    pair: FramePair,
    size: tuple[int, int],
    rng: np.random.Generator,
    centre: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut a window at random scale and place, resize it to `size`, flip it half of the time.

    Some crops are out of focus, blurred by motion, or slightly misregistered; labels always lie
    on the pixels of the visible camera.

    Args:
        pair: source frames.
        size: rows and columns of the result.
        rng: randomness.
        centre: (row, column) that the window has to hold, or None for anywhere.

    Returns:
        visible (h, w, 3) uint8, thermal (h, w) uint8, labels (h, w) uint8 (255 if there are none).
    """
    window, target = _window(pair.thermal.shape, size, rng, centre), size[::-1]
    visible = cv2.resize(pair.visible[window], target, interpolation=cv2.INTER_LINEAR)
    thermal = cv2.resize(pair.thermal[window], target, interpolation=cv2.INTER_LINEAR)
    if pair.labels is None:
        labels: np.ndarray = np.full(size, UNKNOWN, np.uint8)
    else:
        # EXACT: plain INTER_NEAREST lies up to half a pixel beside INTER_LINEAR.
        labels = cv2.resize(pair.labels[window], target, interpolation=cv2.INTER_NEAREST_EXACT)
    if rng.random() < MISREGISTERED:
        thermal = misregister(thermal, rng)
    if rng.random() < BLUR:
        visible = cv2.GaussianBlur(visible, (0, 0), rng.uniform(0.5, 1.5))
    if rng.random() < BLUR:
        thermal = cv2.GaussianBlur(thermal, (0, 0), rng.uniform(0.5, 1.5))
    if rng.random() < MOTION_BLUR:
        angle = rng.uniform(0, np.pi)  # one motion, two exposures
        visible, thermal = (_moving(image, angle, rng) for image in (visible, thermal))
    if rng.random() < 0.5:
        return visible[:, ::-1], thermal[:, ::-1], labels[:, ::-1]
    return visible, thermal, labels


def _window(
    shape: tuple[int, ...],
    size: tuple[int, int],
    rng: np.random.Generator,
    centre: tuple[int, int] | None,
) -> tuple[slice, slice]:
    """Rows and columns to cut from a frame of `shape`."""
    height, width = shape
    scale = np.exp(rng.uniform(*np.log(SCALE_RANGE)))
    scale = max(scale, size[0] / height, size[1] / width)
    rows, columns = int(size[0] / scale), int(size[1] / scale)
    if centre is None:
        top = int(rng.integers(0, height - rows + 1))
        left = int(rng.integers(0, width - columns + 1))
    else:
        place = rng.uniform(0.15, 0.85, 2)
        top = int(np.clip(centre[0] - place[0] * rows, 0, height - rows))
        left = int(np.clip(centre[1] - place[1] * columns, 0, width - columns))
    return slice(top, top + rows), slice(left, left + columns)


def misregister(thermal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift (up to 3 px), turn (0.7 degrees) and scale (1 %) about the centre, edges repeated.

    Shapes: (H, W) -> the same, of the same type.
    """
    height, width = thermal.shape
    turn = rng.uniform(-MAX_ROTATION_DEG, MAX_ROTATION_DEG)
    scale = 1 + rng.uniform(-MAX_SCALING, MAX_SCALING)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, scale)
    shift = np.zeros((2, 3))
    shift[:, 2] = rng.uniform(-MAX_SHIFT_PX, MAX_SHIFT_PX, 2)
    size = (width, height)
    return cv2.warpAffine(thermal, matrix + shift, size, borderMode=cv2.BORDER_REPLICATE)


def _moving(image: np.ndarray, angle: float, rng: np.random.Generator) -> np.ndarray:
    """Average along a line of 2 to 9 pixels in the direction `angle` (radians)."""
    half = rng.uniform(1, MAX_MOTION_PX) / 2
    size = 2 * int(np.ceil(half)) + 1
    way = np.linspace(-half, half, 4 * size)
    rows, columns = (np.rint(way * f(angle)).astype(int) + size // 2 for f in (np.sin, np.cos))
    kernel = np.zeros((size, size), np.float32)
    np.add.at(kernel, (rows, columns), 1 / len(way))
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE)


def augment_visible(rgb: Tensor, generator: torch.Generator) -> Tensor:
    """Exposure, gamma, contrast, white balance, saturation, haze, glare, darkness and noise.

    Shapes: (B, 3, H, W) float in [0, 1] -> the same.
    """
    draw = Draw(len(rgb), generator)
    dark = draw.chance(0.04)
    rgb = _gamma(rgb, draw.spread(0.25))
    matrix, offset = _colour_map(rgb, draw)
    rgb = torch.baddbmm(offset, matrix, rgb.flatten(2)).reshape(rgb.shape)
    rgb = sometimes(rgb, HAZE, degrade.haze, generator)
    rgb = sometimes(rgb, GLARE, degrade.glare, generator)
    rgb = sometimes(rgb, SHOT_NOISE, degrade.shot_noise, generator)
    rgb[dark.flatten()] = 0.0
    return sometimes(rgb, READ_NOISE, degrade.read_noise(0.04), generator).clamp_(0.0, 1.0)


def _gamma(x: Tensor, exponent: Tensor) -> Tensor:
    """`x ** exponent`; by logarithm it takes half of the time of a power on a CPU."""
    return x.clamp(1e-4, 1.0).log_().mul_(exponent).exp_()


def _colour_map(rgb: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """Everything that is linear in the colours of a frame, in one: (B, 3, 3) and (B, 3, 1).

    In this order: exposure `e`; contrast `c` about the mean; white balance `b`, with saturation
    `s` about the luma `l`, `l + s (b y - l)`; dimming.
    """
    exposure, contrast = draw.spread(0.25)[:, 0], draw.spread(0.2)[:, 0]
    sigma = torch.where(draw.chance(STRONG_CAST), 0.3, 0.08)[:, 0]
    balance = (sigma * draw.normal(3, 1, 1)[..., 0]).exp()
    saturation = draw.uniform(0.2, 1.3)[:, 0]
    luma = rgb.new_tensor(LUMA).reshape(1, 1, 3).expand(len(rgb), 3, 3)
    colours = saturation * torch.diag_embed(balance[..., 0]) + (1 - saturation) * luma
    dim = torch.where(draw.chance(0.15), draw.uniform(0.05, 0.6), 1.0)[:, 0]
    mean = rgb.mean((1, 2, 3)).reshape(-1, 1, 1)
    gain = dim * exposure
    return gain * contrast * colours, gain * (1 - contrast) * mean * colours.sum(2, keepdim=True)


def augment_thermal(thermal: Tensor, generator: torch.Generator) -> Tensor:
    """Gain control of other cameras, shading, faults of the sensor, darkness and noise.

    Gain: percentile stretch, washed out, gain, offset, gamma, another automatic gain. White stays
    hot.
    Shapes: (B, 1, H, W) float in [0, 1] -> the same.
    """
    draw = Draw(len(thermal), generator)
    dim = torch.where(draw.chance(0.1), draw.uniform(0.05, 0.6), 1.0)
    dark = draw.chance(0.04)
    thermal = sometimes(thermal.clone(), 0.35, _stretched, generator)
    thermal = sometimes(thermal, WASHED_OUT, _washed_out, generator)
    thermal = sometimes(thermal, GAIN_JUMP, degrade.gain_jump, generator)
    thermal = _gamma(thermal, draw.spread(0.2)) * draw.spread(0.25) + draw.shift(0.05)
    thermal = sometimes(thermal, VIGNETTE, degrade.vignette, generator)
    thermal = sometimes(thermal, STRIPES, degrade.stripes, generator).mul_(dim)
    thermal = sometimes(thermal, DEAD_PIXELS, degrade.dead_pixels, generator)
    thermal[dark.flatten()] = 0.0
    return sometimes(thermal, READ_NOISE, degrade.read_noise(0.03), generator).clamp_(0.0, 1.0)


def _stretched(thermal: Tensor, draw: Draw) -> Tensor:
    """From the first percentile to 99.5, of every seventh pixel; a range of 0.05 at the least."""
    limits = torch.quantile(thermal.flatten(1)[:, ::7], torch.tensor([0.01, 0.995]), dim=1)
    low, high = limits[0].reshape(-1, 1, 1, 1), limits[1].reshape(-1, 1, 1, 1)
    return ((thermal - low) / (high - low).clamp(min=0.05)).clamp_(0.0, 1.0)


def _washed_out(thermal: Tensor, draw: Draw) -> Tensor:
    """A fixed gain that is too wide for the scene: all of it grey, and brighter than a dark street.

    Without such frames the fused image of a dark scene takes the thermal camera's grey, and loses
    what little the visible one shows there.
    """
    contrast, grey = draw.uniform(0.1, 0.5), draw.uniform(0.2, 0.7)
    return thermal * contrast + grey * (1 - contrast)
