"""The whole of SSVIF in a few real steps: stages, gradients, resuming, several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")

from ssvif_core.cli.export import training_section  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.network.fusion_network import FUSION_PATH, SEGMENTATION_HEAD  # noqa: E402
from ssvif_core.training.checkpoint import load_checkpoint  # noqa: E402
from ssvif_core.training.collapse import CollapseError  # noqa: E402
from ssvif_core.training.config import TrainingConfig, load_config  # noqa: E402
from ssvif_core.training.distributed import Processes, process_group  # noqa: E402
from ssvif_core.training.trainer import Trainer  # noqa: E402

STAGES = [
    {"kind": "fusion", "steps": 3, "warmup_steps": 1},
    {"kind": "warm_up", "steps": 3, "warmup_steps": 1},
    {"kind": "joint", "steps": 4, "warmup_steps": 1},
]
TARGETS = {"anchored": "soft", "distilled": "likely", "clusters": "balanced"}


def configuration(root, mode="anchored", **changes) -> TrainingConfig:
    clusters = mode == "clusters"
    source = {"folder": "frames", "share": 1, "holdout_every": 5}
    content = {
        "name": "test",
        "variant": "tiny",
        "classes": "clusters" if clusters else ["background", "car", "person", "bicycle"],
        "data_root": root,
        "sources": [source if clusters else {**source, "labels": "labels"}],
        "stages": STAGES,
        "batch_size": 2,
        "crop": [64, 96],
        "modality_dropout": 0.3,
        "ema_decay": 0.5,
        "consistency": {"mode": mode, "clusters": 5, "margin": 0.0, "targets": TARGETS[mode]},
        "weighting": {"kind": "dwa", "interval": 1},
        "validate_every": 5,
        "checkpoint_every": 4,
        "precision": "float32",
        "threads": 1,
    }
    return TrainingConfig.model_validate({**content, **changes})


class Stop(Exception):
    pass


def run_to(trainer, step):
    def stop(at, values):
        if at == step:
            raise Stop

    with pytest.raises(Stop):
        trainer.run(stop)


@pytest.mark.parametrize("mode", ["anchored", "distilled", "clusters"])
def test_all_stages_run_and_say_what_they_weigh(paired_folder, tmp_path, mode):
    trainer = Trainer(configuration(paired_folder, mode), tmp_path)
    seen = {}
    trainer.run(lambda step, values: seen.update({step: (trainer.stage.config.kind, values)}))
    assert [seen[step][0] for step in (1, 4, 7)] == ["fusion", "warm_up", "joint"]
    joint = seen[10][1]
    assert {"weight/fusion", "weight/consistency", "weight/anchor", "weight/gate"} <= joint.keys()
    assert all(value == value for value in joint.values())
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    expected = {"anchored": "finetuned"}.get(mode, mode)
    assert state["mode"] == expected
    section = training_section("ssvif train ...", state)
    assert [stage["kind"] for stage in section["runs"][0]["stages"]] == [
        "fusion", "warm_up", "joint"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "teacher", "stopped_at"),
    [
        *((mode, "branch", step) for mode in ("anchored", "clusters") for step in (3, 5, 8)),
        ("anchored", "average", 8),
    ],
)
def test_a_run_stopped_in_any_stage_ends_with_the_same_weights(
    paired_folder, tmp_path, mode, teacher, stopped_at
):
    config = configuration(paired_folder, mode)
    consistency = config.consistency.model_copy(update={"teacher": teacher})
    config = config.model_copy(update={"consistency": consistency})
    Trainer(config, tmp_path / "whole").run()
    run_to(Trainer(config, tmp_path / "parts"), stopped_at)
    resumed = Trainer(config, tmp_path / "parts")
    assert resumed.step == stopped_at
    resumed.run()
    whole, parts = (load_checkpoint(tmp_path / n / "checkpoint.pt") for n in ("whole", "parts"))
    for part in ("average", "segmenter_average"):
        assert all(torch.equal(whole[part][name], value) for name, value in parts[part].items())


@pytest.mark.parametrize("trained", [FUSION_PATH, SEGMENTATION_HEAD])
def test_a_joint_stage_may_train_the_picture_or_the_masks_alone(paired_folder, tmp_path, trained):
    stages = [STAGES[1], {**STAGES[2], "train_only": list(trained)}]
    trainer = Trainer(configuration(paired_folder, stages=stages), tmp_path)
    before = {}

    def keep(step, values):
        if step == 3:
            before.update({k: v.clone() for k, v in trainer.models.network.state_dict().items()})

    trainer.run(keep)
    after = trainer.models.network.state_dict()
    changed = {name.split(".")[0] for name, value in after.items() if not value.equal(before[name])}
    assert changed and changed <= set(trained)


def test_a_warm_up_may_train_the_pixel_level_segmenter_alone(paired_folder, tmp_path):
    stages = [{**STAGES[1], "train_only": ["segmenter"]}]
    trainer = Trainer(configuration(paired_folder, stages=stages), tmp_path)
    network = {k: v.clone() for k, v in trainer.models.network.state_dict().items()}
    segmenter = {k: v.clone() for k, v in trainer.models.segmenter.state_dict().items()}
    trainer.run()
    assert all(v.equal(network[k]) for k, v in trainer.models.network.state_dict().items())
    assert any(not v.equal(segmenter[k]) for k, v in trainer.models.segmenter.state_dict().items())


def test_a_part_that_the_network_does_not_have_is_an_error(paired_folder, tmp_path):
    stages = [{**STAGES[0], "train_only": ["detail", "detial_top"]}]
    with pytest.raises(SsvifError, match="no part detial_top. It has .*detail_top"):
        Trainer(configuration(paired_folder, stages=stages), tmp_path)


def test_what_is_wrong_with_a_later_stage_is_said_before_the_first(paired_folder, tmp_path):
    misspelt = {**STAGES[2], "train_only": ["detial"]}
    idle = {**STAGES[0], "train_only": ["labels_quarter"]}  # fusion leaves the head out
    for last, message in ((misspelt, "no part detial"), (idle, "fusion trains nothing of labels")):
        with pytest.raises(SsvifError, match=message):
            Trainer(configuration(paired_folder, stages=[*STAGES[:2], last]), tmp_path)


@pytest.mark.parametrize(
    ("kind", "parts", "beyond"),
    [
        ("masked", ["visible_stem", "detail_stem"], "detail_stem"),
        ("masked", ["segmenter"], "segmenter"),
        ("fusion", ["detail", "labels_quarter"], "labels_quarter"),
        ("fusion", ["visible_stem", "segmenter"], "segmenter"),
        ("warm_up", ["labels_quarter", "detail_stem", "detail"], "detail, detail_stem"),
    ],
)
def test_a_part_that_the_loss_does_not_reach_is_said_before_the_first_step(
    paired_folder, tmp_path, kind, parts, beyond
):
    stages = [{"kind": kind, "steps": 2, "train_only": parts}]
    with pytest.raises(SsvifError, match=f"stage {kind} trains nothing of {beyond},"):
        Trainer(configuration(paired_folder, stages=stages), tmp_path)


def test_an_averaged_teacher_sees_the_camera_that_the_learner_has_lost(paired_folder, tmp_path):
    consistency = {"mode": "anchored", "teacher": "average"}
    config = configuration(paired_folder, modality_dropout=1.0, consistency=consistency)
    trainer = Trainer(config, tmp_path)
    run_to(trainer, 7)  # in the joint stage
    inputs = trainer.inputs(trainer.batches.at(trainer.step))
    assert (inputs.lost > 0).all()
    window = trainer.stage.window(inputs, trainer.step)
    feature, pixel = trainer.stage._teachers(inputs, window)
    same = inputs._replace(visible=inputs.visible * 0, thermal=inputs.thermal * 0)
    assert all(
        torch.equal(a, b)
        for a, b in zip((feature, pixel), trainer.stage._teachers(same, window), strict=True)
    )
    assert not feature.requires_grad and not pixel.requires_grad
    assert feature.shape[1] == pixel.shape[1] == 4


def test_warming_up_leaves_the_fused_image_as_it_is(paired_folder, tmp_path):
    trainer = Trainer(configuration(paired_folder), tmp_path)
    run_to(trainer, 3)
    before = load_checkpoint(tmp_path / "checkpoint.pt")
    trainer = Trainer(configuration(paired_folder), tmp_path)
    run_to(trainer, 6)
    after = load_checkpoint(tmp_path / "checkpoint.pt")
    changed = {
        name.split(".")[0]
        for name, value in after["network"].items()
        if not torch.equal(value, before["network"][name])
    }
    assert changed == {"labels_eighth", "labels_quarter"}
    assert any(
        not torch.equal(value, before["segmenter"][name])
        for name, value in after["segmenter"].items()
    )


def test_a_closed_gate_keeps_the_pixel_branch_from_changing_the_fused_image(
    paired_folder, tmp_path
):
    gradients = {}
    for through in (0.0, 1.0):
        config = configuration(
            paired_folder,
            weighting={"kind": "fixed", "through_image": through},
            loss={"intensity": 0, "gradient": 0, "ssim": 0, "decomposition": 0},
            modality_dropout=0.0,
        )
        trainer = Trainer(config, tmp_path / str(through))
        trainer._enter(config.stages[2], start=0)
        # At the start the coefficients do not depend on features: open the path first.
        torch.nn.init.normal_(trainer.models.network.coefficients.weight, std=0.1)
        trainer.stage.training_mode()
        trainer.stage.backward(trainer.inputs(trainer.batches.at(0)), 0)
        gradients[through] = trainer.models.network.coefficients.weight.grad.abs().sum().item()
    assert gradients[0.0] == 0.0
    assert gradients[1.0] > 0.0


@pytest.mark.parametrize(
    ("loss", "gate"),
    [
        ({"intensity": 0, "gradient": 0, "ssim": 0, "decomposition": 0}, 0.0),
        ({"consistency": 0, "anchor": 0}, 1.0),
    ],
    ids=["fusion asks for nothing", "segmentation asks for nothing"],
)
def test_the_gate_holds_segmentation_to_fusion_and_not_fusion_to_segmentation(
    paired_folder, tmp_path, loss, gate
):
    config = configuration(paired_folder, weighting={"kind": "gate", "rho": 0.3}, loss=loss)
    trainer = Trainer(config, tmp_path)
    trainer._enter(config.stages[2], start=0)
    trainer.stage.training_mode()
    values = trainer.stage.backward(trainer.inputs(trainer.batches.at(0)), 0)
    assert values["weight/gate"] == gate


def test_clusters_that_collapse_end_the_run_with_a_checkpoint_and_a_report(paired_folder, tmp_path):
    collapse = {"every": 1, "patience": 2, "min_perplexity": 5.0}  # of 5 clusters: never reached
    config = configuration(paired_folder, "clusters", collapse=collapse)
    with pytest.raises(CollapseError, match="one cluster"):
        Trainer(config, tmp_path).run()
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 8
    assert (tmp_path / "pictures" / "0000008_pairs.png").is_file()
    assert "collapsed" in (tmp_path / "report.html").read_text().lower()


def test_a_checkpoint_counts_the_look_of_its_own_step(paired_folder, tmp_path):
    collapse = {"every": 2, "patience": 50, "min_perplexity": 5.0}
    config = configuration(paired_folder, "clusters", collapse=collapse, checkpoint_every=2)
    trainer = Trainer(config, tmp_path)
    counted = {}

    def compare(step, values):
        saved = load_checkpoint(tmp_path / "checkpoint.pt") if step >= 8 else {}
        if saved.get("step") == step:
            counted[step] = saved["bad_looks"], trainer.alarm.bad

    trainer.run(compare)
    assert counted == {8: (1, 1), 10: (2, 2)}


def test_the_context_over_the_whole_image_is_off_without_labels(paired_folder, tmp_path):
    trainer = Trainer(configuration(paired_folder, "clusters"), tmp_path)
    trainer.run()
    assert not trainer.models.network.context.weight.any()
    assert not trainer.models.network.context.bias.any()


def test_a_ration_of_labels_is_kept_and_larger_ones_hold_the_smaller(paired_folder, tmp_path):
    def labelled(count):
        source = {"folder": "frames", "share": 1, "labels": "labels", "labelled": count}
        config = configuration(paired_folder, sources=[source], stages=STAGES[:1])
        trainer = Trainer(config, tmp_path / str(count))
        pairs = trainer.batches.sources[0].pairs
        return {pair.name for pair in pairs if pair.labels is not None}

    assert len(labelled(2)) == 2
    assert labelled(2) < labelled(4)
    assert labelled(0) == set()


@pytest.mark.parametrize("labels", [{}, {"labels": "labels", "labelled": 0}])
@pytest.mark.parametrize(
    "stages",
    [STAGES, [{"kind": "supervised", "steps": 2}], [{**STAGES[1], "train_only": ["segmenter"]}]],
)
def test_masks_that_are_learnt_from_labels_need_labels(paired_folder, tmp_path, stages, labels):
    source = {"folder": "frames", "share": 1, **labels}
    config = configuration(paired_folder, sources=[source], stages=stages)
    with pytest.raises(SsvifError, match="no frame has any.*mode clusters"):
        Trainer(config, tmp_path)


def test_a_picture_alone_may_be_trained_by_consistency_without_labels(paired_folder, tmp_path):
    stages = [{**STAGES[2], "train_only": list(FUSION_PATH)}]
    source = {"folder": "frames", "share": 1}
    trainer = Trainer(configuration(paired_folder, stages=stages, sources=[source]), tmp_path)
    trainer.run()
    assert trainer.step == 4


@pytest.mark.parametrize(
    ("mode", "changes", "message"),
    [
        ("anchored", {"crop": [48, 96]}, "joint needs at least 64"),
        ("anchored", {"crop": [0, 64], "stages": STAGES[:1]}, "greater than 0"),
        ("anchored", {"crop": [-16, 64], "stages": STAGES[:1]}, "greater than 0"),
        ("anchored", {"crop": [64, 100], "stages": STAGES[:1]}, "multiple of 16"),
        ("clusters", {"consistency": {"mode": "clusters", "clusters": 2}}, "min_perplexity is 2.5"),
        ("clusters", {"collapse": {"min_used": 6}}, "min_used is 6, which 5 clusters"),
        ("clusters", {"stages": [{"kind": "supervised", "steps": 1}, *STAGES]}, "learns labels"),
    ],
)
def test_what_cannot_end_well_is_refused(paired_folder, mode, changes, message):
    with pytest.raises(ValueError, match=message):
        configuration(paired_folder, mode, **changes)


def test_two_clusters_are_possible_with_bounds_that_they_can_reach(paired_folder):
    few = {"min_perplexity": 1.5, "min_used": 2, "min_image_perplexity": 1.2}
    consistency = {"mode": "clusters", "clusters": 2}
    config = configuration(paired_folder, "clusters", consistency=consistency, collapse=few)
    assert config.classes == ["cluster 0", "cluster 1"]


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_checkpoint(
    paired_folder, tmp_path
):
    config = configuration(paired_folder)
    trainer = Trainer(config, tmp_path)
    run_to(trainer, 4)
    good = (tmp_path / "checkpoint.pt").read_bytes()
    trainer = Trainer(config, tmp_path)
    with torch.no_grad():
        next(trainer.models.segmenter.parameters()).fill_(float("nan"))
    with pytest.raises(SsvifError, match="not finite at step 4.*last good state"):
        trainer.run()
    assert (tmp_path / "checkpoint.pt").read_bytes() == good


def test_a_gradient_that_is_not_finite_is_not_stepped(paired_folder, tmp_path):
    trainer = Trainer(configuration(paired_folder), tmp_path)
    before = {k: v.clone() for k, v in trainer.models.state_dict().items() if "weight" in k}
    weight = next(trainer.models.network.parameters())
    weight.register_hook(lambda gradient: torch.full_like(gradient, float("nan")))
    with pytest.raises(SsvifError, match="not finite at step 0") as raised:
        trainer.run()
    assert "last good state" not in str(raised.value)  # there is none yet
    after = trainer.models.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())


def test_a_recording_without_labels_is_all_that_it_takes(recording, repository, tmp_path):
    overrides = {
        "data_root": recording, "variant": "tiny", "initialise_from": "tiny", "batch_size": 2,
        "crop": [64, 96], "precision": "float32",
    }  # fmt: skip
    path = repository / "config" / "training" / "own_frames.yaml"
    trainer = Trainer(load_config(path, overrides).with_steps(12), tmp_path)
    trainer.run()
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert (state["mode"], state["step"], len(state["classes"])) == ("clusters", 12, 12)
    assert (tmp_path / "report.html").is_file()


def test_clusters_get_names_by_the_command_that_their_recipe_names(
    paired_folder, repository, tmp_path
):
    small = {
        "data_root": paired_folder / "frames", "variant": "tiny", "batch_size": 2,
        "crop": [64, 96], "precision": "float32",
    }  # fmt: skip
    recipes = repository / "config" / "training"
    unnamed = load_config(recipes / "own_frames.yaml", {**small, "initialise_from": "tiny"})
    Trainer(unnamed.with_steps(12), tmp_path / "own").run()
    start = {"initialise_from": str(tmp_path / "own" / "checkpoint.pt")}
    trainer = Trainer(load_config(recipes / "few_labels.yaml", {**small, **start}).with_steps(12),
                      tmp_path / "few")  # fmt: skip
    before = load_checkpoint(tmp_path / "own" / "checkpoint.pt")["average"]
    weights = trainer.models.network.state_dict()
    new = {name.split(".")[0] for name, value in weights.items() if not before[name].equal(value)}
    assert new == set(SEGMENTATION_HEAD)  # four classes in place of twelve clusters
    trainer.run()
    state = load_checkpoint(tmp_path / "few" / "checkpoint.pt")
    assert (state["mode"], state["step"]) == ("finetuned", 12)


def test_fewer_steps_keep_the_parts_of_the_stages(repository):
    config = load_config(repository / "config" / "training" / "ssvif.yaml")
    assert [stage.steps for stage in config.stages] == [2500, 500, 6000]
    short = config.with_steps(90)
    assert [stage.steps for stage in short.stages] == [25, 5, 60]
    assert short.steps == 90
    parts = [stage.warmup_steps / stage.steps for stage in config.stages]
    assert [stage.warmup_steps for stage in short.stages] == [
        int(part * stage.steps) for part, stage in zip(parts, short.stages, strict=True)
    ]
    with pytest.raises(SsvifError, match="too few"):
        config.with_steps(2)


def test_in_fewer_steps_the_average_is_shorter_by_as_much_and_never_longer(repository):
    config = load_config(repository / "config" / "training" / "ssvif.yaml")
    assert (config.steps, config.ema_decay) == (9000, 0.998)
    decays = {steps: config.with_steps(steps).ema_decay for steps in (18, 90, 4500, 9000, 20000)}
    # 0.002 of the newest weights in each step; in a hundredth of the steps 0.2.
    assert decays[90] == pytest.approx(1 - 0.2)
    assert decays[4500] == pytest.approx(1 - 0.004)
    assert (decays[18], decays[9000], decays[20000]) == (0.0, 0.998, 0.998)


@pytest.mark.slow
def test_ctrl_c_waits_for_the_step_saves_and_the_same_command_goes_on(paired_folder, tmp_path):
    config = configuration(paired_folder).with_steps(5000)
    (tmp_path / "run.yaml").write_text(config.model_dump_json())  # JSON is YAML
    command = [sys.executable, "-m", "ssvif_core.cli", "train", "run.yaml", "--run", "run"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    journal = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and '"step": 20' in journal.read_text()):
        assert started.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    said, _ = started.communicate(timeout=60)
    assert started.returncode == 130
    step = load_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"]
    assert step >= 20
    assert f"stopped and saved at step {step}" in said
    assert Trainer(config, tmp_path / "run").step == step


SCRIPT = """
import sys
from pathlib import Path
import torch
from ssvif_core.training.config import TrainingConfig
from ssvif_core.training.distributed import process_group
from ssvif_core.training.trainer import Trainer

config = TrainingConfig.model_validate_json(Path(sys.argv[1]).read_text())
with process_group("cpu") as processes:
    trainer = Trainer(config, Path(sys.argv[2]), processes)

    def stop(step, values):
        if step == int(sys.argv[3]):
            raise KeyboardInterrupt

    try:
        trainer.run(stop)
    except KeyboardInterrupt:
        sys.exit()
    own = torch.cat([p.flatten() for p in trainer.models.parameters()])
    anchor = trainer.context.anchor
    told = []
    if config.consistency.mode == "clusters":
        told = anchor.tensors()
    state = {"weights": own.detach(), "anchor": told}
    torch.save(state, Path(sys.argv[2]) / f"rank{processes.rank}.pt")
"""


def _train_in_two_processes(config: Path, folder: Path, stop: int = 0) -> None:
    """SCRIPT under torchrun with gloo, up to step `stop`, or to the end."""
    (folder.parent / "run.py").write_text(SCRIPT)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        str(folder.parent / "run.py"), str(config), str(folder), str(stop),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_train_one_network_and_go_on_where_they_were_stopped(paired_folder, tmp_path):
    stages = [{**stage, "steps": 2} for stage in ({**STAGES[0], "kind": "masked"}, *STAGES[:2])]
    stages.append(STAGES[2])
    config = configuration(paired_folder, batch_size=4, weighting={"kind": "gate"}, stages=stages)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    _train_in_two_processes(tmp_path / "config.json", whole)
    ranks = [torch.load(whole / f"rank{i}.pt")["weights"] for i in range(2)]
    assert torch.equal(*ranks)
    assert load_checkpoint(whole / "checkpoint.pt")["step"] == 10
    alone = Trainer(config, tmp_path / "alone")
    assert not torch.equal(torch.cat([p.flatten() for p in alone.models.parameters()]), ranks[0])

    _train_in_two_processes(tmp_path / "config.json", parts, stop=7)
    assert load_checkpoint(parts / "checkpoint.pt")["step"] == 7
    _train_in_two_processes(tmp_path / "config.json", parts)
    for rank, weights in enumerate(ranks):
        assert torch.equal(torch.load(parts / f"rank{rank}.pt")["weights"], weights)


def test_another_number_of_processes_is_said(paired_folder, tmp_path, caplog):
    config = configuration(paired_folder)
    Trainer(config, tmp_path).save()
    Trainer(config, tmp_path)
    assert not caplog.records
    Trainer(config, tmp_path, Processes(0, 2, torch.device("cpu")))
    assert "by 1 processes and goes on with 2" in caplog.text


@pytest.mark.parametrize(
    ("size", "world", "message"), [(10, 4, "take 8 or 12,"), (1, 2, "take 2,")]
)
def test_a_batch_that_processes_cannot_share_is_said_before_anything_is_read(
    tmp_path, size, world, message
):
    config = configuration(tmp_path / "nowhere", batch_size=size)
    with pytest.raises(SsvifError, match=f"batch_size {size} .* {world} processes: {message}"):
        Trainer(config, tmp_path / "run", Processes(0, world, torch.device("cpu")))


@pytest.mark.parametrize(
    ("device", "message"),
    [("cuda", "cuda:1 cannot be used here"), ("cuda:0", "2 processes cannot share cuda:0")],
)
def test_each_of_several_processes_takes_a_gpu_of_its_own(monkeypatch, device, message):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    if torch.cuda.device_count() > 1:
        pytest.skip("there is a second GPU, and nobody to train with")
    with pytest.raises(SsvifError, match=message), process_group(device):
        pass


@pytest.mark.slow
def test_the_command_for_several_processes_takes_a_run_folder(tmp_path):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1",
        "-m", "--", "ssvif_core.cli", "train", "nowhere.yaml", "--run", "run",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=110)
    assert "Cannot read the training configuration nowhere.yaml" in done.stderr


@pytest.mark.slow
def test_a_cluster_means_the_same_to_all_processes(paired_folder, tmp_path):
    config = configuration(paired_folder, "clusters", batch_size=4)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    _train_in_two_processes(tmp_path / "config.json", tmp_path / "run")
    first, second = (torch.load(tmp_path / "run" / f"rank{i}.pt")["anchor"] for i in range(2))
    assert len(first) > 10
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_large_set_is_never_read_whole(paired_folder, tmp_path, monkeypatch):
    from ssvif_core.data.collection import PairCollection
    from ssvif_core.training import prototypes

    monkeypatch.setattr(prototypes, "FRAMES", 3)
    asked = []
    readable = PairCollection.readable

    def counted(self, indices, place):
        asked.append(indices[place])
        return readable(self, indices, place)

    monkeypatch.setattr(PairCollection, "readable", counted)
    trainer = Trainer(configuration(paired_folder, "clusters"), tmp_path)
    assert len(trainer.held_out) == 3  # of 12, each fifth
    before = len(asked)
    trainer._make_anchor()
    assert len(asked) - before == 3
