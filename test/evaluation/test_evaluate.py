"""From a folder and models to tables and files: counts add up, and nothing depends on the jobs."""

from __future__ import annotations

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
from model_files import frame
from rich.console import Console

from ssvif_core.data.pairs import list_pairs, read_pair
from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.baselines import BASELINES
from ssvif_core.evaluation.colour_clusters import kmeans_on_colour
from ssvif_core.evaluation.evaluate import MEAN_RANK, Evaluation, evaluate
from ssvif_core.evaluation.evaluation_set import open_evaluation_set, parse_label_map
from ssvif_core.evaluation.frame_scores import FrameScorer, Plan, without_camera
from ssvif_core.evaluation.fusion_metrics import METRICS, evaluate_fusion
from ssvif_core.evaluation.methods import model_method, open_models
from ssvif_core.evaluation.report import plain, write_report
from ssvif_core.evaluation.segmentation_metrics import ConfusionMatrix, named_iou
from ssvif_core.evaluation.tables import screen_table
from ssvif_core.inference.engine import ENGINES
from ssvif_core.models import open_model


@pytest.fixture(scope="module")
def day_and_night(frame_pairs, tmp_path_factory):
    """Six labelled frames whose names end in D or N."""
    root = tmp_path_factory.mktemp("msrs")
    for part in ("visible", "thermal", "labels"):
        (root / part).mkdir()
    for index, (visible, thermal, labels) in enumerate(frame_pairs[:6]):
        name = f"{index:03d}{'DN'[index % 2]}.png"
        cv2.imwrite(str(root / "visible" / name), visible[..., ::-1])
        cv2.imwrite(str(root / "thermal" / name), thermal)
        cv2.imwrite(str(root / "labels" / name), labels)
    return root


@pytest.fixture(scope="module")
def evaluation(day_and_night):
    plan = Plan(("tiny",), ("max", "average"), pictures=frozenset({"000D", "003N"}))
    return evaluate(plan, open_evaluation_set(day_and_night))


def test_means_are_those_of_the_frames_one_by_one(day_and_night, evaluation):
    pairs = [read_pair(*files) for files in list_pairs(day_and_night)]
    table = evaluation.fusion()
    assert list(table) == ["max", "average", "tiny"]
    for name in ("max", "average"):
        rows = [
            evaluate_fusion(BASELINES[name](p.visible, p.thermal), p.visible, p.thermal)
            for p in pairs
        ]
        for metric in METRICS:
            assert table[name][metric] == pytest.approx(np.mean([row[metric] for row in rows]))
    assert sum(values[MEAN_RANK] for values in table.values()) == pytest.approx(1 + 2 + 3)


def test_methods_can_be_ranked_among_a_few(evaluation):
    table = evaluation.fusion(["max", "tiny"])
    assert list(table) == ["max", "tiny"]
    assert sum(values[MEAN_RANK] for values in table.values()) == pytest.approx(3)


def test_day_and_night_add_up_to_all(day_and_night, evaluation):
    scores = evaluation.segmentation()["tiny"]
    assert set(scores) == {"all", "day", "night"}
    frames = open_evaluation_set(day_and_night)
    scorer = FrameScorer(Plan(("tiny",)))
    matrix = ConfusionMatrix(4)
    for name in frames.names:
        if name.endswith("N"):
            matrix.counts += scorer.score(frames.read(name)).counts["tiny"]
    names = ["background", "car", "person", "bicycle"]
    assert scores["night"] == pytest.approx(named_iou(matrix, names), nan_ok=True)


def test_two_processes_give_the_figures_of_one(day_and_night, evaluation):
    ticks = []
    plan = Plan(("tiny",), ("max", "average"))
    both = evaluate(plan, open_evaluation_set(day_and_night), 2, lambda: ticks.append(1))
    assert len(ticks) == 6
    assert [frame.name for frame in both.frames] == [frame.name for frame in evaluation.frames]
    assert both.fusion() == evaluation.fusion()
    assert both.segmentation()["tiny"]["all"] == evaluation.segmentation()["tiny"]["all"]


def test_errors_in_another_process_reach_the_user(day_and_night):
    frames = open_evaluation_set(day_and_night, label_map={i: 7 for i in range(256)})
    with pytest.raises(SsvifError, match="--label-map"):
        evaluate(Plan(("tiny",)), frames, jobs=2)


def test_without_a_camera_the_methods_see_black(day_and_night):
    frames = open_evaluation_set(day_and_night)
    pair = frames.read(frames.names[0])
    dark = without_camera(pair, "visible")
    assert not dark.visible.any() and dark.thermal is pair.thermal and dark.labels is pair.labels
    assert not without_camera(pair, "thermal").thermal.any()
    score = FrameScorer(Plan((), ("max",), without="visible")).score(pair)
    black = np.zeros_like(pair.visible)
    expected = evaluate_fusion(BASELINES["max"](black, pair.thermal), black, pair.thermal)
    assert {name: score.metrics["max"][name] for name in METRICS} == pytest.approx(expected)
    with pytest.raises(SsvifError, match="visible or thermal"):
        without_camera(pair, "radar")


def test_masks_without_names_are_scored_as_clusters_beside_colour(day_and_night, tmp_path):
    """A shipped model whose card says `clusters` is real, but for the meaning of its ids."""
    model = open_models(["tiny"])["tiny"]
    (tmp_path / "anonymous.onnx").write_bytes(model.path.read_bytes())
    card = {**model.card.content, "mode": "clusters", "name": "anonymous"}
    (tmp_path / "anonymous.json").write_text(json.dumps(card))
    frames = open_evaluation_set(day_and_night)
    colour = {"colour": kmeans_on_colour(map(frames.read, frames.names), 4)}
    plan = Plan((str(tmp_path / "anonymous.onnx"), "tiny"), colour=colour)
    result = evaluate(plan, frames)
    assert list(result.segmentation()) == ["tiny"]
    clusters = result.clusters()
    assert list(clusters) == ["anonymous", "colour"]
    assert set(clusters["colour"]) == {"all", "day", "night"}
    # The ids of this model are the classes', so matching them can only be as good or better.
    iou = [v for k, v in result.segmentation()["tiny"]["all"].items() if k != "objects"]
    assert clusters["anonymous"]["all"]["hungarian mIoU"] >= np.nanmean(iou) - 1e-9


def test_a_report_holds_every_image_and_method(evaluation, tmp_path):
    more = {"segmentability": {"max": {"objects": 0.5, "objects spread": float("nan")}}}
    files = write_report(tmp_path / "new" / "report", evaluation, {"data": "x"}, more)
    assert [f.name for f in files] == ["metrics.csv", "summary.csv", "summary.json", "grid.png"]
    rows = list(csv.DictReader(files[0].open()))
    assert [(r["image"], r["part"], r["method"]) for r in rows[:3]] == [
        ("000D", "day", "max"),
        ("000D", "day", "average"),
        ("000D", "day", "tiny"),
    ]
    assert len(rows) == 6 * 3
    frame = evaluation.frames[0]
    assert float(rows[0]["VIF"]) == pytest.approx(frame.metrics["max"]["VIF"], abs=1e-4)
    assert rows[2]["IoU background"] and not rows[0]["IoU background"]
    summary = json.loads(files[2].read_text())
    assert summary["data"] == "x"
    assert summary["segmentability"]["max"] == {"objects": 0.5, "objects spread": None}
    assert summary["fusion"]["max"]["EN"] == pytest.approx(
        evaluation.fusion()["max"]["EN"], abs=1e-4
    )
    long = list(csv.DictReader(files[1].open()))
    assert {(r["table"], r["method"], r["part"]) for r in long} >= {
        ("fusion", "max", "all"),
        ("segmentation", "tiny", "night"),
        ("segmentability", "max", "all"),
    }
    # Two rows of visible, thermal, two baselines, the model and its masks, 320 x 240 each.
    assert cv2.imread(str(files[3])).shape == (2 * 240, 6 * 320, 3)


def test_a_report_that_cannot_be_written_says_so(evaluation, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SsvifError, match="Choose another folder"):
        write_report(tmp_path / "file" / "below", evaluation, {}, {})


def test_nan_is_null_in_json():
    assert plain({"a": [float("nan"), 0.123456], 3: (1, "x")}) == {
        "a": [None, 0.1235],
        "3": [1, "x"],
    }


ROWS = {
    "a": {"EN": 1.0, "artefacts": 0.1, "mean rank": 2.0},
    "b": {"EN": 2.0, "artefacts": 0.3, "mean rank": float("nan")},
}


def test_the_best_of_each_column_is_bold_and_less_is_better_where_it_is():
    table = screen_table("t", ROWS, Console(width=100))
    cells = {column.header: list(column.cells) for column in table.columns}
    assert cells["EN"] == ["1.000", "[bold]2.000[/]"]
    assert cells["artefacts"] == ["[bold]0.100[/]", "0.300"]
    assert cells["mean rank"] == ["2.000", "-"]


def test_a_narrow_terminal_gets_the_figures_below_each_other():
    table = screen_table("t", ROWS, Console(width=36))
    assert [column.header for column in table.columns] == ["", "a", "b"]
    assert list(table.columns[0].cells) == ["EN", "artefacts", "mean rank"]
    assert list(table.columns[2].cells) == ["[bold]2.000[/]", "0.300", "-"]


def test_a_figure_that_a_frame_lacks_is_the_mean_of_the_others(evaluation):
    frames = [*evaluation.frames]
    lacking = {m: {**v, "artefacts": float("nan")} for m, v in frames[0].metrics.items()}
    frames[0] = type(frames[0])("000D", lacking, {})
    table = Evaluation(frames, evaluation.cards, {}).fusion()
    expected = np.mean([f.metrics["max"]["artefacts"] for f in evaluation.frames[1:]])
    assert table["max"]["artefacts"] == pytest.approx(expected)


def test_frames_are_limited_evenly_and_parts_need_every_name(day_and_night, paired_folder):
    frames = open_evaluation_set(day_and_night, limit=3)
    assert frames.names == ["000D", "002D", "005N"]
    assert frames.evenly(1) == ["000D"]
    assert frames.evenly(9) == frames.names
    assert frames.parts == {"000D": "day", "002D": "day", "005N": "night"}
    assert open_evaluation_set(paired_folder / "frames").parts == {}


def test_a_recording_is_evaluated_in_one_process_or_two_without_labels(recording):
    frames = open_evaluation_set(recording, limit=3)
    assert (len(frames.names), frames.labels, frames.parts) == (3, [], {})
    with pytest.raises(SsvifError, match="have no labels"):
        open_evaluation_set(recording, labels="labels")
    with pytest.raises(SsvifError, match="no split 'val'"):
        open_evaluation_set(recording, split="val")
    with pytest.raises(SsvifError, match="no file or folder"):
        open_evaluation_set(recording / "nowhere")
    plan = Plan((), ("max",))
    one, two = (evaluate(plan, frames, jobs) for jobs in (1, 2))
    assert [frame.name for frame in one.frames] == frames.names
    assert one.fusion() == two.fusion()
    assert one.frames[0].metrics["max"]["SD"] > 1


def test_labels_that_are_asked_for_must_be_there(day_and_night, tmp_path):
    assert len(open_evaluation_set(day_and_night).labels) == 6
    with pytest.raises(SsvifError, match="no label image"):
        open_evaluation_set(day_and_night, labels="truth")


def test_a_published_layout_is_evaluated_on_its_test_split(day_and_night, tmp_path):
    for split, kept in (("train", 6), ("test", 4)):
        names = sorted(p.name for p in (day_and_night / "visible").iterdir())[:kept]
        for ours, theirs in (
            ("visible", "vi"), ("thermal", "ir"), ("labels", "Segmentation_labels"),
        ):  # fmt: skip
            (tmp_path / split / theirs).mkdir(parents=True)
            for name in names:
                shutil.copy(day_and_night / ours / name, tmp_path / split / theirs / name)
    (tmp_path / "test" / "ir" / "000D.png").unlink()  # a pair that is none is left out, not fatal
    frames = open_evaluation_set(tmp_path)
    assert (frames.layout.name, frames.folder) == ("msrs", tmp_path / "test" / "vi")
    assert frames.names == frames.labels == ["001N", "002D", "003N"]
    assert [pair.name for pair in frames.skipped] == ["000D"]
    assert frames.read("001N").labels is not None
    assert len(open_evaluation_set(tmp_path, split="train").names) == 6
    with pytest.raises(SsvifError, match="no split 'val'"):
        open_evaluation_set(tmp_path, split="val")


def test_a_label_map_is_read_and_wrong_ones_are_refused(day_and_night):
    assert parse_label_map("0:0, 4:0,5:2") == {0: 0, 4: 0, 5: 2}
    assert parse_label_map(None) is None
    for text in ("", "3", "1:2:3", "a:1", "1:300", "-1:0"):
        with pytest.raises(SsvifError, match="label map"):
            parse_label_map(text)


def test_a_model_given_twice_is_refused(day_and_night):
    with pytest.raises(SsvifError, match="twice"):
        open_models(["tiny", "tiny"])


def test_an_engine_is_made_for_the_size_of_the_frames(monkeypatch):
    sizes, made = [], ENGINES["onnxruntime"]

    def counted(model, options):
        sizes.append((options.height, options.width))
        return made(model, options)

    monkeypatch.setitem(ENGINES, "onnxruntime", counted)
    method = model_method(open_model("tiny"), "onnxruntime")
    for height, width in ((48, 64), (48, 64), (32, 48)):
        assert method(*frame(height, width)).image.shape == (height, width, 3)
    assert sizes == [(48, 64), (32, 48)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_picture_that_is_damaged_in_the_middle_is_left_out_and_named(
    day_and_night, tmp_path, jobs
):
    folder = tmp_path / "set"
    shutil.copytree(day_and_night, folder)
    path = folder / "visible" / "002D.png"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    path.write_bytes(content)
    frames = open_evaluation_set(folder)
    assert len(frames.names) == 6  # headers and ends are sound
    result = evaluate(Plan((), ("max",)), frames, jobs)
    assert [skipped.name for skipped in result.skipped] == ["002D"]
    assert [frame.name for frame in result.frames] == ["000D", "001N", "003N", "004D", "005N"]
    assert len(list(frames.readable())) == 5


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_frame_too_small_for_the_metrics_is_left_out_and_named(day_and_night, tmp_path, jobs):
    folder = tmp_path / "set"
    shutil.copytree(day_and_night, folder)
    for part in ("visible", "thermal", "labels"):
        path = str(folder / part / "002D.png")
        cv2.imwrite(path, cv2.imread(path, cv2.IMREAD_UNCHANGED)[:47, :60])
    frames = open_evaluation_set(folder)
    result = evaluate(Plan((), ("max",)), frames, jobs)
    assert [skipped.name for skipped in result.skipped] == ["002D"]
    assert "at least 48" in result.skipped[0].reason
    assert len(list(frames.readable())) == 5
    assert [frame.name for frame in result.frames] == ["000D", "001N", "003N", "004D", "005N"]


def test_ids_in_label_files_may_have_16_bits():
    assert parse_label_map("1000:1,65535:255") == {1000: 1, 65535: 255}
    for wrong in ("65536:1", "1:256", "-1:0"):
        with pytest.raises(SsvifError, match="beyond"):
            parse_label_map(wrong)
