"""Prototypes of mode clusters: how cells look, and what is found among them without a label."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")

from ssvif_core.data.pairs import FramePair  # noqa: E402
from ssvif_core.network.fusion_network import FusionNetwork  # noqa: E402
from ssvif_core.training.config import ConsistencyConfig  # noqa: E402
from ssvif_core.training.distributed import ALONE  # noqa: E402
from ssvif_core.training.prototypes import LOOKS, PrototypeAnchor, looks  # noqa: E402
from ssvif_core.training.validation import as_tensors  # noqa: E402

SIZE = (96, 128)


def network(seed: int = 0) -> FusionNetwork:
    torch.manual_seed(seed)
    return FusionNetwork("tiny", 4).eval()


def quarters(name: str, tone: int = 0) -> FramePair:
    """Grey and green halves of the visible image; of the thermal one the upper half is warm."""
    visible = np.full((*SIZE, 3), 90 + tone, np.uint8)
    visible[:, 64:] = 60 + tone, 130 + tone, 60 + tone
    thermal = np.full(SIZE, 40 + tone, np.uint8)
    thermal[:48] = 160 + tone
    return FramePair(name, visible, thermal)


def found(frames, **changes) -> PrototypeAnchor:
    config = ConsistencyConfig.model_validate(
        {"mode": "clusters", "clusters": 4, "margin": 0.0, **changes}
    )
    return PrototypeAnchor.found(network(), frames, config, 0, ALONE)


def test_looks_are_means_and_deviations_of_a_cell_and_of_what_is_around():
    visible, thermal = torch.zeros(1, 3, 80, 96), torch.zeros(1, 1, 80, 96)
    visible[0, 0, :8, :8] = 0.5  # red alone
    thermal[0, 0, :8, :4] = 0.8  # half of the same cell
    described = looks(visible, thermal)
    assert described.shape == (1, LOOKS, 10, 12)
    luma = 0.299 * 0.5
    own = [luma, 0.5 - luma, -luma, 0.4, 0.0, 0.4]
    assert torch.allclose(described[0, :6, 0, 0], torch.tensor(own), atol=1e-6)
    # 4 x 4 of the 7 x 7 cells around a corner lie in the image.
    assert torch.allclose(described[0, 6:, 0, 0], torch.tensor(own) / 16, atol=1e-6)
    assert not described[0, :6, 5:].any()


def test_looks_have_the_grid_of_the_features_at_any_size():
    visible, thermal = torch.rand(2, 3, 70, 101), torch.rand(2, 1, 70, 101)
    assert looks(visible, thermal).shape[2:] == network().features(visible, thermal).shape[2:]


def test_prototypes_tell_apart_what_either_camera_alone_shows_as_one():
    frames = [quarters(str(tone), tone) for tone in range(0, 40, 5)]
    labels = found(frames).targets(*as_tensors(frames[3], ALONE.device))[0]
    corners = [labels[row, column] for row in (7, 16) for column in (8, 23)]
    assert len({int(label) for label in corners}) == 4
    again = found(frames).targets(*as_tensors(frames[3], ALONE.device))[0]
    assert torch.equal(labels, again)


def test_how_cells_look_does_not_depend_on_how_bright_the_frame_is():
    anchor = found([quarters("a"), quarters("b")])
    dark, bright = (
        anchor.described(*as_tensors(quarters("x", tone), ALONE.device)) for tone in (0, 60)
    )
    assert torch.allclose(dark[:, -LOOKS:], bright[:, -LOOKS:], atol=1e-4)
    assert not torch.allclose(dark, bright, atol=1e-4)


def test_features_and_looks_weigh_what_the_configuration_says():
    frames = [quarters(str(tone), tone) for tone in range(0, 40, 5)]
    for weight in (1.0, 2.0):
        anchor = found(frames, looks=weight)
        cells = torch.cat(
            [anchor.described(*as_tensors(f, ALONE.device))[0].flatten(1) for f in frames], 1
        )
        power = cells.square().mean(1)
        ratio = (power[-LOOKS:].sum() / power[:-LOOKS].sum()).sqrt()
        assert float(ratio) == pytest.approx(weight, rel=0.15)  # the scale is that of drawn cells


def test_without_colour_nothing_of_it_is_blown_up():
    frames = [
        FramePair(f.name, np.repeat(f.visible[..., :1], 3, 2), f.thermal)
        for f in (quarters("a"), quarters("b", 9))
    ]
    described = found(frames).described(*as_tensors(frames[0], ALONE.device))
    assert described[:, -LOOKS:][:, 1:3].abs().max() < 1e-2
    assert described.isfinite().all()


def test_a_run_from_before_goes_on_with_its_prototypes_of_features_alone():
    frames = [quarters("a"), quarters("b", 9)]
    anchor = found(frames, looks=0.0)
    state = anchor.state_dict()
    del state["scale"]
    again = PrototypeAnchor.restored(state, network(1), 0.0, ALONE)
    pair = as_tensors(frames[0], ALONE.device)
    assert torch.equal(again.targets(*pair), anchor.targets(*pair))
    kept = PrototypeAnchor.restored(found(frames).state_dict(), network(1), 0.0, ALONE)
    assert torch.equal(kept.targets(*pair), found(frames).targets(*pair))
