"""Starting from another run's weights, and training only a part of the network."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")

from ssvif_core.cli.export import export, training_section  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.models import open_model  # noqa: E402
from ssvif_core.network.fusion_network import FUSION_PATH  # noqa: E402
from ssvif_core.training.card import same_runs  # noqa: E402
from ssvif_core.training.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from ssvif_core.training.config import TrainingConfig  # noqa: E402
from ssvif_core.training.trainer import Trainer  # noqa: E402

HEAD = list(FUSION_PATH)


def configuration(root, **changes):
    content = {
        "name": "test",
        "variant": "tiny",
        "classes": ["background", "car", "person", "bicycle"],
        "data_root": root,
        "sources": [{"folder": "frames", "share": 1, "labels": "labels", "origin": "drawn"}],
        "stages": [{"kind": "supervised", "steps": 3, "warmup_steps": 1}],
        "batch_size": 2,
        "crop": [64, 96],
        "ema_decay": 0.0,
        "precision": "float32",
        "threads": 1,
    }
    return TrainingConfig.model_validate({**content, **changes})


def test_only_the_named_parts_change_and_the_checkpoint_remembers_its_parent(
    paired_folder, tmp_path
):
    Trainer(configuration(paired_folder), tmp_path / "first").run()
    parent = tmp_path / "first" / "checkpoint.pt"
    stage = {"kind": "fusion", "steps": 3, "train_only": HEAD}
    config = configuration(paired_folder, name="head", initialise_from=str(parent), stages=[stage])
    Trainer(config, tmp_path / "second").run()
    before = load_checkpoint(parent)["average"]
    state = load_checkpoint(tmp_path / "second" / "checkpoint.pt")
    changed = {name for name, value in state["average"].items() if not value.equal(before[name])}
    assert changed
    assert all(name.split(".")[0] in HEAD for name in changed)
    assert [json.loads(run["config"])["name"] for run in state["history"]] == ["test"]
    section = training_section("ssvif train ...", state)
    assert [(run["name"], run["steps"]) for run in section["runs"]] == [("test", 3), ("head", 3)]
    assert section["runs"][0]["data"][0]["origin"] == "drawn"


def two_branches(root, mode, **changes):
    stages = [{"kind": kind, "steps": 1, "warmup_steps": 1} for kind in ("warm_up", "joint")]
    consistency = {"mode": mode, "clusters": 5}
    classes = {"classes": "clusters"} if mode == "clusters" else {}
    return configuration(root, **{"stages": stages, "consistency": consistency, **classes}
                         | changes)  # fmt: skip


@pytest.mark.parametrize("mode", ["clusters", "distilled"])
def test_masks_that_no_stage_trains_stay_what_they_were(paired_folder, tmp_path, mode):
    Trainer(two_branches(paired_folder, mode), tmp_path / "first").run()
    start = {"initialise_from": str(tmp_path / "first" / "checkpoint.pt")}
    fusion = [{"kind": "fusion", "steps": 2, "train_only": list(FUSION_PATH)}]
    picture = [{"kind": "joint", "steps": 2, "train_only": HEAD}]
    for number, stages in enumerate((fusion, picture)):
        folder = tmp_path / str(number)
        config = two_branches(paired_folder, mode, stages=stages, **start)
        Trainer(config, folder).run()
        assert load_checkpoint(folder / "checkpoint.pt")["mode"] == mode
        assert Trainer(config, folder).mask_mode == mode  # resumed


def test_masks_that_nothing_taught_are_said_and_not_exported(paired_folder, tmp_path):
    fusion = [{"kind": "fusion", "steps": 1}]
    started = {"initialise_from": "tiny", "classes": ["background", "person", "vehicle"]}
    source = [{"folder": "frames", "share": 1}]
    for name, changes in (("scratch", {}), ("others", started)):
        folder = tmp_path / name
        config = configuration(paired_folder, stages=fusion, sources=source, **changes)
        trainer = Trainer(config, folder)
        trainer.run()
        assert trainer.mask_mode is None
        with pytest.raises(SsvifError, match="Nothing has taught the masks"):
            export(str(folder / "checkpoint.pt"), tmp_path / "m.onnx", paired_folder / "frames")
    moved = configuration(paired_folder, stages=fusion, initialise_from="tiny")
    assert Trainer(moved, tmp_path / "moved").mask_mode is None  # the head reads other features now
    fusion[0]["train_only"] = list(FUSION_PATH)
    kept = configuration(paired_folder, stages=fusion, initialise_from="tiny")
    assert Trainer(kept, tmp_path / "kept").mask_mode == open_model("tiny").card.mode


def stop_after(last):
    def progress(step, values):
        if step == last:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize(("first", "mode"), [(list(FUSION_PATH), "finetuned"), ([], None)])
def test_masks_of_a_run_that_was_stopped_are_what_its_stages_so_far_made_them(
    paired_folder, tmp_path, first, mode
):
    stages = [{"kind": kind, "steps": 2, "warmup_steps": 1} for kind in ("fusion", "warm_up")]
    stages[0]["train_only"] = first
    config = configuration(
        paired_folder, stages=stages, initialise_from="tiny", consistency={"mode": "distilled"}
    )
    path = tmp_path / "checkpoint.pt"
    for last, expected in ((1, mode), (2, mode), (3, "distilled")):
        trainer = Trainer(config, tmp_path)
        assert trainer.mask_mode == "distilled"  # in the end
        with pytest.raises(KeyboardInterrupt):
            trainer.run(stop_after(last))
        state = load_checkpoint(path)
        assert (state["step"], state["mode"]) == (last, expected)
        if expected is None:
            with pytest.raises(SsvifError, match="Nothing has taught the masks"):
                export(str(path), tmp_path / "m.onnx", paired_folder / "frames")


def test_a_checkpoint_from_before_the_mode_of_the_start_was_kept_goes_on(paired_folder, tmp_path):
    fusion = [{"kind": "fusion", "steps": 2, "train_only": list(FUSION_PATH)}]
    path = tmp_path / "checkpoint.pt"
    for stages in (fusion, [*fusion, {"kind": "supervised", "steps": 2}]):
        config = configuration(paired_folder, stages=stages, initialise_from="tiny")
        with pytest.raises(KeyboardInterrupt):
            Trainer(config, tmp_path).run(stop_after(1))
        state = load_checkpoint(path)
        del state["start_mode"]  # and it said what the masks will be
        save_checkpoint(path, {**state, "mode": "finetuned"})
        Trainer(config, tmp_path).run()
        assert load_checkpoint(path)["mode"] == "finetuned"
        path.unlink()


def test_a_training_that_went_on_is_the_same_and_another_is_not():
    run = {"name": "mine", "seed": 0, "steps": 200, "data": [{"folder": "a"}]}
    later = run | {"steps": 400, "weight_decay": 0.1, "data": [{"folder": "a", "share": 1}]}
    assert same_runs([run], [later])
    assert same_runs([run, run], [run, later])
    assert not same_runs([run, run], [later, run])  # it started from other weights
    assert not same_runs([run], [run, run])
    assert not same_runs([run], [run | {"seed": 1}])
    assert not same_runs([], []) and not same_runs(None, [run])


def test_a_run_goes_on_without_the_file_that_it_started_from(paired_folder, tmp_path):
    Trainer(configuration(paired_folder), tmp_path / "first").save()
    parent = tmp_path / "first" / "checkpoint.pt"
    config = configuration(paired_folder, initialise_from=str(parent))
    Trainer(config, tmp_path / "second").save()
    parent.unlink()
    resumed = Trainer(config, tmp_path / "second")
    resumed.run()
    assert len(load_checkpoint(tmp_path / "second" / "checkpoint.pt")["history"]) == 1


def test_the_card_holds_what_a_run_is_repeated_from_and_no_place_on_a_disk(paired_folder, tmp_path):
    asked = {"class_weights": [1, 1, 1, 2.0], "weight_decay": 0.1, "photometric": False, "seed": 0}
    given = {"labels": "labels", "label_map": {0: 0, 1: 1}, "labelled": 3, "holdout_every": 5}
    source = {"folder": "frames", "share": 1, **given}
    config = configuration(paired_folder, sources=[source], **asked)
    Trainer(config, tmp_path).save()
    (run,) = training_section("ssvif train", load_checkpoint(tmp_path / "checkpoint.pt"))["runs"]
    assert {key: run[key] for key in asked} == asked
    assert run["data"][0].items() >= {**given, "label_map": {"0": 0, "1": 1}}.items()
    assert str(paired_folder) not in json.dumps(run)
    places = {"data_root": paired_folder, "sources": run.pop("data")}
    assert run.pop("steps") == 0
    assert TrainingConfig.model_validate({**run, **places, "threads": 1}) == config


def test_a_run_does_not_go_on_from_another_start_of_the_same_name(paired_folder, tmp_path):
    parent = tmp_path / "first" / "checkpoint.pt"
    Trainer(configuration(paired_folder), tmp_path / "first").run()
    config = configuration(paired_folder, name="second", initialise_from=str(parent))
    Trainer(config, tmp_path / "second").run()
    # Asked for again, the finished parent stays as it is.
    Trainer(configuration(paired_folder), tmp_path / "first").run()
    assert Trainer(config, tmp_path / "second").step == 3
    parent.unlink()
    Trainer(configuration(paired_folder, seed=1), tmp_path / "first").run()
    with pytest.raises(SsvifError, match="replaced since"):
        Trainer(config, tmp_path / "second")


def test_a_run_from_before_starts_were_kept_goes_on(paired_folder, tmp_path):
    config = configuration(paired_folder, initialise_from="tiny")
    Trainer(config, tmp_path).save()
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert state.pop("start_sha256") == open_model("tiny").card.sha256
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    assert Trainer(config, tmp_path).step == 0


def test_weights_that_do_not_fit_stay_fresh(paired_folder, tmp_path):
    Trainer(configuration(paired_folder), tmp_path / "first").save()
    parent = tmp_path / "first" / "checkpoint.pt"
    mapped = {"folder": "frames", "share": 1, "labels": "labels", "label_map": {0: 0, 1: 1}}
    config = configuration(
        paired_folder,
        classes=["background", "car"],
        initialise_from=str(parent),
        sources=[mapped],
    )
    network = Trainer(config, tmp_path / "second").models.network
    before = load_checkpoint(parent)["average"]
    own = network.state_dict()
    assert own["labels_eighth.weight"].shape[0] == 2
    assert own["eighth.0.kernel3"].equal(before["eighth.0.kernel3"])
