"""What replay says of a recording whose every frame is known: by hand, or by plain NumPy."""

from __future__ import annotations

import csv
import gzip
import json

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")

from ssvif_core.data.bag_files import Bag  # noqa: E402
from ssvif_core.data.bag_writer import BagWriter  # noqa: E402
from ssvif_core.imaging.calibration import Calibration  # noqa: E402
from ssvif_core.replay.events import events, lanes  # noqa: E402
from ssvif_core.replay.folder import write_run  # noqa: E402
from ssvif_core.replay.options import ReplayOptions  # noqa: E402
from ssvif_core.replay.recording import Slice  # noqa: E402
from ssvif_core.replay.report_head import cards  # noqa: E402
from ssvif_core.replay.run import replay  # noqa: E402
from ssvif_core.replay.set_aside import frames_in  # noqa: E402
from ssvif_core.replay.settings import NodeSettings  # noqa: E402

START_NS = 1_700_000_000_000_000_000
MS = 1_000_000
HEIGHT, WIDTH = 48, 64
#: Nobody goes on alone here: what is missing is only unpaired.
QUIET = {"missing_after": 60.0, "frozen_after": 0.0}


def record(path, frames):
    """A recording of (received ms, camera, stamp ms, pixels), in any order."""
    encodings = {"uint8": "rgb8", "uint16": "mono16", "float32": "32FC1"}
    with BagWriter(path) as bag:
        for received, camera, stamp, pixels in sorted(frames, key=lambda f: f[0]):
            stamp_ns = 0 if stamp is None else START_NS + round(stamp * MS)
            times = START_NS + round(received * MS), stamp_ns
            encoding = encodings[str(pixels.dtype)]
            bag.image(f"/{camera}/image_raw", *times, pixels, encoding, f"{camera}_frame")
    return path


TINY = {"model": "tiny", "engine": "onnxruntime", "threads": 1, **QUIET}


def replayed(path, folder, *, parameters=None, **options):
    settings = NodeSettings(**(TINY | (parameters or {})))
    options = {"metrics_every": 0, "video": False, "pictures": 0, **options}
    write_run(replay(path, folder, ReplayOptions(settings, **options), lambda *_: None), folder)
    with gzip.open(folder / "frames.csv.gz", "rt", newline="", encoding="utf-8") as file:
        return json.loads((folder / "summary.json").read_text()), list(csv.DictReader(file))


def numbers(rows, column):
    return np.array([float(row[column]) if row[column] else np.nan for row in rows])


class Scene:
    """Images with a little noise, and a square that moves in the visible one."""

    def __init__(self):
        self.rng = np.random.default_rng(5)
        self.visible = self.rng.integers(40, 200, (HEIGHT // 8, WIDTH // 8, 3)).repeat(8, 0)
        self.visible = self.visible.repeat(8, 1)
        self.counts = 7000 + np.arange(WIDTH) * 12 + np.zeros((HEIGHT, 1), int)

    def visible_image(self, number=None):
        image = self.visible + self.rng.integers(-1, 2, (HEIGHT, WIDTH, 3))
        if number is not None:
            column = number * 3 % (WIDTH - 10)
            image[10:20, column : column + 10] = (250, 250, 40)
        return image.astype(np.uint8)

    def thermal_image(self):
        return (self.counts + self.rng.integers(-4, 5, (HEIGHT, WIDTH))).astype(np.uint16)


# Where every frame went.

LOST, FROZEN, LATE = range(20, 24), range(15, 22), range(25, 35)
#: Thermal frames whose visible partner is lost.
ALONE = (10, 11)


def delta_of(number):
    """Milliseconds by which the stamp of a thermal frame is off that of its visible partner."""
    return (number * 7) % 11 - 5


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Eight seconds of 10 Hz visible and 5 Hz thermal: summary, rows, frames.

    Visible frames 20 to 23 are lost, one comes twice, one late, one without a stamp. The thermal
    picture stands still for frames 15 to 21; transport stalls for 25 to 34 by 1.1 s, and the frames
    behind them come in a burst.
    """
    scene, frames = Scene(), []
    for i in range(80):
        if i not in LOST:
            frames.append((100 * i + 8, "visible", 100 * i, scene.visible_image(i)))
    frames.append((3009, "visible", 3000, scene.visible_image()))  # the stamp of its predecessor
    frames.append((3420, "visible", 3350, scene.visible_image()))  # older than its predecessor
    frames.append((5050, "visible", None, scene.visible_image()))
    frozen, before = scene.thermal_image(), 0
    for j in range(40):
        before = max(before + 1, 200 * j + 12 + 1100 * (j in LATE))
        pixels = frozen if j in FROZEN else scene.thermal_image()
        frames.append((before, "thermal", 200 * j + delta_of(j), pixels))
    folder = tmp_path_factory.mktemp("known")
    return *replayed(record(folder / "bag", frames), folder / "run", bag=True), frames


def received_of(frames, camera):
    return np.array(sorted(f[0] for f in frames if f[1] == camera))


def test_every_frame_is_where_it_was_put(known):
    summary, rows, _ = known
    counts = {name: n for name, n in summary["pairing"]["counts"].items() if n}
    assert counts == {
        "received_visible": 80 - len(LOST) + 3,
        "received_thermal": 40,
        "paired": 40 - len(ALONE),
        "unpaired_visible": 80 - len(LOST) - (40 - len(ALONE)),
        "unpaired_thermal": len(ALONE),
        "duplicate_visible": 1,
        "late_visible": 1,
        "unstamped_visible": 1,
    }
    expected = [(200 * j, 200 * j + delta_of(j)) for j in range(40) if j not in ALONE]
    stamps = [
        tuple((int(r[f"{camera}_stamp_ns"]) - START_NS) // MS for camera in ("visible", "thermal"))
        for r in rows
    ]
    assert stamps == expected
    assert numbers(rows, "delta_ms") == pytest.approx([t - v for v, t in expected])


def test_the_distances_of_pairs_and_their_histogram_are_counted_right(known):
    summary, _, frames = known
    deltas = np.array([delta_of(j) for j in range(40) if j not in ALONE], float)
    signed, absolute = summary["pairing"]["delta_signed_ms"], summary["pairing"]["delta_ms"]
    assert (signed["mean"], absolute["mean"]) == (
        pytest.approx(deltas.mean()), pytest.approx(np.abs(deltas).mean()),
    )  # fmt: skip
    assert absolute["p95"] == pytest.approx(np.percentile(np.abs(deltas), 95))
    histogram = summary["pairing"]["delta_histogram"]
    edges, counts = histogram["edges"], histogram["counts"]
    assert (edges[0], edges[-1]) == (pytest.approx(deltas.min()), pytest.approx(deltas.max()))
    for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
        closed = right == edges[-1]
        inside = (deltas >= left - 1e-9) & ((deltas < right - 1e-9) | closed)
        assert count == inside.sum()
    seconds = (max(f[0] for f in frames) - min(f[0] for f in frames)) / 1000
    assert summary["pairing"]["rate_hz"] == pytest.approx((40 - len(ALONE)) / seconds)


def test_gaps_and_frozen_and_stale_spans_are_where_they_were_put(known):
    summary, _, frames = known
    start = min(f[0] for f in frames) / 1000
    streams = summary["streams"]
    spans = {
        (camera, kind): [(s["start_s"] + start, s["seconds"]) for s in streams[camera][kind]]
        for camera in ("visible", "thermal")
        for kind in ("gaps", "frozen", "stale")
    }
    assert spans == {
        ("visible", "gaps"): [pytest.approx((1.908, 0.5))],
        ("visible", "frozen"): [],
        # The one without a stamp is 54 years old.
        ("visible", "stale"): [pytest.approx((5.05, 0.0))],
        ("thermal", "gaps"): [pytest.approx((4.812, 1.3))],
        ("thermal", "frozen"): [pytest.approx((3.012, 1.2))],
        ("thermal", "stale"): [pytest.approx((6.112, 1.8))],
    }
    assert streams["thermal"]["repeated"] == len(FROZEN) - 1
    warnings = " ".join(summary["warnings"])
    for words in (
        "thermal image stood still once, 1.20 s", "thermal camera paused once, 1.30 s",
        "visible camera paused once, 0.50 s", "1 visible messages have no header stamp",
        "Stamps of the thermal camera lay more than 1 s from their receipt 1 time(s), for 1.80 s",
    ):  # fmt: skip
        assert words in warnings


def test_rates_lags_and_the_timeline_are_those_of_the_times_of_receipt(known):
    summary, rows, frames = known
    start = min(f[0] for f in frames)
    for camera in ("visible", "thermal"):
        received, stream = received_of(frames, camera), summary["streams"][camera]
        seconds = (received[-1] - received[0]) / 1000
        assert stream["rate_hz"] == pytest.approx((len(received) - 1) / seconds)
        counted = np.bincount((received - start) // 1000, minlength=8)
        assert summary["timeline"][camera] == counted.tolist()
        in_order = sorted((f for f in frames if f[1] == camera), key=lambda f: f[0])
        lags = [f[0] - (START_NS / -MS if f[2] is None else f[2]) for f in in_order]
        median = stream["receipt_after_stamp_median_s"]
        assert median == pytest.approx(np.median(lags) / 1000)
    first = [100 * 2 * j + 8 for j in range(40) if j not in ALONE]  # receipt of visible frames
    assert numbers(rows, "time_s") * 1000 + start == pytest.approx(np.array(first), abs=1e-3)
    assert sum(summary["timeline"]["paired"]) == len(rows)


# Whether the output keeps still.


def moved(before, now, limit):
    """Pixels that changed, averaged over 2 x 2 and then 3 x 3 of those, and spread by one of those;
    by plain NumPy.
    """
    windows = np.lib.stride_tricks.sliding_window_view

    def mean(image):
        height, width = image.shape
        half = image.astype(float).reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
        return windows(np.pad(half, 1, mode="reflect"), (3, 3)).mean(axis=(2, 3))

    changed = np.pad(np.abs(mean(now) - mean(before)) > limit, 1)
    return windows(changed, (3, 3)).any(axis=(2, 3)).repeat(2, axis=0).repeat(2, axis=1)


def luma(image):
    return np.rint(image.astype(float) @ [0.299, 0.587, 0.114])


def test_flicker_is_the_change_on_pixels_where_neither_camera_saw_one(known, tmp_path):
    _, _, frames = known
    outputs = {"fused": {}, "labels": {}}
    folder = tmp_path / "run"
    bag_path = record(tmp_path / "bag", frames)
    _, again = replayed(bag_path, folder, bag=True)
    with Bag(folder / "bag") as bag:
        for recorded in bag.messages(["/fusion/fused", "/fusion/labels"]):
            image = bag.image(recorded)
            shape = (HEIGHT, WIDTH, 3) if recorded.topic.endswith("fused") else (HEIGHT, WIDTH)
            stamp = (image.stamp_ns - START_NS) // MS
            outputs[recorded.topic.rsplit("/", 1)[1]][stamp] = image.data.reshape(shape)
    images = {(camera, stamp): pixels for _, camera, stamp, pixels in reversed(frames)}
    numbered = [j for j in range(40) if j not in ALONE]
    pairs = [(images["visible", 200 * j], images["thermal", 200 * j + delta_of(j)])
             for j in numbered]  # fmt: skip
    flicker, static = numbers(again, "flicker_fused"), numbers(again, "static")
    compared = 0
    for k in range(1, len(pairs)):
        if numbered[k] != numbered[k - 1] + 1:
            assert np.isnan(flicker[k])  # 0.6 s apart
            continue
        low, high = np.percentile(pairs[k][1][::16, ::16], (1, 99.5))
        still = ~(
            moved(luma(pairs[k - 1][0]), luma(pairs[k][0]), 3.0)
            | moved(pairs[k - 1][1], pairs[k][1], 3.0 * (high - low) / 255)
        )
        assert static[k] == pytest.approx(still.mean(), abs=0.01)
        now, before = 200 * numbered[k], 200 * numbered[k - 1]
        fused, labels = outputs["fused"], outputs["labels"]
        change = np.abs(luma(fused[now]) - luma(fused[before]))[still].mean()
        assert flicker[k] == pytest.approx(change, abs=0.05)
        changed = (labels[now] != labels[before])[still].mean()
        assert float(again[k]["flicker_labels"]) == pytest.approx(changed, abs=0.01)
        compared += 1
    assert compared == 36
    assert 0.5 < np.nanmin(static) < np.nanmax(static) < 1.0


# What real time would drop.

#: Between pairs: less than any machine needs for one.
STEP_MS = 0.1


def test_what_the_node_would_drop_is_what_a_busy_worker_misses(tmp_path):
    scene = Scene()
    frames = [
        (STEP_MS * i + lag, camera, STEP_MS * i, image())
        for i in range(60)
        for camera, lag, image in (
            ("visible", 0.02, scene.visible_image), ("thermal", 0.05, scene.thermal_image),
        )
    ]  # fmt: skip
    bag = record(tmp_path / "bag", frames)
    summary, rows = replayed(bag, tmp_path / "run", parameters={"slop": 0.00003}, workers=1)
    assert len(rows) == 60
    time_ms, wait = numbers(rows, "time_s") * 1e3, numbers(rows, "wait_ms")
    cost, latency = numbers(rows, "total_ms"), numbers(rows, "latency_ms")
    decided = time_ms + 0.03 + wait  # from the receipt of the thermal frame on
    done, free, k = {}, -np.inf, 0
    while k < len(rows):  # the worker takes the newest pair that is there, or waits for the next
        there = [n for n in range(k, len(rows)) if decided[n] <= free + 1e-6]
        taken = there[-1] if there else k
        free = done[taken] = max(free, decided[taken]) + cost[taken]
        k = taken + 1
    dropped = {n for n, row in enumerate(rows) if row["dropped"] == "1"}
    assert dropped == set(range(60)) - done.keys()
    assert summary["real_time"]["dropped"] == len(dropped) > 10
    assert summary["real_time"]["fused"] == len(done)
    assert sum(summary["timeline"]["dropped"]) == len(dropped)
    # The visible stamp lies 0.02 ms before its receipt, with which the recording begins.
    expected = [done[n] + 0.02 - STEP_MS * n if n in done else np.nan for n in range(60)]
    assert latency == pytest.approx(np.array(expected), abs=0.02, nan_ok=True)
    after = numbers(rows, "after_receipt_ms")
    assert after == pytest.approx(np.array(expected) - 0.02, abs=0.02, nan_ok=True)


# Cameras that come late or go, and clocks that are set.


def two_cameras(visible_ms, thermal_ms, thermal_size=(HEIGHT, WIDTH), late_ms=0, clock=lambda t: t):
    """Frames of a scene at such times, as `record` takes them; thermal stamps are late."""
    scene = Scene()
    rows, columns = thermal_size
    return [
        *((clock(t) + 8, "visible", clock(t), scene.visible_image(i))
          for i, t in enumerate(visible_ms)),
        *((clock(t) + 9, "thermal", clock(t) + late_ms, scene.thermal_image()[:rows, :columns])
          for t in thermal_ms),
    ]  # fmt: skip


def test_a_camera_that_dies_is_drawn_as_gone_and_pairing_is_not_called_well(tmp_path):
    frames = two_cameras(range(0, 8000, 100), range(0, 2000, 100))
    summary, rows = replayed(record(tmp_path / "bag", frames), tmp_path / "run")
    assert len(rows) == summary["pairing"]["pairs"] == 20
    assert summary["pairing"]["possible"] == 79  # up to the last visible frame
    assert cards(summary)[0].word == "no, 25 % of the possible pairs"
    assert summary["streams"]["thermal"]["rate_hz"] == pytest.approx(10.0)
    (lane,) = (lane for lane in lanes(summary) if lane["name"] == "thermal")
    gone = [(s["from"], s["to"]) for s in lane["spans"] if s["kind"] == "gone"]
    assert gone == [pytest.approx((1.901, 7.9), abs=1e-6)]
    assert any("thermal camera paused once, 6.00 s" in w for w in summary["warnings"])


def test_the_video_has_the_visible_camera_s_size_although_thermal_came_first(tmp_path):
    frames = two_cameras(range(2000, 5000, 100), range(0, 5000, 100), thermal_size=(40, 56))
    bag = record(tmp_path / "bag", frames)
    known = {"missing_after": 0.5, "frozen_after": 0.0}
    summary, rows = replayed(bag, tmp_path / "run", parameters=known, video=True)
    assert {row["cameras"] for row in rows} == {"thermal", "both"}
    assert cards(summary)[0].level == "poor"  # for two of five seconds there was no pair
    shapes = [frame.shape for frame in frames_in(tmp_path / "run" / "fused.mp4")]
    assert shapes == [(HEIGHT, WIDTH, 3)] * summary["fused"]
    assert summary["fused"] > 40


@pytest.mark.parametrize("registered", [False, True])
def test_before_a_visible_image_the_output_has_the_thermal_frame_and_no_camera_info(
    tmp_path, registered
):
    frames = two_cameras(range(2000, 4000, 100), range(0, 5000, 100), thermal_size=(40, 56))
    lens = {"d": [], "k": np.eye(3).ravel(), "r": np.eye(3).ravel(), "p": np.eye(3, 4).ravel()}
    with Bag(record(tmp_path / "cameras", frames)) as read, BagWriter(tmp_path / "bag") as bag:
        size = (HEIGHT, WIDTH)
        bag.camera_info("/visible/camera_info", START_NS, START_NS, size, lens, "lens")
        for m in read.messages([*read.topics()]):
            bag.serialised(m.topic, m.kind, m.received_ns, m.raw)
    parameters = {"missing_after": 0.5}
    if registered:
        parameters["registration__file"] = str(tmp_path / "rig.yaml")
        Calibration(np.eye(3), (WIDTH, HEIGHT), (56, 40)).save(tmp_path / "rig.yaml")
    _, rows = replayed(tmp_path / "bag", tmp_path / "run", parameters=parameters, bag=True)
    cameras = [row["cameras"] for row in rows]
    before = cameras.index("both")
    assert before > 10 and "thermal" in cameras[before:]
    with Bag(tmp_path / "run" / "bag") as bag:
        told = {
            topic: [bag.message(m).header for m in bag.messages([f"/fusion/{topic}"])]
            for topic in ("fused", "camera_info")
        }
    frame_ids = [header.frame_id for header in told["fused"]]
    own = "lens" if registered else "thermal_frame"
    assert frame_ids == [own] * before + ["visible_frame"] * (len(rows) - before)
    assert told["camera_info"] == told["fused"][before:]


def test_warnings_of_stamps_are_about_those_that_pairs_are_made_by(tmp_path):
    frames = two_cameras(range(0, 2000, 100), range(0, 2000, 100), late_ms=200)
    bag = record(tmp_path / "bag", frames)
    summary, _ = replayed(bag, tmp_path / "right", parameters={"thermal_offset": -0.2})
    assert summary["pairing"]["pairs"] == 20
    assert summary["warnings"] == []
    summary, _ = replayed(bag, tmp_path / "wrong", parameters={"thermal_offset": 0.1})
    assert any("thermal stamps, with thermal_offset, are +0.2" in w for w in summary["warnings"])


def test_a_clock_that_is_set_by_days_is_left_out_of_the_times(tmp_path):
    days_ms = 20 * 86_400_000
    at_once = two_cameras(range(0, 4000, 100), range(0, 4000, 100))
    frames = two_cameras(
        range(0, 4000, 100), range(0, 4000, 100), clock=lambda t: t + days_ms * (t >= 2000)
    )
    whole, expected = replayed(record(tmp_path / "whole", at_once), tmp_path / "at_once")
    bag = record(tmp_path / "bag", frames)
    summary, rows = replayed(bag, tmp_path / "run", bag=True, workers=1)
    assert any("480.0 at the most" in w for w in summary["warnings"])
    assert summary["pairing"]["pairs"] == whole["pairing"]["pairs"] == 40
    assert summary["recording"]["seconds"] == pytest.approx(3.9, abs=0.11)
    assert [len(counts) for counts in summary["timeline"].values()] == [4] * 7
    assert numbers(rows, "latency_ms").max() < 2000
    assert numbers(rows, "time_s") == pytest.approx(numbers(expected, "time_s"), abs=0.11)
    stamps = numbers(rows, "visible_stamp_ns")
    assert stamps[-1] - stamps[0] == pytest.approx(days_ms * MS + 3.9e9)
    for by in ("header", "receive"):
        summary, rows = replayed(bag, tmp_path / by, stamps=by)
        assert len(rows) == 40
        assert summary["streams"]["visible"]["gaps"] == []


def test_what_neither_camera_sent_was_no_pair_to_be_had(tmp_path):
    minutes_ms = 50 * 60_000
    times = [t + minutes_ms * (t >= 1500) for t in range(0, 3000, 100)]
    summary, rows = replayed(
        record(tmp_path / "bag", two_cameras(times, times)), tmp_path / "run",
        parameters={"missing_after": 0.5}, metrics_every=None,
    )  # fmt: skip
    assert len(rows) == summary["pairing"]["pairs"] == summary["pairing"]["possible"] == 30
    assert summary["pairing"]["rate_hz"] == pytest.approx(10.0, rel=0.1)
    assert summary["streams"]["visible"]["rate_hz"] == pytest.approx(10.0, rel=0.1)
    assert summary["fusion"]["every"] == 2
    silent = pytest.approx({"start_s": 1.401, "seconds": 0.099 + 50 * 60}, abs=1e-6)
    assert summary["silent"] == [silent]
    assert [e.what for e in events(summary) if e.lane == "pairs"] == [
        "neither camera sent for 3000.10 s"
    ]
    assert cards(summary)[0].word == "yes, 100 % of the possible pairs"
    assert "of which neither sent for 3000.1 s" in cards(summary)[0].detail
    (warning,) = summary["warnings"]
    assert warning.startswith("Neither camera sent anything once, 3000.1 s at the longest")


def test_of_a_pause_of_both_what_one_camera_misses_longer_was_to_be_had(tmp_path):
    visible = [*range(0, 2000, 100), *range(8000, 10000, 100)]
    thermal = [*range(0, 2000, 100), *range(9000, 10000, 100)]
    bag = record(tmp_path / "bag", two_cameras(visible, thermal))
    summary, _ = replayed(bag, tmp_path / "run")
    assert (summary["pairing"]["pairs"], summary["pairing"]["possible"]) == (30, 39)
    assert any("thermal camera paused once, 7.10 s" in w for w in summary["warnings"])
    assert not any("visible camera paused" in w for w in summary["warnings"])


def test_a_step_of_the_clock_counts_neither_as_progress_nor_as_pairs_to_measure(tmp_path):
    hours_ms = 2 * 3_600_000
    frames = two_cameras(
        range(0, 4000, 100), range(0, 4000, 100), clock=lambda t: t + hours_ms * (t >= 2000)
    )
    bag = record(tmp_path / "bag", frames)
    told = []
    for part in (Slice(), Slice(0.0, 3.0)):
        options = ReplayOptions(NodeSettings(**TINY), part=part, video=False, pictures=0)
        played = replay(bag, tmp_path / "run", options, lambda *said: told.append(said))
        assert played.measures.every == 3  # of some 40 pairs, of which fifteen
        done_s, total_s, _ = told[-1]
        assert total_s == pytest.approx(part.duration_s or 3.9, abs=0.11)
        assert done_s == pytest.approx(total_s, abs=0.25)


def test_without_a_header_stamp_there_is_no_latency_since_it(tmp_path):
    frames = [(t, camera, None, pixels) for t, camera, _, pixels
              in two_cameras(range(0, 1000, 100), range(0, 1000, 100))]  # fmt: skip
    summary, rows = replayed(
        record(tmp_path / "bag", frames), tmp_path / "run", stamps="receive", workers=1
    )
    assert len(rows) == 10
    assert summary["real_time"]["latency_ms"] == {"measured": 0}
    assert summary["real_time"]["after_receipt_ms"]["measured"] == 10


# Other pixels, other parts.


def test_temperatures_are_measured_as_counts_are(tmp_path):
    scene, frames = Scene(), []
    for i in range(6):
        kelvin = (scene.thermal_image() * 0.04).astype(np.float32)
        kelvin[3, 3] = np.nan  # a dead pixel
        frames.append((100 * i + 8, "visible", 100 * i, scene.visible_image()))
        frames.append((100 * i + 9, "thermal", 100 * i, kelvin))
    summary, rows = replayed(record(tmp_path / "bag", frames), tmp_path / "run", metrics_every=1)
    assert len(rows) == summary["fused"] == 6
    assert numbers(rows, "static")[1:] == pytest.approx(1.0)
    assert np.isfinite(numbers(rows, "Qabf")).all()


def test_a_slice_by_receipt_ends_where_it_should_with_stamps_of_either_kind(known, tmp_path):
    _, _, frames = known
    bag = record(tmp_path / "bag", frames)
    part = Slice(1.0, 2.5)
    summary, rows = replayed(bag, tmp_path / "receive", part=part, stamps="receive")
    start = min(f[0] for f in frames) + 1000
    inside = [f for f in frames if start <= f[0] < start + 2500]
    counts = summary["pairing"]["counts"]
    for camera in ("visible", "thermal"):
        assert counts[f"received_{camera}"] == sum(f[1] == camera for f in inside)
    assert counts["unstamped_visible"] == counts["duplicate_visible"] == counts["late_visible"] == 0
    lag = {int(r["thermal_stamp_ns"]) - int(r["visible_stamp_ns"]) for r in rows}
    # 12 and 8 ms of transport, whatever the headers say; the frame that came twice is nearer.
    assert lag == {4 * MS, 3 * MS}
    assert summary["stamps"] == "receive"
