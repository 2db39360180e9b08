"""The local affine model: what the fourth map does to the three others."""

import pytest
import torch
import torch.nn.functional as F

from ssvif_core.network.affine_model import LARGEST_GAIN, MAPS, affine_model
from ssvif_core.network.layers import upsample

HEIGHT, WIDTH = 96, 128
GAIN = 1.07
GENERATOR = torch.Generator().manual_seed(0)


def image(level, texture):
    return level + texture * torch.randn(1, 1, HEIGHT, WIDTH, generator=GENERATOR)


def parts(a, b, r, u):
    """Maps that are the same everywhere, as the network would predict them."""
    values = torch.tensor([a / LARGEST_GAIN, b / LARGEST_GAIN, (r + 1) / 2, u])
    return values.reshape(1, MAPS, 1, 1).expand(1, MAPS, HEIGHT // 2, WIDTH // 2)


def fused(predicted, luma, thermal, white=1.0):
    both = torch.cat([luma, thermal], 1)
    a, b, r = upsample(affine_model(predicted, both, GAIN, white)).split(1, 1)
    return a * luma + b * thermal + r


def detail(x):
    return x - F.avg_pool2d(x, 13, 1, 6, count_include_pad=False)


def test_without_the_fourth_map_it_is_what_was_predicted():
    both = torch.cat([image(0.5, 0.1), image(0.3, 0.1)], 1)
    maps = affine_model(parts(0.7, 0.4, -0.1, 0.0), both, GAIN)
    assert maps.shape == (1, 3, HEIGHT // 2, WIDTH // 2)
    torch.testing.assert_close(maps.mean((0, 2, 3)), torch.tensor([0.7, 0.4, -0.1]))
    assert maps.std((0, 2, 3)).max() < 1e-6


@pytest.mark.parametrize("textured", ["visible", "thermal"])
def test_the_camera_with_more_detail_is_shown_and_brightness_stays(textured):
    rough, smooth = image(0.5, 0.05), image(0.3, 0.004)
    luma, thermal = (rough, smooth) if textured == "visible" else (smooth, rough)
    plain = fused(parts(0.5, 0.5, 0.0, 0.0), luma, thermal)
    selected = fused(parts(0.5, 0.5, 0.0, 1.0), luma, thermal)
    inside = (..., slice(16, -16), slice(16, -16))
    ratio = (detail(selected) * detail(rough))[inside].mean() / (detail(rough)[inside] ** 2).mean()
    assert abs(ratio - GAIN) < 0.05
    assert abs(F.avg_pool2d(selected - plain, 16)).mean() < 0.004


def test_half_of_the_way_is_half_of_the_difference():
    luma, thermal = image(0.5, 0.05), image(0.3, 0.02)
    none, half, all_of_it = (fused(parts(0.4, 0.8, 0.1, u), luma, thermal) for u in (0.0, 0.5, 1.0))
    torch.testing.assert_close(half, (none + all_of_it) / 2, atol=1e-5, rtol=0)


def test_grey_levels_give_the_same_as_the_unit_interval():
    luma, thermal = image(0.5, 0.05), image(0.3, 0.02)
    predicted = torch.rand(1, MAPS, HEIGHT // 2, WIDTH // 2, generator=GENERATOR)
    in_levels = fused(predicted, luma * 255, thermal * 255, white=255.0)
    torch.testing.assert_close(in_levels / 255, fused(predicted, luma, thermal), atol=1e-4, rtol=0)


@pytest.mark.parametrize("pair", [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
def test_frames_that_show_nothing_or_everything_are_no_trouble(pair):
    luma, thermal = (torch.full((1, 1, HEIGHT, WIDTH), level) for level in pair)
    checkers = (torch.arange(WIDTH) % 2).float().expand(1, 1, HEIGHT, WIDTH)
    for first, second in ((luma, thermal), (checkers, thermal), (checkers, checkers)):
        maps = affine_model(parts(0.5, 0.5, 0.0, 1.0), torch.cat([first, second], 1), GAIN)
        assert maps.isfinite().all()


def test_what_is_learnt_can_be_learnt_through_it():
    predicted = torch.full((1, MAPS, HEIGHT // 2, WIDTH // 2), 0.5, requires_grad=True)
    fused(predicted, image(0.5, 0.05), image(0.3, 0.02)).square().mean().backward()
    assert all(predicted.grad[:, i].abs().sum() > 0 for i in range(MAPS))
