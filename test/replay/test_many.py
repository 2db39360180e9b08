"""Many recordings: in processes of their own, on a cluster, and what happens if one fails."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")

from ssvif_core.replay.cluster import run_on_cluster  # noqa: E402
from ssvif_core.replay.jobs import run_here, run_in_processes  # noqa: E402
from ssvif_core.replay.one import Task  # noqa: E402
from ssvif_core.replay.options import ReplayOptions  # noqa: E402
from ssvif_core.replay.settings import NodeSettings  # noqa: E402

TINY = NodeSettings(model="tiny", engine="onnxruntime", threads=1)
OPTIONS = ReplayOptions(settings=TINY, metrics_every=5, video=False, workers=1)
SAME = ("visible_stamp_ns", "thermal_stamp_ns", "fused_mean", "Qabf", "flicker_fused")


def command(*arguments):
    return [sys.executable, "-m", "ssvif_core.cli", "replay", *map(str, arguments)]


def rows_of(folder):
    with gzip.open(folder / "frames.csv.gz", "rt", newline="", encoding="utf-8") as file:
        return [tuple(row[name] for name in SAME) for row in csv.DictReader(file)]


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def bags(record, tmp_path_factory):
    """A folder with two recordings, one that is none, and one that was cut short."""
    folder = tmp_path_factory.mktemp("bags")
    record(folder / "a", 2.0)
    record(folder / "b", 1.5)
    (folder / "c").mkdir()
    (folder / "c" / "c.mcap").write_bytes(b"no recording at all")
    record(folder / "d", 2.0, labels=False, scale=4)
    content = (folder / "d" / "d.mcap").read_bytes()
    (folder / "d" / "d.mcap").write_bytes(content[: len(content) * 7 // 10])
    return folder


@pytest.fixture(scope="module")
def tasks(bags, tmp_path_factory):
    """Function that gives the tasks of all of them."""
    output = tmp_path_factory.mktemp("outputs")

    def made(name):
        return [Task(bags / bag, output / name / bag, OPTIONS) for bag in "abcd"]

    return made


@pytest.fixture(scope="module")
def alone(tasks):
    """Tasks and outcomes of one after the other."""
    done = tasks("alone")
    return done, dict(run_here(done, lambda *_: None))


def same_as(alone, tasks, outcomes):
    """What was made is what one after the other made, and the bad ones are told of."""
    expected_tasks, expected = alone
    assert {n: bool(o.failed) for n, o in outcomes.items()} == {0: 0, 1: 0, 2: 1, 3: 0}
    assert "no readable recording" in outcomes[2].failed
    assert "d.mcap" in outcomes[3].damaged
    assert outcomes[3].damaged == expected[3].damaged
    for number in (0, 1, 3):
        assert rows_of(tasks[number].folder) == rows_of(expected_tasks[number].folder) != []
        assert summary_of(tasks[number].folder)["complete"]


def test_processes_give_what_one_after_the_other_gives_and_a_bad_one_stops_nobody(tasks, alone):
    told, mine = set(), tasks("processes")
    outcomes = dict(run_in_processes(mine, 2, lambda number, *_: told.add(number)))
    same_as(alone, mine, outcomes)
    assert told == {0, 1, 3}


def test_a_process_that_dies_takes_only_its_own_recording_with_it(bags, tasks, tmp_path):
    pipe = tmp_path / "e.mcap"
    os.mkfifo(pipe)  # opening it waits for a writer, for ever
    stuck = Task(pipe, tmp_path / "e", OPTIONS)
    outcomes, killed = {}, []

    def watch(number, *_):
        children = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
        if not killed:
            with open(children) as file:
                first = [int(pid) for pid in file.read().split() if is_spawned(int(pid))][0]
            killed.append(first)
            os.kill(first, signal.SIGKILL)

    outcomes = dict(run_in_processes([stuck, *tasks("dies")[:2]], 2, watch))
    assert outcomes[0].failed == "its process ended with status -9"
    assert not outcomes[1].failed
    assert not outcomes[2].failed


def is_spawned(pid):
    with open(f"/proc/{pid}/cmdline") as file:
        return "spawn_main" in file.read()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_command_tells_of_each_and_ends_well_unless_strict(bags, tmp_path):
    options = ["-o", tmp_path / "out", "--jobs", "2", "--model", "tiny", "--metrics-every", "0"]
    run = subprocess.run(command(bags, *options), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for name in "abd":
        assert f"written to {tmp_path}/out/{name}" in run.stdout.replace("\n", "")
        assert "replayed at the same time" in str(summary_of(tmp_path / "out" / name)["warnings"])
    assert "c: " in run.stderr
    again = subprocess.run(
        command(bags, *options, "--resume", "--strict"), capture_output=True, text=True
    )
    assert again.returncode == 1
    assert again.stdout.count("done already") == 3


@pytest.mark.parametrize("jobs", [1, 2])
def test_after_ctrl_c_all_that_was_measured_is_written_and_nothing_more_begins(
    monotonous, tmp_path, jobs
):
    bags = tmp_path / "bags"
    monotonous(bags / "a", 120.0, 30.0)
    for name in "bc":
        shutil.copytree(bags / "a", bags / name)
    output = tmp_path / "out"
    options = ["-o", output, "--jobs", jobs, "--model", "tiny", "--metrics-every", "1"]
    running = subprocess.Popen(
        command(bags, *options, "--workers", "1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    begun = "ab"[:jobs]
    # The video has its first frames: the replay runs.
    until(lambda: all((output / name / "fused.mp4").is_file() for name in begun))
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Stopped." in errors
    assert "Traceback" not in errors
    for name in begun:
        summary = summary_of(output / name)
        assert summary["interrupted"] == "stopped by the user"
        assert summary["pairing"]["pairs"] > 0
    assert not (output / "c").exists()


def test_a_cluster_of_two_processes_gives_the_same(tasks, alone):
    distributed = pytest.importorskip("distributed", reason="needs the extra `cluster`")
    told, mine = set(), tasks("cluster")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        outcomes = dict(run_on_cluster(mine, address, lambda number, *_: told.add(number)))
    same_as(alone, mine, outcomes)
    assert told <= {0, 1, 3}


@pytest.mark.slow
def test_ctrl_c_reaches_what_a_cluster_does(monotonous, tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs the extra `cluster`")
    bags, output = tmp_path / "bags", tmp_path / "out"
    monotonous(bags / "a", 120.0, 30.0)
    shutil.copytree(bags / "a", bags / "b")
    options = ["--model", "tiny", "--metrics-every", "1", "--workers", "1"]
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        running = subprocess.Popen(
            command(bags, "-o", output, "--cluster", cluster.scheduler_address, *options),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        until(lambda: list(output.glob("*/fused.mp4")))
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Stopped." in errors
    (begun,) = output.iterdir()
    assert summary_of(begun)["interrupted"] == "stopped by the user"


def test_a_scheduler_that_does_not_answer_is_one_line(bags, tmp_path):
    pytest.importorskip("distributed", reason="needs the extra `cluster`")
    run = subprocess.run(
        command(bags, "-o", tmp_path, "--cluster", "tcp://127.0.0.1:1"),
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 1
    assert "No Dask scheduler answers at tcp://127.0.0.1:1" in run.stderr
    assert "Traceback" not in run.stderr
