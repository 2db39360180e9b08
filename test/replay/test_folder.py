"""What a replay may remove and write: its own, and never what it reads."""

from __future__ import annotations

import json
import shutil

import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")

from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.replay.folder import write_run  # noqa: E402
from ssvif_core.replay.journal import JOURNAL  # noqa: E402
from ssvif_core.replay.one import Task, do_task  # noqa: E402
from ssvif_core.replay.options import ReplayOptions  # noqa: E402
from ssvif_core.replay.run import replay  # noqa: E402
from ssvif_core.replay.settings import NodeSettings  # noqa: E402

TINY = NodeSettings(model="tiny", engine="onnxruntime", threads=1)
OPTIONS = ReplayOptions(TINY, metrics_every=0, pictures=0, bag=True, workers=1)


def contents(folder):
    """Path -> content of every file below."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def replayed(path, folder, **changes):
    options = ReplayOptions(**(vars(OPTIONS) | changes))
    return write_run(replay(path, folder, options, lambda *_: None), folder)


@pytest.fixture
def session(drive, tmp_path):
    """A folder in which the recording is called bag."""
    shutil.copytree(drive, tmp_path / "session" / "bag")
    return tmp_path / "session"


@pytest.mark.parametrize("output", [".", "bag", "link", "../link"])
def test_a_replay_that_would_write_to_its_recording_is_refused(session, output):
    (session / "link").symlink_to(".")
    (session.parent / "link").symlink_to("session/bag")
    (session / "fused.mp4").write_bytes(b"mine")
    before = contents(session)
    for options in ({}, {"bag": False}):
        with pytest.raises(SsvifError, match="is what it reads: name another folder"):
            replayed(session / "bag", session / output, **options)
    assert contents(session) == before


def test_a_recording_below_what_would_be_removed_is_not_lost(drive, tmp_path):
    shutil.copytree(drive, tmp_path / "bag" / "day" / "drive")
    with pytest.raises(SsvifError, match="is what it reads"):
        replayed(tmp_path / "bag" / "day" / "drive", tmp_path)
    assert (tmp_path / "bag" / "day" / "drive" / "metadata.yaml").is_file()


def test_a_folder_below_the_recording_is_no_part_of_it(session):
    before = contents(session / "bag")
    replayed(session / "bag", session / "bag" / "replay", video=False, bag=False)
    assert (session / "bag" / "replay" / "report.html").is_file()
    assert before.items() <= contents(session / "bag").items()


def test_a_recording_that_came_into_the_folder_of_a_replay_stays(drive, tmp_path):
    replayed(drive, tmp_path, video=False, bag=False)
    shutil.copytree(drive, tmp_path / "bag")
    before = contents(tmp_path)
    with pytest.raises(SsvifError, match="a recording that no replay wrote"):
        replayed(drive, tmp_path, video=False, bag=False)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["bag", "fused.mp4", "report.html", "run.rrd"])
def test_what_no_replay_wrote_is_not_removed(drive, tmp_path, name):
    if name == "bag":
        shutil.copytree(drive, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / "summary.json").write_text("{}")  # anybody may call a file so
    before = contents(tmp_path)
    with pytest.raises(SsvifError, match="no replay wrote.*name another folder"):
        replayed(drive, tmp_path, video=False, bag=False)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("mark", ["journal", "summary"])
def test_what_a_replay_wrote_makes_way_for_the_next_one(drive, tmp_path, mark):
    replayed(drive, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    if mark == "journal":  # a run that was killed
        (tmp_path / "summary.json").rename(tmp_path / JOURNAL)
    replayed(drive, tmp_path, video=False, bag=False)
    names = {path.name for path in tmp_path.iterdir()} - {"frames.parquet"}
    assert names == {"report.html", "summary.json", "frames.csv.gz", "notes.txt"}


def compared(path, folder):
    options = ReplayOptions(**(vars(OPTIONS) | {"bag": False}))
    return do_task(Task(path, folder, options, ("tiny",)), lambda *_: None)


def test_a_single_replay_makes_way_for_a_comparison(drive, tmp_path):
    replayed(drive, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    assert not compared(drive, tmp_path).failed
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"tiny", "tiny--2", "compare.html", "compare.json", "notes.txt"}


def test_a_comparison_leaves_alone_what_no_replay_wrote(session):
    (session / "fused.mp4").write_bytes(b"mine")
    (session / "report.html").write_bytes(b"mine")
    before = contents(session)
    assert not compared(session / "bag", session).failed
    assert (session / "compare.html").is_file()
    assert before.items() <= contents(session).items()


def test_a_comparison_of_what_a_replay_wrote_is_refused_in_its_folder(drive, tmp_path):
    replayed(drive, tmp_path, video=False)
    before = contents(tmp_path)
    assert "is what it reads: name another folder" in compared(tmp_path / "bag", tmp_path).failed
    shutil.rmtree(tmp_path / "bag")
    shutil.copytree(drive, tmp_path / "bag")
    assert "a recording that no replay wrote" in compared(drive, tmp_path).failed
    shutil.rmtree(tmp_path / "bag")
    assert contents(tmp_path).items() <= before.items()
    assert (tmp_path / "report.html").is_file()


@pytest.mark.parametrize(
    "wrong",
    [
        {"settings": NodeSettings(model="tinny")},
        {"labels_folder": "empty"},
        {"settings": NodeSettings(model="tiny", registration__file="missing.yaml")},
    ],
)
def test_what_is_refused_costs_no_earlier_run(drive, tmp_path, wrong):
    replayed(drive, tmp_path / "run")
    (tmp_path / "empty").mkdir()
    if "labels_folder" in wrong:
        wrong = {"labels_folder": tmp_path / "empty"}
    before = contents(tmp_path / "run")
    with pytest.raises(SsvifError):
        replayed(drive, tmp_path / "run", **wrong)
    with pytest.raises(SsvifError):
        replayed(tmp_path / "missing", tmp_path / "run")
    assert contents(tmp_path / "run") == before
    assert json.loads(before[next(p for p in before if p.name == "summary.json")])["complete"]
