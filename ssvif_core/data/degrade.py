"""What goes wrong in a robot's cameras: haze, glare, noise, sensor faults, a camera that is lost.

Each effect takes some frames of a batch, (n, C, H, W) float in about [0, 1], and random numbers,
and returns frames of the same shape, not clamped. `sometimes` applies one to a random part of a
batch, so that an effect costs in proportion to how often it is seen.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "NONE_LOST",
    "THERMAL_LOST",
    "VISIBLE_LOST",
    "Draw",
    "dead_pixels",
    "drop_modality",
    "gain_jump",
    "glare",
    "haze",
    "read_noise",
    "shot_noise",
    "sometimes",
    "stripes",
    "vignette",
]

#: What `drop_modality` says of a crop.
NONE_LOST, VISIBLE_LOST, THERMAL_LOST = 0, 1, 2
#: Mean grey level below which a camera shows nothing; read-out noise on black has 0.016 at most.
NOTHING = 0.02


class Draw:
    """Random numbers for n frames, of shape (n, 1, 1, 1), from one generator."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.shape, self.generator = (count, 1, 1, 1), generator

    def uniform(self, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(self.shape, generator=self.generator)

    def spread(self, sigma: float) -> Tensor:
        """Log-normal factors around 1."""
        return (sigma * torch.randn(self.shape, generator=self.generator)).exp()

    def shift(self, sigma: float) -> Tensor:
        return sigma * torch.randn(self.shape, generator=self.generator)

    def chance(self, probability: float) -> Tensor:
        return torch.rand(self.shape, generator=self.generator) < probability

    def normal(self, channels: int, rows: int, columns: int) -> Tensor:
        """Independent standard normal numbers (n, channels, rows, columns)."""
        shape = (self.shape[0], channels, rows, columns)
        return torch.randn(shape, generator=self.generator)


Effect = Callable[[Tensor, Draw], Tensor]


def sometimes(
    images: Tensor, probability: float, effect: Effect, generator: torch.Generator
) -> Tensor:
    """Apply an effect, in place, to each frame with a probability. Returns `images`."""
    chosen = (torch.rand(len(images), generator=generator) < probability).nonzero().flatten()
    if len(chosen):
        images[chosen] = effect(images[chosen], Draw(len(chosen), generator))
    return images


# -- the visible camera -----------------------------------------------------------------------


def haze(rgb: Tensor, draw: Draw) -> Tensor:
    """Light scattered into the view, more of it towards the horizon (Koschmieder, 1924).

    `I = J t + A (1 - t)` with `t = exp(-depth)`; depth grows from the lower edge upwards, as on a
    flat road. The air is brighter than the scene's mean: fog at night stays dark.
    """
    up = torch.linspace(1.0, 0.0, rgb.shape[-2]).reshape(1, 1, -1, 1)
    depth = draw.uniform(0.1, 0.8) + draw.uniform(0.0, 1.5) * up
    air = rgb.mean((1, 2, 3), keepdim=True) + draw.uniform(0.1, 0.5)
    through = torch.exp(-depth)
    return rgb * through + air.clamp(max=0.95) * (1 - through)


def glare(rgb: Tensor, draw: Draw) -> Tensor:
    """Two lights into the lens: a saturated core each, and a veil around it."""
    height, width = rgb.shape[-2:]
    y = torch.arange(height).reshape(1, 1, -1, 1) / height
    x = torch.arange(width).reshape(1, 1, 1, -1) / height
    tint = torch.cat([draw.uniform(0.9, 1.0), draw.uniform(0.75, 1.0), draw.uniform(0.55, 1.0)], 1)
    for _ in range(2):
        row, column = draw.uniform(-0.1, 1.1), draw.uniform(-0.1, 1.1) * width / height
        core = torch.exp(draw.uniform(-4.6, -2.8))  # 0.01 to 0.06 of the height
        for sigma, strength in ((core, 3.0), (5 * core, draw.uniform(0.05, 0.5))):
            falloff = 0.5 / sigma.square()
            light = strength * torch.exp(-falloff * (y - row).square())
            rgb = rgb + tint * light * torch.exp(-falloff * (x - column).square())
    return rgb


def shot_noise(rgb: Tensor, draw: Draw) -> Tensor:
    """Few photons: the variance of a pixel is its value over the full well, 40 to 400 electrons.

    The normal approximation of the Poisson distribution, for each colour by itself.
    """
    full_well = torch.exp(draw.uniform(3.7, 6.0))
    return rgb + (rgb.clamp(min=0.0) / full_well).sqrt() * draw.normal(*rgb.shape[1:])


def read_noise(sigma: float) -> Effect:
    """Gaussian noise of at most `sigma`, the same for all channels."""
    return lambda x, draw: x + draw.uniform(0.0, sigma) * draw.normal(1, *x.shape[-2:])


# -- the thermal camera -----------------------------------------------------------------------


def stripes(thermal: Tensor, draw: Draw) -> Tensor:
    """Offsets of columns, or of rows: the amplifiers of the read-out, between two shutters."""
    columns = draw.normal(1, 1, thermal.shape[-1])
    rows = draw.normal(1, thermal.shape[-2], 1)
    return thermal + draw.uniform(0.004, 0.03) * torch.where(draw.chance(0.7), columns, rows)


def vignette(thermal: Tensor, draw: Draw) -> Tensor:
    """Corners that glow, or darken, with the temperature of the lens and the housing."""
    height, width = thermal.shape[-2:]
    y = torch.linspace(-1.0, 1.0, height).reshape(1, 1, -1, 1) - draw.shift(0.2)
    x = torch.linspace(-1.0, 1.0, width).reshape(1, 1, 1, -1) - draw.shift(0.2)
    return thermal + draw.uniform(-0.12, 0.12) * (y.square() + x.square() - 0.5)


def dead_pixels(thermal: Tensor, draw: Draw) -> Tensor:
    """Pixels that stay black or white, up to one in a thousand."""
    frames, pixels = len(thermal), thermal[0].numel()
    count = 1 + int(pixels * 1e-3 * float(torch.rand((), generator=draw.generator)))
    places = torch.randint(pixels, (frames, count), generator=draw.generator)
    stuck = torch.randint(2, (frames, count), generator=draw.generator).to(thermal.dtype)
    return thermal.flatten(1).scatter(1, places, stuck).reshape(thermal.shape)


def gain_jump(thermal: Tensor, draw: Draw) -> Tensor:
    """Another automatic gain: from linear towards histogram-equalised, or back.

    A tone curve of 256 levels, which never falls, so that white stays hot: a mixture of plateau
    equalisation (Vickers, Optical Engineering 35(7), 1996) and of a gain that differs in each
    quarter of the range.
    """
    frames = len(thermal)
    levels = (thermal.clamp(0.0, 1.0) * 255).long().flatten(1)
    offsets = 256 * torch.arange(frames).reshape(-1, 1)
    histogram = torch.bincount((levels + offsets).flatten(), minlength=256 * frames)
    plateau = draw.uniform(0.5, 4.0).reshape(-1, 1) * levels.shape[1] / 256
    equalised = torch.minimum(histogram.reshape(frames, 256).float(), plateau)
    gains = draw.normal(1, 1, 4).mul(0.6).exp().reshape(frames, 4).repeat_interleave(64, 1)
    part = draw.uniform(0.0, 0.8).reshape(-1, 1)
    slopes = part * equalised / equalised.sum(1, keepdim=True)
    slopes = slopes + (1 - part) * gains / gains.sum(1, keepdim=True)
    curve = slopes.cumsum(1) - slopes[:, :1]  # black stays black
    return curve.gather(1, levels).reshape(thermal.shape)


# -- a camera that is lost --------------------------------------------------------------------


def drop_modality(
    visible: Tensor,
    thermal: Tensor,
    generator: torch.Generator,
    probability: float,
    donors_visible: Tensor | None = None,
    donors_thermal: Tensor | None = None,
    *,
    thermal_part: float = 0.5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Take one of the two cameras away from some crops (modality dropout), never both.

    Half of the lost cameras are black, a quarter saturated, a quarter frozen: they show another
    moment. What is asked of a crop with a lost camera is what its living camera alone tells: that
    camera is the target of the fused image, and labels stay as they are. A frozen picture looks
    healthy; nothing in one pair of frames says which of two healthy cameras is late, so a network
    can learn to survive it, and to tell it is the work of freeze detection.

    A crop whose other camera shows next to nothing already (mean below 0.02) is left alone.

    Args:
        visible: (B, 3, H, W) float in [0, 1], on any device; not changed.
        thermal: (B, 1, H, W) float in [0, 1]; not changed.
        generator: randomness, of the CPU.
        probability: of losing a camera, for each crop.
        donors_visible: (N, 3, H, W) of other moments, for frozen cameras; by default other crops
            of the batch, or the crop's own picture moved aside.
        donors_thermal: (N, 1, H, W) likewise.
        thermal_part: of the crops that lose a camera, the part that loses the thermal one.

    Returns:
        visible, thermal, and state (B,) int8: `NONE_LOST`, `VISIBLE_LOST` or `THERMAL_LOST`.
    """
    count = len(visible)
    chosen = torch.rand(count, generator=generator) < probability
    loses_thermal = torch.rand(count, generator=generator) < thermal_part
    which = torch.where(loses_thermal, THERMAL_LOST, VISIBLE_LOST)
    visible_shows = visible.mean((1, 2, 3)).cpu() >= NOTHING
    thermal_shows = thermal.mean((1, 2, 3)).cpu() >= NOTHING
    survives = torch.where(which == VISIBLE_LOST, thermal_shows, visible_shows)
    state = torch.where(chosen & survives, which, NONE_LOST).to(torch.int8)
    return (
        _lose(visible, state == VISIBLE_LOST, donors_visible, generator),
        _lose(thermal, state == THERMAL_LOST, donors_thermal, generator),
        state.to(visible.device),
    )


def _lose(
    images: Tensor, lost: Tensor, donors: Tensor | None, generator: torch.Generator
) -> Tensor:
    result = images.clone()
    for index in lost.nonzero().flatten().tolist():
        kind = float(torch.rand((), generator=generator))
        if kind < 0.5:
            result[index] = _uniform_picture(images[index], 0.0, generator)
        elif kind < 0.75:
            result[index] = _uniform_picture(images[index], 1.0, generator)
        else:
            result[index] = _frozen(images, index, donors, generator)
    return result


def _uniform_picture(image: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """Black or saturated (C, H, W): one grey level, with up to 2 % of noise."""
    sigma = 0.02 * float(torch.rand((), generator=generator))
    noise = sigma * torch.randn(image.shape, generator=generator)
    return (level + noise).clamp(0.0, 1.0).to(image)


def _frozen(
    images: Tensor, index: int, donors: Tensor | None, generator: torch.Generator
) -> Tensor:
    """Another moment (C, H, W): of the donors, of the batch, or the same place moved aside."""
    if donors is not None:
        return donors[int(torch.randint(len(donors), (), generator=generator))]
    moved, step = torch.rand(2, generator=generator).tolist()
    if len(images) > 1 and moved < 0.5:
        return images[(index + 1 + int(step * (len(images) - 1))) % len(images)]
    return _moved_aside(images[index], int(4 * step))


def _moved_aside(image: Tensor, corner: int) -> Tensor:
    """The three quarters in one of the corners, enlarged to the whole: no seam, no border."""
    height, width = image.shape[-2:]
    rows, columns = 3 * height // 4, 3 * width // 4
    top, left = (height - rows) * (corner // 2), (width - columns) * (corner % 2)
    window = image[None, :, top : top + rows, left : left + columns]
    return F.interpolate(window, (height, width), mode="bilinear", align_corners=False)[0]
