"""Frames of one camera from videos, folders and single images."""

from __future__ import annotations

import logging
from fractions import Fraction

import cv2
import numpy as np
import pytest

from ssvif_core.data.camera_sources import FileSource
from ssvif_core.data.streams import open_stream
from ssvif_core.data.videos import nearest_in_time, read_video_pairs
from ssvif_core.errors import SsvifError


def write_video(path, count=12):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (64, 48))
    for index in range(count):
        writer.write(np.full((48, 64, 3), (0, 0, 20 * index), np.uint8))  # BGR: red grows
    writer.release()


def test_a_video_gives_rgb_frames_with_its_rate(tmp_path):
    write_video(tmp_path / "v.mp4")
    stream = open_stream(tmp_path / "v.mp4", "visible")
    assert (len(stream), stream.rate_hz) == (12, 25.0)
    frames = [frame.pixels for frame in stream.frames()]
    assert len(frames) == 12
    red = [int(image[24, 32, 0]) for image in frames]
    assert red == sorted(red)
    assert red[-1] > 180 > 60 > frames[-1][24, 32, 2]


def test_a_thermal_video_is_gray(tmp_path):
    write_video(tmp_path / "t.mp4")
    frame = next(open_stream(tmp_path / "t.mp4", "thermal").frames())
    assert frame.pixels.shape == (48, 64)


def test_a_truncated_video_is_an_error_or_ends_early_but_never_raises_in_between(tmp_path):
    write_video(tmp_path / "whole.mp4", 200)
    content = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    try:
        frames = list(open_stream(tmp_path / "cut.mp4", "visible").frames())
    except SsvifError as error:
        assert "cut.mp4" in str(error)
    else:
        assert len(frames) < 200


def test_a_folder_keeps_16_bits_of_thermal_and_sorts_as_people_number(tmp_path):
    for index in (2, 1, 10):
        image = np.full((8, 8), 7000 + index, np.uint16)
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._1.png").write_bytes(b"\0\5\x16\7")  # macOS, on disks that are not its own
    stream = open_stream(tmp_path, "thermal")
    assert stream.rate_hz is None
    assert [(name, int(image[0, 0])) for name, image, _ in stream.frames()] == [
        ("1", 7001),
        ("2", 7002),
        ("10", 7010),
    ]


@pytest.mark.parametrize("name", ["nothing", "nothing.mp4", "nothing.png"])
def test_a_missing_source_is_named(tmp_path, name):
    with pytest.raises(SsvifError, match=name):
        open_stream(tmp_path / name, "visible")


@pytest.mark.parametrize("name", ["drive", "drive/drive_0.mcap"])
def test_a_recording_is_none_of_one_camera_and_is_replayed(tmp_path, name):
    (tmp_path / "drive").mkdir()
    (tmp_path / "drive" / "drive_0.mcap").touch()
    with pytest.raises(SsvifError, match=f"`ssvif replay {tmp_path / name}`"):
        open_stream(tmp_path / name, "visible")


def test_an_empty_folder_says_what_was_looked_for(tmp_path):
    with pytest.raises(SsvifError, match="png"):
        open_stream(tmp_path, "visible")


@pytest.mark.parametrize(
    ("offset_s", "pairs"),
    [
        (0.0, [(0, 0), (5, 2), (10, 4), (15, 6)]),
        (0.5, [(13, 0), (18, 2), (23, 4)]),  # thermal began half a second later
        (-0.4, [(0, 4), (5, 6)]),
    ],
)
def test_pairs_of_two_videos_are_of_one_moment(tmp_path, offset_s, pairs):
    """Visible at 25 Hz, whose grey level counts frames; thermal at 10 Hz."""
    for name, rate, count in (("v.mp4", 25.0, 25), ("t.mp4", 10.0, 8)):
        writer = cv2.VideoWriter(
            str(tmp_path / name), cv2.VideoWriter.fourcc(*"mp4v"), rate, (64, 48)
        )
        for index in range(count):
            writer.write(np.full((48, 64, 3), 10 * index, np.uint8))
        writer.release()
    found, skipped = read_video_pairs(
        tmp_path / "v.mp4", tmp_path / "t.mp4", 400, offset_s=offset_s
    )
    assert not skipped
    numbers = [(int(pair.name), round(pair.thermal.mean() / 10)) for pair in found]
    assert set(pairs) <= set(numbers)
    assert all(abs(t / 10 + offset_s - v / 25) <= 0.0501 for v, t in numbers)
    for apart_s in (3.0, -3.0):
        with pytest.raises(SsvifError, match="no time in common"):
            read_video_pairs(tmp_path / "v.mp4", tmp_path / "t.mp4", 400, offset_s=apart_s)


def film(path, times_s, pixels, pixel_format, codec, **options):
    """A video with a frame at each of these times."""
    av = pytest.importorskip("av", reason="needs PyAV (the extra `video`)")
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width = pixels[0].shape
        stream.pix_fmt, stream.codec_context.time_base = pixel_format, Fraction(1, 1000)
        for time_s, image in zip(times_s, pixels, strict=True):
            name = "gray" if image.dtype == np.uint8 else "gray16le"
            frame = av.VideoFrame.from_ndarray(image, name).reformat(format=pixel_format)
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def ramp(count):
    """Frames whose grey level counts them."""
    return [np.full((48, 64), 4 * index, np.uint8) for index in range(count)]


def test_frames_of_a_camera_that_became_slow_are_paired_by_their_own_times(tmp_path):
    visible_s = np.cumsum([0.0] + [0.033] * 29 + [0.111] * 30)  # 30 Hz, and 9 Hz at dusk
    thermal_s = np.arange(0, visible_s[-1] + 0.1, 1 / 9)
    film(tmp_path / "v.mkv", visible_s, ramp(60), "yuv420p", "libx264")
    film(tmp_path / "t.mkv", thermal_s, ramp(len(thermal_s)), "yuv420p", "libx264")
    times_s = [frame.time_s for frame in open_stream(tmp_path / "v.mkv", "visible").frames()]
    assert times_s == pytest.approx(visible_s, abs=0.001)
    found, skipped = read_video_pairs(tmp_path / "v.mkv", tmp_path / "t.mkv", 400)
    assert (len(found), skipped) == (60, [])
    apart_s = [visible_s[int(p.name)] - round(p.thermal.mean() / 4) / 9 for p in found]
    assert np.abs(apart_s).max() <= 1 / 18 + 0.002


def test_no_thermal_frame_stands_for_a_hole_and_none_for_the_time_after_the_last():
    thermal_s = [0.0, 0.1, 0.2, 1.2, 1.3]
    visible_s = [0.0, 0.06, 0.24, 0.5, 0.8, 1.1, 1.34, 1.36]
    assert nearest_in_time(visible_s, thermal_s).tolist() == [0, 1, 2, -1, -1, 3, 4, -1]
    assert nearest_in_time([0.0, 0.04, 0.1], [0.02]).tolist() == [0, 0, -1]
    assert nearest_in_time([0.0], []).tolist() == [-1]


def test_a_video_without_times_is_read_at_its_rate_and_that_is_said(tmp_path, caplog):
    film(tmp_path / "v.h264", np.arange(6) / 30, ramp(6), "yuv420p", "libx264", format="h264")
    with caplog.at_level(logging.WARNING, "ssvif.data"):
        stream = open_stream(tmp_path / "v.h264", "visible")
        times_s = stream.times_s()
    assert times_s == pytest.approx(np.arange(6) / stream.rate_hz)
    assert "v.h264 does not say when each frame was taken" in caplog.text


@pytest.mark.skipif(
    cv2.__version__.startswith("4.5"), reason="OpenCV 4.5 cannot; it is refused there"
)
def test_16_bits_of_a_thermal_video_are_kept_and_mapped_by_one_gain(tmp_path):
    counts = [np.linspace(6740, 7080, 64 * 48).reshape(48, 64).astype(np.uint16)] * 5
    counts[2] = counts[2] + np.uint16(20)
    film(tmp_path / "t.mkv", np.arange(5) / 9, counts, "gray16le", "ffv1")
    frames = list(open_stream(tmp_path / "t.mkv", "thermal").frames())
    assert all((f.pixels == c).all() for f, c in zip(frames, counts, strict=True))
    film(tmp_path / "v.mkv", np.arange(5) / 9, ramp(5), "yuv420p", "libx264")
    pairs, _ = read_video_pairs(tmp_path / "v.mkv", tmp_path / "t.mkv", 5)
    assert len(np.unique(pairs[3].thermal)) > 200


def test_a_thermal_video_of_which_8_bits_would_be_left_is_refused(tmp_path):
    counts = [np.full((48, 64), 1700 * 16, np.uint16)] * 3
    film(tmp_path / "t.mkv", np.arange(3) / 9, counts, "gray12le", "ffv1")
    with pytest.raises(SsvifError, match="pix_fmt gray16le"):
        open_stream(tmp_path / "t.mkv", "thermal")


def test_a_file_that_went_away_ends_a_source_that_plays_for_ever(tmp_path):
    write_video(tmp_path / "v.mp4")
    source = FileSource(tmp_path / "v.mp4", "visible", 30.0)
    assert source.frame(2.0).shape == (48, 64, 3)
    (tmp_path / "v.mp4").unlink()
    with pytest.raises(SsvifError, match="can no longer be read"):
        source.frame(4.0)


def test_a_video_that_does_not_say_its_length_is_counted(tmp_path):
    av = pytest.importorskip("av", reason="needs PyAV (the extra `video`)")
    with (tmp_path / "piped.mkv").open("wb") as file:

        class Pipe:
            """Cannot go back to write how long it was."""

            write = file.write

        with av.open(Pipe(), "w", format="matroska") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for _ in range(12):
                frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    assert len(open_stream(tmp_path / "piped.mkv", "visible")) == 12
