"""A replay that was stopped in its middle goes on, and gives what it would have given at once."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
pytest.importorskip("av", reason="needs the extra `video`: what is left of a video after a kill")

from ssvif_core.data.bag_files import Bag  # noqa: E402
from ssvif_core.data.bag_folders import recordings_in  # noqa: E402
from ssvif_core.data.bag_writer import BagWriter  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.inference.onnxruntime_engine import OnnxRuntimeEngine  # noqa: E402
from ssvif_core.interrupts import Interrupts  # noqa: E402
from ssvif_core.replay.cluster import run_on_cluster  # noqa: E402
from ssvif_core.replay.demo import START_NS  # noqa: E402
from ssvif_core.replay.frame_table import STAGES  # noqa: E402
from ssvif_core.replay.jobs import run_in_processes  # noqa: E402
from ssvif_core.replay.journal import JOURNAL, Journal  # noqa: E402
from ssvif_core.replay.one import Task, do_task  # noqa: E402
from ssvif_core.replay.options import ReplayOptions  # noqa: E402
from ssvif_core.replay.outputs import Video  # noqa: E402
from ssvif_core.replay.set_aside import frames_in  # noqa: E402
from ssvif_core.replay.settings import NodeSettings  # noqa: E402

SETTINGS = NodeSettings(model="tiny", engine="onnxruntime", threads=1, gain__mode="plateau")
OPTIONS = ReplayOptions(SETTINGS, metrics_every=4, bag=True, workers=1)
#: What is measured in time, or follows from it.
OF_TIME = {*STAGES, "total_ms", "dropped", "latency_ms", "after_receipt_ms"}
NOT_COMPARED = {"stages_ms", "real_time", "seconds_taken", "pairs_per_second", "resumed_from"}
#: A video that is coded once more differs by this at most, in grey levels of the mean: of noise.
CODED_AGAIN = 8.0
#: So large is the video when some seconds of it have been written.
BUFFERED = 400_000

#: Does a task, and gives itself a signal when journal and video have so much, or it says a word.
CHILD = """
import os, pickle, sys
from ssvif_core.replay import journal
from ssvif_core.replay.one import do_task, tune_process

task, with_signal, lines, size, word = pickle.load(sys.stdin.buffer)
journal.FLUSHED_EVERY_S = 0.0  # so that it does not hang on how fast this machine is
given = False

def progress(done_s, total_s, remark):
    global given
    video = task.folder / "fused.mp4"
    there = (task.folder / journal.JOURNAL).read_bytes().count(b"\\n") > lines
    large = not size or (video.exists() and video.stat().st_size >= size)
    if not given and there and large and remark.startswith(word):
        given = True
        os.kill(os.getpid(), with_signal)

tune_process()
print(do_task(task, progress))
"""


def stopped(task, with_signal, lines, size=0, word=""):
    """Run a task in a process of its own that gets a signal in its middle; what it said."""
    content = pickle.dumps((task, with_signal, lines, size, word))
    done = subprocess.run([sys.executable, "-c", CHILD], input=content, capture_output=True)
    expected = -signal.SIGKILL if with_signal == signal.SIGKILL else 0
    assert done.returncode == expected, (done.stdout, done.stderr)
    return done.stdout.decode()


def resumed(task, folder=None):
    """Outcome and remarks of the same task, gone on with."""
    remarks = []
    again = dataclasses.replace(task, resume=True, folder=folder or task.folder)
    outcome = do_task(again, lambda done_s, total_s, remark: remarks.append(remark))
    assert not outcome.failed and not outcome.interrupted
    return outcome, remarks


def rows_of(folder):
    with gzip.open(folder / "frames.csv.gz", "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def messages_of(folder):
    """Every message of the output recording, in order, but its time of receipt."""
    with Bag(folder / "bag") as bag:
        assert not bag.broken
        images = [t for t in bag.topics() if t != "/diagnostics"]
        seconds = [
            {v.key: v.value for v in bag.message(m).status[0].values if v.key != "dropped"}
            for m in bag.messages(["/diagnostics"])
        ]
        times = [m.received_ns for m in bag.messages(["/fusion/fused"])]
        assert times == sorted(times)
        return [(m.topic, m.raw) for m in bag.messages(images)], seconds


def video_of(folder):
    capture, frames = cv2.VideoCapture(str(folder / "fused.mp4"), cv2.CAP_FFMPEG), []
    while True:
        there, frame = capture.read()
        if not there:
            return frames
        frames.append(frame)


def pictures_of(folder):
    """The pictures in the report, as they are embedded."""
    page = (folder / "report.html").read_text()
    return [part.split('"')[0] for part in page.split("data:image/jpeg;base64,")[1:]]


def same(folder, whole):
    """A resumed run is what an uninterrupted one is; the pairs that it did not do again."""
    rows, expected = rows_of(folder), rows_of(whole)
    for row in (*rows, *expected):
        assert row["total_ms"] or row["error"]
    assert [without(row, OF_TIME) for row in rows] == [without(row, OF_TIME) for row in expected]
    summary = summary_of(folder)
    del summary["timeline"]["dropped"]
    at_once = summary_of(whole)
    del at_once["timeline"]["dropped"]
    assert without(summary, NOT_COMPARED) == without(at_once, NOT_COMPARED)
    assert pictures_of(folder) == pictures_of(whole)
    if at_once["asked"]["bag"]:
        assert messages_of(folder) == messages_of(whole)
    if at_once["asked"]["video"]:
        frames, first = video_of(folder), video_of(whole)
        assert len(frames) == len(first) > 0
        apart = [cv2.absdiff(a, b).mean() for a, b in zip(frames, first, strict=True)]
        assert max(apart) < CODED_AGAIN
    assert not (folder / JOURNAL).exists()
    assert not list(folder.glob("*.before*"))
    return summary["resumed_from"]


def without(content, keys):
    return {key: value for key, value in content.items() if key not in keys}


@pytest.fixture(scope="module")
def drive(record, tmp_path_factory):
    """Cameras of which one freezes, with true labels."""
    folder = tmp_path_factory.mktemp("recording") / "drive"
    return record(folder, 8.0, freeze_every_s=3.0, freeze_for_s=2.0)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """90 pairs whose right half is noise, so that the video is large; thermal is lost for 2 s."""
    path, random = tmp_path_factory.mktemp("recording") / "noisy", np.random.default_rng(0)
    visible = random.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    thermal = random.integers(7000, 8000, (240, 320), dtype=np.uint16)
    labels = random.integers(0, 4, (240, 320), dtype=np.uint8)
    with BagWriter(path) as bag:
        for number in range(90):
            stamp_ns = START_NS + number * 100_000_000
            visible[:, 160:] = random.integers(0, 256, (240, 160, 3), dtype=np.uint8)
            thermal[:, 160:] = random.integers(7000, 8000 + 10 * number, (240, 160))
            for topic, image, encoding in (
                ("/visible/image_raw", visible, "rgb8"),
                ("/thermal/image_raw", thermal, "mono16"),
                ("/labels/image_raw", labels, "mono8"),
            ):
                if image is not thermal or not 20 <= number < 40:
                    bag.image(topic, stamp_ns + 5_000_000, stamp_ns, image, encoding, "camera")
    return path


@pytest.fixture(scope="module")
def at_once(drive, noisy, tmp_path_factory):
    """Folders of the uninterrupted replays, by the name of the recording."""
    folder = tmp_path_factory.mktemp("at_once")
    for recording in (drive, noisy):
        outcome = do_task(Task(recording, folder / recording.name, OPTIONS), lambda *_: None)
        assert not outcome.failed
    return folder


@pytest.fixture(scope="module")
def begun(drive, tmp_path_factory):
    """A task that was stopped by Ctrl-C when 30 pairs were done."""
    task = Task(drive, tmp_path_factory.mktemp("begun") / "run", OPTIONS)
    assert "interrupted=True" in stopped(task, signal.SIGINT, 30)
    return task


@pytest.fixture
def left(begun, tmp_path):
    """The same in a folder that a test may do with what it likes."""
    shutil.copytree(begun.folder, tmp_path / "run")
    return dataclasses.replace(begun, folder=tmp_path / "run")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_was_killed_goes_on_where_it_was(noisy, at_once, tmp_path, workers, monkeypatch):
    options = dataclasses.replace(OPTIONS, workers=workers)
    task = Task(noisy, tmp_path / "run", options)
    stopped(task, signal.SIGKILL, 40, BUFFERED)
    assert b"moof" in (task.folder / "fused.mp4").read_bytes()  # in fragments: not closed
    assert not (task.folder / "bag" / "metadata.yaml").exists()
    fused, infer = [], OnnxRuntimeEngine.infer

    def counted(engine, *arguments):
        fused.append(engine)
        return infer(engine, *arguments)

    monkeypatch.setattr(OnnxRuntimeEngine, "infer", counted)
    outcome, remarks = resumed(task)
    by_resuming = len(fused)
    fused.clear()
    do_task(Task(noisy, tmp_path / "other", options), lambda *_: None)
    done_before = summary_of(task.folder)["resumed_from"]
    assert 10 < done_before < 90
    assert f"resumed: {done_before} pairs were done already" in outcome.lines
    assert remarks[0].startswith(f"resuming: 0 of {done_before} pairs")
    assert not remarks[-1].startswith("resuming")
    assert len(fused) - by_resuming == done_before - 1  # the last is looked at once more
    frames, whole = video_of(task.folder), video_of(at_once / "noisy")
    for own, same_one, next_one in zip(frames, whole, whole[1:], strict=False):
        assert cv2.absdiff(own, same_one).mean() < cv2.absdiff(own, next_one).mean() / 2
    if workers == 1:
        assert same(task.folder, at_once / "noisy") == done_before
        assert summary_of(task.folder)["segmentation"]["labelled"] > 50
        assert summary_of(task.folder)["stability"]["flicker_fused"]["measured"] > 50
    else:
        rows, expected = rows_of(task.folder), rows_of(at_once / "noisy")
        timed = [row for row in rows if row["total_ms"]]
        assert len(timed) < len(rows)
        for row in (*rows, *expected):
            row.update(dict.fromkeys(OF_TIME, ""))
        assert rows == expected
        assert messages_of(task.folder) == messages_of(at_once / "noisy")
        assert len(frames) == len(whole) == len(rows)


def test_a_run_that_was_stopped_by_ctrl_c_goes_on_where_it_was(left, at_once):
    assert not summary_of(left.folder)["complete"]
    outcome, _ = resumed(left)
    assert same(left.folder, at_once / "drive") >= 30
    assert not any("Not the whole" in w for w in summary_of(left.folder)["warnings"])
    assert "done already" in resumed(left)[0].lines[0]
    assert {row["cameras"] for row in rows_of(left.folder)} == {"both", "visible"}


def test_times_of_the_first_run_are_kept_and_the_time_that_both_took_is_added_up(left):
    before, seconds = rows_of(left.folder), summary_of(left.folder)["seconds_taken"]
    resumed(left)
    after = rows_of(left.folder)[: len(before) - 1]  # the fate of the last one was open
    assert after == before[:-1]
    assert summary_of(left.folder)["seconds_taken"] > seconds / 2


def cut(path, part):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])


def lines_of(task):
    return (task.folder / JOURNAL).read_bytes().splitlines(keepends=True)


def write_lines(task, lines):
    (task.folder / JOURNAL).write_bytes(b"".join(lines))


def test_a_last_line_of_the_journal_that_is_torn_is_done_again(left, at_once):
    lines = lines_of(left)
    write_lines(left, [*lines[:20], lines[20][:-30]])
    resumed(left)
    assert same(left.folder, at_once / "drive") == 19


def test_what_comes_after_a_line_that_is_damaged_is_done_again(left, at_once):
    lines = lines_of(left)
    lines[12] = b"\0" * len(lines[12])
    write_lines(left, lines)
    resumed(left)
    assert same(left.folder, at_once / "drive") == 11


@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_video_without_its_end_counts_as_far_as_it_goes(drive, at_once, tmp_path, part):
    task = Task(drive, tmp_path / "run", OPTIONS)
    stopped(task, signal.SIGKILL, 40)
    cut(task.folder / "fused.mp4", part)
    resumed(task)
    assert 5 < same(task.folder, at_once / "drive") < 36


def test_a_video_that_was_closed_and_has_lost_its_end_is_made_anew(left, at_once):
    cut(left.folder / "fused.mp4", 0.9)
    outcome, _ = resumed(left)
    assert same(left.folder, at_once / "drive") == 0
    assert any("too little of it had reached the disk" in line for line in outcome.lines)


def test_without_pyav_a_run_that_was_stopped_goes_on_and_one_that_was_killed_begins_anew(
    drive, tmp_path, monkeypatch
):
    (tmp_path / "without" / "av").mkdir(parents=True)
    (tmp_path / "without" / "av" / "__init__.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "without"), prepend=os.pathsep)
    monkeypatch.setitem(sys.modules, "av", None)
    whole = Task(drive, tmp_path / "whole", OPTIONS)
    said = do_task(whole, lambda *_: None).lines
    assert any("browsers do not play: PyAV is not installed" in line for line in said)
    for name, with_signal in (("stopped", signal.SIGINT), ("killed", signal.SIGKILL)):
        task = Task(drive, tmp_path / name, OPTIONS)
        stopped(task, with_signal, 40)
        resumed(task)
        done_before = same(task.folder, whole.folder)
        assert done_before >= 40 if name == "stopped" else done_before == 0


@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_recording_without_its_end_counts_as_far_as_it_goes(left, at_once, part):
    (left.folder / "bag" / "metadata.yaml").unlink()
    cut(left.folder / "bag" / "bag.mcap", part)
    resumed(left)
    assert 0 <= same(left.folder, at_once / "drive") < 30


def test_a_video_of_odd_size_is_gone_on_with(tmp_path):
    image = np.full((75, 101, 3), 90, np.uint8)
    for name, before in (("one.mp4", None), ("two.mp4", tmp_path / "one.mp4")):
        kept = [] if before is None else frames_in(before)
        video = Video(tmp_path / name, (75, 101), kept)
        for number in range(20):
            if before and number < 15:
                video.again(number / 10)
            else:
                video.append(number / 10, image)
        video.close()
        assert [frame.shape for frame in frames_in(tmp_path / name)] == [(76, 102, 3)] * 20


def test_fewer_pairs_than_a_video_begins_with_are_gone_on_with(drive, at_once, tmp_path):
    task = Task(drive, tmp_path / "run", OPTIONS)
    stopped(task, signal.SIGINT, 4)
    resumed(task)
    assert 4 <= same(task.folder, at_once / "drive") < 12


def test_a_run_that_is_killed_while_it_is_resumed_loses_nothing(left, at_once):
    again = dataclasses.replace(left, resume=True)
    stopped(again, signal.SIGKILL, 30, word="resuming: 15")
    assert (left.folder / "fused.before.mp4").exists()
    assert (left.folder / "bag.before").exists()
    resumed(left)
    assert same(left.folder, at_once / "drive") >= 30


def test_ctrl_c_while_it_is_resumed_loses_nothing(left, at_once):
    again = dataclasses.replace(left, resume=True)
    assert "interrupted=True" in stopped(again, signal.SIGINT, 30, word="resuming: 15")
    assert not summary_of(left.folder)["complete"]
    resumed(left)
    assert same(left.folder, at_once / "drive") >= 30


def test_pairs_that_could_not_be_fused_are_told_of_as_at_once(drive, tmp_path):
    settings = dataclasses.replace(SETTINGS, gain__mode="none")  # which is for 8-bit frames
    options = dataclasses.replace(OPTIONS, settings=settings, video=False)
    whole, task = Task(drive, tmp_path / "whole", options), Task(drive, tmp_path / "run", options)
    do_task(whole, lambda *_: None)
    stopped(task, signal.SIGKILL, 40)
    resumed(task)
    same(task.folder, whole.folder)
    assert summary_of(task.folder)["bad"] > 10


# Where it cannot go on, it begins anew and says so.


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"metrics_every": 2}, "not the same as then: metrics_every"),
        ({"settings": dataclasses.replace(SETTINGS, slop=0.04)}, "not the same as then: slop"),
        ({"bag": False}, "not the same as then: bag"),
    ],
)
def test_with_other_options_it_begins_anew_and_says_so(left, change, why):
    other = dataclasses.replace(left, options=dataclasses.replace(OPTIONS, **change))
    outcome, remarks = resumed(other)
    assert f"begun anew, not resumed: {why}" in outcome.lines
    assert remarks[0] == "0 pairs, begun anew"
    summary = summary_of(left.folder)
    assert summary["complete"] and summary["resumed_from"] == 0
    assert len(video_of(left.folder)) == summary["fused"]


def test_another_recording_of_the_same_name_is_replayed_from_its_beginning(left, record, tmp_path):
    other = dataclasses.replace(left, path=record(tmp_path / "drive", 2.0))
    outcome, _ = resumed(other)
    assert any("not the same as then: drive.mcap, metadata.yaml" in line for line in outcome.lines)
    assert len(rows_of(left.folder)) < 30


def test_a_journal_that_cannot_be_read_is_begun_anew(left, at_once):
    write_lines(left, [b"{]\n", *lines_of(left)[1:]])
    outcome, _ = resumed(left)
    assert "begun anew, not resumed: its journal.jsonl cannot be read" in outcome.lines
    assert same(left.folder, at_once / "drive") == 0


def test_without_its_video_it_is_begun_anew(left, at_once):
    (left.folder / "fused.mp4").unlink()
    outcome, _ = resumed(left)
    assert any("too little of it" in line for line in outcome.lines)
    assert same(left.folder, at_once / "drive") == 0


def test_without_resume_it_is_begun_anew_also_where_a_killed_run_left_a_recording(left, at_once):
    (left.folder / "bag" / "metadata.yaml").unlink()
    outcome = do_task(left, lambda *_: None)
    assert not outcome.failed
    assert same(left.folder, at_once / "drive") == 0


def test_a_run_with_rerun_is_begun_anew(drive, tmp_path):
    pytest.importorskip("rerun", reason="needs the extra `rerun`")
    options = dataclasses.replace(OPTIONS, rerun=True, video=False, bag=False)
    task = Task(drive, tmp_path / "run", options)
    stopped(task, signal.SIGINT, 10)
    outcome, _ = resumed(task)
    assert any("run.rrd cannot be gone on with" in line for line in outcome.lines)
    assert summary_of(task.folder)["complete"]


# Around it.


def test_a_comparison_goes_on_with_the_run_that_was_stopped_and_keeps_the_one_before(
    drive, tmp_path
):
    options = dataclasses.replace(OPTIONS, bag=False)
    whole = Task(drive, tmp_path / "whole", options, models=("base",))
    task = dataclasses.replace(whole, folder=tmp_path / "run")
    do_task(whole, lambda *_: None)
    remarks = []

    def stop(done_s, total_s, remark):
        if remark not in remarks[-1:]:
            remarks.append(remark)
        if remarks.count("20 pairs") == 2:  # of the second model
            raise KeyboardInterrupt

    assert do_task(task, stop).interrupted
    kept = (task.folder / "tiny" / "summary.json").stat().st_mtime_ns
    outcome, _ = resumed(task)
    assert f"tiny: done already, see {task.folder / 'tiny'}" in outcome.lines
    assert (task.folder / "tiny" / "summary.json").stat().st_mtime_ns == kept
    assert same(task.folder / "tiny", whole.folder / "tiny") == 0
    assert same(task.folder / "base", whole.folder / "base") >= 20
    assert differences_of(task.folder) == differences_of(whole.folder)
    assert (task.folder / "compare.html").exists()


def differences_of(folder):
    """Of a comparison, without times."""
    found = json.loads((folder / "compare.json").read_text())["differences"]["base"]
    return [d for d in found if not d["figure"].endswith("_ms")]


def times_of(folder):
    """When the files of a comparison were written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}


def test_a_comparison_that_is_whole_is_left_alone_and_else_only_what_lacks_is_made(drive, tmp_path):
    options = dataclasses.replace(OPTIONS, bag=False, video=False)
    task = Task(drive, tmp_path / "run", options, models=("base",))
    do_task(task, lambda *_: None)
    before = times_of(task.folder)
    assert resumed(task)[0].lines == (f"drive: done already, see {task.folder}",)
    assert times_of(task.folder) == before
    one_more, _ = resumed(dataclasses.replace(task, models=("base", ":int8")))
    after = times_of(task.folder)
    changed = {path.relative_to(task.folder).parts[0] for path in after
               if after[path] != before.get(path)}  # fmt: skip
    assert changed == {"compare.json", "tiny-int8"}
    assert sum("done already" in line for line in one_more.lines) == 2
    summary = summary_of(task.folder / "base")
    summary["versions"]["ssvif"] = "another"  # its times are not to be compared
    (task.folder / "base" / "summary.json").write_text(json.dumps(summary))
    (task.folder / "compare.json").unlink()
    outcome, _ = resumed(task)
    assert sum("done already" in line for line in outcome.lines) == 1


@pytest.mark.parametrize("where", ["processes", "cluster"])
def test_several_go_on_in_processes_and_on_a_cluster(left, at_once, tmp_path, where):
    shutil.copytree(left.folder, tmp_path / "second")
    tasks = [
        dataclasses.replace(left, resume=True, folder=tmp_path / name) for name in ("run", "second")
    ]
    if where == "processes":
        outcomes = dict(run_in_processes(tasks, 2, lambda *_: None))
    else:
        distributed = pytest.importorskip("distributed", reason="needs the extra `cluster`")
        with distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster:
            outcomes = dict(run_on_cluster(tasks, cluster.scheduler_address, lambda *_: None))
    for number, task in enumerate(tasks):
        assert any("were done already" in line for line in outcomes[number].lines)
        assert same(task.folder, at_once / "drive") >= 30


def test_the_output_of_a_run_that_is_not_whole_is_no_recording(left, drive):
    shutil.copytree(drive, left.folder.parent / "bags" / "drive")
    shutil.move(left.folder, left.folder.parent / "bags" / "run")
    (left.folder.parent / "bags" / "run" / "report.html").unlink()
    found = recordings_in([left.folder.parent / "bags"])
    assert found == [left.folder.parent / "bags" / "drive"]


def test_a_journal_on_a_full_disk_is_one_clear_error(tmp_path):
    (tmp_path / JOURNAL).symlink_to("/dev/full")
    with pytest.raises(SsvifError, match=r"Cannot write .*journal.jsonl.*--resume"):
        Journal(tmp_path, {})


@pytest.fixture
def hears_ctrl_c():
    """Processes in the background are born deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_ctrl_c_waits_for_a_good_moment_and_a_second_one_does_not(hears_ctrl_c):
    steps = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        interrupts.let_through()
        signal.raise_signal(signal.SIGINT)
        steps.append("the step was ended")
        interrupts.let_through()
        steps.append("not reached")
    with pytest.raises(KeyboardInterrupt), Interrupts():
        signal.raise_signal(signal.SIGINT)
        steps.append("to the end, where no moment is good")
    with pytest.raises(KeyboardInterrupt), Interrupts():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        steps.append("not reached")
    assert steps == ["the step was ended", "to the end, where no moment is good"]
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
