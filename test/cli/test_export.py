"""`ssvif export` as a user calls it: a shipped model in other precisions, and what can go wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra `train` (torch)")
pytest.importorskip("onnx", reason="needs the extra `train` (onnx)")

from ssvif_core.cli.export import calibration_frames, export, output_path  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.models import in_precision, open_model  # noqa: E402


@pytest.fixture
def frames(paired_folder):
    return paired_folder / "frames"


def ssvif_export(*arguments):
    command = [sys.executable, "-m", "ssvif_core.cli", "export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=110)


@pytest.mark.slow
def test_a_shipped_model_becomes_fp16_and_int8_beside_an_fp32_copy(frames, tmp_path):
    path = tmp_path / "robot.onnx"
    export("tiny", path, frames, limit=2)
    export(str(path), path, frames, precision="fp16", limit=2)
    answer = ssvif_export(
        *("tiny", path, "--frames", frames, "--limit", 2),
        *("--precision", "int8", "--calibrate", "simulation"),
    )
    assert answer.returncode == 0, answer.stderr
    assert "robot.int8.onnx" in answer.stdout
    assert "IoU" in answer.stdout
    assert "Please consider" not in answer.stdout + answer.stderr
    names = {f"robot{part}{end}" for part in ("", ".fp16", ".int8") for end in (".onnx", ".json")}
    assert {p.name for p in tmp_path.iterdir()} == names
    shipped = open_model("tiny").card.content
    for precision in ("fp32", "fp16", "int8"):
        model = in_precision(open_model(path), precision)
        content = model.card.content
        assert (model.card.name, model.precision) == ("tiny", precision)
        for section in ("training", "classes", "mode", "variant", "parameters"):
            assert content[section] == shipped[section]
        for data, figures in shipped["metrics"].items():
            assert content["metrics"][data] == figures
        assert ("measured in" in content["metrics"]) == (precision != "fp32")
        assert ("calibration" in content) == (precision == "int8")
    assert content["calibration"] == {"frames": 32, "source": "simulation"}


def test_help_says_what_the_precisions_are_and_shows_commands():
    text = ssvif_export("--help").stdout
    for word in ("fp16", "int8", "--calibrate", "simulation", "ssvif export base"):
        assert word in text


def test_the_precision_is_in_the_name_of_the_file():
    for given, precision, wanted in (
        ("m.onnx", "fp32", "m.onnx"),
        ("m.onnx", "int8", "m.int8.onnx"),
        ("m.int8.onnx", "int8", "m.int8.onnx"),
        ("m.v2.onnx", "fp16", "m.v2.fp16.onnx"),
    ):
        assert output_path(Path(given), precision) == Path(wanted)
    for given, precision in (("m.int8.onnx", "fp16"), ("m.fp16.onnx", "fp32"), ("m", "fp32")):
        with pytest.raises(SsvifError, match=given):
            output_path(Path(given), precision)


def test_frames_to_calibrate_on_come_from_a_simulation_a_folder_or_a_recording(frames, recording):
    simulated = calibration_frames("simulation")
    assert len(simulated) == 32
    assert len({pair.name for pair in simulated}) == 32
    for pair in simulated:
        assert pair.visible.shape == (240, 320, 3)
        assert (pair.thermal.shape, pair.thermal.dtype) == ((240, 320), np.uint8)
        assert np.ptp(pair.thermal) > 100
    assert len(calibration_frames(str(frames))) == 12
    recorded = calibration_frames(str(recording))
    assert len(recorded) > 6
    assert recorded[0].thermal.dtype == np.uint8


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"precision": "fp8"}, "Unknown precision 'fp8'"),
        ({"precision": "int8", "calibrate": "nowhere"}, "no file or folder nowhere"),
        ({"calibrate": "simulation"}, "--calibrate is for int8"),
        ({"source": "small"}, "no 'small'.*shipped models"),
        ({"source": "nowhere.onnx"}, "no model 'nowhere.onnx'"),
        ({"label_map": "0:0,1:9"}, "an id 9.*--label-map"),
        ({"label_map": "a"}, "no label map"),
        ({"frames": Path("nowhere")}, "nowhere"),
        (
            {"output": Path("/proc/new/m.onnx"), "frames": Path("nowhere")},
            "Nothing may be written in /proc: put m.onnx elsewhere",
        ),
    ],
)
def test_what_cannot_be_exported_is_one_clear_error(changed, message, frames, tmp_path):
    options = {"source": "tiny", "output": tmp_path / "m.onnx", "frames": frames, "limit": 1}
    with pytest.raises(SsvifError, match=message):
        export(**{**options, **changed})
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_another_training_is_overwritten_by_force_alone(frames, tmp_path):
    path = tmp_path / "mine.onnx"
    export("tiny", path, frames, limit=1)
    export("tiny", path, frames, limit=1)  # the same training
    before = path.read_bytes()
    with pytest.raises(SsvifError, match="not of this training.*--force"):
        export("base", path, frames, limit=1)
    assert path.read_bytes() == before
    path.with_suffix(".json").unlink()
    with pytest.raises(SsvifError, match="not of this training"):
        export("tiny", path, frames, limit=1)
    export("base", path, frames, limit=1, force=True)
    assert open_model(path).card.name == "base"


class _Opens:
    """What a pickle can hold: a call, here one that makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_code_in_a_checkpoint_is_not_run_and_nobody_is_told_how_to(frames, tmp_path):
    import torch

    torch.save({"average": _Opens(tmp_path / "made")}, tmp_path / "mine.pt")
    with pytest.raises(SsvifError, match="could run code, so it was not opened") as refused:
        export(str(tmp_path / "mine.pt"), tmp_path / "m.onnx", frames, limit=1)
    assert "weights_only" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.pt"]


def test_a_foreign_checkpoint_and_a_model_of_another_precision_are_one_line(frames, tmp_path):
    import torch

    torch.save({"weights": torch.zeros(3)}, tmp_path / "foreign.pt")
    answer = ssvif_export(tmp_path / "foreign.pt", tmp_path / "m.onnx", "--frames", frames)
    assert answer.returncode == 1
    assert answer.stderr.count("error:") == 1
    assert "Traceback" not in answer.stderr
    export("tiny", tmp_path / "m.onnx", frames, precision="fp16", limit=1)
    with pytest.raises(SsvifError, match="is fp16, from which"):
        export(str(tmp_path / "m.fp16.onnx"), tmp_path / "n.onnx", frames)
