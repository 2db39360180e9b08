"""Videos without their end: all frames but the last are read. A writer that was really killed is in
test/replay/test_resume.py.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssvif_core.data.salvage_mp4 import has_index, salvage_video
from ssvif_core.errors import SsvifError

WIDTH, HEIGHT, FRAMES, RATE_HZ = 160, 120, 200, 19.73
SCENE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH + 400, 3), dtype=np.uint8)


def write(path, frames):
    code = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), code, RATE_HZ, (WIDTH, HEIGHT))
    for number in range(frames):
        writer.write(np.ascontiguousarray(SCENE[:, number : number + WIDTH]))
    return writer


def frames_of(path):
    capture, frames = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    while True:
        there, frame = capture.read()
        if not there:
            return frames
        frames.append(frame)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "whole.mp4"
    write(path, FRAMES).release()
    return path


@pytest.fixture(scope="module")
def like(tmp_path_factory):
    """Another video of the same size and rate."""
    path = tmp_path_factory.mktemp("videos") / "like.mp4"
    write(path, 1).release()
    return path


def test_a_video_that_was_closed_has_an_index(whole, tmp_path):
    assert has_index(whole)
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert not has_index(tmp_path / "empty.mp4")


@pytest.mark.parametrize("part", [0.1, 0.33, 0.5, 0.87])
def test_a_video_that_breaks_off_gives_the_frames_before_that(whole, like, tmp_path, part, capfd):
    content = whole.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: int(len(content) * part)])
    assert not has_index(tmp_path / "cut.mp4")
    salvage_video(tmp_path / "cut.mp4", like, tmp_path / "cut.m4v")
    frames, expected = frames_of(tmp_path / "cut.m4v"), frames_of(whole)
    assert part * FRAMES * 0.5 < len(frames) < FRAMES
    assert all((a == b).all() for a, b in zip(frames, expected, strict=False))
    assert "damaged" not in capfd.readouterr().err


@pytest.mark.parametrize("length", [0, 20, 44, 500])
def test_a_video_without_a_whole_frame_says_so(whole, like, tmp_path, length):
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:length])
    with pytest.raises(SsvifError, match="no .*frame"):
        salvage_video(tmp_path / "cut.mp4", like, tmp_path / "cut.m4v")
