"""Masked prediction across cameras: what is hidden, what is asked for, what learns from it."""

from __future__ import annotations

import json

import cv2
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")

from ssvif_core.network.fusion_network import (  # noqa: E402
    FUSION_PATH,
    SEGMENTATION_HEAD,
    TRUNK,
    FusionNetwork,
)
from ssvif_core.training.checkpoint import load_checkpoint  # noqa: E402
from ssvif_core.training.config import TrainingConfig  # noqa: E402
from ssvif_core.training.masked import BLOCK, Hidden, draw_hidden, masked_losses  # noqa: E402
from ssvif_core.training.trainer import Trainer  # noqa: E402


def configuration(root, steps=3, **changes) -> TrainingConfig:
    content = {
        "name": "test",
        "variant": "tiny",
        "classes": ["background", "car", "person", "bicycle"],
        "data_root": root,
        "sources": [{"folder": "frames", "share": 1, "labels": "labels"}],
        "stages": [{"kind": "masked", "steps": steps, "learning_rate": 0.004, "warmup_steps": 1}],
        "batch_size": 4,
        "crop": [64, 96],
        "object_crops": 1.0,
        "ema_decay": 0.5,
        "precision": "float32",
        "threads": 1,
    }
    return TrainingConfig.model_validate({**content, **changes})


def test_blocks_of_each_camera_are_hidden_and_most_hidden_ones_are_seen_by_the_other():
    hidden = draw_hidden(64, 128, 160, [3, 7])
    assert hidden.visible.shape == hidden.thermal.shape == (64, 1, 128, 160)
    blocks = [torch.nn.functional.avg_pool2d(h, BLOCK) for h in hidden]
    assert all(set(b.unique().tolist()) == {0.0, 1.0} for b in blocks)  # whole blocks
    visible, thermal = blocks
    for part in (visible.mean(), thermal.mean()):
        assert part == pytest.approx(0.42 + 0.15 * 0.58, abs=0.04)
    assert (visible * thermal).mean() == pytest.approx(0.15, abs=0.03)
    again, other = (draw_hidden(64, 128, 160, [3, step]) for step in (7, 8))
    assert torch.equal(hidden.visible, again.visible)
    assert torch.equal(hidden.thermal, again.thermal)
    assert not torch.equal(hidden.visible, other.visible)


def test_crops_that_are_no_multiple_of_a_block_are_hidden_to_their_border():
    hidden = draw_hidden(40, 48, 80, [0])
    assert hidden.visible.shape == (40, 1, 48, 80)
    assert hidden.visible[..., -1, -1].mean() > 0.3


def images(gain=1.0, offset=0.0):
    generator = torch.Generator().manual_seed(0)
    visible = torch.rand(2, 3, 64, 64, generator=generator)
    thermal = torch.rand(2, 1, 64, 64, generator=generator)
    return gain * visible + offset, gain * thermal + offset


def test_only_what_is_hidden_is_asked_for():
    visible, thermal = images()
    left = torch.zeros(2, 1, 64, 64)
    left[..., :32] = 1
    hidden = Hidden(left, 1 - left)
    predicted = torch.zeros(2, 4, 16, 16)
    losses = masked_losses(predicted, visible, thermal, hidden)
    elsewhere = predicted.clone()
    elsewhere[:, :3, :, 8:] = 5.0  # where the visible image is to be seen
    elsewhere[:, 3:, :, :8] = -5.0
    same = masked_losses(elsewhere, visible, thermal, hidden)
    assert all(torch.equal(losses[camera], same[camera]) for camera in ("visible", "thermal"))
    there = predicted.clone()
    there[:, :3, :, :8] = 5.0
    assert masked_losses(there, visible, thermal, hidden)["visible"] > losses["visible"] + 1
    assert masked_losses(there, visible, thermal, hidden)["thermal"] == losses["thermal"]


def test_a_brighter_or_flatter_image_asks_for_the_same():
    everywhere = Hidden(torch.ones(2, 1, 64, 64), torch.ones(2, 1, 64, 64))
    predicted = torch.zeros(2, 4, 16, 16)
    one = masked_losses(predicted, *images(), everywhere)
    other = masked_losses(predicted, *images(gain=0.5, offset=0.4), everywhere)
    for camera in ("visible", "thermal"):
        # The least deviation counts for more in a flat image: 0.03 of 0.14 instead of 0.29.
        assert 0.75 * one[camera] < other[camera] < one[camera]
    nothing = masked_losses(predicted, torch.full((2, 3, 64, 64), 0.3), images()[1], everywhere)
    assert nothing["visible"] < 1e-6


def test_every_part_of_the_network_is_trunk_head_or_fusion_path():
    names = [name for name, _ in FusionNetwork("tiny").named_children()]
    assert sorted(names) == sorted([*TRUNK, *SEGMENTATION_HEAD, *FUSION_PATH])


def test_the_trunk_learns_to_tell_and_neither_masks_nor_fusion_path_move(paired_folder, tmp_path):
    trainer = Trainer(configuration(paired_folder, steps=60), tmp_path)
    before = {k: v.clone() for k, v in trainer.models.network.state_dict().items()}
    losses = []
    trainer.run(lambda step, values: losses.append(values["loss/total"]))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    after = trainer.models.network.state_dict()
    changed = {name.split(".")[0] for name, value in after.items() if not value.equal(before[name])}
    assert changed == set(TRUNK)


def test_held_out_frames_are_told_and_shown(paired_folder, tmp_path):
    source = {"folder": "frames", "share": 1, "holdout_every": 5}
    config = configuration(paired_folder, steps=40, sources=[source], validate_every=20)
    Trainer(config, tmp_path).run()
    entries = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    told = [e["validation/hidden/thermal"] for e in entries if "validation/hidden/thermal" in e]
    assert len(told) == 2
    assert told[1] < told[0]
    picture = cv2.imread(str(tmp_path / "pictures" / "0000040_hidden.png"))
    assert picture.shape == (3 * 240, 1280, 3)  # each held-out pair, both cameras, hidden and told
    assert "hidden blocks" in (tmp_path / "report.html").read_text()


def test_a_run_that_was_stopped_ends_with_the_same_weights(paired_folder, tmp_path):
    stages = [
        {"kind": "masked", "steps": 4, "warmup_steps": 1},
        {"kind": "supervised", "steps": 2, "warmup_steps": 1},
    ]
    config = configuration(paired_folder, stages=stages, checkpoint_every=1)
    Trainer(config, tmp_path / "whole").run()

    def stop(step, values):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(config, tmp_path / "parts").run(stop)
    resumed = Trainer(config, tmp_path / "parts")
    assert resumed.step == 3
    resumed.run()
    whole, parts = (load_checkpoint(tmp_path / n / "checkpoint.pt") for n in ("whole", "parts"))
    for part in ("average", "reconstructor", "reconstructor_average"):
        assert all(torch.equal(whole[part][name], value) for name, value in parts[part].items())


def test_labels_do_not_choose_what_is_looked_at(paired_folder, tmp_path):
    unlabelled = [{"folder": "frames", "share": 1}]
    config = configuration(paired_folder)
    Trainer(config, tmp_path / "with").run()
    Trainer(configuration(paired_folder, sources=unlabelled), tmp_path / "without").run()
    with_, without = (load_checkpoint(tmp_path / n / "checkpoint.pt") for n in ("with", "without"))
    assert all(torch.equal(without["average"][k], v) for k, v in with_["average"].items())


def test_a_later_run_starts_from_the_trunk(paired_folder, tmp_path):
    Trainer(configuration(paired_folder), tmp_path / "masked").run()
    learnt = load_checkpoint(tmp_path / "masked" / "checkpoint.pt")["average"]
    start = str(tmp_path / "masked" / "checkpoint.pt")
    stages = [{"kind": "supervised", "steps": 2, "warmup_steps": 1}]
    later = Trainer(
        configuration(paired_folder, stages=stages, initialise_from=start), tmp_path / "later"
    )
    now = later.models.network.state_dict()
    assert later.models.reconstructor is None
    assert all(torch.equal(now[k], v) for k, v in learnt.items() if k.split(".")[0] in TRUNK)
