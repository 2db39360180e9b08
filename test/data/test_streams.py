"""Frames of one camera from videos, folders and single images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssvif_core.data.streams import open_stream
from ssvif_core.data.videos import read_video_pairs
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
    frames = [image for _, image in stream.frames()]
    assert len(frames) == 12
    red = [int(image[24, 32, 0]) for image in frames]
    assert red == sorted(red)
    assert red[-1] > 180 > 60 > frames[-1][24, 32, 2]


def test_a_thermal_video_is_gray(tmp_path):
    write_video(tmp_path / "t.mp4")
    _, image = next(open_stream(tmp_path / "t.mp4", "thermal").frames())
    assert image.shape == (48, 64)


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


def test_a_folder_keeps_16_bits_of_thermal_and_sorts_by_name(tmp_path):
    for index in (2, 1, 3):
        image = np.full((8, 8), 7000 + index, np.uint16)
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    (tmp_path / "notes.txt").write_text("not an image")
    stream = open_stream(tmp_path, "thermal")
    assert stream.rate_hz is None
    assert [(name, int(image[0, 0])) for name, image in stream.frames()] == [
        ("1", 7001),
        ("2", 7002),
        ("3", 7003),
    ]


@pytest.mark.parametrize("name", ["nothing", "nothing.mp4", "nothing.png"])
def test_a_missing_source_is_named(tmp_path, name):
    with pytest.raises(SsvifError, match=name):
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
