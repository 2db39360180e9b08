"""A shipped model is trained further from where it is, not from somewhere near."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")

from ssvif_core.data.pairs import FramePair  # noqa: E402
from ssvif_core.deploy.export import export_model  # noqa: E402
from ssvif_core.deploy.parity import check_parity  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.models import open_model  # noqa: E402
from ssvif_core.training.reopen import reopen  # noqa: E402
from ssvif_core.training.validation import as_tensors  # noqa: E402


@pytest.fixture(scope="module")
def pairs(frame_pairs):
    return [FramePair(str(i), v, t) for i, (v, t, _) in enumerate(frame_pairs)]


def batches(pairs):
    parts = zip(*(as_tensors(pair, torch.device("cpu")) for pair in pairs), strict=True)
    return [tuple(torch.cat(part) for part in parts)]


@pytest.mark.parametrize("name", ["base", "tiny"])
def test_a_reopened_model_gives_what_the_shipped_file_gives(name, pairs):
    model = open_model(name)
    network = reopen(model, batches(pairs))
    parity = check_parity(model, network.eval(), pairs[:3])
    assert parity["fused_max_difference"] <= 2
    assert parity["label_agreement"] >= 0.999


def test_in_training_mode_it_starts_from_nearly_the_same_image(pairs):
    frames = batches(pairs)
    network = reopen(open_model("tiny"), frames)
    with torch.no_grad():
        deployed = network.eval()(*frames[0]).fused
        training = network.train()(*frames[0]).fused
    assert (deployed - training).abs().mean() < 0.01


def test_a_model_of_another_variant_is_one_clear_error(pairs, tmp_path):
    from ssvif_core.network.fusion_network import FusionNetwork

    network = FusionNetwork("tiny").eval()
    export_model(network, tmp_path / "m.onnx", ["a", "b", "c", "d"], pairs[:1])
    card = tmp_path / "m.json"
    card.write_text(card.read_text().replace('"variant": "tiny"', '"variant": "base"'))
    with pytest.raises(SsvifError, match="cannot be trained further"):
        reopen(open_model(tmp_path / "m.onnx"), batches(pairs[:1]))


def test_a_run_starts_from_a_shipped_model_and_its_card_remembers(paired_folder, tmp_path):
    from ssvif_core.cli.export import training_section
    from ssvif_core.training.checkpoint import load_checkpoint
    from ssvif_core.training.config import TrainingConfig
    from ssvif_core.training.trainer import Trainer

    content = {
        "name": "further",
        "variant": "tiny",
        "classes": ["background", "car", "person", "bicycle"],
        "data_root": paired_folder,
        "sources": [{"folder": "frames", "share": 1}],
        "stages": [{"kind": "fusion", "steps": 1, "learning_rate": 1e-6}],
        "initialise_from": "tiny",
        "batch_size": 2,
        "crop": [64, 96],
        "precision": "float32",
    }
    trainer = Trainer(TrainingConfig.model_validate(content), tmp_path)
    trainer.run()
    start = reopen(open_model("tiny"), [(torch.rand(1, 3, 64, 96), torch.rand(1, 1, 64, 96))])
    moved = trainer.models.network.eighth[1].kernel3 - start.eighth[1].kernel3
    assert 0 < moved.abs().max() < 1e-4  # one step at a learning rate of 1e-6
    shipped = open_model("tiny").card.content["training"]["runs"]
    section = training_section("ssvif train ...", load_checkpoint(tmp_path / "checkpoint.pt"))
    assert section["runs"][: len(shipped)] == shipped
    assert section["runs"][-1]["name"] == "further"
