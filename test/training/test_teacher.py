"""A trained network that teaches its masks: it sees both cameras, who learns may have lost one."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")

from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.training.card import training_section  # noqa: E402
from ssvif_core.training.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from ssvif_core.training.config import TrainingConfig  # noqa: E402
from ssvif_core.training.teacher import distillation_losses  # noqa: E402
from ssvif_core.training.trainer import Trainer  # noqa: E402

NO_FUSION = {"intensity": 0, "gradient": 0, "ssim": 0, "decomposition": 0}


def taught(root, **changes):
    """A run that a teacher alone teaches; no frame has labels."""
    content = {
        "name": "taught",
        "variant": "tiny",
        "classes": ["background", "car", "person", "bicycle"],
        "data_root": root,
        "sources": [{"folder": "frames", "share": 1}],
        "stages": [{"kind": "supervised", "steps": 4, "warmup_steps": 1}],
        "batch_size": 2,
        "crop": [64, 96],
        "ema_decay": 0.0,
        "precision": "float32",
        "threads": 1,
        "loss": {**NO_FUSION, "cross_entropy": 0, "dice": 0},
        "modality_dropout": 1.0,
        "teacher": "base",
    }
    return TrainingConfig.model_validate({**content, **changes})


def test_the_same_probabilities_cost_no_dice_and_others_more_of_both():
    logits = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0)) * 3
    same = distillation_losses(logits, logits + 5.0)
    assert float(same["dice"]) == pytest.approx(0, abs=1e-4)
    target = logits.softmax(1)
    entropy = -(target * target.log()).sum(1).mean()
    assert float(same["cross_entropy"]) == pytest.approx(float(entropy), rel=1e-5)
    other = distillation_losses(logits.flip(3), logits)
    assert float(other["dice"]) > 0.3
    assert other["cross_entropy"] > same["cross_entropy"]


def test_a_class_that_the_teacher_does_not_see_is_not_asked_for():
    teacher = torch.zeros(1, 3, 8, 8)
    teacher[:, 0] = 20.0
    assert float(distillation_losses(torch.randn(1, 3, 8, 8), teacher)["dice"]) == 0.0


def test_base_teaches_tiny_without_labels_what_a_lost_camera_showed(paired_folder, tmp_path):
    config = taught(
        paired_folder, stages=[{"kind": "supervised", "steps": 40, "warmup_steps": 4}], seed=1
    )
    trainer = Trainer(config, tmp_path)
    teacher = trainer.context.guides.teacher
    assert teacher is not None and teacher.variant == "base"
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    terms = []
    trainer.run(lambda _, values: terms.append(values["loss/taught_cross_entropy"]))
    assert sum(terms[-5:]) < 0.5 * sum(terms[:5])
    assert load_checkpoint(tmp_path / "checkpoint.pt")["mode"] == "distilled"
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_the_teacher_sees_the_camera_that_the_learner_has_lost(paired_folder, tmp_path):
    trainer = Trainer(taught(paired_folder), tmp_path)
    trainer._enter(trainer.config.stages[0], start=0)
    inputs = trainer.inputs(trainer.batches.at(0))
    assert (inputs.lost > 0).all()
    said = trainer.stage.taught(inputs)
    blind = inputs._replace(visible=inputs.visible * 0, thermal=inputs.thermal * 0)
    assert torch.equal(said, trainer.stage.taught(blind))
    assert said.shape[1] == 4 and not said.requires_grad


def test_a_run_that_goes_on_has_its_teacher_in_its_checkpoint(paired_folder, tmp_path):
    labels = {"sources": [{"folder": "frames", "share": 1, "labels": "labels"}], "teacher": None}
    first = taught(paired_folder, **labels, loss={**NO_FUSION, "cross_entropy": 1})
    Trainer(first, tmp_path / "teacher").run()
    file = tmp_path / "teacher" / "checkpoint.pt"
    config = taught(paired_folder, teacher=str(file))
    Trainer(config, tmp_path / "whole").run()
    trainer = Trainer(config, tmp_path / "parts")
    with pytest.raises(KeyboardInterrupt):
        trainer.run(stop_after(2))
    file.unlink()
    Trainer(config, tmp_path / "parts").run()
    whole, parts = (load_checkpoint(tmp_path / n / "checkpoint.pt") for n in ("whole", "parts"))
    assert all(torch.equal(parts["average"][name], x) for name, x in whole["average"].items())


def stop_after(last):
    def progress(step, values):
        if step == last:
            raise KeyboardInterrupt

    return progress


def test_a_checkpoint_of_another_version_does_not_teach(paired_folder, tmp_path):
    labels = {"sources": [{"folder": "frames", "share": 1, "labels": "labels"}], "teacher": None}
    Trainer(taught(paired_folder, **labels, loss={"cross_entropy": 1}), tmp_path / "old").run()
    file = tmp_path / "old" / "checkpoint.pt"
    state = load_checkpoint(file)
    state["average"] = {k: v for k, v in state["average"].items() if "labels" not in k}
    save_checkpoint(file, state)
    with pytest.raises(SsvifError, match="does not hold the weights of a 'tiny' network"):
        Trainer(taught(paired_folder, teacher=str(file)), tmp_path / "new")


def test_masks_are_finetuned_where_labels_teach_them_too(paired_folder, tmp_path):
    labels = {"sources": [{"folder": "frames", "share": 1, "labels": "labels"}]}
    both = {**NO_FUSION, "cross_entropy": 1, "dice": 0}
    assert Trainer(taught(paired_folder, **labels, loss=both), tmp_path).mask_mode == "finetuned"
    assert Trainer(taught(paired_folder, **labels), tmp_path).mask_mode == "distilled"  # unused
    assert Trainer(taught(paired_folder, loss=both), tmp_path).mask_mode == "distilled"


def test_a_teacher_of_clusters_is_refused(paired_folder, tmp_path):
    clusters = {"classes": [f"cluster {i}" for i in range(4)], "teacher": None}
    stages = [{"kind": "warm_up", "steps": 1}]
    config = taught(
        paired_folder, **clusters, stages=stages, consistency={"mode": "clusters", "clusters": 4}
    )
    Trainer(config, tmp_path / "teacher").run()
    file = str(tmp_path / "teacher" / "checkpoint.pt")
    with pytest.raises(SsvifError, match="are anonymous clusters"):
        Trainer(taught(paired_folder, **{**clusters, "teacher": file}), tmp_path / "taught")


def test_a_teacher_whom_no_stage_listens_to_is_refused(paired_folder):
    with pytest.raises(ValueError, match="only a stage supervised learns from one"):
        taught(paired_folder, stages=[{"kind": "fusion", "steps": 2}])


def test_the_card_names_the_teacher_and_no_place_on_a_disk(paired_folder, tmp_path):
    config = taught(paired_folder, teacher="/home/somebody/models/mine.onnx")
    state = {"config": config.model_dump_json(), "step": 4}
    (run,) = training_section("ssvif train ...", state)["runs"]
    assert run["teacher"] == "mine.onnx" and run["loss"]["distillation"] == 1.0
    assert "somebody" not in str(run)


def test_a_teacher_of_other_classes_is_refused_with_both_lists(paired_folder, tmp_path):
    config = taught(paired_folder, classes=["background", "person", "vehicle"])
    with pytest.raises(SsvifError, match="base knows .*car.* and this run background, person, veh"):
        Trainer(config, tmp_path)
