"""Real training steps on simulated frames: same seed, same result; stop and resume, same result."""

from __future__ import annotations

import json
import os
import shutil
import threading

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from ssvif_core.data.pairs import FramePair, list_pairs, read_pair  # noqa: E402
from ssvif_core.data.sources import open_pairs  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.network.fusion_network import FusionNetwork  # noqa: E402
from ssvif_core.network.layers import upsample  # noqa: E402
from ssvif_core.training.checkpoint import KEYS, load_checkpoint, save_checkpoint  # noqa: E402
from ssvif_core.training.config import LossWeights, TrainingConfig, load_config  # noqa: E402
from ssvif_core.training.frames import load_sources  # noqa: E402
from ssvif_core.training.inputs import half_labels  # noqa: E402
from ssvif_core.training.losses import segmentation_losses  # noqa: E402
from ssvif_core.training.trainer import Trainer  # noqa: E402
from ssvif_core.training.validation import strip, validate  # noqa: E402


def configuration(root, **changes) -> TrainingConfig:
    content = {
        "name": "test",
        "variant": "tiny",
        "classes": ["background", "car", "person", "bicycle"],
        "data_root": root,
        "sources": [{"folder": "frames", "share": 1, "labels": "labels", "holdout_every": 5}],
        "stages": [{"kind": "supervised", "steps": 6, "warmup_steps": 2}],
        "batch_size": 2,
        "crop": [64, 96],
        "validate_every": 3,
        "checkpoint_every": 2,
        "precision": "float32",
        "threads": 1,
    }
    return TrainingConfig.model_validate({**content, **changes})


def weights(trainer) -> dict:
    return {k: v.clone() for k, v in trainer.average.module.state_dict().items()}


def test_training_lowers_the_loss_and_writes_checkpoint_and_events(paired_folder, tmp_path):
    trainer = Trainer(configuration(paired_folder).with_steps(40), tmp_path / "run")
    totals = []
    trainer.run(lambda step, values: totals.append(values["loss/total"]))
    assert len(totals) == 40
    assert sum(totals[-8:]) < sum(totals[:8])
    assert load_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"] == 40
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))


def test_a_run_that_is_stopped_and_resumed_ends_with_the_same_weights(paired_folder, tmp_path):
    whole = Trainer(configuration(paired_folder), tmp_path / "whole")
    whole.run()

    class Stop(Exception):
        pass

    def stop_after_three(step, losses):
        if step == 3:
            raise Stop

    config = configuration(paired_folder)
    with pytest.raises(Stop):
        Trainer(config, tmp_path / "parts").run(stop_after_three)
    resumed = Trainer(config, tmp_path / "parts")
    assert resumed.step == 3
    resumed.run()
    expected = weights(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights(resumed).items())


def test_tensorboard_keeps_the_step_that_a_run_goes_on_from(paired_folder, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    stage = {"kind": "fusion", "steps": 45, "warmup_steps": 1}
    config = configuration(paired_folder, stages=[stage], validate_every=20, checkpoint_every=20)

    def stop(step, values):
        if step == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(config, tmp_path).run(stop)
    Trainer(config, tmp_path).run()
    events = EventAccumulator(str(tmp_path), purge_orphaned_data=True).Reload()
    for name in ("loss/total", "validation/fusion/ssim"):
        assert [event.step for event in events.Scalars(name)] == [20, 40, 45]


def test_a_run_folder_of_another_configuration_is_refused(paired_folder, tmp_path):
    Trainer(configuration(paired_folder), tmp_path).save()
    other = configuration(paired_folder, seed=1, loss={"gradient": 3.0})
    with pytest.raises(
        SsvifError, match=r"another configuration.* in seed, loss.gradient: .*--run"
    ):
        Trainer(other, tmp_path)


def test_a_run_from_before_a_key_was_there_goes_on_and_one_with_a_key_that_went_says_so(
    paired_folder, tmp_path
):
    config = configuration(paired_folder)
    Trainer(config, tmp_path).save()
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    content = json.loads(state["config"])
    del content["teacher"], content["loss"]["distillation"]
    save_checkpoint(tmp_path / "checkpoint.pt", {**state, "config": json.dumps(content)})
    Trainer(config, tmp_path)
    content["loss"]["sparkle"] = 1.0
    save_checkpoint(tmp_path / "checkpoint.pt", {**state, "config": json.dumps(content)})
    with pytest.raises(SsvifError, match="differs in .*loss.sparkle"):
        Trainer(config, tmp_path)


def test_batches_are_a_function_of_the_step(paired_folder, tmp_path):
    first = Trainer(configuration(paired_folder), tmp_path / "a").batches
    second = Trainer(configuration(paired_folder), tmp_path / "b").batches
    for a, b in zip(first.at(7), second.at(7), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.at(7).visible, first.at(8).visible)
    batch = first.at(0)
    assert batch.visible.shape == (2, 3, 64, 96)
    assert 0 <= batch.visible.min() <= batch.visible.max() <= 1
    assert set(batch.labels.unique().tolist()) <= {0, 1, 2, 3, 255}


def test_each_label_pixel_has_its_turn_in_four_steps(paired_folder, tmp_path):
    trainer = Trainer(configuration(paired_folder, object_crops=1.0), tmp_path)
    batch = trainer.batches.at(0)
    seen = torch.zeros_like(batch.labels)
    for trainer.step in range(4, 8):
        row, column = divmod(trainer.step % 4, 2)
        seen[:, row::2, column::2] = trainer.inputs(batch).labels
    assert len(batch.labels.unique()) > 2
    assert torch.equal(seen, batch.labels)


def test_masks_are_taught_where_labels_are():
    labels = torch.zeros(1, 32, 32, dtype=torch.int64)
    labels[:, 9:23, 9:23] = 1  # from row and column 9 to 22
    logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.05)
    for step in range(400):
        optimizer.zero_grad()
        taught = segmentation_losses(upsample(logits), half_labels(labels, step))
        taught["cross_entropy"].backward()
        optimizer.step()
    mask = upsample(logits).softmax(1)[0, 1].detach()
    # A cell of the mask covers pixels 2 j and 2 j + 1.
    places = torch.arange(16) * 2 + 0.5
    for part in (mask.sum(0), mask.sum(1)):
        assert float((part * places).sum() / part.sum()) == pytest.approx(15.5, abs=0.1)


def test_crops_are_as_cameras_gave_them_where_nothing_is_to_be_varied(paired_folder, tmp_path):
    plain = Trainer(configuration(paired_folder, photometric=False), tmp_path / "plain").batches
    varied = Trainer(configuration(paired_folder), tmp_path / "varied").batches
    for step in range(3):
        # The same crops; as they are, they hold whole grey levels and nothing else.
        grey = plain.at(step).thermal * 255
        assert torch.allclose(grey, grey.round(), atol=1e-4)
        assert torch.equal(plain.at(step).labels, varied.at(step).labels)
        assert not torch.equal(plain.at(step).visible, varied.at(step).visible)


def test_a_truncated_checkpoint_is_one_clear_error(paired_folder, tmp_path):
    Trainer(configuration(paired_folder), tmp_path).save()
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SsvifError, match="damaged"):
        Trainer(configuration(paired_folder), tmp_path)


def test_a_save_that_fails_half_way_leaves_the_checkpoint_before(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {**dict.fromkeys(KEYS, 0), "step": 7})
    with pytest.raises(TypeError):  # a lock cannot be saved, as a full disk cannot be written to
        save_checkpoint(path, {**dict.fromkeys(KEYS, 0), "average": threading.Lock()})
    assert load_checkpoint(path)["step"] == 7
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_clear_error_and_leaves_nothing_half_written(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {**dict.fromkeys(KEYS, 0), "step": 7})
    (tmp_path / "checkpoint.partial").symlink_to("/dev/full")
    with pytest.raises(SsvifError, match="Cannot write the checkpoint.*make room.*as it was"):
        save_checkpoint(path, {**dict.fromkeys(KEYS, 0), "average": torch.zeros(100_000)})
    assert load_checkpoint(path)["step"] == 7
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [{"a": torch.zeros(3)}, [1, 2], {"config": "{}"}])
def test_a_foreign_file_to_start_from_is_one_clear_error(paired_folder, tmp_path, content):
    torch.save(content, tmp_path / "foreign.pt")
    config = configuration(paired_folder, initialise_from=str(tmp_path / "foreign.pt"))
    with pytest.raises(SsvifError, match="foreign.pt is no checkpoint of this program"):
        Trainer(config, tmp_path / "run")


def test_a_checkpoint_with_code_in_it_is_refused_and_runs_none_of_it(tmp_path):
    ran = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(ran),)

    # Whole but for the code, so that nothing else is a reason to refuse it.
    torch.save({**dict.fromkeys(KEYS, 0), "average": Payload()}, tmp_path / "checkpoint.pt")
    with pytest.raises(SsvifError, match="could run code"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: [", "Cannot read"),
        ("just a word", "mapping"),
        ("{name: a, variant: base, stepz: 5}", "stepz"),
        ("{name: a, variant: huge}", "variant"),
        ("{name: a, seed: 99999999999999999999}", "seed"),
        (b"\x89MCAP0\r\n", "Cannot read"),
    ],
)
def test_a_wrong_configuration_says_which_key(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SsvifError, match=message):
        load_config(path)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"classes": "clusters", "consistency": {"clusters": "many"}}, "consistency.clusters"),
        ({"classes": "clusters", "consistency": {"clusters": 10**9}}, "consistency.clusters"),
        ({"classes": "clusters", "consistency": ["clusters"]}, "consistency"),
        ({"loss": {"edges": -1}}, "loss.edges"),
        ({"class_weights": [1, 1, -1, 1]}, "class_weights"),
        ({"class_weights": [0, 0, 0, 0]}, "class_weights"),
    ],
)
def test_odd_values_are_said_with_their_key(tmp_path, changes, key):
    content = json.loads(configuration(tmp_path).model_dump_json())
    (tmp_path / "run.yaml").write_text(json.dumps(content | changes))  # JSON is YAML
    with pytest.raises(SsvifError, match=f"not a valid configuration:\n.*{key}"):
        load_config(tmp_path / "run.yaml")


def test_steps_that_come_to_little_are_said_with_what_to_set(paired_folder, tmp_path, caplog):
    config = configuration(paired_folder, stages=[{"kind": "supervised", "steps": 60}])
    Trainer(config, tmp_path)
    assert "60 steps end before its learning rate has risen (warmup_steps 200)" in caplog.text
    assert (
        "is 89% of what the run starts with after 60 steps: set ema_decay to 0.962" in caplog.text
    )
    stage = {"kind": "supervised", "steps": 60, "warmup_steps": 6}
    assert not configuration(paired_folder, stages=[stage], ema_decay=0.962).doubts()


def test_the_home_folder_may_be_a_tilde(paired_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(paired_folder))
    config = configuration("~")
    assert config.data_root == paired_folder
    Trainer(config, tmp_path / "first").run()
    monkeypatch.setenv("HOME", str(tmp_path))
    start = "~/first/checkpoint.pt"
    trainer = Trainer(configuration(paired_folder, initialise_from=start, teacher=start), tmp_path)
    assert trainer.context.guides.teacher is not None and len(trainer.history) == 1


def test_the_shipped_configurations_are_valid(repository):
    folders = repository / "config" / "training", repository / "benchmarks"
    paths = sorted(path for folder in folders for path in folder.glob("*.yaml"))
    assert paths
    for path in paths:
        assert load_config(path).steps >= 200
        assert not load_config(path).doubts()


def test_frames_without_a_partner_are_left_out_and_none_is_an_error(paired_folder, tmp_path):
    folder = tmp_path / "frames"
    for part in ("visible", "thermal"):
        (folder / part).mkdir(parents=True)
    with pytest.raises(SsvifError, match="No pair"):
        list_pairs(folder)
    name, visible, thermal = list_pairs(paired_folder / "frames")[0]
    (folder / "visible" / f"{name}.png").write_bytes(visible.read_bytes())
    (folder / "visible" / "alone.png").write_bytes(visible.read_bytes())
    (folder / "thermal" / f"{name}.png").write_bytes(thermal.read_bytes())
    assert [pair[0] for pair in list_pairs(folder)] == [name]
    (folder / "thermal" / f"{name}.png").write_bytes(b"not an image")
    with pytest.raises(SsvifError, match="damaged"):
        read_pair(*list_pairs(folder)[0])
    cv2.imwrite(str(folder / "thermal" / f"{name}.png"), cv2.imread(str(thermal), 0)[:-4])
    with pytest.raises(SsvifError, match="differ in size"):
        read_pair(*list_pairs(folder)[0])


def test_one_step_on_real_frames(shared_data, tmp_path, repository):
    config = load_config(
        repository / "config" / "training" / "fusion.yaml",
        {"data_root": shared_data, "batch_size": 2, "variant": "tiny"},
    ).with_steps(1)
    source = config.sources[1].model_copy(update={"holdout_every": 60})
    trainer = Trainer(config.model_copy(update={"sources": [source]}), tmp_path)
    losses = {}
    trainer.run(lambda step, values: losses.update(values))
    assert all(value == value and value < 100 for value in losses.values())


def test_another_variant_to_start_from_is_refused_with_what_to_do(paired_folder, tmp_path):
    with pytest.raises(SsvifError, match="base is a base network.*--initialise-from tiny"):
        Trainer(configuration(paired_folder, initialise_from="base"), tmp_path)


@pytest.fixture
def partly_labelled(paired_folder, tmp_path):
    """The frames of `paired_folder` of which five have labels."""
    root = tmp_path / "partly"
    shutil.copytree(paired_folder, root)
    for path in sorted((root / "frames" / "labels").iterdir())[5:]:
        path.unlink()
    return root


def sources(**changes):
    return [{"folder": "frames", "share": 1, "labels": "labels", **changes}]


@pytest.mark.parametrize(("asked", "used"), [(2, 2), (5, 5), (None, 5), (100, 5)])
def test_as_many_labelled_frames_are_used_as_are_asked_for(partly_labelled, tmp_path, asked, used):
    config = configuration(partly_labelled, sources=sources(labelled=asked))
    batches = Trainer(config, tmp_path / "run").batches
    (pairs,) = (source.pairs for source in batches.sources)
    assert len(pairs.labelled) == used == sum(pair.labels is not None for pair in pairs)


@pytest.fixture
def loose(paired_folder, tmp_path, monkeypatch):
    """The frames of `paired_folder`, read anew each time that they are asked for."""
    monkeypatch.setattr(
        open_pairs, "__kwdefaults__", {**open_pairs.__kwdefaults__, "cache_bytes": 0}
    )
    shutil.copytree(paired_folder, tmp_path / "loose")
    return tmp_path / "loose"


def break_pair(root, number):
    for part in ("visible", "thermal"):
        (root / "frames" / part / f"{number:03d}.png").write_bytes(b"overwritten")


def test_what_stands_in_for_a_broken_pair_is_not_held_out_and_brings_no_labels(loose):
    config = configuration(loose, sources=sources(holdout_every=4, labelled=3))
    frames = load_sources(config)  # 0, 4 and 8 are held out
    (source,) = frames.sources
    with_labels = {int(pair.name) for pair in source.pairs if pair.labels is not None}
    for number in (3, 7, *with_labels, 4):
        break_pair(loose, number)
    drawn = list(source.pairs)
    assert len(drawn) == 9
    assert {int(pair.name) for pair in drawn} == set(range(12)) - {0, 4, 8, 3, 7} - with_labels
    assert all(pair.labels is None for pair in drawn)
    assert [int(pair.name) for pair in frames.held_out] == [0, 8, 8]


def test_a_run_whose_data_goes_away_is_saved_up_to_the_last_whole_step(loose, tmp_path):
    config = configuration(loose, checkpoint_every=1000, validate_every=1000)
    trainer = Trainer(config, tmp_path / "run")

    def lose(step, values):
        if step == 2:
            shutil.rmtree(loose / "frames")

    with pytest.raises(SsvifError, match="No pair of frames can be read any longer"):
        trainer.run(lose)
    assert load_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"] == trainer.step >= 2


@pytest.mark.parametrize(
    ("labelled", "held_out"),
    [
        (range(12), [0, 5, 10]),
        ([], [0, 5, 10]),
        ([0, 5, 10], [0, 1, 7]),  # 0 of the labelled; 1 and 7 of 1 2 3 4 6 7 8 9 11
        ([5], [0, 6, 11]),  # the only one with labels is trained on
    ],
)
def test_labelled_frames_and_others_are_held_out_apart(paired_folder, tmp_path, labelled, held_out):
    shutil.copytree(paired_folder, tmp_path / "data")
    for index, path in enumerate(sorted((tmp_path / "data" / "frames" / "labels").iterdir())):
        if index not in labelled:
            path.unlink()
    labels = "labels" if labelled else None
    config = configuration(tmp_path / "data", sources=sources(holdout_every=5, labels=labels))
    frames = load_sources(config)
    assert [int(pair.name) for pair in frames.held_out] == held_out
    kept = len(set(labelled) & set(held_out))
    assert str(frames) == (
        f"9 frames to train on, {len(labelled) - kept} of them with labels; "
        f"3 held out, {kept} of them with labels"
    )
    assert frames.labelled == sum(pair.labels is not None for pair in frames.sources[0].pairs)
    assert sum(pair.labels is not None for pair in frames.held_out) == kept


@pytest.mark.parametrize(("every", "held"), [(4, 3), (20, 1)])
def test_of_a_recording_the_end_is_held_out_after_a_gap(recording, tmp_path, every, held):
    source = {"folder": recording.name, "share": 1, "holdout_every": every}
    config = configuration(recording.parent, sources=[source])
    frames = load_sources(config)
    whole = [pair.name for pair in open_pairs(recording)]
    assert [pair.name for pair in frames.held_out] == whole[-held:]
    assert [pair.name for pair in frames.sources[0].pairs] == whole[: -held - 1]


def test_one_pair_cannot_be_held_out_and_trained_on(loose, tmp_path):
    for part in ("visible", "thermal", "labels"):
        for path in sorted((loose / "frames" / part).iterdir())[1:]:
            path.unlink()
    config = configuration(
        loose / "frames", sources=[{**sources(holdout_every=5)[0], "folder": "."}]
    )
    with pytest.raises(SsvifError, match="loose/frames: .* all 1 would .*set holdout_every to 0"):
        load_sources(config)


def test_an_error_about_labels_says_where_they_went(partly_labelled, tmp_path):
    config = configuration(partly_labelled, sources=sources(holdout_every=5, labelled=0))
    said = "9 frames to train on, 0 of them with labels; 3 held out, 1 of them with labels"
    with pytest.raises(SsvifError, match=f"no frame has any that it may use.*{said}"):
        Trainer(config, tmp_path / "run")


def test_labelled_frames_are_found_among_more_than_are_looked_at(
    partly_labelled, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("ssvif_core.data.batches.LABELLED", 3)  # of 5 frames, of 12
    config = configuration(partly_labelled, sources=sources(), labelled_crops=1, object_crops=0)
    batches = Trainer(config, tmp_path / "run").batches
    assert "centred on objects come from 3 of the 5 frames with labels" in caplog.text
    centres = {index for found in batches._centres[0].values() for index, _ in found}
    assert centres <= {0, 2, 4}
    assert batches._labelled == [[0, 1, 2, 3, 4]]  # crops that are not centred are of any


def test_a_label_without_a_class_is_named_before_the_first_step(partly_labelled, tmp_path):
    path = sorted((partly_labelled / "frames" / "labels").iterdir())[3]
    labels = cv2.imread(str(path), 0)
    labels[0, 0] = 7
    cv2.imwrite(str(path), labels)
    for every in (0, 3):  # the fourth of those with labels is held out
        config = configuration(partly_labelled, sources=sources(holdout_every=every))
        with pytest.raises(SsvifError, match=f"labels of {path.stem}.* id 7.*3 bicycle.*label_map"):
            Trainer(config, tmp_path / "run")
    mapped = sources(label_map={0: 0, 1: 1, 2: 2, 3: 3})
    Trainer(configuration(partly_labelled, sources=mapped), tmp_path / "run").run()


def relabelled(root, ids):
    """Every label image of `root` with other ids."""
    table = np.arange(256, dtype=np.uint8)
    table[: len(ids)] = ids
    for path in (root / "frames" / "labels").iterdir():
        cv2.imwrite(str(path), table[cv2.imread(str(path), 0)])


@pytest.mark.parametrize(
    ("ids", "label_map", "held"),
    [
        ((11, 12, 13, 14), {0: 0, 1: 1, 2: 2, 3: 3}, "the ids 11, 12, 13"),
        ((255, 255, 255, 255), None, "the ids 255"),
    ],
)
def test_labels_that_say_nothing_are_an_error_that_names_their_ids(
    partly_labelled, tmp_path, ids, label_map, held
):
    relabelled(partly_labelled, ids)
    config = configuration(partly_labelled, sources=sources(label_map=label_map))
    with pytest.raises(SsvifError, match=f"no pixel of the labels has a known.*{held}.*label_map"):
        Trainer(config, tmp_path / "run")
    # What learns nothing from them is not asked.
    picture = {"sources": sources(label_map=label_map), "stages": [{"kind": "fusion", "steps": 1}]}
    Trainer(configuration(partly_labelled, **picture), tmp_path / "fusion")


def test_a_class_that_no_label_image_holds_is_said(partly_labelled, tmp_path, caplog):
    relabelled(partly_labelled, (0, 1, 0, 0))
    Trainer(configuration(partly_labelled, sources=sources()), tmp_path / "run")
    assert "No label image that was read holds person, bicycle" in caplog.text


def test_validation_leaves_out_classes_that_are_nowhere_and_asks_what_training_asks():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pair = FramePair("one", image, image[..., 0], np.zeros((64, 64), np.uint8))
    network = FusionNetwork("tiny", 4)
    with torch.no_grad():  # masks of background alone
        for head in (network.labels_eighth, network.labels_quarter):
            head.weight.zero_()
            head.bias.copy_(torch.tensor([9.0, 0, 0, 0]))
    classes = ["background", "car", "person", "bicycle"]

    def scores(**asked):
        return validate(network, [pair], classes, torch.device("cpu"), LossWeights(**asked))[0]

    plain, sharp = scores(), scores(sharpness=2.0)
    assert {name: value for name, value in plain.items() if name.startswith("iou")} == {
        "iou/background": 1.0
    }
    assert plain["fusion/gradient"] != sharp["fusion/gradient"]
    assert plain["fusion/ssim"] == sharp["fusion/ssim"]


@pytest.mark.parametrize(("height", "width"), [(120, 160), (480, 640), (720, 1280), (1024, 1280)])
def test_a_strip_shows_each_image_whole_whatever_its_shape(height, width):
    images = [np.full((height, width, 3), grey, np.uint8) for grey in (50, 100, 150)]
    mask = np.zeros((height, width, 3), np.uint8)
    mask[:, ::2] = 200
    shown = strip(images, mask)
    assert shown.shape == (240, 4 * 320, 3)
    scale = min(240 / height, 320 / width)
    for column, grey in ((0, 50), (320, 100), (640, 150)):
        part = shown[:, column : column + 320]
        assert (part == grey).sum() == 3 * round(height * scale) * round(width * scale)
    assert set(np.unique(shown[:, 960:])) <= {0, 200}  # no colour that means nothing
