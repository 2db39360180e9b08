"""Videos that are written: what is in them, their colours, what a kill leaves, what goes wrong."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from live_browser import LiveBrowser, find_browser

from ssvif_core.data.video_writer import VideoWriter, why_not_h264
from ssvif_core.errors import SsvifError

#: Gray noise that moves by so many pixels in each frame: no frame is like the next one.
STEP = 4
SCENE = np.random.default_rng(0).integers(0, 256, (121, 161 + 200 * STEP), dtype=np.uint8)
SCENE = cv2.cvtColor(cv2.GaussianBlur(SCENE, (0, 0), 2), cv2.COLOR_GRAY2RGB)

#: Bars of 32 pixels, and what a browser's canvas has in the middle of each.
COLOURS = np.array(
    [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [20, 90, 160], [128, 128, 128]],
    np.uint8,
)
PIXELS = """new Promise(done => {
  const video = document.querySelector("video");
  const look = () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    done([0, 1, 2, 3, 4, 5].map(bar =>
      [...context.getImageData(32 * bar + 16, 32, 1, 1).data].slice(0, 3)));
  };
  video.readyState > 1 ? look() : video.addEventListener("loadeddata", look);
})"""


def frame(number, height=120, width=160):
    return np.ascontiguousarray(SCENE[:height, number * STEP : number * STEP + width])


def write(path, frames, rate_hz=10.0, **size):
    writer = VideoWriter(path, rate_hz)
    for number in range(frames):
        writer.append(frame(number, **size))
    writer.close()


def frames_of(path):
    """RGB frames as OpenCV reads them, and what it says of count and rate."""
    capture, frames = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    said = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    while True:
        there, image = capture.read()
        if not there:
            return frames, said
        frames.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


@pytest.fixture
def av():
    """PyAV, where it writes H.264."""
    av = pytest.importorskip("av", reason="needs the extra `video`")
    assert not why_not_h264()
    return av


@pytest.fixture(params=["h264", "mpeg4"])
def coder(request, monkeypatch):
    """With PyAV, and as if it were not installed."""
    if request.param == "h264":
        request.getfixturevalue("av")
    else:
        monkeypatch.setitem(sys.modules, "av", None)
    return request.param


@pytest.mark.parametrize(("height", "width"), [(120, 160), (119, 160), (120, 159), (119, 159)])
def test_every_frame_is_there_in_order_and_nothing_of_it_is_cut_off(tmp_path, coder, height, width):
    write(tmp_path / "v.mp4", 25, 29.97, height=height, width=width)
    frames, (count, rate) = frames_of(tmp_path / "v.mp4")
    assert len(frames) == count == 25
    assert rate == pytest.approx(29.97, rel=1e-4)
    for number, image in enumerate(frames):
        assert image.shape[:2] == (height + height % 2, width + width % 2)
        same, shown = frame(number, height, width), image[:height, :width]
        other = frame(number + 1, height, width)
        assert cv2.absdiff(shown, same).mean() < min(4, cv2.absdiff(shown, other).mean() / 2)
        assert cv2.absdiff(shown[-1:], same[-1:]).mean() < 8
        assert cv2.absdiff(shown[:, -1:], same[:, -1:]).mean() < 8


def test_frames_of_another_size_are_left_out(tmp_path, coder):
    writer = VideoWriter(tmp_path / "v.mp4", 10)
    for width in (160, 158, 160):
        writer.append(frame(0, width=width))
    writer.close()
    assert len(frames_of(tmp_path / "v.mp4")[0]) == 2


def test_without_a_frame_there_is_no_file(tmp_path, coder):
    VideoWriter(tmp_path / "v.mp4", 10).close()
    assert not (tmp_path / "v.mp4").exists()


def test_a_file_that_cannot_be_made_is_one_clear_error(tmp_path, coder):
    writer = VideoWriter(tmp_path / "nowhere" / "v.mp4", 10)
    with pytest.raises(SsvifError, match=r"Cannot write .*nowhere/v\.mp4"):
        writer.append(frame(0))
        writer.close()


def test_without_pyav_a_line_says_what_browsers_cannot_play_and_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert "browsers do not play: PyAV is not installed" in why_not_h264()
    assert "pip install" in why_not_h264()
    assert "\n" not in why_not_h264()


def test_a_pyav_that_is_too_old_is_not_used(av, monkeypatch):
    monkeypatch.setitem(av.library_versions, "libavformat", (60, 16, 100))
    assert f"PyAV {av.__version__} has no x264, or an FFmpeg before 7.1" in why_not_h264()


def test_it_is_what_browsers_play_and_says_which_colours_it_has(av, tmp_path):
    write(tmp_path / "v.mp4", 25, 30000 / 1001)
    with av.open(str(tmp_path / "v.mp4")) as file:
        stream = file.streams.video[0]
        coder = stream.codec_context
        assert (coder.name, coder.pix_fmt) == ("h264", "yuv420p")
        assert "Baseline" in coder.profile
        assert stream.average_rate == Fraction(30000, 1001)
        assert stream.frames == 25
        assert float(stream.duration * stream.time_base) == pytest.approx(25 * 1.001 / 30)
        # 16..235, the matrix of BT.601, and red, green, blue and gamma of sRGB (libavutil/pixfmt.h)
        assert (coder.color_range, coder.colorspace) == (1, 6)
        assert (coder.color_primaries, coder.color_trc) == (1, 13)


def test_colours_come_back(av, tmp_path):
    writer = VideoWriter(tmp_path / "v.mp4", 10)
    writer.append(np.repeat(np.repeat(COLOURS[None], 64, 0), 32, 1))
    writer.close()
    ((shown,), _) = frames_of(tmp_path / "v.mp4")
    assert np.abs(shown[32, 16::32].astype(int) - COLOURS).max() < 6


@pytest.mark.slow
def test_a_browser_shows_the_same_colours(av, tmp_path):
    browser = find_browser()
    if browser is None:
        pytest.skip("needs chromium or google-chrome")
    writer = VideoWriter(tmp_path / "v.mp4", 10)
    writer.append(np.repeat(np.repeat(COLOURS[None], 64, 0), 32, 1))
    writer.close()
    (tmp_path / "page.html").write_text('<video muted preload="auto" src="v.mp4"></video>')
    with LiveBrowser(browser, tmp_path / "profile") as live:
        live.show(tmp_path / "page.html")
        shown = live.evaluate(PIXELS)
    assert np.abs(np.array(shown) - COLOURS).max() < 6


def test_it_can_be_sought_by_the_second(av, tmp_path):
    write(tmp_path / "v.mp4", 200, 20.0)
    with av.open(str(tmp_path / "v.mp4")) as file:
        keys = [p.pts * p.time_base for p in file.demux(video=0) if p.size and p.is_keyframe]
    assert [float(key) for key in keys] == pytest.approx(range(10))
    capture = cv2.VideoCapture(str(tmp_path / "v.mp4"), cv2.CAP_FFMPEG)
    capture.set(cv2.CAP_PROP_POS_FRAMES, 137)
    image = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
    assert cv2.absdiff(image, frame(137)).mean() < 4


def test_the_same_frames_give_the_same_bytes(av, tmp_path):
    for name in ("one.mp4", "other.mp4"):
        write(tmp_path / name, 45)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "other.mp4").read_bytes()


#: Writes as many frames as it is asked for, and kills itself.
KILLED = """
import os, sys
sys.path[:0] = sys.argv[3:]
from test_video_writer import VideoWriter, frame
from pathlib import Path
writer = VideoWriter(Path(sys.argv[1]), 10.0)
for number in range(int(sys.argv[2])):
    writer.append(frame(number))
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def killed(av, tmp_path):
    """Path of a video of 87 frames whose writer was killed."""
    path, here = tmp_path / "killed.mp4", str(Path(__file__).parent)
    command = [sys.executable, "-c", KILLED, str(path), "87", here, *sys.path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return path


def test_a_writer_that_is_killed_leaves_all_but_the_last_second(killed, tmp_path):
    write(tmp_path / "whole.mp4", 87)
    frames, _ = frames_of(killed)
    assert 87 - 2 * 10 < len(frames) < 87
    whole, _ = frames_of(tmp_path / "whole.mp4")
    assert all((a == b).all() for a, b in zip(frames, whole, strict=False))


@pytest.mark.parametrize("part", [0.3, 0.5, 0.77, 0.9, 0.95])
def test_what_is_cut_off_takes_nothing_else_along(killed, tmp_path, part):
    content = killed.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: int(len(content) * part)])
    write(tmp_path / "whole.mp4", 87)
    frames, whole = (frames_of(tmp_path / name)[0] for name in ("cut.mp4", "whole.mp4"))
    assert 87 * part - 2 * 10 < len(frames) < 87
    assert all((a == b).all() for a, b in zip(frames, whole, strict=False))


@pytest.fixture
def little_space():
    """No file may have more than 50,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, heard)


def test_no_space_is_one_clear_error_and_nothing_is_written_after_it(av, tmp_path, little_space):
    writer = VideoWriter(tmp_path / "v.mp4", 10)
    with pytest.raises(SsvifError, match=r"Cannot write .*v\.mp4: File too large"):
        write_on(writer)
    with pytest.raises(SsvifError, match="Check free space"):
        writer.append(frame(0))
    writer.close()


def test_a_disk_that_is_full_from_the_first_byte_is_the_same_error(av, tmp_path):
    (tmp_path / "v.mp4").symlink_to("/dev/full")
    writer = VideoWriter(tmp_path / "v.mp4", 10)
    with pytest.raises(SsvifError, match="No space left on device"):
        write_on(writer)
    writer.close()


def write_on(writer):
    for number in range(400):
        writer.append(frame(number % 200))
    writer.close()
