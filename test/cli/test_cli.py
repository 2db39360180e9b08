"""The `ssvif` command as a user calls it: a separate process, real files."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

import ssvif_core.cli.doctor as doctor_command
from ssvif_core.cli.fuse import fuse
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.simulation.scenes import Scene


def ssvif(*arguments, cwd=None):
    command = [sys.executable, "-m", "ssvif_core.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=110)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A second of a simulated scene as two video files."""
    folder = tmp_path_factory.mktemp("videos")
    scene, gain = Scene("night", width=160, height=128, seed=1), ThermalGain(mode="percentile")
    paths = folder / "visible.mp4", folder / "thermal.mp4"
    code = cv2.VideoWriter.fourcc(*"mp4v")
    writers = [cv2.VideoWriter(str(path), code, 10.0, (160, 128)) for path in paths]
    for index in range(10):
        frame = scene.render(index / 10)
        thermal = gain.apply(frame.thermal, index / 10)
        writers[0].write(cv2.cvtColor(frame.visible, cv2.COLOR_RGB2BGR))
        writers[1].write(cv2.cvtColor(thermal, cv2.COLOR_GRAY2BGR))
    for writer in writers:
        writer.release()
    return paths


def test_help_lists_the_verbs():
    answer = ssvif("--help")
    assert answer.returncode == 0
    for verb in ("train", "export", "fuse", "doctor"):
        assert verb in answer.stdout


def test_doctor_finds_the_engine_and_exits_well():
    answer = ssvif("doctor")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "onnxruntime" in answer.stdout
    assert "works" in answer.stdout


def test_doctor_takes_no_other_package_for_cuda_python(monkeypatch, tmp_path):
    def install(name, version):
        about = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        (about / "top_level.txt").write_text("cuda\n")

    (tmp_path / "cuda" / "pathfinder").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    install("cuda-pathfinder", "1.9.1")
    assert doctor_command._version("cuda") != ("1.9.1", "")
    install("cuda-python", "12.6.2.post1")
    assert doctor_command._version("cuda") == ("12.6.2.post1", "")


def test_doctor_sees_two_distributions_of_onnx_runtime_over_each_other(
    monkeypatch, tmp_path, capsys
):
    assert doctor_command._overlaid("onnxruntime") == ""
    monkeypatch.syspath_prepend(tmp_path)
    about = tmp_path / "onnxruntime_gpu-1.32.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: onnxruntime-gpu\nVersion: 1.32.0\n")
    (about / "top_level.txt").write_text("onnxruntime\n")
    doctor_command.doctor()
    assert "pip uninstall onnxruntime onnxruntime-gpu, then" in capsys.readouterr().out


def test_doctor_says_how_to_get_huge_pages(monkeypatch, capsys):
    monkeypatch.setattr(doctor_command, "huge_pages", lambda: "never")
    doctor_command.doctor()
    assert "echo madvise" in capsys.readouterr().out
    monkeypatch.setattr(doctor_command, "huge_pages", lambda: "madvise")
    doctor_command.doctor()
    assert "echo madvise" not in capsys.readouterr().out


def test_a_folder_of_pairs_is_fused_into_images(paired_folder, tmp_path):
    frames = paired_folder / "frames"
    answer = ssvif(
        "fuse", frames / "visible", frames / "thermal", "-o", tmp_path, "--model", "tiny"
    )
    assert answer.returncode == 0, answer.stderr
    names = {path.name for path in (frames / "visible").iterdir()}
    for part in ("fused", "labels", "overlay"):
        assert {path.name for path in (tmp_path / part).iterdir()} == names
    assert "of before" not in answer.stdout
    one = frames / "visible" / "001.png", frames / "thermal"
    again = ssvif("fuse", *one, "-o", tmp_path, "--model", "tiny")
    said = " ".join(again.stdout.split())
    stay = f"{3 * (len(names) - 1)} images of before stay in {tmp_path}, such as"
    assert f"{stay} {tmp_path / 'fused' / '000.png'}" in said
    labels = cv2.imread(str(tmp_path / "labels" / "000.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (120, 160)
    assert labels.max() <= 3


def test_two_videos_are_fused_into_a_video(videos, tmp_path):
    answer = ssvif("fuse", *videos, "-o", tmp_path, "--model", "tiny")
    assert answer.returncode == 0, answer.stderr
    for name in ("fused.mp4", "panels.mp4"):
        capture = cv2.VideoCapture(str(tmp_path / name))
        count = sum(1 for _ in iter(lambda capture=capture: capture.read()[0], False))
        assert count == 10


def test_without_pyav_a_line_says_what_the_videos_are(videos, tmp_path, monkeypatch):
    (tmp_path / "without" / "av").mkdir(parents=True)
    (tmp_path / "without" / "av" / "__init__.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "without"), prepend=os.pathsep)
    answer = ssvif("fuse", *videos, "-o", tmp_path, "--model", "tiny")
    assert answer.returncode == 0, answer.stderr
    said = " ".join(answer.stdout.split())
    assert "videos are MPEG-4 part 2, which browsers do not play: PyAV is not installed" in said
    assert cv2.VideoCapture(str(tmp_path / "panels.mp4")).read()[0]


def test_videos_of_different_rates_are_paired_by_time(videos, tmp_path):
    writer = cv2.VideoWriter(
        str(tmp_path / "slow.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 4.0, (160, 128)
    )
    for _ in range(4):
        writer.write(np.full((128, 160, 3), 90, np.uint8))
    writer.release()
    answer = ssvif(
        "fuse", videos[0], tmp_path / "slow.mp4", "-o", tmp_path / "o:1", "--model", "tiny"
    )
    assert answer.returncode == 0, answer.stderr
    said = " ".join(answer.stdout.split())
    assert "10 visible and 4 thermal frames: 9 pairs" in said
    assert "9 pairs fused into" in said


def test_folders_are_paired_by_names_and_what_has_no_partner_is_named(paired_folder, tmp_path):
    for part, gone in (("visible", "001"), ("thermal", "000")):
        (tmp_path / part).mkdir()
        for path in sorted((paired_folder / "frames" / part).iterdir())[:4]:
            if path.stem != gone:
                shutil.copy(path, tmp_path / part / f"{path.stem}_{part}.png")
    inputs = tmp_path / "visible", tmp_path / "thermal"
    answer = ssvif("fuse", *inputs, "-o", tmp_path / "o:1", "--model", "tiny")
    assert answer.returncode == 0, answer.stderr
    said = " ".join(answer.stdout.split())
    assert "left out, no image of that name on the other side" in said
    assert "000_visible.png" in said and "001_thermal.png" in said
    fused = sorted(path.name for path in (tmp_path / "o:1" / "fused").iterdir())
    assert fused == ["002_visible.png", "003_visible.png"]


def test_one_image_finds_its_partner_in_a_folder_by_name_or_number(paired_folder, tmp_path):
    frames = paired_folder / "frames"
    shutil.copytree(frames / "thermal", tmp_path / "lwir")
    for path in sorted((tmp_path / "lwir").iterdir()):
        path.rename(path.with_stem(f"lwir_{path.stem}"))
    wanted = ssvif(
        "fuse", *(frames / part / "003.png" for part in ("visible", "thermal")),
        "-o", tmp_path / "wanted", "--model", "tiny",
    )  # fmt: skip
    assert wanted.returncode == 0, wanted.stderr
    for thermal in (frames / "thermal", tmp_path / "lwir"):
        out = tmp_path / f"of_{thermal.name}"
        answer = ssvif(
            "fuse", frames / "visible" / "003.png", thermal, "-o", out, "--model", "tiny"
        )
        assert answer.returncode == 0, answer.stderr
        assert "left out" not in answer.stdout
        (fused,) = (out / "fused").iterdir()
        assert fused.read_bytes() == (tmp_path / "wanted" / "fused" / "003.png").read_bytes()


def test_what_neither_names_nor_counts_pair_is_refused(paired_folder, videos, tmp_path):
    frames = paired_folder / "frames"
    shutil.copy(frames / "visible" / "003.png", tmp_path / "other.png")
    for visible in (tmp_path / "other.png", videos[0]):
        (tmp_path / "thermal").mkdir(exist_ok=True)
        for index in range(11):
            shutil.copy(frames / "thermal" / "000.png", tmp_path / "thermal" / f"t{index}.png")
        words = ("fuse", visible, tmp_path / "thermal", "-o", tmp_path / "out", "--model", "tiny")
        answer = ssvif(*words)
        said = " ".join(answer.stderr.split())
        assert answer.returncode == 1 and f"({visible.name} ...) and 11 thermal (t0.png" in said
        assert not (tmp_path / "out").exists()
    (tmp_path / "thermal" / "t10.png").unlink()
    answer = ssvif(*words)  # as many images as frames of the video
    assert answer.returncode == 0 and "in the order of their names" in answer.stdout


def test_an_image_that_cannot_be_read_is_left_out_and_said_at_the_end(paired_folder, tmp_path):
    frames = tmp_path / "pairs"
    shutil.copytree(paired_folder / "frames", frames)
    for broken in ("visible/000.png", "visible/002.png", "thermal/003.png", "thermal/002.png"):
        (frames / broken).write_bytes(b"no image")
    inputs = frames / "visible", frames / "thermal"
    answer = ssvif("fuse", *inputs, "-o", tmp_path / "out", "--model", "tiny")
    said = " ".join(answer.stderr.split())
    assert answer.returncode == 1 and "4 could not be read and were left out: 000.png" in said
    fused = [path.stem for path in sorted((tmp_path / "out" / "fused").iterdir())]
    there = [path.stem for path in sorted((frames / "visible").iterdir())]
    assert fused == [name for name in there if name not in ("000", "002", "003")]
    for name in fused:  # each with its own partner
        alone = [frames / part / f"{name}.png" for part in ("visible", "thermal")]
        ssvif("fuse", *alone, "-o", tmp_path / "alone", "--model", "tiny")
        one, two = (tmp_path / folder / "fused" / f"{name}.png" for folder in ("out", "alone"))
        assert one.read_bytes() == two.read_bytes()


def test_nothing_is_written_over_what_was_given_or_over_itself(paired_folder, tmp_path):
    frames = tmp_path / "pairs"
    shutil.copytree(paired_folder / "frames", frames)
    before = {path: path.read_bytes() for path in frames.rglob("*.png")}
    inputs = frames / "visible", frames / "thermal"
    answer = ssvif("fuse", *inputs, "-o", frames, "--model", "tiny")
    assert answer.returncode == 1 and "another folder with -o" in " ".join(answer.stderr.split())
    shutil.copy(frames / "visible" / "000.png", frames / "visible" / "000.jpg")
    answer = ssvif("fuse", *inputs, "-o", tmp_path / "out", "--model", "tiny")
    assert answer.returncode == 1 and "more than one image 000" in " ".join(answer.stderr.split())
    single = [frames / part / "001.png" for part in ("visible", "thermal")]
    answer = ssvif("fuse", *single, "-o", frames, "--model", "tiny")
    assert answer.returncode == 1 and "another folder with -o" in " ".join(answer.stderr.split())
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["fused.mp4", "panels.mp4"])
def test_a_video_is_not_written_over_while_it_is_read(name, videos, tmp_path):
    shutil.copy(videos[1], tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path)
    answer = ssvif("fuse", videos[0], tmp_path / name, "-o", tmp_path / "link", "--model", "tiny")
    assert answer.returncode == 1
    assert f"{name} is to be fused and would be written over" in answer.stderr
    assert (tmp_path / name).read_bytes() == videos[1].read_bytes()


def test_an_image_in_a_folder_of_results_is_not_written_over(paired_folder, tmp_path):
    frames = paired_folder / "frames"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "fused").symlink_to(frames / "visible")
    before = (frames / "visible" / "001.png").read_bytes()
    files = frames / "visible" / "001.png", frames / "thermal" / "001.png"
    answer = ssvif("fuse", *files, "-o", tmp_path / "out", "--model", "tiny")
    assert answer.returncode == 1 and "would be written over" in answer.stderr
    assert (frames / "visible" / "001.png").read_bytes() == before


def test_ctrl_c_ends_fuse_with_130_and_whole_files_and_says_how_many(videos, tmp_path):
    for part, video in zip(("visible", "thermal"), videos, strict=True):
        (tmp_path / part).mkdir()
        capture = cv2.VideoCapture(str(video))
        images = [image for _ in range(10) if (image := capture.read()[1]) is not None]
        for index in range(1500):
            cv2.imwrite(str(tmp_path / part / f"{index:04d}.png"), images[index % len(images)])
    words = ("fuse", "visible", "thermal", "-o", "out", "--model", "tiny", "--threads", "1")
    call = [sys.executable, "-m", "ssvif_core.cli", *words]
    out = tmp_path / "out" / "overlay"
    with subprocess.Popen(call, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
        while running.poll() is None and not (out.is_dir() and any(out.iterdir())):
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=60)[1]
    assert running.returncode == 130 and "Stopped: " in said, said
    count = int(re.search(r"Stopped: (\d+) of 1500 pairs were fused into out", said).group(1))
    for part in ("fused", "labels", "overlay"):
        files = sorted((tmp_path / "out" / part).iterdir())
        assert len(files) == count
        assert all(cv2.imread(str(path)) is not None for path in files)


def test_ctrl_c_ends_any_verb_with_130_whatever_typer_makes_of_it():
    interrupted = "lambda: os.kill(os.getpid(), signal.SIGINT)"
    lines = ["import os, signal", "from ssvif_core.cli import app"]
    lines += [f"app.app.command('wait')({interrupted})", "app.main()"]
    code = "; ".join(lines)
    answer = subprocess.run(
        [sys.executable, "-c", code, "wait"], capture_output=True, text=True, timeout=110
    )
    assert answer.returncode == 130
    assert answer.stderr == "error: Stopped.\n"


def test_a_16_bit_frame_is_fused_through_the_gain(tmp_path):
    frame = Scene("night", width=160, height=128, seed=1).render(1.0)
    cv2.imwrite(str(tmp_path / "v.png"), cv2.cvtColor(frame.visible, cv2.COLOR_RGB2BGR))
    cv2.imwrite(str(tmp_path / "t.png"), frame.thermal)
    answer = ssvif("fuse", tmp_path / "v.png", tmp_path / "t.png", "-o", tmp_path / "out")
    assert answer.returncode == 0, answer.stderr
    fused = cv2.imread(str(tmp_path / "out" / "fused" / "v.png"))
    assert fused.shape == (128, 160, 3)
    assert np.ptp(fused) > 50


@pytest.mark.parametrize(
    ("gain", "advice"),
    [
        ("fixed", "use percentile or plateau"),
        ("magic", "one of auto, none, percentile, plateau"),
        ("none", "use auto, percentile or plateau"),
    ],
)
def test_a_gain_that_cannot_map_raw_counts_names_those_that_can(gain, advice, tmp_path):
    frame = Scene("night", width=64, height=48, seed=1).render(1.0, labels=False)
    cv2.imwrite(str(tmp_path / "v.png"), frame.visible)
    cv2.imwrite(str(tmp_path / "t.png"), frame.thermal)
    with pytest.raises(SsvifError, match=advice):
        fuse(tmp_path / "v.png", tmp_path / "t.png", tmp_path / "out", model="tiny", gain=gain)


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 100])
def test_a_video_that_cannot_be_read_is_one_line_without_a_traceback(content, videos, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content)
    answer = ssvif("fuse", broken, videos[1], "-o", tmp_path / "out")
    assert answer.returncode == 1
    assert "broken.mp4" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_missing_model_is_one_line(videos, tmp_path):
    answer = ssvif("fuse", *videos, "-o", tmp_path, "--model", "nowhere.onnx")
    assert answer.returncode == 1
    assert "nowhere.onnx" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_place_that_cannot_be_written_is_one_line(videos, tmp_path):
    (tmp_path / "file").write_text("in the way")
    answer = ssvif("fuse", *videos, "-o", tmp_path / "file" / "out", "--model", "tiny")
    assert answer.returncode == 1
    assert str(tmp_path / "file") in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_recording_that_is_not_there_is_one_line(tmp_path):
    answer = ssvif("calibrate", tmp_path / "nowhere.mcap", "-o", tmp_path / "calibration.yaml")
    assert answer.returncode == 1
    assert "There is no recording" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_device_that_is_not_there_is_one_line(repository, tmp_path):
    pytest.importorskip("torch", reason="needs the extra `train` (torch)")
    config = repository / "config" / "training" / "fusion.yaml"
    answer = ssvif("train", config, "--device", "cuda:99", "--run", tmp_path / "run")
    assert answer.returncode == 1
    assert "cuda:99 cannot be used here" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_train_names_the_training_files_and_the_folders_that_it_needs(repository, tmp_path):
    pytest.importorskip("torch", reason="needs the extra `train` (torch)")
    answer = ssvif("train", "config/training/own_frames.yaml", cwd=tmp_path)
    assert answer.returncode == 1
    assert f"are in {repository / 'config' / 'training'}: adapt.yaml" in answer.stderr
    config = repository / "config" / "training" / "readable.yaml"
    answer = ssvif("train", config, "--data", tmp_path)
    assert answer.returncode == 1
    said = f"There is no {tmp_path / 'msrs' / 'train'} (visible/, thermal/ and weak_labels/)"
    assert said in answer.stderr and f"the first lines of {config} say" in answer.stderr


def test_a_run_folder_is_no_checkpoint_and_the_file_is_named(paired_folder, tmp_path):
    pytest.importorskip("torch", reason="needs the extra `train` (torch)")
    frames = paired_folder / "frames"
    answer = ssvif("export", tmp_path, tmp_path / "x.onnx", "--frames", frames)
    assert answer.returncode == 1
    assert f"{tmp_path} is a folder: give {tmp_path / 'checkpoint.pt'}." in answer.stderr


@pytest.mark.parametrize("content", [b"", b"hi\n", b"no checkpoint at all" * 100])
def test_what_is_no_checkpoint_is_one_line(content, paired_folder, tmp_path):
    pytest.importorskip("torch", reason="needs the extra `train` (torch)")
    (tmp_path / "checkpoint.pt").write_bytes(content)
    frames = paired_folder / "frames"
    answer = ssvif("export", tmp_path / "checkpoint.pt", tmp_path / "x.onnx", "--frames", frames)
    assert answer.returncode == 1
    assert "is no checkpoint of this program" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.slow
def test_train_and_export_make_a_model_that_fuse_runs(paired_folder, tmp_path):
    pytest.importorskip("torch", reason="needs the extra `train` (torch)")
    (tmp_path / "run.yaml").write_text(
        f"""
name: short
variant: tiny
classes: [background, car, person, bicycle]
data_root: {paired_folder}
sources: [{{folder: frames, share: 1, labels: labels}}]
stages: [{{kind: supervised, steps: 5}}]
batch_size: 2
crop: [64, 96]
precision: float32
"""
    )
    trained = ssvif("train", "run.yaml", "--run", "run", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    frames = paired_folder / "frames"
    exported = ssvif("export", "run/checkpoint.pt", "m.onnx", "--frames", frames, cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    files = frames / "visible" / "000.png", frames / "thermal" / "000.png"
    fused = ssvif("fuse", *files, "--model", "m.onnx", "-o", "out", cwd=tmp_path)
    assert fused.returncode == 0, fused.stderr
    assert (tmp_path / "out" / "fused" / "000.png").is_file()
