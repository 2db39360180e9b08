"""`ssvif replay` on whole recordings: what it says is what one finds by other means."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")

from ssvif_core.data.bag_files import Bag  # noqa: E402
from ssvif_core.data.bag_folders import recordings_in  # noqa: E402
from ssvif_core.data.bag_writer import BagWriter  # noqa: E402
from ssvif_core.evaluation.fusion_metrics import METRICS, evaluate_fusion  # noqa: E402
from ssvif_core.imaging.calibration import Calibration  # noqa: E402
from ssvif_core.imaging.encodings import thermal_of, visible_of  # noqa: E402
from ssvif_core.imaging.pinhole import Camera  # noqa: E402
from ssvif_core.imaging.poses import Pose  # noqa: E402
from ssvif_core.imaging.registration import (  # noqa: E402
    HomographyAlignment,
    PlaneAlignment,
    Registration,
)
from ssvif_core.imaging.thermal_gain import ThermalGain  # noqa: E402
from ssvif_core.inference.engine import EngineOptions, create_engine  # noqa: E402
from ssvif_core.inference.pipeline import Pipeline  # noqa: E402
from ssvif_core.models import open_model  # noqa: E402
from ssvif_core.pairing import NearestPairing  # noqa: E402
from ssvif_core.replay.folder import write_run  # noqa: E402
from ssvif_core.replay.options import ReplayOptions  # noqa: E402
from ssvif_core.replay.recording import Recording, Slice  # noqa: E402
from ssvif_core.replay.roles import TopicChoice  # noqa: E402
from ssvif_core.replay.run import replay  # noqa: E402
from ssvif_core.replay.settings import NodeSettings  # noqa: E402
from ssvif_core.replay.tables import answers  # noqa: E402

TINY = NodeSettings(model="tiny", engine="onnxruntime", threads=1)
TOPICS = ("/visible/image_raw", "/thermal/image_raw")


def ignore_progress(done_s, total_s, remark):
    """Nobody looks."""


def replayed(path, folder, **options):
    """Summary and rows of a replay."""
    options = {"settings": TINY, "metrics_every": 2, "video": False, **options}
    played = replay(path, folder, ReplayOptions(**options), ignore_progress)
    write_run(played, folder)
    return json.loads((folder / "summary.json").read_text()), rows_of(folder)


def rows_of(folder):
    with gzip.open(folder / "frames.csv.gz", "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def stamps_of(rows):
    return [(int(r["visible_stamp_ns"]), int(r["thermal_stamp_ns"])) for r in rows]


def ssvif(*arguments, cwd=None):
    command = [sys.executable, "-m", "ssvif_core.cli", *map(str, arguments)]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, capture_output=True, encoding="utf-8", cwd=cwd, env=environment)


@pytest.fixture(scope="module")
def run(drive, tmp_path_factory):
    """Folder, summary and rows of a whole replay, output recording and video included."""
    folder = tmp_path_factory.mktemp("run")
    return folder, *replayed(drive, folder, bag=True, video=True)


@pytest.fixture(scope="module")
def by_hand(drive):
    """Pairs, fused images and labels of the same recording, without any code of replay."""
    pairing, pairs = NearestPairing(), []
    messages, truth = {}, {}
    with Bag(drive) as bag:
        for recorded in bag.messages([*TOPICS, "/labels/image_raw"]):
            message = bag.message(recorded)
            stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            if recorded.topic == "/labels/image_raw":
                truth[stamp] = thermal_of(message).copy()
                continue
            camera = recorded.topic.split("/")[1]
            pixels = (visible_of if camera == "visible" else thermal_of)(message).copy()
            messages[camera, stamp] = pixels
            add = pairing.add_visible if camera == "visible" else pairing.add_thermal
            pairs += add(stamp, stamp, recorded.received_ns)
    pairs += pairing.flush()
    engine, _ = create_engine(open_model("tiny"), "onnxruntime", EngineOptions(threads=1))
    gain, outputs = ThermalGain(), []
    for pair in pairs:
        visible = messages["visible", pair.visible]
        thermal = gain.apply(messages["thermal", pair.thermal], pair.thermal * 1e-9)
        fused, labels = engine.infer(np.ascontiguousarray(visible), np.ascontiguousarray(thermal))
        outputs.append((visible, thermal, fused.copy(), labels.copy(), truth.get(pair.visible)))
    engine.close()
    return pairs, outputs


# Figures.


def test_pairs_are_those_of_the_node_s_pairing_told_the_recorded_times(run, by_hand):
    _, summary, rows = run
    pairs, _ = by_hand
    assert len(pairs) > 8
    assert stamps_of(rows) == [(p.visible_stamp_ns, p.thermal_stamp_ns) for p in pairs]
    delta_ms = np.array([p.delta_ns for p in pairs]) * 1e-6
    assert [float(r["delta_ms"]) for r in rows] == pytest.approx(delta_ms, rel=1e-5)
    assert summary["pairing"]["pairs"] == len(pairs)
    assert summary["pairing"]["delta_ms"]["p50"] == pytest.approx(np.median(np.abs(delta_ms)))
    assert sum(summary["pairing"]["delta_histogram"]["counts"]) == len(pairs)
    assert sum(summary["timeline"]["paired"]) == len(pairs)
    counts = summary["pairing"]["counts"]
    for camera in ("visible", "thermal"):
        assert counts[f"received_{camera}"] == counts["paired"] + counts[f"unpaired_{camera}"]
        assert sum(summary["timeline"][camera]) == counts[f"received_{camera}"]
        assert summary["streams"][camera]["frames"] == counts[f"received_{camera}"]


def test_fusion_metrics_are_those_of_the_fused_images(run, by_hand):
    _, summary, rows = run
    _, outputs = by_hand
    expected = [evaluate_fusion(f, v, t) for v, t, f, _, _ in outputs[::2]]
    measured = [r for r in rows if r["Qabf"]]
    assert [int(r["index"]) for r in measured] == list(range(0, len(rows), 2))
    for metric in METRICS:
        values = [e[metric] for e in expected]
        assert [float(r[metric]) for r in measured] == pytest.approx(values, rel=1e-5)
        mean = summary["fusion"]["metrics"][metric]["mean"]
        assert mean == pytest.approx(np.mean(values))


def test_mask_figures_are_those_of_all_labelled_frames_together(run, by_hand):
    _, summary, rows = run
    _, outputs = by_hand
    assert summary["segmentation"]["labelled"] == len(rows)
    truth = np.stack([o[4] for o in outputs])
    labels = np.stack([o[3] for o in outputs])
    for number, name in enumerate(summary["model"]["classes"]):
        both = ((truth == number) & (labels == number)).sum()
        either = ((truth == number) | (labels == number)).sum()
        iou = summary["segmentation"]["iou"][name]
        assert iou == (pytest.approx(both / either) if either else None)
    accuracy = (truth == labels).mean(axis=(1, 2))
    assert [float(r["pixel_accuracy"]) for r in rows] == pytest.approx(accuracy, rel=1e-5)


def test_brightness_is_that_of_the_fused_images(run, by_hand):
    gray = [cv2.cvtColor(o[2], cv2.COLOR_RGB2GRAY) for o in by_hand[1]]
    assert [float(r["fused_mean"]) for r in run[2]] == pytest.approx([g.mean() for g in gray], 1e-5)
    deviation = [float(r["fused_deviation"]) for r in run[2]]
    assert deviation == pytest.approx([g.std() for g in gray], 1e-5)


def test_the_report_draws_the_figures_of_the_table(run):
    folder, summary, rows = run
    page = (folder / "report.html").read_text()
    plots = json.loads(re.search(r"const PLOTS = (.*);\n", page).group(1))
    shared = json.loads(re.search(r"const XS = (.*);\n", page).group(1))
    lines = {p["title"]: {line["name"]: line for line in p["lines"]} for p in plots}
    delta = lines["Distance of the two frames of a pair, thermal - visible"]["delta"]
    assert delta["y"] == pytest.approx([float(r["delta_ms"]) for r in rows], rel=1e-4)
    assert shared[delta["x"]] == pytest.approx([float(r["time_s"]) for r in rows], abs=1e-3)
    qabf = lines["Fusion metric Qabf"]["Qabf"]
    assert qabf["y"] == pytest.approx([float(r["Qabf"]) for r in rows if r["Qabf"]], rel=1e-4)
    health = lines["Messages and pairs in each second"]
    assert health["visible"]["y"] == summary["timeline"]["visible"]
    assert f"{summary['pairing']['pairs']} of" in page
    assert "sha256" in page
    assert page.count("data:image/jpeg;base64,") >= 6


# Outputs.


def test_the_output_recording_holds_the_pipeline_s_images_and_the_labels_meaning(run, by_hand):
    folder, summary, rows = run
    _, outputs = by_hand
    wanted = ["/fusion/fused", "/fusion/labels", "/fusion/camera_info", "/fusion/label_info"]
    found = {topic: [] for topic in [*wanted, "/diagnostics"]}
    with Bag(folder / "bag") as bag:
        assert set(bag.topics()) == set(found)
        for recorded in bag.messages([*found]):
            found[recorded.topic].append(bag.message(recorded))
    for message, output, row in zip(found["/fusion/fused"], outputs, rows, strict=True):
        assert (visible_of(message) == output[2]).all()
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        assert stamp == int(row["visible_stamp_ns"])
        assert message.header.frame_id == "visible_optical_frame"
    for message, output in zip(found["/fusion/labels"], outputs, strict=True):
        assert (thermal_of(message) == output[3]).all()
    assert found["/fusion/camera_info"][0].k[0] == outputs[0][0].shape[1]
    (info,) = found["/fusion/label_info"]
    assert [c["name"] for c in json.loads(info.data)["classes"]] == summary["model"]["classes"]
    seconds = [{v.key: v.value for v in m.status[0].values} for m in found["/diagnostics"]]
    paired = [int(values["paired"]) for values in seconds]
    assert paired[-1] == len(rows)  # the pairing's own count, which goes on from second to second


def test_a_viewer_can_read_the_output_recording_without_ros_by_the_schemas_in_it(run):
    from rosbags.interfaces import MessageDefinitionFormat
    from rosbags.rosbag2 import Reader
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    def types_in(connection):
        """From its text alone, with the messages that it is made of."""
        return get_types_from_msg(connection.msgdef.data, connection.msgtype)

    known = get_typestore(Stores.EMPTY)
    with Reader(run[0] / "bag") as reader:
        for connection in reader.connections:
            assert connection.msgdef.format == MessageDefinitionFormat.MSG
            new = {k: v for k, v in types_in(connection).items() if k not in known.fielddefs}
            known.register(new)
        first = {}
        for connection, _, data in reader.messages():
            first.setdefault(connection.topic, known.deserialize_cdr(data, connection.msgtype))
    assert first["/fusion/fused"].encoding == "rgb8"
    assert first["/fusion/labels"].encoding == "mono8"
    assert first["/diagnostics"].status[0].values
    content = next((run[0] / "bag").glob("*.mcap")).read_bytes()
    assert content.startswith(b"\x89MCAP0\r\n") and b"ros2msg" in content


def test_the_video_has_a_frame_for_each_pair(run):
    capture = cv2.VideoCapture(str(run[0] / "fused.mp4"), cv2.CAP_FFMPEG)
    count = 0
    while capture.grab():
        count += 1
    assert count == len(run[2])


def test_parquet_is_the_same_table(run):
    parquet = pytest.importorskip(
        "pyarrow.parquet", reason="needs the extra `replay`, Python >= 3.11"
    )
    table = parquet.read_table(run[0] / "frames.parquet")
    stamps = table["visible_stamp_ns"].to_pylist()
    assert stamps == [int(r["visible_stamp_ns"]) for r in run[2]]
    assert table["Qabf"].to_pylist()[1] is None


# Recordings of every kind.


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_every_kind_of_storage_gives_the_same(record, drive, run, tmp_path, storage, compression):
    bag = record(tmp_path / "drive", 3.0, storage, compression)
    summary, rows = replayed(bag, tmp_path / "run", metrics_every=0, pictures=0)
    assert stamps_of(rows) == stamps_of(run[2])
    assert [r["fused_mean"] for r in rows] == [r["fused_mean"] for r in run[2]]
    assert summary["segmentation"]["iou"] == run[1]["segmentation"]["iou"]
    assert summary["warnings"] == run[1]["warnings"]


def cut(bag):
    """Leave six tenths of the file of a recording; its name."""
    (file,) = (p for p in bag.iterdir() if p.suffix in (".mcap", ".db3"))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 6 // 10])
    return file.name


def test_a_ros_1_bag_with_compressed_images_gives_the_same_pairs(drive, run, tmp_path):
    from rosbags import rosbag1
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    kinds = {topic: "sensor_msgs/msg/CompressedImage" for topic in TOPICS}
    kinds["/visible/camera_info"] = "sensor_msgs/msg/CameraInfo"
    with Bag(drive) as bag, rosbag1.Writer(tmp_path / "old.bag") as writer:
        connections = {
            topic: writer.add_connection(
                topic + ("/compressed" if topic in TOPICS else ""), kind, typestore=store
            )
            for topic, kind in kinds.items()
        }
        for recorded in bag.messages([*kinds]):
            message, kind = bag.message(recorded), kinds[recorded.topic]
            stamp = store.types["builtin_interfaces/msg/Time"](
                message.header.stamp.sec, message.header.stamp.nanosec
            )
            header = store.types["std_msgs/msg/Header"](0, stamp, message.header.frame_id)
            if recorded.topic in TOPICS:
                visible = recorded.topic == TOPICS[0]
                pixels = visible_of(message)[..., ::-1] if visible else thermal_of(message)
                png = cv2.imencode(".png", pixels)[1].ravel()
                text = "bgr8; png compressed bgr8" if visible else "16UC1; png compressed "
                fields = {"format": text, "data": png}
            else:
                lens = {key.upper(): getattr(message, key) for key in "dkrp"}
                region = store.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
                fields = {
                    "height": message.height, "width": message.width, "binning_x": 0,
                    "binning_y": 0, "roi": region, "distortion_model": "plumb_bob", **lens,
                }  # fmt: skip
            data = store.serialize_ros1(store.types[kind](header=header, **fields), kind)
            writer.write(connections[recorded.topic], recorded.received_ns, data)
    summary, rows = replayed(tmp_path / "old.bag", tmp_path / "run", metrics_every=0, bag=True)
    assert summary["recording"]["topics"]["thermal"] == "/thermal/image_raw/compressed"
    assert stamps_of(rows) == stamps_of(run[2])
    assert [r["fused_mean"] for r in rows] == [r["fused_mean"] for r in run[2]]  # PNG loses nothing
    with Bag(tmp_path / "run" / "bag") as bag:
        info = bag.message(next(bag.messages(["/fusion/camera_info"])))
    assert info.k[0] == info.width == 96


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_recording_that_was_cut_short_is_read_up_to_there(record, run, tmp_path, storage):
    # Large enough for several chunks of 1 MiB; what is in a cut chunk is lost.
    bag = record(tmp_path / "drive", 3.0, storage, labels=False, scale=3)
    name = cut(bag)
    summary, rows = replayed(bag, tmp_path / "run", metrics_every=0, pictures=0)
    assert name in summary["warnings"][0]
    assert 3 < len(rows) < len(run[2])
    # The last pair before the cut may differ: what would have decided it is not there.
    assert stamps_of(rows)[:-1] == stamps_of(run[2])[: len(rows) - 1]


def test_a_damaged_recording_ends_with_status_1_only_when_strict(record, tmp_path):
    bag = record(tmp_path / "drive", 3.0, "sqlite3", labels=False)
    name = cut(bag)
    options = ["-o", tmp_path / "run", "--model", "tiny", "--metrics-every", 0]
    done = ssvif("replay", bag, *options)
    assert done.returncode == 0, done.stderr
    assert "warning: " + name in done.stdout
    done = ssvif("replay", bag, *options, "--resume", "--strict")
    assert done.returncode == 1
    assert name in done.stderr
    assert "done already" in done.stdout


def test_where_nothing_could_be_fused_the_status_is_1(drive, tmp_path):
    options = ["-o", tmp_path / "run", "--model", "tiny", "--metrics-every", 0, "--no-video"]
    done = ssvif("replay", drive, *options, "--gain", "none")  # which is for 8-bit frames
    assert done.returncode == 1
    assert "nothing was fused: Thermal gain" in done.stderr.replace("\n", "")
    assert "At real time here: 0 fused" in done.stdout
    again = ssvif("replay", drive, *options, "--gain", "none", "--resume")
    assert again.returncode == 1
    assert "done already" in again.stdout


def test_one_recording_that_cannot_be_read_does_not_stop_the_others(drive, tmp_path):
    bags = tmp_path / "bags"
    shutil.copytree(drive, bags / "good")
    (bags / "bad.mcap").write_bytes(bytes(range(256)))
    options = ["--model", "tiny", "--metrics-every", 0, "--no-video"]
    result = ssvif("replay", bags, "-o", tmp_path / "out", *options)
    assert result.returncode == 0, result.stderr
    assert "bad.mcap" in result.stderr
    assert (tmp_path / "out" / "good" / "summary.json").is_file()
    result = ssvif("replay", bags, "-o", tmp_path / "out", *options, "--strict", "--resume")
    assert result.returncode == 1
    assert "good: done already" in result.stdout


def test_names_that_are_no_text_or_look_like_markup_are_shown_all_the_same(drive, tmp_path):
    odd = [tmp_path / "drive [bold]", tmp_path / os.fsdecode(b"drive\xff")]
    for path in odd:
        shutil.copytree(drive, path)
    options = ["--model", "tiny", "--metrics-every", 0, "--no-video", "--duration", 1]
    done = ssvif("replay", *odd, "-o", tmp_path / "runs", *options)
    assert done.returncode == 0, done.stderr
    assert "drive [bold] [s]" in done.stderr
    assert "drive\N{REPLACEMENT CHARACTER} [s]" in done.stderr
    assert str(tmp_path / "drive\\udcff") in done.stdout
    for name in ("drive [bold]", "drive\N{REPLACEMENT CHARACTER}"):
        summary = json.loads((tmp_path / "runs" / name / "summary.json").read_text())
        assert summary["bag"] == name
        page = (tmp_path / "runs" / name / "report.html").read_text(encoding="utf-8")
        assert f"Replay of {name}" in page


def test_here_and_its_neighbour_are_called_by_their_names(drive, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for path in (here, there):
        shutil.copytree(drive, path)
    options = ["--model", "tiny", "--metrics-every", 0, "--no-video", "--duration", 1]
    done = ssvif("replay", ".", "../there", "-o", tmp_path / "runs", *options, cwd=here)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"here", "there"}
    summary = json.loads((tmp_path / "runs" / "here" / "summary.json").read_text())
    assert summary["bag"] == "here"


def test_files_of_one_split_recording_are_one_and_others_are_several(tmp_path):
    split, several = tmp_path / "split", tmp_path / "several"
    for path in (split / "a_0.mcap", split / "a_1.mcap", several / "a.mcap", several / "b.mcap"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert recordings_in([split]) == [split]
    assert recordings_in([several]) == [several / "a.mcap", several / "b.mcap"]
    assert recordings_in([tmp_path]) == [several / "a.mcap", several / "b.mcap", split]


def test_a_slice_is_that_part_of_the_recording(drive, run, tmp_path):
    summary, rows = replayed(drive, tmp_path, part=Slice(1.0, 1.0), metrics_every=0)
    whole = [s for s, r in zip(stamps_of(run[2]), run[2], strict=True) if float(r["time_s"]) >= 1.0]
    assert stamps_of(rows)[0] == whole[0]
    assert summary["recording"]["seconds"] <= 1.0
    assert 3 <= len(rows) <= 6


def test_topics_are_found_and_said_and_labels_are_not_taken_for_a_camera(drive):
    with Recording(drive) as recording:
        assert recording.topics == {
            "visible": "/visible/image_raw",
            "thermal": "/thermal/image_raw",
            "labels": "/labels/image_raw",
            "visible_info": "/visible/camera_info",
            "thermal_info": "/thermal/camera_info",
        }
        assert "thermal: /thermal/image_raw (mono16)" in recording.found
    with Recording(drive, TopicChoice(labels="none")) as recording:
        assert "labels" not in recording.topics


def test_true_labels_can_come_from_a_folder(record, run, drive, by_hand, tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    for pair, output in zip(*by_hand, strict=True):
        cv2.imwrite(str(folder / f"{pair.visible}.png"), output[4])
    bag = record(tmp_path / "drive", 3.0, labels=False)
    without, _ = replayed(bag, tmp_path / "without", metrics_every=0)
    assert without["segmentation"] is None
    assert without["without_truth"] == "no true labels in the recording"
    found, _ = replayed(bag, tmp_path / "run", metrics_every=0, labels_folder=folder)
    assert found["segmentation"] == run[1]["segmentation"]
    other = tmp_path / "other"
    other.mkdir()
    cv2.imwrite(str(other / "000123.png"), output[4])
    unused, _ = replayed(bag, tmp_path / "unused", metrics_every=0, labels_folder=other)
    assert "none of the 1 label images" in unused["without_truth"]
    assert "the first is 000123.png" in unused["without_truth"]


def test_a_short_recording_has_fusion_metrics_of_more_than_its_first_pair(record, tmp_path):
    bag = record(tmp_path / "drive", 3.0)
    summary, rows = replayed(bag, tmp_path / "run", metrics_every=None)
    assert summary["fusion"]["every"] == 1  # fifteen thermal frames, for some fifteen of them
    measured = [int(row["index"]) for row in rows if row["Qabf"]]
    assert measured == list(range(len(rows)))
    assert summary["fusion"]["measured"] == len(measured) > 1


def test_how_often_fusion_is_measured_goes_by_the_length_where_no_file_counts(record, tmp_path):
    bag = record(tmp_path / "drive", 3.0)
    file = bag / "drive.mcap"
    file.write_bytes(file.read_bytes()[:-60_000])  # without its index
    (bag / "metadata.yaml").unlink()
    summary, _ = replayed(bag, tmp_path / "run", metrics_every=None)
    assert summary["fusion"]["every"] in (5, 6)  # some 90 frames at 30 Hz


# What went wrong, and when.


def test_a_frozen_camera_and_a_pause_are_found_where_they_are(record, tmp_path):
    freeze = {"freeze_every_s": 1.5, "freeze_for_s": 0.85, "drop": 0.0}
    bag = record(tmp_path / "drive", 3.0, **freeze)
    summary, _ = replayed(bag, tmp_path / "run", metrics_every=0)
    first = summary["streams"]["thermal"]["frozen"][0]
    # 5 Hz: the frame of 1.4 s is repeated until 2.2 s.
    assert first["start_s"] == pytest.approx(1.4, abs=0.05)
    assert first["seconds"] == pytest.approx(0.8, abs=0.05)
    assert any("thermal image stood still" in w for w in summary["warnings"])
    assert summary["streams"]["visible"]["frozen"] == []


def test_a_camera_that_is_frozen_for_long_leaves_the_other_alone_as_in_the_node(record, tmp_path):
    # The thermal picture of 1.4 s is repeated until 3.4 s; after a second the node calls it frozen.
    bag = record(tmp_path / "drive", 4.0, freeze_every_s=1.5, freeze_for_s=1.95, drop=0.0)
    summary, rows = replayed(bag, tmp_path / "run", metrics_every=1, bag=True)
    alone = [r for r in rows if r["cameras"] == "visible"]
    assert 5 < len(alone) == summary["pairing"]["counts"]["single_visible"]
    assert sum(summary["timeline"]["alone"]) == len(alone)
    assert 2.4 < float(alone[0]["time_s"]) < 2.7
    assert all(r["thermal_stamp_ns"] == "" and r["delta_ms"] == "" for r in alone)
    assert all(r["Qabf"] == "" and r["fused_mean"] == "" for r in alone)
    assert alone[0]["total_ms"]  # the first of its kind is timed
    (span,) = (s for s in summary["presence"] if s["mode"] == "visible")
    assert span["start_s"] == pytest.approx(float(alone[0]["time_s"]), abs=0.2)
    assert any("thermal camera as missing once" in w for w in summary["warnings"])
    engine, _ = create_engine(open_model("tiny"), "onnxruntime", EngineOptions(threads=1))
    stamp = int(alone[2]["visible_stamp_ns"])
    pixels = {}
    for path, topic in ((bag, TOPICS[0]), (tmp_path / "run" / "bag", "/fusion/fused")):
        with Bag(path) as opened:
            for recorded in opened.messages([topic]):
                if opened.stamp_ns(recorded) == stamp:
                    pixels[topic] = visible_of(opened.message(recorded)).copy()
    visible = pixels[TOPICS[0]]
    fused, _ = engine.infer(visible, np.zeros(visible.shape[:2], np.uint8))
    assert (pixels["/fusion/fused"] == fused).all()
    engine.close()
    stop = dataclasses.replace(TINY, on_missing="stop")
    _, rows = replayed(bag, tmp_path / "stop", metrics_every=0, settings=stop)
    assert {r["cameras"] for r in rows} == {"both"}


@pytest.mark.parametrize("mode", ["file", "camera_info"])
def test_thermal_is_registered_as_in_the_node(drive, by_hand, tmp_path, mode):
    path, pose = tmp_path / "calibration.yaml", "0.4 0 0 0 0 0.1"
    if mode == "file":
        calibration = Calibration(
            np.array([[1.1, 0, -4], [0, 1.1, 3], [0, 0, 1.0]]), (96, 72), (96, 72)
        )
        calibration.save(path)
        alignment = HomographyAlignment(calibration)
        changes = {"registration__file": str(path)}
    else:
        camera = Camera(
            (96, 72), np.array([[96, 0, 48], [0, 96, 36], [0, 0, 1.0]]), "plumb_bob", ()
        )
        alignment = PlaneAlignment(camera, camera, Pose.from_text(pose), 5.0)
        changes = {"registration__extrinsics": pose, "registration__depth": 5.0}
    settings = dataclasses.replace(TINY, **changes)
    summary, rows = replayed(drive, tmp_path / "run", metrics_every=0, settings=settings)
    assert summary["registration"] == alignment.describe()
    engine, _ = create_engine(open_model("tiny"), "onnxruntime", EngineOptions(threads=1))
    pipeline = Pipeline(engine, ThermalGain(), Registration(alignment))
    pairs, outputs = by_hand
    for pair, (visible, _, unregistered, _, _), row in zip(pairs, outputs, rows, strict=True):
        with Bag(drive) as bag:
            (message,) = (
                bag.message(m) for m in bag.messages([TOPICS[1]]) if bag.stamp_ns(m) == pair.thermal
            )
        result = pipeline.process(visible, thermal_of(message), pair.thermal * 1e-9)
        fused = cv2.cvtColor(result.fused, cv2.COLOR_RGB2GRAY)
        assert float(row["fused_mean"]) == pytest.approx(fused.mean(), 1e-5)
        assert (result.fused != unregistered).any()
        assert 0.2 < float(row["static"] or 1) <= 1.0
    pipeline.close()


def test_fusion_is_measured_where_thermal_looks_and_that_is_said(record, tmp_path):
    bag = record(tmp_path / "drive", 1.0, scale=2, drop=0.0)
    calibration = Calibration(
        np.array([[0.5, 0, 48], [0, 0.5, 36], [0, 0, 1.0]]), (192, 144), (192, 144)
    )
    calibration.save(tmp_path / "calibration.yaml")
    settings = dataclasses.replace(TINY, registration__file=str(tmp_path / "calibration.yaml"))
    summary, rows = replayed(bag, tmp_path / "run", metrics_every=1, settings=settings)
    images = {}
    with Bag(bag) as opened:
        for topic, stamp, pixels in zip(
            TOPICS, stamps_of(rows)[0], (visible_of, thermal_of), strict=True
        ):
            (message,) = (m for m in opened.messages([topic]) if opened.stamp_ns(m) == stamp)
            images[topic] = pixels(opened.message(message)).copy()
    engine, _ = create_engine(open_model("tiny"), "onnxruntime", EngineOptions(threads=1))
    pipeline = Pipeline(engine, ThermalGain(), Registration(HomographyAlignment(calibration)))
    result = pipeline.process(*images.values(), 0.0)
    inside = np.s_[36:108, 48:144]
    expected = evaluate_fusion(
        result.fused[inside], images[TOPICS[0]][inside], result.thermal[inside]
    )
    pipeline.close()
    assert {m: float(rows[0][m]) for m in METRICS} == pytest.approx(expected, rel=1e-5)
    assert summary["fusion"]["box"] == {"x": 48, "y": 36, "width": 96, "height": 72}
    assert "in the 96 x 72 pixels (25 %) that thermal covers" in answers(summary)["Fusion"]


def test_a_registration_that_cannot_be_had_is_warned_of(drive, tmp_path):
    settings = dataclasses.replace(TINY, registration__mode="camera_info")
    summary, rows = replayed(drive, tmp_path, metrics_every=0, settings=settings)
    assert len(rows) > 8
    assert any("set registration.extrinsics" in w for w in summary["warnings"])


def test_the_policy_is_the_parameter_s(drive, run, tmp_path):
    hold = dataclasses.replace(TINY, sync__policy="hold")
    summary, rows = replayed(drive, tmp_path, metrics_every=0, settings=hold)
    assert summary["pairing"]["counts"]["reused_thermal"] > 5
    assert len(rows) > 1.5 * len(run[2])
    pairing = summary["pairing"]
    assert pairing["possible"] == summary["streams"]["visible"]["frames"] >= pairing["pairs"]


def test_stamps_of_another_clock_are_warned_of_and_receipt_pairs_all_the_same(record, tmp_path):
    bag = record(tmp_path / "drive", 2.0, offset_s=-40.0)
    summary, rows = replayed(bag, tmp_path / "header", metrics_every=0)
    assert rows == []
    assert any("thermal camera lie 40.0" in w for w in summary["warnings"])
    assert any("No pair at all" in w for w in summary["warnings"])
    assert any("Try --stamps receive" in w for w in summary["warnings"])
    summary, rows = replayed(bag, tmp_path / "receive", metrics_every=0, stamps="receive")
    assert any("Pairs were made by receipt" in w for w in summary["warnings"])
    assert len(rows) > 5
    assert summary["segmentation"]["labelled"] == len(rows)  # by the visible header stamps


def test_a_damaged_image_is_refused_when_it_comes_and_takes_no_partner(drive, damaged, tmp_path):
    wide = dataclasses.replace(TINY, slop=0.12)  # the next visible frame is near enough as well
    _, whole = replayed(drive, tmp_path / "whole", metrics_every=0, settings=wide)
    summary, rows = replayed(damaged, tmp_path / "run", metrics_every=0, settings=wide)
    with Recording(damaged) as recording:
        arrivals = [a for a in recording.arrivals() if a.role in ("visible", "thermal")]
    bad = {a.header_ns for a in arrivals if a.refused}
    pairing = NearestPairing(slop_s=0.12)
    pairs = []
    for a in arrivals:
        add = pairing.add_visible if a.role == "visible" else pairing.add_thermal
        if not a.refused:
            pairs += add(a.header_ns, None, a.received_ns)
    pairs += pairing.flush()
    assert stamps_of(rows) == [(p.visible_stamp_ns, p.thermal_stamp_ns) for p in pairs]
    assert len(bad) > 8
    assert not bad & {stamp for pair in stamps_of(rows) for stamp in pair}
    partner = {t: v for v, t in stamps_of(whole)}
    others = [(v, t) for v, t in stamps_of(rows) if partner.get(t) in bad and v != partner[t]]
    assert len(others) >= 2
    assert summary["recording"]["refused"] == {
        camera: sum(bool(a.refused) for a in arrivals if a.role == camera)
        for camera in ("visible", "thermal")
    }
    assert sum(summary["timeline"]["refused"]) == len(bad)
    assert sum(summary["timeline"]["bad"]) == summary["bad"] == 0
    assert any("images are refused as in the node" in w for w in summary["warnings"])


def test_an_image_that_cannot_be_decoded_is_a_row_with_the_reason(drive, run, tmp_path):
    """Only a compressed image can look well and be none."""
    thermal = 0
    with Bag(drive) as bag, BagWriter(tmp_path / "bag") as writer:
        for recorded in bag.messages([*TOPICS]):
            message, topic, kind = bag.message(recorded), recorded.topic, recorded.kind
            fields = {key: value for key, value in vars(message).items() if key != "__msgtype__"}
            if topic == TOPICS[1]:
                png = cv2.imencode(".png", thermal_of(message))[1].ravel()
                thermal += 1
                if thermal == 4:
                    png = np.concatenate([png[:60], np.zeros(len(png) - 60, np.uint8)])
                fields = {
                    "header": message.header,
                    "format": "mono16; png compressed ",
                    "data": png,
                }
                topic, kind = topic + "/compressed", "sensor_msgs/msg/CompressedImage"
            writer.message(topic, kind, recorded.received_ns, fields)
    summary, rows = replayed(tmp_path / "bag", tmp_path / "run", metrics_every=0, workers=1)
    assert summary["bad"] == 1
    assert summary["real_time"]["fused"] == len(rows) - 1
    assert [r["error"] != "" for r in rows].count(True) == 1
    assert "damaged" in summary["last_error"]
    assert stamps_of(rows) == stamps_of(run[2])
    assert (Path(tmp_path) / "run" / "report.html").is_file()
