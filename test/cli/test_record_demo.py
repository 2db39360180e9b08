"""`ssvif record-demo` as a user runs it: what was asked for is in the recording."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from rosbags.highlevel import AnyReader  # noqa: E402

from ssvif_core.cli.app import app  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402

SMALL = ("--width", "64", "--height", "48", "--scene", "day")
TOPICS = {"visible": "/visible/image_raw", "thermal": "/thermal/image_raw"}


def record(path, *words):
    result = CliRunner().invoke(app, ["record-demo", str(path), *map(str, words)])
    if isinstance(result.exception, SsvifError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return path


def contents(path):
    """Camera -> [(stamp s, receipt s, message)], by rosbags alone; and its kind of storage."""
    found = {camera: [] for camera in TOPICS}
    with AnyReader([path]) as reader:
        for connection, received_ns, data in reader.messages():
            for camera, topic in TOPICS.items():
                if connection.topic == topic:
                    message = reader.deserialize(data, connection.msgtype)
                    stamp = message.header.stamp
                    seconds = stamp.sec - 1_700_000_000 + stamp.nanosec * 1e-9
                    receipt = received_ns * 1e-9 - 1_700_000_000
                    found[camera].append((seconds, receipt, message))
    return found


def stamps(frames):
    return np.array([stamp for stamp, _, _ in frames])


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_every_storage_and_compression_is_read_by_rosbags(tmp_path, storage, compression):
    options = ("--storage", storage, "--compression", compression, "--duration", 0.5)
    path = record(tmp_path / "demo", *SMALL, *options)
    assert {p.suffix for p in path.iterdir()} == {
        ".yaml",
        {"sqlite3": ".db3"}.get(storage, ".mcap"),
    }
    frames = contents(path)
    content = b"".join(p.read_bytes() for p in path.iterdir())
    wanted = {
        "none": 0,
        "zstd": 1 if storage == "mcap" else 2 * 19,
    }  # chunks; images and their infos
    assert content.count(b"\x28\xb5\x2f\xfd") == wanted[compression]
    assert (len(frames["visible"]), len(frames["thermal"])) == (15, 4)


def test_the_command_itself_ends_with_status_0_or_with_1_and_one_line(tmp_path):
    command = [sys.executable, "-m", "ssvif_core.cli", "record-demo", str(tmp_path / "demo")]
    options = [*SMALL, "--duration", "0.3"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "11 frames, 0.3 s, written to" in done.stdout
    again = subprocess.run([*command, *options], capture_output=True, text=True)
    assert again.returncode == 1
    assert again.stderr.startswith("error: Cannot write")
    assert "Name another folder" in again.stderr
    assert "Traceback" not in again.stderr


@pytest.mark.parametrize(("bits", "encoding"), [(16, "mono16"), (8, "mono8")])
def test_thermal_frames_have_the_bits_and_the_rate_that_were_asked_for(tmp_path, bits, encoding):
    options = ("--thermal-bits", bits, "--thermal-rate", 9, "--jitter", 0, "--duration", 2)
    frames = contents(record(tmp_path / "demo", *SMALL, *options))
    thermal = [message for _, _, message in frames["thermal"]]
    assert {m.encoding for m in thermal} == {encoding}
    assert {(m.width, m.height, m.step) for m in thermal} == {(64, 48, 64 * bits // 8)}
    assert np.diff(stamps(frames["thermal"])) == pytest.approx(1 / 9, abs=1e-6)
    pixels = thermal[0].data.view(np.uint16 if bits == 16 else np.uint8)
    assert pixels.max() > (3000 if bits == 16 else 200)


def test_jitter_drops_delays_and_a_wrong_clock_are_in_the_stamps(tmp_path):
    options = (
        "--jitter", 0.004, "--drop", 0.3, "--delay", 0.02, "--thermal-offset", 0.25,
        "--thermal-rate", 20, "--duration", 5, "--width", 32, "--height", 32, "--scene", "day",
    )  # fmt: skip
    frames = contents(record(tmp_path / "demo", *options))
    assert 0.6 * 150 < len(frames["visible"]) < 0.8 * 150
    assert 0.5 * 100 < len(frames["thermal"]) < 0.9 * 100
    off = stamps(frames["visible"]) * 30
    assert np.std((off - off.round()) / 30) == pytest.approx(0.004, rel=0.35)
    lag = {camera: np.array([r - s for s, r, _ in frames[camera]]) for camera in frames}
    assert lag["visible"].min() == pytest.approx(0.02, abs=0.002)
    assert lag["thermal"].min() == pytest.approx(0.02 - 0.25, abs=0.002)


def test_a_shutter_repeats_a_frame(tmp_path):
    options = ("--freeze-every", 1, "--freeze-for", 0.5, "--thermal-rate", 10, "--duration", 2)
    frames = contents(record(tmp_path / "demo", *SMALL, *options, "--jitter", 0))["thermal"]
    same = [
        (a.data == b.data).all() for (_, _, a), (_, _, b) in zip(frames, frames[1:], strict=False)
    ]
    frozen = stamps(frames)[1:][same]
    assert frozen == pytest.approx([1.0, 1.1, 1.2, 1.3, 1.4], abs=0.01)


def test_labels_go_with_drawn_frames(tmp_path):
    path = record(tmp_path / "demo", *SMALL, "--duration", 0.3, "--labels")
    with AnyReader([path]) as reader:
        topics = {c.topic: c.msgcount for c in reader.connections}
    assert topics["/labels/image_raw"] == topics["/visible/image_raw"] == 9


def test_two_videos_become_a_recording_at_the_rates_that_were_asked_for(tmp_path, frame_pairs):
    for name, part in (("visible", 0), ("thermal", 1)):
        codec = cv2.VideoWriter.fourcc(*"MJPG")
        video = cv2.VideoWriter(str(tmp_path / f"{name}.avi"), codec, 10.0, (160, 120))
        for pair in frame_pairs[:8]:
            image = (
                pair[part][..., ::-1] if part == 0 else cv2.cvtColor(pair[1], cv2.COLOR_GRAY2BGR)
            )
            video.write(np.ascontiguousarray(image))
        video.release()
    files = ("--visible", tmp_path / "visible.avi", "--thermal", tmp_path / "thermal.avi")
    rates = ("--visible-rate", 20, "--thermal-rate", 5, "--jitter", 0)
    frames = contents(record(tmp_path / "demo", *files, *rates))
    assert (len(frames["visible"]), len(frames["thermal"])) == (16, 4)  # 0.8 s
    (_, _, first), (_, _, second), (_, _, third) = frames["visible"][:3]
    assert (first.encoding, first.width, first.height) == ("rgb8", 160, 120)
    assert (first.data == second.data).all()  # 20 Hz of a video with 10
    assert (first.data != third.data).any()
    shown = first.data.reshape(120, 160, 3).astype(int) - frame_pairs[0][0]
    assert np.abs(shown).mean() < 8  # JPEG
    counts = frames["thermal"][1][2].data.view(np.uint16).reshape(120, 160)
    assert np.abs((counts.astype(int) - 6700) / 4 - frame_pairs[2][1]).mean() < 5


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--width", 0], "A scene cannot be 0 x 480"),
        (["--height", 5000], "use 32 to 4096"),
        (["--scene", "moon"], "There is no scene 'moon'"),
        (["--thermal-bits", 12], "use 8 or 16"),
        (["--storage", "hdf5"], "cannot be hdf5"),
        (["--compression", "lz4"], "with compression lz4"),
        (["--drop", 1], "loses every frame"),
        (["--drop", 0.9999], "No visible frame would be left.*--drop"),
        (["--thermal-rate", 0.1], "No thermal frame would be left.*--thermal-rate"),
        (["--jitter", 0.1], "more than half a period at 30 Hz"),
        (["--jitter", "inf"], "--jitter is inf"),
        (["--duration", "inf"], "--duration is inf"),
        (["--thermal-offset", "nan"], "--thermal-offset is nan"),
        (["--thermal-offset", 1e9], "up to 86400"),
        (["--freeze-every", 1, "--freeze-for", 1], "would never open"),
        (["--visible", "film.mp4"], "Give both"),
        (["--visible", "film.mp4", "--thermal", "film.mp4"], "There is no file or folder film.mp4"),
        (["--visible", ".", "--thermal", ".", "--labels"], "files have no true labels"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason_and_leaves_nothing(tmp_path, options, reason):
    with pytest.raises(SsvifError, match=reason):
        record(tmp_path / "demo", "--duration", 0.2, "--scene", "day", *options)
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_is_none_is_refused(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(bytes(range(256)) * 10)
    with pytest.raises(SsvifError, match=r"film\.mp4"):
        record(tmp_path / "demo", "--visible", path, "--thermal", path)
    assert not (tmp_path / "demo").exists()
