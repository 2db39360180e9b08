"""The parts of replay alone: mailbox, stability, streams, settings, demo."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")

from ssvif_core.data.bag_files import Bag, Recorded  # noqa: E402
from ssvif_core.data.bag_writer import BagWriter  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.hold_pairing import HoldPairing  # noqa: E402
from ssvif_core.imaging.camera_model import camera_of  # noqa: E402
from ssvif_core.imaging.poses import Pose  # noqa: E402
from ssvif_core.imaging.registration import PlaneAlignment  # noqa: E402
from ssvif_core.imaging.temperature import TemperatureScale  # noqa: E402
from ssvif_core.inference.engine import EngineOptions  # noqa: E402
from ssvif_core.models import open_model  # noqa: E402
from ssvif_core.parameter_limits import NODE_ALONE  # noqa: E402
from ssvif_core.replay.demo import DemoCamera, demo_frames  # noqa: E402
from ssvif_core.replay.frame_table import FRAMES, FrameTable  # noqa: E402
from ssvif_core.replay.pairs import DecidedPair  # noqa: E402
from ssvif_core.replay.real_time import Mailbox  # noqa: E402
from ssvif_core.replay.recording import Arrival  # noqa: E402
from ssvif_core.replay.rows import Rows  # noqa: E402
from ssvif_core.replay.settings import NodeSettings, build, read_settings  # noqa: E402
from ssvif_core.replay.stability import Stability  # noqa: E402
from ssvif_core.replay.streams import StreamWatch  # noqa: E402
from ssvif_core.replay.timeline import Timeline  # noqa: E402

MS = 1_000_000

# Real time.


def fates(offers):
    """(index, dropped, finished in ms) of (time, cost), both in ms."""
    mailbox, settled = Mailbox(), []
    for index, (time_ms, cost_ms) in enumerate(offers):
        settled += mailbox.offer(index, time_ms * MS, cost_ms * MS)
    settled += mailbox.flush()
    return [(f.index, f.dropped, f.finished_ns and f.finished_ns // MS) for f in settled]


def test_a_worker_that_keeps_up_drops_nothing():
    assert fates([(0, 5), (10, 5), (20, 10), (30, 1)]) == [
        (0, False, 5), (1, False, 15), (2, False, 30), (3, False, 31),
    ]  # fmt: skip


def test_the_newest_pair_replaces_one_that_waits():
    # 0 works until 25; 1 waits from 10 and is replaced by 2 at 20, which works from 25 to 50;
    # 3 waits from 30, is replaced by 4 at 40, which works from 50 to 75.
    offers = [(0, 25), (10, 25), (20, 25), (30, 25), (40, 25)]
    assert sorted(fates(offers)) == [
        (0, False, 25), (1, True, None), (2, False, 50), (3, True, None), (4, False, 75),
    ]  # fmt: skip


def test_a_pair_that_waited_is_taken_before_one_that_comes_when_the_worker_is_free():
    # 1 waits from 10 and is taken at 25, before 2 comes at 30 and waits for the end of 1.
    assert fates([(0, 25), (10, 25), (30, 5)]) == [(0, False, 25), (1, False, 50), (2, False, 55)]


# Stability.

RNG = np.random.default_rng(0)
SCENE = RNG.integers(60, 180, (48, 64, 3), dtype=np.uint8)
COUNTS = np.tile(np.linspace(7000, 8000, 64), (48, 1)).astype(np.uint16)
THERMAL = np.tile(np.linspace(0, 255, 64), (48, 1)).astype(np.uint8)
NO_LABELS = np.zeros((48, 64), np.uint8)


def second(visible=SCENE, counts=COUNTS, thermal=THERMAL, fused=SCENE, labels=NO_LABELS, dt=0.1):
    """Figures of a pair after the pair of the constants."""
    stability = Stability()
    first = stability.look(10.0, SCENE, COUNTS, THERMAL, SCENE, NO_LABELS)
    assert all(math.isnan(value) for value in stability.compare(None, first).values())
    now = stability.look(10.0 + dt, visible, counts, thermal, fused, labels)
    return stability.compare(first, now)


def test_nothing_flickers_where_nothing_changes():
    assert second() == {
        "static": 1.0, "flicker_fused": 0.0, "flicker_visible": 0.0, "flicker_thermal": 0.0,
        "flicker_labels": 0.0,
    }  # fmt: skip


def test_a_gain_that_pumps_is_flicker_for_the_counts_stand_still():
    figures = second(thermal=(THERMAL * 0.5).astype(np.uint8), fused=SCENE + 10)
    assert figures["static"] == 1.0
    assert figures["flicker_fused"] == pytest.approx(10, abs=0.6)  # luminance rounds
    expected = np.abs((THERMAL * 0.5).astype(np.uint8).astype(int) - THERMAL).mean()
    assert figures["flicker_thermal"] == pytest.approx(expected)


@pytest.mark.parametrize("camera", ["visible", "thermal"])
def test_what_moves_in_either_camera_is_left_out(camera):
    visible, counts, fused = SCENE.copy(), COUNTS.copy(), SCENE.copy()
    labels = NO_LABELS.copy()
    fused[10:20, 10:20] = 255
    labels[12:18, 12:18] = 2
    if camera == "visible":
        visible[10:20, 10:20] = 255
    else:
        counts[10:20, 10:20] = 9000
    figures = second(visible, counts, THERMAL, fused, labels)
    assert 0.85 < figures["static"] < 0.95
    assert figures["flicker_fused"] == 0.0
    assert figures["flicker_labels"] == 0.0


def test_labels_that_change_on_a_still_scene_are_counted():
    labels = NO_LABELS.copy()
    labels[:12] = 1
    assert second(labels=labels)["flicker_labels"] == pytest.approx(0.25)


def test_a_thermal_image_of_another_size_says_what_moves_on_the_visible_grid():
    half = COUNTS[::2, ::2]
    moved = half.copy()
    moved[:, :16] += 500  # the left half
    stability = Stability()
    first = stability.look(1.0, SCENE, half, THERMAL, SCENE, NO_LABELS)
    now = stability.look(1.1, SCENE, moved, THERMAL, SCENE, NO_LABELS)
    figures = stability.compare(first, now)
    assert 0.3 < figures["static"] < 0.5


@pytest.mark.parametrize("dt", [0.0, -0.1, 3.0])
def test_pairs_far_apart_are_not_compared(dt):
    assert all(math.isnan(value) for value in second(dt=dt).values())


# Streams.


def watched(times_ms, contents=None):
    watch = StreamWatch(0)
    for number, time_ms in enumerate(times_ms):
        content = contents[number] if contents else number
        watch.see(time_ms * MS, (time_ms - 5) * MS, bytes([content]))
    watch.close()
    return watch


def test_a_pause_of_more_than_three_periods_is_a_gap():
    watch = watched([0, 100, 200, 300, 700, 800, 900])
    assert watch.gaps(900 * MS) == [pytest.approx((0.3, 0.4))]
    assert watch.summary(900 * MS)["receipt_after_stamp_median_s"] == pytest.approx(0.005)
    assert watched([0, 100, 200, 400, 500]).gaps(500 * MS) == []


def test_silence_before_the_first_and_after_the_last_message_is_a_gap_too():
    assert watched([700, 800, 900]).gaps(1000 * MS) == [pytest.approx((0.0, 0.7))]
    assert watched([400, 500, 600]).gaps(700 * MS) == []  # the wait for the first frame
    assert watched([0, 100, 200]).gaps(8000 * MS) == [pytest.approx((0.2, 7.8))]
    assert watched([0]).gaps(8000 * MS) == [pytest.approx((0.0, 8.0))]
    assert watched([]).gaps(8000 * MS) == [pytest.approx((0.0, 8.0))]
    assert watched([]).gaps(0) == watched([0]).gaps(0) == []


def test_frames_that_gaps_have_swallowed_are_expected():
    assert watched([0, 100, 200, 300, 800, 900]).expected(900 * MS) == 10
    assert watched([0, 100, 200]).expected(1000 * MS) == 10  # from 0 to 900
    assert watched([0, 100, 200, 400, 500]).expected(500 * MS) == 5  # one was lost: no gap
    assert watched([0]).expected(8000 * MS) is None
    bursts = StreamWatch(0)  # a transport that hands on six frames at a time
    for number in range(60):
        received_ns = (number // 6 * 200 + 200 + number % 6) * MS
        bursts.see(received_ns, (number + 1) * 100 * MS // 3, bytes([number]))
    assert bursts.expected(2100 * MS) == 60


def test_lags_of_receipt_are_told_with_the_offset_of_the_stamps():
    watch = StreamWatch(0, offset_ns=-200 * MS)
    for time_ms in range(0, 1000, 100):
        watch.see(time_ms * MS, (time_ms + 195) * MS, bytes([time_ms // 10]))
    assert watch.lags_s == pytest.approx(np.full(10, 0.005))
    assert watch.summary(900 * MS)["period_median_s"] == pytest.approx(0.1)


def test_a_step_of_the_clock_that_was_taken_out_of_the_receipt_is_no_lag():
    watch = StreamWatch(0)
    for time_ms, step_ms in ((0, 0), (100, 0), (200, 40_000), (300, 40_000)):
        header_ns = (time_ms + step_ms - 5) * MS  # the stamps step with the clock
        watch.see(time_ms * MS, header_ns, bytes([time_ms // 10]), step_ms * MS)
    assert watch.lags_s == pytest.approx(np.full(4, 0.005))
    assert watch.stale() == []


def test_the_same_image_for_longer_than_a_quarter_second_is_frozen():
    watch = watched(range(0, 1000, 100), [0, 1, 2, 2, 2, 2, 3, 4, 4, 5])
    assert watch.frozen == [pytest.approx((0.2, 0.3))]
    assert watch.repeated == 4


# Rows.


def came(role, received_ms, header_ms, step_ms=0):
    recorded = Recorded(f"/{role}/image_raw", "sensor_msgs/msg/Image", received_ms * MS, b"", None)
    return Arrival(role, recorded, received_ms * MS, header_ms * MS, step_ns=step_ms * MS)


@pytest.mark.parametrize("step_ms", [0, 40_000])
def test_a_thermal_frame_alone_has_its_stamp_and_latency_on_the_visible_clock(tmp_path, step_ms):
    visible = came("visible", 1000, 995 + step_ms, step_ms)
    # Stamped 200 ms ahead, which the offset undoes: 5 ms on its way as well.
    thermal = came("thermal", 1000, 1195 + step_ms, step_ms)
    stamps = visible.header_ns, thermal.header_ns
    decided_ns = 1010 * MS
    pairs = [
        DecidedPair(visible, thermal, *stamps, 0, decided_ns),
        DecidedPair(None, thermal, None, stamps[1], None, decided_ns),
        DecidedPair(visible, None, stamps[0], None, None, decided_ns),
    ]
    made = []
    with FrameTable(tmp_path / FRAMES) as table:
        for pair in pairs:
            rows = Rows(table, Timeline(0), 0, -200 * MS)
            row = rows.make(pair)
            made += [row["_stamp_ns"], row["_header_ns"]]
            rows.close(row, decided_ns, 20 * MS)
            rows.flush()
    assert set(made) == {(995 + step_ms) * MS}
    # Fused at 1030, which is 30 after the receipt and 35 after the stamp.
    assert table.column("after_receipt_ms") == pytest.approx([30, 30, 30])
    assert table.column("latency_ms") == pytest.approx([35, 35, 35])


# A full disk.


def test_a_table_on_a_full_disk_is_one_clear_error(tmp_path):
    (tmp_path / FRAMES).symlink_to("/dev/full")
    with (
        pytest.raises(SsvifError, match=r"Cannot write .*frames.csv.gz.*--resume"),
        FrameTable(tmp_path / FRAMES) as table,
    ):
        for number in range(100_000):
            table.append({"index": number, "time_s": number / 7})


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_recording_on_a_full_disk_is_one_clear_error(tmp_path, storage):
    resource = pytest.importorskip("resource", reason="limits the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    image = RNG.integers(0, 256, (256, 256), dtype=np.uint8)
    try:  # a limit stands in for a disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
        with (
            pytest.raises(SsvifError, match="Cannot write .*bag.*Make room"),
            BagWriter(tmp_path / "bag", storage) as bag,
        ):
            for number in range(50):
                bag.image("/image", number, number, image, "mono8", "camera")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# Settings.


def test_defaults_are_the_node_s():
    pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")
    from ssvif_ros.parameters import Settings

    node = {f.name: f.default for f in dataclasses.fields(Settings)}
    assert {key: node.pop(key) for key in vars(NodeSettings())} == vars(NodeSettings())
    assert set(node) == set(NODE_ALONE)


def test_the_shipped_parameter_file_gives_the_defaults(repository, caplog):
    assert read_settings(repository / "config" / "fusion.yaml") == NodeSettings()
    assert not caplog.records


def test_a_name_that_is_no_parameter_is_warned_about_and_a_node_without_a_file_refused(
    tmp_path, caplog
):
    path = tmp_path / "params.yaml"
    path.write_text(
        "/fusion:\n  ros__parameters:\n    slopp: 0.02\n    gain: {modes: fixed}\n"
        "    another: 1\n    use_sim_time: true\n    expected_rate.visible: 9.0\n"
        "    qos_overrides: {/parameter_events: {publisher: {depth: 9}}}\n"
    )
    assert read_settings(path) == NodeSettings()
    said = [record.message.removeprefix(f"{path}: ") for record in caplog.records]
    assert said == [
        "the node has no parameter slopp: did you mean slop?",
        "the node has no parameter gain.modes: did you mean gain.mode?",
        "the node has no parameter another: it is left out.",
    ]
    with pytest.raises(SsvifError, match="--node /fusion .* give that file too"):
        read_settings(None, node="/fusion")


def test_the_section_of_the_node_wins_over_the_one_of_all_and_options_over_both(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(
        "/robot/fusion:\n  ros__parameters: {slop: 0.02, gain.mode: fixed}\n"
        "/**:\n  ros__parameters:\n    slop: 1.0\n    max_wait: 0.0\n    gain: {low: 7000.0}\n"
        "    another: [1, 2]\n"
        "/camera:\n  ros__parameters: {slop: 9.0}\n"
    )
    settings = read_settings(path, {"model": "tiny", "engine": None})
    assert (settings.slop, settings.max_wait) == (0.02, 0.0)
    assert (settings.gain__mode, settings.gain__low) == ("fixed", 7000.0)
    assert (settings.model, settings.engine) == ("tiny", "auto")
    assert settings.parameters()["gain.mode"] == "fixed"


def test_numbers_are_read_as_ros_reads_them(tmp_path, ros_domain):
    import rclpy

    written = {"slop": "5e-2", "max_wait": "1.0e-1", "gain.high": "7.5e3", "gain.low": "-.5E+1"}
    path = tmp_path / "params.yaml"
    lines = "".join(f"    {name}: {value}\n" for name, value in written.items())
    path.write_text(f"/fusion:\n  ros__parameters:\n{lines}")
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", "--params-file", str(path)], context=context)
    try:
        node = rclpy.create_node("fusion", context=context)
        told = {name: node.declare_parameter(name, 0.0).value for name in written}
        node.destroy_node()
    finally:
        context.shutdown()
    read = read_settings(path).parameters()
    assert {name: read[name] for name in written} == told
    assert read["slop"] == 0.05


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("/**:\n  ros__parameters: {slop: wide}\n", "slop is 'wide'"),
        ("/**:\n  ros__parameters: {threads: true}\n", "threads is True"),
        ("/**:\n  ros__parameters: {slop: 1}\n", "slop is 1: write 1.0"),
        ("/**:\n  ros__parameters: {threads: 2.0}\n", "threads is 2.0"),
        ("/camera:\n  ros__parameters: {slop: 1.0}\n", "no parameters for a node named fusion"),
        ("slop: [", "Cannot read"),
    ],
)
def test_a_parameter_file_that_is_wrong_says_where(tmp_path, text, reason):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(SsvifError, match=reason):
        read_settings(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("gain.mode: foo", "gain.mode is 'foo': use one of"),
        ("gain: {unit: kelvin}", "gain.unit is 'kelvin': use one of"),
        ("gain.low_percentile: 150.0", "gain.low_percentile is 150.0: use 0 to 49"),
        ("gain.low_percentile: 99.9", "gain.low_percentile is 99.9"),
        ("gain.time_constant: -1.0", "gain.time_constant is -1.0: use 0 to 600"),
        ("gain.plateau: -3.0", "gain.plateau is -3.0"),
        ("slop: .nan", "slop is nan"),
        ("queue_size: 0", "queue_size is 0: use 1 to 1000"),
        ("on_missing: wait", "on_missing is 'wait': use one of"),
        ("gain.mode: fixed, gain.low: 9.0, gain.high: 8.0", "below gain.high, not 9 and 8"),
    ],
)
def test_a_value_that_the_node_would_refuse_is_refused(tmp_path, text, reason):
    path = tmp_path / "params.yaml"
    path.write_text(f"/fusion:\n  ros__parameters: {{{text}}}\n")
    with pytest.raises(SsvifError, match=reason):
        read_settings(path)
    with pytest.raises(SsvifError, match="gain.mode is 'foo'"):
        read_settings(None, {"gain__mode": "foo"})
    with pytest.raises(SsvifError, match="precision is 'fp8'"):
        dataclasses.replace(NodeSettings(), precision="fp8")
    with pytest.raises(SsvifError, match="slop is x: use 0 to 10"):
        dataclasses.replace(NodeSettings(), slop="x")


ALL_OTHERWISE = NodeSettings(
    model="tiny", engine="onnxruntime", precision="fp16", threads=1, tensorrt__workspace_mib=333,
    tensorrt__dla_core=1, tensorrt__cache="engines", sync__policy="hold", queue_size=7, slop=0.021,
    max_wait=0.22, thermal_offset=-0.33, max_thermal_age=0.44, on_missing="stop",
    missing_after=0.65, frozen_after=1.6, gain__mode="plateau", gain__low=11.0, gain__high=222.0,
    gain__unit="celsius", gain__kelvin_per_count=0.04, gain__celsius_at_zero=-100.0,
    gain__low_percentile=3.0, gain__high_percentile=88.0, gain__plateau=7.0,
    gain__time_constant=2.5, thermal__bad_pixels="none", thermal__stripes="both",
    registration__mode="camera_info", registration__file="unused.yaml",
    registration__extrinsics="0.4 0 0 0 0 0.1", registration__depth=5.0, overlay_alpha=0.7,
)  # fmt: skip


def test_every_setting_reaches_its_part():
    """No value is a default, and no two numbers are alike."""
    s = ALL_OTHERWISE
    assert not [name for name, value in vars(NodeSettings()).items() if getattr(s, name) == value]
    infos = {}
    for camera, focal in (("visible", 60.0), ("thermal", 80.0)):
        k = np.array([focal, 0, 32, 0, focal, 24, 0, 0, 1])
        infos[camera] = SimpleNamespace(
            height=48, width=64, distortion_model="", d=[], k=k, r=np.zeros(9), p=np.zeros(12),
            binning_x=0, binning_y=0,
            roi=SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0),
        )  # fmt: skip
    parts = build(s, (48, 64), infos)
    parts.pipeline.close()

    pairing, presence, gain = parts.pairing, parts.presence, parts.pipeline.gain
    assert isinstance(pairing, HoldPairing)
    assert (pairing.queue_size, pairing.singles) == (7, False)
    given = pairing.slop_s, pairing.max_wait_s, pairing.thermal_offset_s, pairing.max_thermal_age_s
    assert given == (0.021, 0.22, -0.33, 0.44)
    assert (presence.missing_after_s, presence.frozen_after_s) == (0.65, 1.6)
    assert {f.name: getattr(gain, f.name) for f in dataclasses.fields(gain) if f.init} == {
        "mode": "plateau", "low": 11.0, "high": 222.0, "unit": "celsius",
        "scale": TemperatureScale(kelvin_per_count=0.04, celsius_at_zero=-100.0),
        "low_percentile": 3.0, "high_percentile": 88.0, "plateau": 7.0, "time_constant_s": 2.5,
    }  # fmt: skip
    cleaning = parts.pipeline.cleaning
    assert (cleaning.bad_pixels, cleaning.stripes) == ("none", "both")
    pose, depth_m = Pose.from_text("0.4 0 0 0 0 0.1"), 5.0
    cameras = camera_of(infos["visible"], "visible"), camera_of(infos["thermal"], "thermal")
    wanted = PlaneAlignment(*cameras, pose, depth_m)
    assert parts.registration == wanted.describe()
    assert parts.pipeline.registration is not None
    grids = [a.coordinates((64, 48), (64, 48)) for a in (parts.alignment, wanted)]
    np.testing.assert_array_equal(*grids)
    assert parts.model.card.name == open_model("tiny").card.name
    assert parts.why == "onnxruntime, as asked for"
    assert parts.pipeline.engine.describe()["precision"] == "fp16"
    assert parts.pipeline.engine.options == EngineOptions(
        threads=1, precision="fp16", height=48, width=64, workspace_mib=333, dla_core=1,
        cache=Path("engines"),
    )  # fmt: skip


TWO_NODES = """
/**: {ros__parameters: {slop: 0.01, max_wait: 0.2}}
/front/fusion: {ros__parameters: {slop: 0.02}}
/rear/fusion: {ros__parameters: {thermal_offset: 0.3}}
/*/fusion: {ros__parameters: {queue_size: 7}}
/rear/*: {ros__parameters: {threads: 1}}
"""


def test_of_two_nodes_in_one_file_one_is_to_be_named(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(TWO_NODES)
    with pytest.raises(SsvifError, match="/front/fusion, /rear/fusion.*--node /front/fusion"):
        read_settings(path)
    front, rear, other = (
        read_settings(path, node=name) for name in ("/front/fusion", "rear/fusion", "/fusion")
    )
    assert {s.max_wait for s in (front, rear, other)} == {0.2}
    assert [s.slop for s in (front, rear, other)] == [0.02, 0.01, 0.01]
    assert [s.thermal_offset for s in (front, rear, other)] == [0.0, 0.3, 0.0]
    assert [s.queue_size for s in (front, rear, other)] == [7, 7, 15]
    assert [s.threads for s in (front, rear, other)] == [2, 1, 2]
    path.write_text("/front/fusion: {ros__parameters: {slop: 0.02}}")
    with pytest.raises(SsvifError, match="no parameters for a node named /rear/fusion"):
        read_settings(path, node="/rear/fusion")


# The demo.


def test_demo_frames_have_the_rates_and_the_faults_that_were_asked_for():
    cameras = [
        DemoCamera("visible", rate_hz=30.0, jitter_s=0.002),
        DemoCamera("thermal", rate_hz=9.0, drop=0.2, offset_s=0.5, delay_s=0.02),
    ]
    frames = list(demo_frames(cameras, 40.0))
    received = [f.received_ns for f in frames]
    assert received == sorted(received)
    visible = [f for f in frames if f.modality == "visible"]
    thermal = [f for f in frames if f.modality == "thermal"]
    assert len(visible) == 1200
    assert 0.7 * 360 < len(thermal) < 0.9 * 360
    periods = np.diff([f.stamp_ns for f in visible]) * 1e-9
    assert periods.mean() == pytest.approx(1 / 30, rel=0.01)
    assert periods.std() == pytest.approx(0.002 * math.sqrt(2), rel=0.15)
    lags = np.array([f.received_ns - f.stamp_ns for f in thermal]) * 1e-9
    assert lags.min() == pytest.approx(0.02 - 0.5, abs=0.001)
    assert np.median(lags) > lags.min() + 0.001
    assert frames == list(demo_frames(cameras, 40.0))


def test_record_demo_makes_a_recording_of_two_files(tmp_path, frame_pairs):
    import cv2

    for name, part in (("visible", 0), ("thermal", 1)):
        (tmp_path / name).mkdir()
        for number, pair in enumerate(frame_pairs[:6]):
            image = pair[part][..., ::-1] if part == 0 else pair[part]
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), image)
    command = [sys.executable, "-m", "ssvif_core.cli", "record-demo", str(tmp_path / "bag")]
    files = ["--visible", str(tmp_path / "visible"), "--thermal", str(tmp_path / "thermal")]
    options = ["--visible-rate", "10", "--thermal-rate", "10", "--jitter", "0"]
    done = subprocess.run([*command, *files, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with Bag(tmp_path / "bag") as bag:
        messages = [bag.message(m) for m in bag.messages(["/thermal/image_raw"])]
        assert set(bag.topics()) == {
            f"/{camera}/{name}" for camera in ("visible", "thermal")
            for name in ("image_raw", "camera_info")
        }  # fmt: skip
    assert len(messages) == 6
    assert {m.encoding for m in messages} == {"mono16"}
    last = np.frombuffer(messages[-1].data, np.uint16).reshape(120, 160)
    assert (last == frame_pairs[5][1].astype(int) * 4 + 6700).all()
