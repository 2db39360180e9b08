"""The network as torch module."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")

from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.network.fusion_network import (  # noqa: E402
    VARIANTS,
    FusionNetwork,
    labels_from_logits,
    luminance,
)
from ssvif_core.network.layers import RepConv, fuse_for_deployment  # noqa: E402


@pytest.mark.parametrize(("c_in", "c_out", "stride"), [(3, 16, 2), (16, 16, 1), (8, 16, 1)])
def test_a_block_computes_the_same_after_its_branches_are_merged(c_in, c_out, stride):
    torch.manual_seed(0)
    block = RepConv(c_in, c_out, stride)
    for _ in range(5):  # moves the running statistics away from their initial 0 and 1
        block(torch.randn(4, c_in, 20, 20) * 2 + 1)
    block.eval()
    x = torch.randn(2, c_in, 21, 18)
    torch.testing.assert_close(block.deployed()(x), block(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_merging_leaves_no_branches_and_the_same_output(variant):
    torch.manual_seed(0)
    network = FusionNetwork(variant)
    torch.nn.init.normal_(network.coefficients.weight)
    network.train()(torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64))
    network.eval()
    visible, thermal = torch.rand(1, 3, 64, 96), torch.rand(1, 1, 64, 96)
    with torch.no_grad():
        before = network(visible, thermal)
        after = fuse_for_deployment(network)(visible, thermal)
    assert not any(isinstance(module, RepConv) for module in network.modules())
    torch.testing.assert_close(after.fused, before.fused, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(after.logits, before.logits, atol=1e-3, rtol=1e-3)


def test_what_multiplies_grey_levels_is_not_rounded_to_half_precision():
    network = FusionNetwork("tiny").eval()
    torch.nn.init.constant_(network.coefficients.bias, 4.0)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        parts, _ = network.predict(torch.rand(1, 3, 32, 32), torch.rand(1, 1, 32, 32))
    # sigmoid(4) = 0.98201; the next numbers of bfloat16 are 0.98047 and 0.98438.
    assert (parts.double() - 0.98201).abs().max() < 1e-5


@pytest.mark.parametrize(("height", "width"), [(480, 640), (33, 47), (16, 16), (121, 160)])
def test_any_size_goes_in_and_comes_out(height, width):
    network = FusionNetwork("tiny").eval()
    with torch.no_grad():
        output = network(torch.rand(2, 3, height, width), torch.rand(2, 1, height, width))
    assert output.fused.shape == (2, 3, height, width)
    labels = labels_from_logits(output.logits, height, width)
    assert labels.shape == (2, height, width)
    assert labels.dtype == torch.uint8
    assert 0 <= output.fused.min() <= output.fused.max() <= 1


def test_a_new_network_averages_the_two_luminances_and_keeps_the_chroma():
    # Coefficients start at zero: w = sigmoid(0) = 1/2, r = tanh(0) = 0, so Y_f = (Y + T) / 2.
    network = FusionNetwork("tiny").eval()
    visible = torch.full((1, 3, 32, 32), 0.4)
    visible[:, 0] = 0.5
    thermal = torch.full((1, 1, 32, 32), 0.6)
    with torch.no_grad():
        fused = network(visible, thermal).fused
    # Y = 0.4 + 0.299 * 0.1 = 0.4299; every channel rises by (0.6 - 0.4299) / 2 = 0.08505.
    torch.testing.assert_close(fused - visible, torch.full_like(fused, 0.08505))
    torch.testing.assert_close(luminance(fused), torch.full((1, 1, 32, 32), 0.51495))


def test_labels_are_cropped_to_the_unpadded_size_and_follow_the_largest_logit():
    logits = torch.zeros(1, 3, 8, 8)  # the padded grid of a 32 x 32 image at 1/4
    logits[:, 2, :, :4] = 1.0  # left half: class 2
    labels = labels_from_logits(logits, 30, 31)
    assert labels.shape == (1, 30, 31)
    assert set(labels[0, :, :14].unique().tolist()) == {2}
    assert set(labels[0, :, 18:].unique().tolist()) == {0}


def test_an_unknown_variant_is_refused_with_the_known_ones():
    with pytest.raises(SsvifError, match="base"):
        FusionNetwork("huge")
