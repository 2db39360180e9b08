"""Losses on cases that can be worked out by hand."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")

from ssvif_core.training.config import FUSION_TERMS  # noqa: E402
from ssvif_core.training.losses import fusion_losses, segmentation_losses  # noqa: E402


def test_intensity_wants_the_brighter_of_the_local_means_and_leaves_detail_alone():
    luma = torch.full((1, 1, 32, 32), 0.6)
    thermal = torch.full((1, 1, 32, 32), 0.2)
    detail = torch.tensor([0.1, -0.1]).repeat(16)  # averages to 0 over any even window
    assert fusion_losses(luma + detail, luma, thermal)["intensity"].item() < 1e-6
    # Half way between the two, F is 0.2 below the brighter one everywhere.
    half = fusion_losses((luma + thermal) / 2, luma, thermal)["intensity"].item()
    assert half == pytest.approx(0.2, rel=1e-5)


def test_what_stands_before_a_saturated_light_gets_room_below_white_and_nothing_else_does():
    luma, thermal = torch.ones(1, 1, 32, 32), torch.full((1, 1, 32, 32), 0.3)
    thermal[..., 2::4] = thermal[..., 3::4] = 0.5  # deviation 0.1 in every window
    white = fusion_losses(luma, luma, thermal, room=2.0)["intensity"].item()
    assert white == pytest.approx(2 * 0.1, rel=1e-4)
    assert fusion_losses(luma - 0.2, luma, thermal, room=2.0)["intensity"].item() < 1e-4
    smooth = torch.full_like(thermal, 0.4)
    assert fusion_losses(luma, luma, smooth, room=2.0)["intensity"].item() < 1e-3
    bright = torch.full_like(luma, 0.9)  # not saturated: it may show something itself
    assert fusion_losses(bright, bright, thermal, room=2.0)["intensity"].item() < 1e-6


def test_a_copy_of_two_equal_sources_loses_nothing_but_the_decomposition():
    image = torch.rand(1, 1, 32, 32)
    losses = fusion_losses(image, image, image)
    assert losses["intensity"].item() == 0
    assert losses["gradient"].item() == 0
    assert losses["ssim"].item() == pytest.approx(0, abs=1e-5)
    # F - T and F - Y are zero everywhere: nothing correlates, 1 - 0 = 1.
    assert losses["decomposition"].item() == pytest.approx(1)


def test_similarity_of_even_images_is_that_of_their_brightness():
    dark, bright = torch.full((1, 1, 32, 32), 0.2), torch.full((1, 1, 32, 32), 0.6)
    # 1 - (2 * 0.2 * 0.6 + C1) / (0.2^2 + 0.6^2 + C1), C1 = 0.0001
    expected = 1 - 0.2401 / 0.4001
    assert fusion_losses(dark, bright, bright)["ssim"].item() == pytest.approx(expected, abs=5e-4)
    # Of two sources each counts half.
    half = fusion_losses(dark, bright, dark)["ssim"].item()
    assert half == pytest.approx(expected / 2, abs=5e-4)


def test_the_gradient_loss_wants_the_stronger_edge_with_its_sign():
    luma = torch.zeros(1, 1, 16, 16)
    luma[..., 8:] = 0.2  # a step up of 0.2
    thermal = torch.ones(1, 1, 16, 16)
    thermal[..., 8:] = 0.5  # a step down of 0.5: the stronger one
    assert fusion_losses(thermal, luma, thermal)["gradient"].item() == 0
    # The step of luma differs from the wanted -0.5 by 0.7 in one of 15 horizontal differences.
    wrong = fusion_losses(luma, luma, thermal)["gradient"].item()
    assert wrong == pytest.approx(0.7 / 15, rel=1e-5)


def test_the_sum_of_both_sources_decomposes_perfectly():
    torch.manual_seed(0)
    luma, thermal = torch.rand(1, 1, 64, 64) / 2, torch.rand(1, 1, 64, 64) / 2
    losses = fusion_losses(luma + thermal, luma, thermal)
    # F - T = Y and F - Y = T: both correlations are 1, but for the constant under the root: with
    # variances of 1/48 it makes sqrt(v^2 + 1e-6) / v - 1 = 0.1 %.
    assert losses["decomposition"].item() == pytest.approx(0, abs=2e-3)


def test_black_frames_give_finite_gradients():
    fused = torch.zeros(1, 1, 32, 32, requires_grad=True)
    zero = torch.zeros(1, 1, 32, 32)
    sum(fusion_losses(fused, zero, zero).values()).backward()
    assert torch.isfinite(fused.grad).all()


def test_unknown_pixels_do_not_count():
    logits = torch.zeros(1, 4, 2, 2)
    logits[:, 1, 0, 0] = 5.0
    labels = torch.full((1, 2, 2), 255)
    labels[0, 0, 0] = 1
    known = segmentation_losses(logits, labels)
    # One known pixel: -log(e^5 / (e^5 + 3)).
    p = math.exp(5) / (math.exp(5) + 3)
    assert known["cross_entropy"].item() == pytest.approx(-math.log(p), rel=1e-5)
    # Dice of class 1 alone is present: 1 - (2 p + 1) / (p + 1 + 1).
    assert known["dice"].item() == pytest.approx(1 - (2 * p + 1) / (p + 2), rel=1e-5)
    nothing = segmentation_losses(logits, torch.full((1, 2, 2), 255))
    assert nothing["cross_entropy"].item() == 0
    assert nothing["dice"].item() == 0


APART = """
import torch
import torch.distributed as dist
from ssvif_core.training.prototypes import _cross_entropy
from ssvif_core.training.config import ConsistencyConfig
from ssvif_core.training.cross_segmentation import cross_segmentation
from ssvif_core.training.distributed import ALONE, process_group
from ssvif_core.training.losses import segmentation_losses
from ssvif_core.training.masked import Hidden, masked_losses

torch.manual_seed(0)
logits, others = torch.randn(2, 4, 4, 32, 32)
images = torch.rand(4, 4, 128, 128)
hidden = torch.zeros(4, 1, 128, 128)
hidden[0, :, :64] = hidden[2, :, :32] = 1
labels = torch.full((4, 32, 32), 255)
labels[1, :5] = torch.randint(0, 4, (5, 32))  # the second process has none
exact = {"rtol": 1e-4, "atol": 1e-8}
likely = ConsistencyConfig(targets="likely", confidence=0.75)


def losses(x, part, processes):
    visible, thermal = images[part, :3], images[part, 3:]
    return {
        **segmentation_losses(x, labels[part], torch.tensor([1.0, 2, 3, 4]), processes),
        "anchor": _cross_entropy(x, labels[part], processes),
        "taught": cross_segmentation(x, 3 * others[part], likely, None, processes)[0],
        **masked_losses(x, visible, thermal, Hidden(hidden[part], hidden[part]), processes),
    }


def gradients(part, processes):
    x = logits[part].clone().requires_grad_()
    named = losses(x, part, processes).items()
    return {n: (v.detach(), torch.autograd.grad(v, x, retain_graph=True)[0]) for n, v in named}


with process_group("cpu") as processes:
    part = slice(2 * processes.rank, 2 * processes.rank + 2)
    whole, own = gradients(slice(0, 4), ALONE), gradients(part, processes)
    for name, (value, gradient) in own.items():
        torch.testing.assert_close(value, whole[name][0], **exact, msg=name)
        # What the average over processes makes of it.
        torch.testing.assert_close(gradient / 2, whole[name][1][part], **exact, msg=name)
"""


@pytest.mark.slow
def test_two_processes_ask_for_what_one_asks_for_though_one_of_them_has_no_label(tmp_path):
    (tmp_path / "apart.py").write_text(APART)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        str(tmp_path / "apart.py"),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[:3000]


def test_only_the_terms_that_are_wanted_are_computed():
    image = torch.rand(1, 1, 32, 32)
    everything = fusion_losses(image, image.flip(3), image.flip(2))
    assert tuple(everything) == FUSION_TERMS
    some = fusion_losses(image, image.flip(3), image.flip(2), wanted=["flat", "ssim"])
    assert some == {name: everything[name] for name in ("ssim", "flat")}
