"""Folders of recordings, and recordings that have less than two cameras' frames."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")

from ssvif_core.data.bag_folders import recordings_in  # noqa: E402
from ssvif_core.data.bag_writer import BagWriter  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.replay.folder import write_run  # noqa: E402
from ssvif_core.replay.options import ReplayOptions  # noqa: E402
from ssvif_core.replay.recording import Recording  # noqa: E402
from ssvif_core.replay.run import replay  # noqa: E402
from ssvif_core.replay.settings import NodeSettings  # noqa: E402

START_NS = 1_700_000_000_000_000_000
VISIBLE, THERMAL = np.zeros((48, 64, 3), np.uint8), np.full((48, 64), 7000, np.uint16)


def record(path, visible=5, thermal=5, period_ns=10**8):
    """A recording with so many frames of each camera; a topic with none is in it all the same."""
    cameras = {"visible": (VISIBLE, "rgb8", visible), "thermal": (THERMAL, "mono16", thermal)}
    with BagWriter(path) as bag:
        for camera in cameras:
            bag.add_topic(f"/{camera}/image_raw", "sensor_msgs/msg/Image")
        for number in range(max(visible, thermal)):
            ns = START_NS + number * period_ns
            for camera, (pixels, encoding, count) in cameras.items():
                image = pixels + np.asarray(number, pixels.dtype)
                if number < count:
                    bag.image(f"/{camera}/image_raw", ns, ns, image, encoding, camera)
    return path


def replayed(path, folder, **options):
    settings = NodeSettings(model="tiny", engine="onnxruntime", threads=1)
    options = {"metrics_every": 0, "video": False, "pictures": 0, **options}
    write_run(replay(path, folder, ReplayOptions(settings, **options), lambda *_: None), folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    return json.loads((folder / "summary.json").read_text()), page


# Which recordings there are.


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("drive_0.mcap", "drive_1.mcap", "drive_10.mcap"),
        ("drive_0.db3.zstd", "drive_1.db3", "drive_1.db3-wal", "drive_1.db3-shm"),
        ("run.3_0.mcap", "run.3_1.mcap"),
        ("a_2024-05-01-10-00-00_0.bag", "a_2024-05-01-10-05-00_1.bag.active"),
        ("2024-05-01-10-00-00_0.bag", "2024-05-01-10-05-00_1.bag"),
        ("metadata.yaml", "a.mcap", "b.mcap"),
        ("alone.mcap", "notes.txt"),
    ],
)
def test_parts_of_one_recording_are_one(tmp_path, names):
    touch(tmp_path, *names)
    assert recordings_in([tmp_path]) == [tmp_path]


@pytest.mark.parametrize(
    "names",
    [
        ("a.mcap", "b.mcap"),
        ("a_0.mcap", "a_1.mcap", "b_0.mcap"),
        ("a_2024-05-01-10-00-00.bag", "a_2024-05-02-10-00-00.bag"),
        ("a_2024-05-01-10-00-00_0.bag", "a_2024-05-02-10-00-00_0.bag"),
    ],
)
def test_others_are_several(tmp_path, names):
    touch(tmp_path, *names)
    assert recordings_in([tmp_path]) == [tmp_path / name for name in names]


def test_folders_are_searched_to_any_depth_but_not_in_circles_nor_in_what_replay_wrote(tmp_path):
    touch(tmp_path, "one/metadata.yaml", "one/one.mcap", "deep/er/two.mcap", "deep/notes.txt")
    touch(tmp_path, "out/one/frames.csv.gz", "out/one/report.html", "out/one/bag/metadata.yaml")
    (tmp_path / "deep" / "circle").symlink_to(tmp_path)
    assert recordings_in([tmp_path]) == [tmp_path / "deep" / "er", tmp_path / "one"]
    output = tmp_path / "out" / "one" / "bag"
    assert recordings_in([output]) == [output]  # unless it is asked for


def test_of_many_paths_those_that_replay_wrote_are_skipped(tmp_path):
    touch(tmp_path, "one/metadata.yaml", "run/frames.csv.gz", "run/report.html")
    touch(tmp_path, "compared/compare.json", "compared/tiny/journal.jsonl")
    touch(tmp_path, "empty/notes.txt")
    one, run, compared = (tmp_path / name for name in ("one", "run", "compared"))
    assert recordings_in([compared, one, run]) == [one]
    with pytest.raises(SsvifError, match="only what `ssvif replay` wrote"):
        recordings_in([run, compared])
    with pytest.raises(SsvifError, match="There is no recording .*empty"):
        recordings_in([one, run, tmp_path / "empty"])


@pytest.mark.parametrize("name", ["metadata.yaml", "drive.mcap"])
def test_a_recording_that_a_run_was_written_into_is_still_one(tmp_path, name):
    touch(tmp_path, f"drive/{name}", "drive/frames.csv.gz", "drive/report.html")
    touch(tmp_path, "drive/journal.jsonl", "drive/bag/metadata.yaml")
    assert recordings_in([tmp_path]) == [tmp_path / "drive"]


def test_a_folder_without_a_recording_is_an_error(tmp_path):
    touch(tmp_path, "notes.txt")
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(SsvifError, match="There is no recording"):
            recordings_in([path])


def test_the_command_says_once_what_a_path_is(tmp_path):
    (tmp_path / "pairs" / "visible").mkdir(parents=True)
    (tmp_path / "empty.mcap").touch()
    for name, said in (
        (
            "pairs",
            "There is no recording in the folder pairs (looked for .bag, .db3, .mcap)",
        ),
        ("empty.mcap", "empty.mcap is no readable recording ("),
    ):
        command = [sys.executable, "-m", "ssvif_core.cli", "replay", name, "-o", "out"]
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert answer.returncode == 1 and f"error: {said}" in answer.stderr


@pytest.mark.parametrize("name", ["notes.txt", "film.mp4", "noise"])
def test_a_file_that_is_no_recording_says_what_would_be_one(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(bytes(range(256)) * 9)
    with pytest.raises(SsvifError, match=r"no recording by its name: .*\.mcap"), Recording(path):
        pass


def test_one_bad_recording_among_several_is_reported_and_the_others_go_on(tmp_path):
    bags = tmp_path / "bags"
    record(bags / "a" / "good")
    record(bags / "b" / "good", visible=4)
    (bags / "b" / "bad.mcap").write_bytes(bytes(range(256)))
    record(bags / "one_camera", thermal=0)
    (bags / "empty").mkdir()
    shutil.copy(bags / "a" / "good" / "good.mcap", bags / "cut.mcap")
    with (bags / "cut.mcap").open("r+b") as file:
        file.truncate((bags / "cut.mcap").stat().st_size // 2)
    (bags / "b" / "notes.txt").write_text("rain")
    out = tmp_path / "out"
    options = ["--model", "tiny", "--metrics-every", "0", "--no-video", "--pictures", "0"]
    command = [sys.executable, "-m", "ssvif_core.cli", "replay", str(bags), "-o", str(out)]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "bad.mcap" in done.stderr
    assert "Traceback" not in done.stderr
    counts = {
        folder.name: json.loads((folder / "summary.json").read_text())["pairing"]["pairs"]
        for folder in out.iterdir()
        if (folder / "summary.json").is_file()
    }
    assert counts.keys() == {"good", "good_2", "one_camera", "cut"}
    assert (counts["good"], counts["good_2"], counts["one_camera"]) == (5, 4, 0)
    assert "cut.mcap" in done.stdout  # the warning


# Less than two cameras.


def test_a_camera_that_sent_nothing_is_said_and_the_other_goes_on_alone(tmp_path):
    bag = record(tmp_path / "bag", visible=20, thermal=0)
    with Recording(bag) as recording:
        assert recording.topics["thermal"] == "/thermal/image_raw"
    summary, page = replayed(bag, tmp_path / "run")
    assert summary["pairing"]["counts"]["single_visible"] > 5
    assert summary["fused"] == summary["pairing"]["counts"]["single_visible"]
    assert "Nothing usable came from the thermal camera." in summary["warnings"]
    assert "Nothing usable came from the thermal camera." in page
    assert summary["streams"]["thermal"]["frames"] == 0


def test_without_a_topic_of_the_other_camera_the_error_lists_what_there_is(tmp_path):
    with BagWriter(tmp_path / "bag") as bag:
        bag.image("/front/image_raw", START_NS, START_NS, VISIBLE, "rgb8", "camera")
    with pytest.raises(SsvifError, match=r"no thermal camera.*/front/image_raw \(Image, rgb8\)"):
        replayed(tmp_path / "bag", tmp_path / "run")


def test_without_a_visible_frame_thermal_goes_on_alone(tmp_path):
    summary, _ = replayed(record(tmp_path / "bag", visible=0, thermal=20), tmp_path / "run")
    assert summary["fused"] == summary["pairing"]["counts"]["single_thermal"] > 5
    assert "Nothing usable came from the visible camera." in summary["warnings"]


def test_a_recording_without_any_image_is_an_error(tmp_path):
    bag = record(tmp_path / "bag", visible=0, thermal=0)
    with pytest.raises(SsvifError, match="no image that can be read"):
        replayed(bag, tmp_path / "run")
    with BagWriter(tmp_path / "other") as writer:
        writer.text("/chatter", START_NS, "hello")
    with pytest.raises(SsvifError, match="no image that can be read"):
        replayed(tmp_path / "other", tmp_path / "run")


@pytest.mark.parametrize("count", [1, 3])
def test_a_recording_of_zero_seconds_has_a_report(tmp_path, count):
    bag = record(tmp_path / "bag", count, count, period_ns=0)
    summary, page = replayed(bag, tmp_path / "run", video=True, metrics_every=1)
    assert summary["pairing"]["pairs"] == 1  # the others have the same stamp
    assert summary["recording"]["seconds"] == 0
    assert summary["pairing"]["rate_hz"] is None
    assert summary["pairing"]["counts"]["duplicate_visible"] == count - 1
    assert "NaN" not in page.split("const PLOTS")[1]
