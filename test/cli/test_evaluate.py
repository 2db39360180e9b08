"""`ssvif evaluate` as a user calls it: a separate process, real files, real models."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from ssvif_core.cli.evaluate import evaluate
from ssvif_core.errors import SsvifError
from ssvif_core.models import open_model


def ssvif_evaluate(*arguments):
    command = [sys.executable, "-m", "ssvif_core.cli", "evaluate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=110)


def test_a_model_is_shown_beside_the_baselines_and_files_are_written(paired_folder, tmp_path):
    answer = ssvif_evaluate(
        "tiny", "--data", paired_folder / "frames", "-o", tmp_path, "--limit", 3
    )
    assert answer.returncode == 0, answer.stderr
    for word in ("tiny", "guided filter", "mean rank", "IoU of masks", "no day and night"):
        assert word in answer.stdout
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"metrics.csv", "summary.csv", "summary.json", "grid.png"}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["frames"], summary["labelled"]) == (3, 3)
    assert set(summary["fusion"]) == {"average", "max", "laplacian", "guided filter", "tiny"}
    # visible, thermal, four baselines, the model, its masks
    assert cv2.imread(str(tmp_path / "grid.png")).shape == (3 * 240, 8 * 320, 3)


def two_visible_cameras(frame_pairs, folder):
    bags = pytest.importorskip("small_bags", reason="needs the extra `bags`")
    visible, thermal, _ = frame_pairs[0]
    messages = bags.short(bags.raw(visible, "rgb8"), bags.raw(thermal, "mono8"))
    messages += [("/rear/image_raw", *m[1:]) for m in messages if m[0] == bags.VISIBLE]
    return bags.write_bag(folder / "drive", messages), bags.VISIBLE


def test_the_cameras_of_a_recording_with_several_are_named_by_options(frame_pairs, tmp_path):
    bag, visible = two_visible_cameras(frame_pairs, tmp_path)
    words = ("--data", bag, "-o", tmp_path / "out")
    answer = ssvif_evaluate(*words)
    assert answer.returncode == 1 and "Name them with --visible-topic" in answer.stderr
    answer = ssvif_evaluate(*words, "--visible-topic", visible)
    assert answer.returncode == 0, answer.stderr


def test_export_and_train_take_the_topics_of_a_recording(frame_pairs, tmp_path):
    bag, visible = two_visible_cameras(frame_pairs, tmp_path)
    pytest.importorskip("torch", reason="needs the extra `train` (torch)")
    (config := tmp_path / "run.yaml").write_text(
        "name: short\nvariant: tiny\nclasses: clusters\nsources: [{folder: ., share: 1}]\n"
        "stages: [{kind: fusion, steps: 1}]\nbatch_size: 1\ncrop: [64, 64]\nprecision: float32\n"
    )
    for words in (
        ("export", "tiny", tmp_path / "m.onnx", "--frames", bag),
        ("train", config, "--data", bag, "--run", tmp_path / "run"),
    ):
        command = [sys.executable, "-m", "ssvif_core.cli", *map(str, words)]
        for more in ([], ["--visible-topic", visible]):
            answer = subprocess.run([*command, *more], capture_output=True, text=True, timeout=110)
            assert answer.returncode == (not more), answer.stderr
            assert more or "Name them with --visible-topic" in answer.stderr


def test_one_camera_can_be_left_out(paired_folder, tmp_path):
    options = ("--data", paired_folder / "frames", "--limit", 2, "--no-baselines", "--pictures", 0)
    for name, more in (("both", ()), ("one", ("--without", "visible"))):
        answer = ssvif_evaluate("tiny", *options, "-o", tmp_path / name, *more)
        assert answer.returncode == 0, answer.stderr
        assert not (tmp_path / name / "grid.png").exists()
    both, one = (json.loads((tmp_path / n / "summary.json").read_text()) for n in ("both", "one"))
    assert one["without"] == "visible"
    assert one["fusion"] != both["fusion"]


def test_cameras_baselines_and_models_are_segmented_and_features_probed(paired_folder, tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch (extra `train`)")
    from ssvif_core.network.fusion_network import FusionNetwork

    state = {"variant": "tiny", "classes": ["a", "b"], "config": "{}", "mode": None, "step": 0}
    torch.save({**state, "average": FusionNetwork("tiny", 2).state_dict()}, tmp_path / "c.pt")
    frames = paired_folder / "frames"
    answer = ssvif_evaluate(
        *("tiny", "--data", frames, "-o", tmp_path, "--limit", 2, "--no-baselines", "--jobs", 1),
        *("--segmentability", "--train", frames, "--steps", 2, "--seeds", "0,1"),
        *("--probe", tmp_path / "c.pt"),
    )
    assert answer.returncode == 0, answer.stderr
    tables = json.loads((tmp_path / "summary.json").read_text())
    assert list(tables["segmentability"]) == ["visible", "thermal", "tiny"]
    assert {"car", "objects", "objects spread"} <= set(tables["segmentability"]["tiny"])
    assert list(tables["linear probe"]) == ["colour", str(tmp_path / "c.pt")]
    assert tables["linear probe"]["colour"]["background"] > 0.3
    assert "car" in tables["linear probe"]["colour"]  # a name that tiny knows
    assert "mean rank" not in answer.stdout  # of one method


@pytest.fixture
def three_frames(paired_folder, tmp_path):
    """A folder of three labelled frames that a test may change."""
    for part in ("visible", "thermal", "labels"):
        (tmp_path / "set" / part).mkdir(parents=True)
        for name in ("000.png", "001.png", "002.png"):
            shutil.copy(paired_folder / "frames" / part / name, tmp_path / "set" / part / name)
    return tmp_path / "set"


def test_a_camera_that_is_left_out_is_black_for_everything_that_is_measured(three_frames, tmp_path):
    """All figures are those of a folder that holds black images of that camera."""
    torch = pytest.importorskip("torch", reason="needs torch (extra `train`)")
    from ssvif_core.network.fusion_network import FusionNetwork

    state = {"variant": "tiny", "classes": ["a", "b"], "config": "{}", "mode": None, "step": 0}
    torch.save({**state, "average": FusionNetwork("tiny", 2).state_dict()}, tmp_path / "c.pt")
    tiny = open_model("tiny")
    (tmp_path / "anonymous.onnx").write_bytes(tiny.path.read_bytes())
    card = {**tiny.card.content, "mode": "clusters", "name": "anonymous"}
    (tmp_path / "anonymous.json").write_text(json.dumps(card))
    black = tmp_path / "black"
    shutil.copytree(three_frames, black)
    for path in (black / "visible").iterdir():
        cv2.imwrite(str(path), 0 * cv2.imread(str(path)))
    found = []
    for data, without in ((three_frames, "visible"), (black, None), (three_frames, None)):
        evaluate(
            models=[str(tmp_path / "anonymous.onnx")], data=data, output=tmp_path / "out", jobs=1,
            baselines=False, without=without, pictures=0, train=data, segmentability=True, steps=2,
            probe=[tmp_path / "c.pt"],
        )  # fmt: skip
        found.append(json.loads((tmp_path / "out" / "summary.json").read_text()))
    for table in ("fusion", "clusters", "segmentability", "linear probe"):
        assert found[0][table] == found[1][table] != found[2][table]


def test_a_frame_that_is_left_out_is_not_counted_as_labelled(three_frames, tmp_path, capsys):
    for part in ("visible", "thermal", "labels"):
        path = str(three_frames / part / "001.png")
        cv2.imwrite(path, cv2.imread(path, cv2.IMREAD_UNCHANGED)[:40, :40])
    evaluate(models=["tiny"], data=three_frames, output=tmp_path / "out", jobs=1, baselines=False)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["frames"], summary["labelled"]) == (2, 2)
    shown = capsys.readouterr()
    assert "IoU of masks, 2 frames" in shown.out
    assert "1 left out: 001" in shown.err


def test_a_label_map_that_leaves_no_pixel_says_which_ids_there_are(three_frames, tmp_path):
    with pytest.raises(SsvifError) as refused:
        evaluate(data=three_frames, output=tmp_path / "out", jobs=1, label_map="7:0,8:1")
    for said in ("--label-map names ids (7, 8)", "hold 0 (in 000.png, ", "; 1 (in"):
        assert said in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_ids_that_a_model_does_not_know_are_told_before_the_first_frame(
    three_frames, tmp_path, capsys
):
    for name, ids in (("001.png", (4, 7)), ("002.png", (4,))):
        path = str(three_frames / "labels" / name)
        labels = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        labels[0, : len(ids)] = ids
        cv2.imwrite(path, labels)
    asked = {"models": ["tiny"], "data": three_frames, "jobs": 1, "baselines": False}
    with pytest.raises(SsvifError) as refused:
        evaluate(**asked, output=tmp_path / "out")
    for said in ("4 (in 001.png, 002.png); 7 (in 001.png)", "2 person", "0:0,1:1,2:2,3:3"):
        assert said in str(refused.value)
    assert "evaluating" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(SsvifError, match="such as --train-label-map 0:0"):
        evaluate(
            **asked, output=tmp_path / "out", label_map="0:0", train=three_frames,
            segmentability=True,
        )  # fmt: skip
    evaluate(**asked, output=tmp_path / "out", label_map="0:0,1:1,2:2,3:3,4:0")  # as it advises
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["labelled"] == 3


def test_a_model_of_other_classes_than_the_labels_is_compared_by_its_image(
    three_frames, tmp_path, capsys
):
    """The start beside what it became with labels of a user's own."""
    tiny = open_model("tiny")
    card = json.loads(tiny.path.with_suffix(".json").read_text())
    card["classes"].append({"id": 4, "name": "kerb", "color": [9, 9, 9]})
    (tmp_path / "own.json").write_text(json.dumps(card))
    shutil.copy(tiny.path, tmp_path / "own.onnx")
    path = str(three_frames / "labels" / "001.png")
    labels = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    labels[0, :5] = 4
    cv2.imwrite(path, labels)
    own = str(tmp_path / "own.onnx")
    asked = {"models": ["tiny", own], "jobs": 1, "baselines": False, "output": tmp_path / "out"}
    evaluate(**asked, data=three_frames)
    shown = capsys.readouterr().err
    assert "Masks of tiny are not scored" in shown and "different classes" not in shown
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert len(summary["fusion"]) == 2 and len(summary["segmentation"]) == 1
    assert summary["unscored"] == ["tiny"]
    evaluate(**asked, data=three_frames, label_map="0:0,1:1,2:2,3:3")
    assert "different classes: each is scored as if labels were its own" in capsys.readouterr().err


def test_a_wrong_call_is_one_line_that_says_what_to_do(tmp_path):
    answer = ssvif_evaluate("tiny", "--data", tmp_path, "-o", tmp_path)
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    assert "Make folders visible/ and thermal/" in " ".join(answer.stderr.split())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"label_map": "x"}, "label map"),
        ({"labels": "truth"}, "no label image"),
        ({"segmentability": True}, "--train FOLDER"),
        ({"baselines": False}, "nothing to evaluate"),
        ({"without": "radar", "data": Path("/nowhere")}, "visible or thermal"),
        ({"models": ["nonesuch"]}, "There is no model"),
    ],
)
def test_options_that_make_no_sense_are_refused(paired_folder, tmp_path, options, reason):
    with pytest.raises(SsvifError, match=reason):
        evaluate(**{"data": paired_folder / "frames", "output": tmp_path, "jobs": 1, **options})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"seeds": ""}, "no list of seeds"),
        ({"seeds": "-1"}, "no list of seeds"),
        ({"device": "foo"}, "device foo cannot be used"),
        ({"device": "cuda:99"}, "device cuda:99 cannot be used"),
        ({"probe": [Path("nothere.pt")]}, "no checkpoint nothere.pt"),
        ({"train_labels": "visible"}, "holds colours, not class ids"),
    ],
)
def test_what_is_learnt_with_is_checked_before_anything_is_measured(
    paired_folder, tmp_path, options, reason
):
    pytest.importorskip("torch", reason="needs torch (extra `train`)")
    frames, output = paired_folder / "frames", tmp_path / "out"
    given = {"data": frames, "output": output, "train": frames, "segmentability": True, "jobs": 1}
    with pytest.raises(SsvifError, match=reason):
        evaluate(**{**given, **options})
    assert not output.exists()


def test_a_report_that_cannot_be_written_is_said_first(paired_folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileExistsError):  # which the command makes a line of
        evaluate(data=paired_folder / "frames", output=tmp_path / "file", jobs=1, engine="abacus")
    with pytest.raises(SsvifError, match="Nothing may be written in /proc: put summary.json"):
        evaluate(data=paired_folder / "frames", output=Path("/proc"), jobs=1, engine="abacus")


def test_the_report_is_there_although_what_is_learnt_fails(paired_folder, tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch (extra `train`)")
    from ssvif_core.network.fusion_network import FusionNetwork

    state = {"variant": "tiny", "classes": ["a", "b"], "config": "{}", "mode": None, "step": 0}
    torch.save({**state, "average": FusionNetwork("tiny", 2).state_dict()}, tmp_path / "c.pt")
    frames = paired_folder / "frames"
    mapped = {"train": frames, "train_label_map": "9:0", "probe": [tmp_path / "c.pt"]}
    with pytest.raises(SsvifError, match="needs frames with labels"):
        evaluate(["tiny"], data=frames, output=tmp_path, jobs=1, limit=2, steps=1, **mapped)
    assert "tiny" in json.loads((tmp_path / "summary.json").read_text())["fusion"]
