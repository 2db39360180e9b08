"""`ssvif adapt` as a user calls it: a small simulated recording, a real, short training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import get_args

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("torch", reason="needs the extra `train` (torch)")
pytest.importorskip("rosbags", reason="needs the extra `bags`")

from ssvif_core.adapt.deployed import deploy  # noqa: E402
from ssvif_core.adapt.recipe import RECIPE, configuration, trains_masks  # noqa: E402
from ssvif_core.adapt.split import LEAST_PAIRS  # noqa: E402
from ssvif_core.adapt.verdict import Answer  # noqa: E402
from ssvif_core.cli.adapt import adapt  # noqa: E402
from ssvif_core.data.bag_writer import BagWriter  # noqa: E402
from ssvif_core.data.camera_sources import DrawnSource  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.imaging.calibration import Calibration  # noqa: E402
from ssvif_core.inference.engine import EngineOptions, create_engine  # noqa: E402
from ssvif_core.models import open_model  # noqa: E402
from ssvif_core.network.fusion_network import FUSION_PATH  # noqa: E402
from ssvif_core.replay.demo import DemoCamera, demo_frames, write_frame  # noqa: E402
from ssvif_core.training.checkpoint import load_checkpoint  # noqa: E402
from ssvif_core.training.config import load_config  # noqa: E402
from ssvif_core.training.trainer import Trainer  # noqa: E402

# The first test makes the run for all: on a busy machine longer than the default.
pytestmark = pytest.mark.timeout(400)
SIZE, STEPS, SECONDS = (112, 80), 30, 6.5
SMALL = {
    **RECIPE,
    "variant": "base",  # `ssvif adapt` takes the model's
    "classes": ["background", "thing"],
    "data_root": ".",
    "sources": [{"folder": ".", "share": 1}],
    "stages": [{**RECIPE["stages"][0], "steps": STEPS, "warmup_steps": 2}],
    "batch_size": 2,
    "crop": [48, 64],
    "precision": "float32",
    "threads": 1,
    "checkpoint_every": 3,
}  # fmt: skip


def command(*arguments):
    return [sys.executable, "-m", "ssvif_core.cli", "adapt", *map(str, arguments)]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Some seconds of a night street, 10 Hz and 8 Hz."""
    path = tmp_path_factory.mktemp("recordings") / "night street"
    cameras = [
        DemoCamera("visible", rate_hz=10.0, seed=1), DemoCamera("thermal", rate_hz=8.0, seed=1)
    ]  # fmt: skip
    sources = {c.modality: DrawnSource("night", c.modality, *SIZE, 1) for c in cameras}
    with BagWriter(path, "mcap", "none") as bag:
        for frame in demo_frames(cameras, SECONDS):
            write_frame(bag, frame, sources[frame.modality], labels=True)
    return path


@pytest.fixture(scope="module")
def adapted(night, recipe, tmp_path_factory):
    """A run that was interrupted in its training, and the same command again."""
    output = tmp_path_factory.mktemp("adapted") / "out"
    call = command(
        night, "-o", output, "--model", "tiny", "--recipe", recipe, "--every", "0.2"
    )  # fmt: skip
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        deadline = time.monotonic() + 120
        while not (output / "training" / "checkpoint.pt").is_file() and first.poll() is None:
            assert time.monotonic() < deadline, "training did not begin"
            time.sleep(0.02)
        first.send_signal(signal.SIGINT)
        said = first.communicate(timeout=100)
    assert first.returncode == 130, said
    stopped_at = load_checkpoint(output / "training" / "checkpoint.pt")["step"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return output, stopped_at, done.stdout


def test_a_recording_becomes_a_model_with_a_card_and_a_verdict(adapted, night):
    output, stopped_at, said = adapted
    assert 0 < stopped_at < STEPS
    model = open_model(output / "tiny-night_street.onnx")
    about = model.card.content["adapted"]
    assert about["from"] == "tiny"
    assert about["recording"] == "night street"
    assert about["masks"] == "as before"
    assert model.card.mode == open_model("tiny").card.mode
    assert str(night.parent) not in json.dumps(model.card.content)  # names, no paths
    assert model.card.content["training"]["runs"][-1]["steps"] == STEPS
    summary = json.loads((output / "adapt.json").read_text())
    assert about["verdict"]["answer"] == summary["verdict"]
    assert summary["verdict"] in get_args(Answer)
    assert f"{summary['verdict']}: {summary['why']}." in said
    assert ("model:=" in said) == (summary["verdict"] == "better")
    figures = {figure["name"] for figure in summary["figures"]}
    quality = {"VIF", "Qabf", "SSIM", "SCD"}
    assert quality | {"hot_contrast", "flicker_fused", "iou_objects"} <= figures
    page = (output / "adapt.html").read_text()
    assert "data:image/jpeg;base64" in page
    assert 'href="held_out/compare.html"' in page
    assert (output / "held_out" / "compare.html").is_file()


def test_the_fused_image_has_changed_and_no_mask_has(adapted, frame_pairs):
    output, _, _ = adapted
    results = []
    for name in ("tiny", str(output / "tiny-night_street.onnx")):
        options = EngineOptions(threads=1, height=120, width=160)
        engine, _ = create_engine(open_model(name), "onnxruntime", options)
        results.append([[i.copy() for i in engine.infer(v, t)] for v, t, _ in frame_pairs])
        engine.close()
    fused, labels = ([pair for pair in zip(*results, strict=True)] for _ in range(2))
    assert any((old[0] != new[0]).any() for old, new in fused)
    assert all(np.array_equal(old[1], new[1]) for old, new in labels)


def test_only_the_first_part_is_trained_on(adapted, night):
    """The drawn scene is known: what lies in pairs/ is what was recorded before the gap."""
    output, _, _ = adapted
    content = json.loads((output / "adapt.json").read_text())
    written = sorted((output / "pairs" / "visible").glob("*.png"))
    assert len(written) == content["training pairs"]
    assert len(written) <= 0.7 * SECONDS / 0.2 + 1
    source = DrawnSource("night", "visible", *SIZE, 1)
    last = cv2.cvtColor(cv2.imread(str(written[-1])), cv2.COLOR_BGR2RGB).astype(int)
    times = np.arange(0, SECONDS, 0.1)
    apart = [np.abs(source.frame(float(t)).astype(int) - last).mean() for t in times]
    assert times[int(np.argmin(apart))] < 0.7 * SECONDS + 0.2


def test_another_training_in_the_same_folder_is_refused_and_changes_nothing(adapted, night, recipe):
    output, _, _ = adapted
    before = (output / "tiny-night_street.onnx").read_bytes()
    with pytest.raises(SsvifError, match="not overwritten"):
        adapt(night, output, model="tiny", recipe=recipe, every=0.2, steps=7)
    assert (output / "tiny-night_street.onnx").read_bytes() == before


def test_a_folder_of_pairs_is_split_by_name_and_judged_without_replay(adapted, recipe, tmp_path):
    output = tmp_path / "out"
    adapt(adapted[0] / "pairs", output, model="tiny", recipe=recipe, steps=3, holdout=0.45,
          name="mine")  # fmt: skip
    summary = json.loads((output / "adapt.json").read_text())
    assert summary["file"] == "mine.onnx"
    names = {figure["name"] for figure in summary["figures"]}
    assert "VIF" in names and "flicker_fused" not in names
    page = (output / "adapt.html").read_text()
    assert "<figcaption>pair " in page and '"x_unit":"pairs"' in page
    assert "frames.csv.gz" not in page  # which is not there
    assert open_model(output / "mine.onnx").card.name == "mine"


def test_a_recording_that_is_too_short_says_what_would_do(night, recipe, tmp_path):
    with pytest.raises(SsvifError, match=f"{LEAST_PAIRS} are needed.*--every"):
        adapt(night, tmp_path / "out", model="tiny", recipe=recipe, every=3.0)
    assert list((tmp_path / "out").iterdir()) == []


def test_pairs_that_cannot_be_used_say_why(night, tmp_path):
    params = tmp_path / "robot.yaml"
    params.write_text("fusion: {ros__parameters: {model: tiny, gain.mode: none}}")
    with pytest.raises(SsvifError, match="could not be used.*Thermal gain 'none' is for 8-bit"):
        adapt(night, tmp_path / "out", params=params)


def test_a_device_that_is_not_there_is_said_first(night, tmp_path):
    with pytest.raises(SsvifError, match="device foo cannot be used"):
        adapt(night, tmp_path / "out", model="tiny", device="foo")
    assert not (tmp_path / "out").exists()


def test_pairs_of_another_calibration_of_the_same_name_are_not_taken(night, recipe, tmp_path):
    rig, params = tmp_path / "rig.yaml", tmp_path / "robot.yaml"
    params.write_text(f"fusion: {{ros__parameters: {{model: tiny, registration.file: {rig}}}}}")
    asked = {"params": params, "recipe": recipe, "every": 0.2, "steps": 3}
    Calibration(np.eye(3), SIZE, SIZE).save(rig)
    adapt(night, tmp_path / "out", **asked)
    Calibration(np.diag([1.1, 1.1, 1.0]), SIZE, SIZE).save(rig)
    with pytest.raises(SsvifError, match="not from an earlier run|another recording"):
        adapt(night, tmp_path / "out", **asked)


def test_output_inside_of_the_recording_is_refused(night):
    with pytest.raises(SsvifError, match="inside of"):
        adapt(night, night / "out")
    assert not (night / "out").exists()


def test_without_torch_the_error_names_the_extra(night, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command(night, "-o", tmp_path / "out"),
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 1
    assert "pip install '.[train]'" in done.stderr
    assert "Traceback" not in done.stderr


def with_stages(folder, *stages):
    path = folder / "stages.yaml"
    given = [{"steps": 2, "warmup_steps": 1, **stage} for stage in stages]
    path.write_text(yaml.safe_dump({**SMALL, "stages": given, "crop": [64, 64]}))
    return path


def test_masks_that_nothing_would_teach_are_refused_before_the_pairs(night, tmp_path):
    path = with_stages(tmp_path, {"kind": "fusion"})  # the trunk, and not the head that reads it
    with pytest.raises(SsvifError, match=r"masks would be nothing.*train_only.*warm_up"):
        adapt(night, tmp_path / "out", model="tiny", recipe=path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("stage", "masks", "mode"),
    [
        ({"kind": "warm_up", "train_only": ["segmenter"]}, "as before", "finetuned"),
        ({"kind": "warm_up"}, "trained", "distilled"),
        ({"kind": "supervised"}, "trained", "distilled"),  # its labels are the old model's masks
    ],
)
def test_the_card_says_what_was_done_to_the_masks(paired_folder, tmp_path, stage, masks, mode):
    old = open_model("tiny")
    (tmp_path / "pairs").symlink_to(paired_folder / "frames")
    config = configuration(tmp_path, old, "drive", with_stages(tmp_path, stage), None)
    Trainer(config, tmp_path / "training").save()
    about = {"recording": "drive", "masks": "trained" if trains_masks(config) else "as before"}
    new = deploy(tmp_path / "training" / "checkpoint.pt", tmp_path / "new.onnx", old, about)
    assert (about["masks"], new.card.mode) == (masks, mode)


def test_the_documented_recipe_is_the_one_that_runs(repository):
    path = repository / "config" / "training" / "adapt.yaml"
    documented = yaml.safe_load(path.read_text())
    assert load_config(path).steps == RECIPE["stages"][0]["steps"]
    filled = {"variant", "classes", "data_root", "sources", "initialise_from"}
    assert {key: value for key, value in documented.items() if key not in filled} == RECIPE
    assert RECIPE["stages"][0]["train_only"] == list(FUSION_PATH)
