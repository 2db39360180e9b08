"""A run that keeps the fused image of other models while it learns something else."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")

from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.network.fusion_network import FUSION_PATH, luminance  # noqa: E402
from ssvif_core.training.card import training_section  # noqa: E402
from ssvif_core.training.checkpoint import load_checkpoint  # noqa: E402
from ssvif_core.training.config import TrainingConfig  # noqa: E402
from ssvif_core.training.kept_picture import kept_luminance, picture_losses  # noqa: E402
from ssvif_core.training.trainer import Trainer  # noqa: E402

FUSION_TERMS = ("intensity", "gradient", "ssim", "decomposition")
NO_FUSION = dict.fromkeys(FUSION_TERMS, 0)


def keeping(root, **changes):
    content = {
        "name": "keeping",
        "variant": "tiny",
        "classes": ["background", "car", "person", "bicycle"],
        "data_root": root,
        "sources": [{"folder": "frames", "share": 1, "labels": "labels"}],
        "stages": [{"kind": "supervised", "steps": 4, "warmup_steps": 1}],
        "initialise_from": "tiny",
        "batch_size": 2,
        "crop": [64, 96],
        "ema_decay": 0.0,
        "precision": "float32",
        "threads": 1,
        "loss": NO_FUSION,
        "modality_dropout": 0.3,
        "picture_of": ["tiny"],
    }
    return TrainingConfig.model_validate({**content, **changes})


def distances(trainer):
    """Of the averaged network's fused image from the kept one, on one batch."""
    inputs = trainer.inputs(trainer.batches.at(1000))
    with torch.no_grad():
        kept = kept_luminance(trainer.context.guides.pictures, inputs.visible, inputs.thermal)
        fused = luminance(
            trainer.averaged.network.eval()(inputs.visible, inputs.thermal).fused.float()
        )
    return {name: float(loss) for name, loss in picture_losses(fused, kept).items()}


def test_the_same_picture_costs_nothing_a_brighter_one_its_level_and_a_shifted_one_both():
    image = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert all(abs(float(loss)) < 1e-6 for loss in picture_losses(image, image).values())
    brighter = picture_losses(image + 0.125, image)
    assert float(brighter["level"]) == pytest.approx(0.125)
    assert float(brighter["edges"]) == pytest.approx(0, abs=1e-6)
    ramp = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)
    turned = picture_losses(ramp, ramp.flip(3))
    assert float(turned["edges"]) == pytest.approx(2 / 15) and float(turned["level"]) > 0.5


def test_of_several_models_the_mean_is_kept(paired_folder, tmp_path):
    trainer = Trainer(keeping(paired_folder, picture_of=["tiny", "base"]), tmp_path)
    inputs = trainer.inputs(trainer.batches.at(0))
    of = [
        kept_luminance([model], inputs.visible, inputs.thermal)
        for model in trainer.context.guides.pictures
    ]
    both = kept_luminance(trainer.context.guides.pictures, inputs.visible, inputs.thermal)
    assert torch.allclose(both, (of[0] + of[1]) / 2, atol=1e-6)
    assert float((of[0] - of[1]).abs().mean()) > 1e-3


def test_masks_and_the_picture_of_another_model_are_learnt_in_the_same_steps(
    paired_folder, tmp_path
):
    stage = {"kind": "supervised", "steps": 60, "warmup_steps": 4, "learning_rate": 0.005}
    ends = {}
    for name, scale in (("kept", 1.0), ("free", 0.0)):
        loss = {**NO_FUSION, "picture": scale}
        asked = {"picture_of": ["base"], "initialise_from": None, "modality_dropout": 0}
        config = keeping(paired_folder, stages=[stage], loss=loss, **asked)
        trainer, terms = Trainer(config, tmp_path / name), []
        trainer.run(lambda _, values, terms=terms: terms.append(values["loss/cross_entropy"]))
        ends[name] = distances(trainer)
        assert sum(terms[-5:]) < 0.7 * sum(terms[:5]), f"{name}: the masks learnt nothing"
    assert ends["kept"]["level"] < 0.75 * ends["free"]["level"]
    assert ends["kept"]["edges"] < 0.75 * ends["free"]["edges"]


def test_a_fusion_path_alone_learns_the_picture_of_another_model(paired_folder, tmp_path):
    stage = {"kind": "fusion", "steps": 40, "warmup_steps": 4, "train_only": list(FUSION_PATH)}
    config = keeping(
        paired_folder, stages=[stage], picture_of=["base"], initialise_from=None, modality_dropout=0
    )
    trainer = Trainer(config, tmp_path)
    before = distances(trainer)
    trunk = trainer.averaged.network.visible_stem.kernel3.detach().clone()
    trainer.run()
    after = distances(trainer)
    assert after["level"] < 0.5 * before["level"]
    assert torch.equal(trunk, trainer.averaged.network.visible_stem.kernel3)


def test_a_run_that_goes_on_has_its_pictures_in_its_checkpoint(paired_folder, tmp_path):
    classes = [*keeping(paired_folder).classes, "tram"]
    first = keeping(paired_folder, picture_of=[], classes=classes, initialise_from=None)
    Trainer(first, tmp_path / "other").run()
    file = tmp_path / "other" / "checkpoint.pt"  # of other classes: its picture alone is looked at
    config = keeping(paired_folder, picture_of=[str(file), "tiny"])
    Trainer(config, tmp_path / "whole").run()

    def stop(step, _):
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(config, tmp_path / "parts").run(stop)
    file.unlink()
    resumed = Trainer(config, tmp_path / "parts")
    assert len(resumed.context.guides.pictures) == 2
    resumed.run()
    whole, parts = (load_checkpoint(tmp_path / n / "checkpoint.pt") for n in ("whole", "parts"))
    assert all(torch.equal(parts["average"][name], x) for name, x in whole["average"].items())


def test_a_picture_of_no_model_says_what_was_looked_for(paired_folder, tmp_path):
    with pytest.raises(SsvifError, match="nothing.pt"):
        Trainer(keeping(paired_folder, picture_of=["nothing.pt"]), tmp_path)


def test_a_picture_that_no_stage_draws_is_refused(paired_folder):
    with pytest.raises(ValueError, match="only stages supervised, fusion and joint"):
        keeping(paired_folder, stages=[{"kind": "warm_up", "steps": 2}])


def test_start_is_the_network_that_the_run_starts_from(paired_folder, tmp_path):
    config = keeping(paired_folder, picture_of=["start"], teacher="start")
    trainer = Trainer(config, tmp_path)
    guides = trainer.context.guides
    assert all(abs(distance) < 1e-6 for distance in distances(trainer).values())
    assert guides.teacher is not None and guides.teacher.variant == "tiny"


@pytest.mark.parametrize("key", [{"picture_of": ["start"]}, {"teacher": "start", "picture_of": []}])
def test_start_of_a_run_that_starts_from_nothing_is_refused(paired_folder, key):
    with pytest.raises(ValueError, match="is the network of initialise_from: name one"):
        keeping(paired_folder, initialise_from=None, **key)


def test_the_card_names_the_pictures_and_no_place_on_a_disk(paired_folder):
    config = keeping(paired_folder, picture_of=["base", "/home/somebody/mine.onnx"])
    state = {"config": config.model_dump_json(), "step": 4}
    (run,) = training_section("ssvif train ...", state)["runs"]
    assert run["picture_of"] == ["base", "mine.onnx"] and "somebody" not in str(run)
