"""Several workers: the same figures and images as one, in order, and memory that does not grow."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
import os
import shutil
import threading

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")

from ssvif_core.data.bag_files import Bag  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.imaging.calibration import Calibration  # noqa: E402
from ssvif_core.replay.folder import write_run  # noqa: E402
from ssvif_core.replay.frame_table import COLUMNS, STAGES  # noqa: E402
from ssvif_core.replay.in_order import Crew, Relay  # noqa: E402
from ssvif_core.replay.options import ReplayOptions  # noqa: E402
from ssvif_core.replay.report_head import cards  # noqa: E402
from ssvif_core.replay.run import replay  # noqa: E402
from ssvif_core.replay.settings import NodeSettings  # noqa: E402
from ssvif_core.replay.tables import answers  # noqa: E402

PLATEAU = NodeSettings(model="tiny", engine="onnxruntime", threads=2, gain__mode="plateau")
#: Columns that hold measured times, or what follows from them.
OF_TIME = {*STAGES, "total_ms", "dropped", "latency_ms", "after_receipt_ms"}
#: The same of the summary.
TIMES = {"stages_ms", "real_time", "seconds_taken", "pairs_per_second", "workers", "asked"}


def played(recording, folder, **options):
    """Rows and summary of a replay, without times."""
    options = {"settings": PLATEAU, "metrics_every": 2, "bag": True, **options}
    write_run(replay(recording, folder, ReplayOptions(**options), lambda *_: None), folder)
    with gzip.open(folder / "frames.csv.gz", "rt", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    summary = json.loads((folder / "summary.json").read_text())
    del summary["timeline"]["dropped"]
    return (
        [{key: value for key, value in row.items() if key not in OF_TIME} for row in rows],
        {key: value for key, value in summary.items() if key not in TIMES},
        rows,
    )


def images_in(folder):
    """Every message of the output recording but its time of receipt, and every video frame."""
    with Bag(folder / "bag") as bag:
        topics = [topic for topic in bag.topics() if topic != "/diagnostics"]
        found = [(m.topic, m.raw) for m in bag.messages(topics)]
        seconds = [
            {v.key: v.value for v in bag.message(m).status[0].values if v.key != "dropped"}
            for m in bag.messages(["/diagnostics"])
        ]
    capture, frames = cv2.VideoCapture(str(folder / "fused.mp4"), cv2.CAP_FFMPEG), []
    while True:
        there, frame = capture.read()
        if not there:
            return sorted(found), seconds, frames
        frames.append(frame)


@pytest.fixture(scope="module")
def spoilt(drive, record, tmp_path_factory):
    """A recording with a camera that freezes, true labels, and one image that is refused."""
    folder = tmp_path_factory.mktemp("spoilt") / "drive"
    record(folder, 4.0, freeze_every_s=1.5, freeze_for_s=1.95, drop=0.0)
    file = folder / "drive.mcap"
    content = bytearray(file.read_bytes())
    at = content.find(b"rgb8", content.find(b"visible_optical_frame"))
    content[at : at + 4] = b"hsv8"
    file.write_bytes(content)
    return folder


def test_three_workers_give_what_one_gives_figure_for_figure_and_byte_for_byte(spoilt, tmp_path):
    calibration = tmp_path / "calibration.yaml"
    matrix = np.array([[1.1, 0, -4], [0, 1.1, 3], [0, 0, 1.0]])
    Calibration(matrix, (96, 72), (96, 72)).save(calibration)
    settings = dataclasses.replace(PLATEAU, registration__file=str(calibration))
    one = played(spoilt, tmp_path / "one", workers=1, settings=settings)
    three = played(spoilt, tmp_path / "three", workers=3, settings=settings)
    assert len(one[0]) > 20
    assert {row["cameras"] for row in one[0]} == {"both", "visible"}
    assert not any(row["error"] for row in one[0])
    assert one[1]["segmentation"]["labelled"] > 5
    assert three[0] == one[0]
    assert three[1] == one[1]
    bag_one, seconds_one, video_one = images_in(tmp_path / "one")
    bag_three, seconds_three, video_three = images_in(tmp_path / "three")
    assert len(bag_one) > 3 * 20
    assert bag_three == bag_one
    assert seconds_three == seconds_one
    assert len(video_one) == len(one[0])
    assert all((a == b).all() for a, b in zip(video_three, video_one, strict=True))


def test_pairs_that_cannot_be_fused_are_told_of_by_three_workers_as_by_one(drive, tmp_path):
    settings = dataclasses.replace(PLATEAU, gain__mode="none")  # which is for 8-bit frames
    one, three = (
        played(drive, tmp_path / str(n), workers=n, settings=settings, bag=False) for n in (1, 3)
    )
    assert three[0] == one[0]
    assert three[1] == one[1]
    assert one[1]["bad"] == len(one[0]) > 10
    assert all("8-bit frames" in row["error"] for row in one[0])


def test_with_one_worker_every_pair_is_timed_and_with_more_some_are(drive, tmp_path):
    _, _, every = played(drive, tmp_path / "one", workers=1, bag=False)
    assert all(row["engine_ms"] and row["total_ms"] for row in every)
    _, _, some = played(drive, tmp_path / "two", workers=2, bag=False)
    assert 10 < len(some) < 20
    assert [int(row["index"]) for row in some if row["total_ms"]] == list(range(3))
    assert all(row["latency_ms"] or row["dropped"] == "1" for row in some)
    shutil.rmtree(tmp_path / "two")


def test_of_a_few_timed_pairs_no_slow_ones_are_shown(drive, tmp_path):
    told = {}
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        played(drive, folder, workers=workers, bag=False)
        told[workers] = json.loads((folder / "summary.json").read_text())
    every, some = told[1]["real_time"], told[2]["real_time"]
    assert every["timed"] == told[1]["fused"] == every["fused"] + every["dropped"]
    assert every["latency_ms"]["measured"] == every["fused"]
    assert every["latency_ms"]["p99"] > 0
    assert some["timed"] == some["latency_ms"]["measured"] == 3
    assert some["latency_ms"]["p50"] > 0
    assert {some["dropped"], some["fused"], some["rate_hz"]} == {None}
    assert told[2]["timeline"]["dropped"] is None
    for spread in (some["latency_ms"], some["after_receipt_ms"], told[2]["stages_ms"]["total_ms"]):
        assert {spread["p95"], spread["p99"], spread["max"]} == {None}
    said = answers(told[2])
    assert "- fused, - dropped; latency p50" in said["At real time here"]
    assert "p99 - ms (3 timed pairs are too few" in said["At real time here"]
    assert "of 3 that were timed" in said["Time of a pair"]
    assert "the median" in cards(told[2])[1].word
    assert "too few" not in answers(told[1])["At real time here"]


# Memory.


def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
@pytest.mark.parametrize(
    ("seconds", "rate_hz"),
    [
        (60, 20.0),
        pytest.param(1200, 10.0, marks=[pytest.mark.long, pytest.mark.timeout(1200)]),
    ],
)
def test_memory_does_not_grow_with_the_recording(monotonous, tmp_path, seconds, rate_hz):
    bag = monotonous(tmp_path / "long", seconds, rate_hz)
    sizes = []

    def progress(done_s, total_s, remark):
        if done_s > (len(sizes) + 1) * seconds / 3 - 1:
            sizes.append(resident_mib())

    settings = dataclasses.replace(PLATEAU, threads=1)
    options = ReplayOptions(settings=settings, metrics_every=30, workers=2)
    (tmp_path / "run").mkdir()
    done = replay(bag, tmp_path / "run", options, progress)
    assert len(done.table) == int(seconds * rate_hz)
    assert len(sizes) == 3
    # The table's own figures: 8 bytes for each, of the pairs of the last two thirds.
    table = len(done.table) * len(COLUMNS) * 8 / 2**20
    assert sizes[2] - sizes[0] < 6 + table
    timed = np.flatnonzero(np.isfinite(done.table.column("total_ms")))
    assert {index % 483 for index in timed} == set(range(3))


# What keeps the order.


def test_results_come_in_the_order_of_the_work_and_no_more_than_so_many_are_under_way():
    under_way, most, taken = 0, 0, []
    lock, begin = threading.Lock(), threading.Event()

    def work(number):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        if number == 0:
            begin.wait(30)  # the first ends last
        with lock:
            under_way -= 1
            if number == 2:
                begin.set()
        return number

    with Crew(3) as crew:
        for number in range(30):
            while crew.full:
                taken.append(crew.take())
            crew.give(work, number)
            assert len(crew) <= 4
        while len(crew):
            taken.append(crew.take())
    assert taken == list(range(30))
    assert 2 <= most <= 3


def test_a_relay_hands_each_piece_of_work_what_the_one_before_left_also_where_one_fails():
    relay, crew = Relay(0), Crew(4)

    def work(leg, number):
        try:
            if number % 3 == 1:
                raise SsvifError("nothing to add")
            leg.hand_on(leg.take() + number)
        except SsvifError:
            return None
        finally:
            leg.close()
        return number

    with crew:
        for number in range(12):
            while crew.full:
                crew.take()
            crew.give(work, relay.leg(), number)
    assert relay.leg().take() == sum(n for n in range(12) if n % 3 != 1)


def test_what_a_worker_raises_is_raised_where_its_result_is_taken():
    def work():
        raise ZeroDivisionError

    with Crew(2) as crew:
        crew.give(work)
        with pytest.raises(ZeroDivisionError):
            crew.take()
