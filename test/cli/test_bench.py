"""`ssvif bench` as a user calls it: real engines, each in a process of its own, small frames."""

from __future__ import annotations

import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from ssvif_core.benchmark.case import Case
from ssvif_core.benchmark.frames import draw_frames, load_frames
from ssvif_core.benchmark.measure import measure
from ssvif_core.benchmark.nvidia_smi import gpu_names, sum_of_mib, used_mib
from ssvif_core.benchmark.rounds import in_own_process, run_rounds
from ssvif_core.benchmark.screen import screen_table
from ssvif_core.benchmark.summary import merge_reasons, summarise
from ssvif_core.cli.bench import bench
from ssvif_core.errors import SsvifError

SMALL = ("--sizes", "64x48", "--frames", 3, "--rounds", 1, "--threads", 1)
CASE = Case("tiny", "onnxruntime", "fp32", 64, 48, threads=1, frames=3)
without_tensorrt = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is here"
)
ssvif = "from ssvif_core.cli import main; main()"


def ssvif_bench(*arguments, code=ssvif):
    command = [sys.executable, "-c", code, "bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=110)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """File of frames, 64 x 48."""
    path = tmp_path_factory.mktemp("frames") / "frames.npz"
    draw_frames(path, 64, 48)
    return path


def read(folder):
    return json.loads((folder / "bench.json").read_text())


# -- the command -----------------------------------------------------------------------------------


@without_tensorrt
def test_table_json_and_what_does_not_work(tmp_path):
    answer = ssvif_bench(
        "tiny", *SMALL, "--engines", "onnxruntime,tensorrt", "--precisions", "fp32,auto",
        "-o", tmp_path / "new" / "folder",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    for word in ("tiny, 64x48", "onnxruntime", "p50", "speed", "Does not work here", "bench.json"):
        assert word in answer.stdout
    content = read(tmp_path / "new" / "folder")
    assert content["command"].startswith("ssvif bench tiny --sizes 64x48 --frames 3")
    assert content["machine"].endswith("cores") and content["packages"]["onnxruntime"]
    assert (content["batch"], content["threads"], content["frames"]) == (1, 1, 3)
    (row,) = content["rows"]  # auto is fp32 here: the same thing is not measured twice
    assert (row["model"], row["size"], row["engine"]) == ("tiny", "64x48", "onnxruntime")
    assert row["precision"] == row["describe"]["precision"] == "fp32"
    assert 0 < row["p50_ms"] <= row["p99_ms"]
    assert row["fps"] == pytest.approx(1000 / row["p50_ms"], rel=1e-3)
    assert row["speed_up"] == 1.0 and row["cpu_ms"] > 0 and row["peak_mib"] > 20
    assert len(row["rounds"]) == 1 and row["rounds"][0]["p50_ms"] == row["p50_ms"]
    (missing,) = content["not_here"]
    assert missing["what"] == "tensorrt" and "not installed" in missing["reason"]


def test_the_picture_opens_and_is_of_a_size_to_look_at(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra `train` (matplotlib)")
    answer = ssvif_bench(*SMALL, "--engines", "onnxruntime", "--precisions", "fp32", "-o", tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert [row["model"] for row in read(tmp_path)["rows"]] == ["base", "tiny"]
    picture = cv2.imread(str(tmp_path / "bench.png"))
    assert picture is not None
    height, width, _ = picture.shape
    assert 1000 < width < 1600 and 120 < height < 400


def test_without_matplotlib_everything_but_the_picture_is_there(tmp_path):
    answer = ssvif_bench(
        "tiny", *SMALL, "--engines", "onnxruntime", "--precisions", "fp32", "-o", tmp_path,
        code=f"import sys; sys.modules['matplotlib'] = None; {ssvif}",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert "without bench.png" in answer.stdout and ".[train]" in answer.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"bench.json"}


@without_tensorrt
def test_where_nothing_works_it_is_one_error_with_the_reasons(tmp_path):
    answer = ssvif_bench("tiny", *SMALL, "--engines", "tensorrt", "-o", tmp_path)
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    text = " ".join(answer.stderr.split())
    assert "Nothing of what was asked for works here" in text and "JetPack" in text
    assert not list(tmp_path.iterdir())


def test_a_precision_without_a_file_is_no_error_but_is_told(tmp_path):
    for name in ("onnx", "json"):
        shutil.copy(model_file(name), tmp_path / f"mine.{name}")
    answer = ssvif_bench(
        tmp_path / "mine.onnx", *SMALL, "--engines", "onnxruntime", "-o", tmp_path / "out"
    )
    assert answer.returncode == 0, answer.stderr
    assert f"ssvif export {tmp_path / 'mine.onnx'}" in answer.stdout  # to be copied and run
    reasons = [entry["reason"] for entry in read(tmp_path / "out")["not_here"]]
    assert len(reasons) == 2 and "mine.fp16.onnx" in reasons[0] and "mine.int8.onnx" in reasons[1]
    assert not any(str(tmp_path) in reason for reason in reasons)


def model_file(suffix):
    from ssvif_core.models import open_model

    return open_model("tiny").path.with_suffix(f".{suffix}")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"sizes": "640"}, "no size"),
        ({"sizes": "64x48,0x48"}, "no size"),
        ({"sizes": "8x8"}, "32 to 4096"),
        ({"engines": "onnxruntime,abacus"}, "Unknown engine 'abacus'.*onnxruntime-cuda"),
        ({"precisions": "fp8"}, "Unknown precision 'fp8'.*int8"),
        ({"models": ["nonesuch"]}, "There is no model"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, options, reason):
    calm = {"sizes": "64x48", "rounds": 1, "frames": 1, "output": tmp_path}
    with pytest.raises(SsvifError, match=reason):
        bench(**{**calm, **options})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_measured(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SsvifError, match="Name another"):
        bench(["tiny"], sizes="64x48", output=tmp_path / "file" / "below")


# -- one case --------------------------------------------------------------------------------------


def test_frames_are_pictures_and_differ(frames):
    pairs = load_frames(frames)
    assert len(pairs) > 1
    for visible, thermal in pairs:
        assert visible.shape == (48, 64, 3) and thermal.shape == (48, 64)
        assert visible.dtype == thermal.dtype == np.uint8
        assert visible.flags.c_contiguous and thermal.flags.c_contiguous
        assert visible.std() > 10 and thermal.std() > 10
    assert not np.array_equal(pairs[0][0], pairs[1][0])


def test_auto_is_measured_unless_it_is_a_precision_that_was(frames):
    auto = replace(CASE, precision="auto")
    assert measure(auto, load_frames(frames), ["fp32"]) == {"same": "fp32"}
    assert measure(auto, load_frames(frames), ["int8"])["describe"]["precision"] == "fp32"


def test_memory_is_of_the_case_and_not_of_what_started_it(frames):
    ballast = np.ones(125_000_000)  # 954 MiB here
    assert in_own_process(CASE, frames)["peak_mib"] < 700 < ballast.nbytes >> 20


def test_a_process_that_breaks_is_a_reason_and_no_exception(tmp_path):
    answer = in_own_process(CASE, tmp_path / "none.npz")
    assert list(answer) == ["reason"] and "none.npz" in answer["reason"]


def test_a_case_that_fails_is_not_tried_again_and_the_others_go_on(frames):
    broken = replace(CASE, engine="onnxruntime-cuda")
    if "reason" not in in_own_process(broken, frames):
        pytest.skip("ONNX Runtime has CUDA here, and the test needs an engine that fails")
    reports = []
    runs, reasons = run_rounds(
        [broken, CASE], 2, {"64x48": frames}, lambda *now: reports.append(now)
    )
    assert list(runs) == [CASE] and len(runs[CASE]) == 2
    assert list(reasons) == [broken]
    assert reports == [(broken, 0, 4), (CASE, 1, 3), (CASE, 2, 3)]


def test_after_ctrl_c_the_rounds_that_were_finished_are_there(frames):
    def interrupt(case, done, total):
        if done == stop_after:
            raise KeyboardInterrupt

    other = replace(CASE, frames=4)
    stop_after = 3
    runs, reasons = run_rounds([CASE, other], 3, {"64x48": frames}, interrupt)
    assert [len(answers) for answers in runs.values()] == [1, 1] and not reasons
    assert len(summarise(runs)) == 2
    stop_after = 1
    with pytest.raises(KeyboardInterrupt):
        run_rounds([CASE, other], 3, {"64x48": frames}, interrupt)


# -- figures ---------------------------------------------------------------------------------------


def answer_of(p50_ms, precision="fp32", gpu_mib=None):
    """What `measure` would have answered."""
    describe = {"engine": "e", "precision": precision}
    figures = {"p50_ms": p50_ms, "p99_ms": 2 * p50_ms, "cpu_ms": p50_ms, "peak_mib": 100}
    return {**figures, "gpu_mib": gpu_mib, "describe": describe}


def test_ratios_are_taken_within_a_round_and_against_the_slowest():
    slow, fast = CASE, replace(CASE, engine="openvino")
    # The second round is three times as slow for all, the third a little odd.
    runs = {slow: [answer_of(p) for p in (20.0, 60.0, 22.0)],
            fast: [answer_of(p) for p in (10.0, 30.0, 20.0)]}  # fmt: skip
    rows = summarise(runs)
    assert [row["engine"] for row in rows] == ["openvino", "onnxruntime"]
    assert [row["p50_ms"] for row in rows] == [20.0, 22.0]
    assert rows[0]["speed_up"] == statistics.median([2.0, 2.0, 1.1])
    assert rows[1]["speed_up"] == 1.0
    assert rows[0]["fps"] == 50.0 and len(rows[0]["rounds"]) == 3


def test_models_and_sizes_have_a_slowest_each():
    cases = [replace(CASE, model=m, width=w) for w in (64, 96) for m in ("tiny", "base")]
    rows = summarise({case: [answer_of(10.0 + i)] for i, case in enumerate(cases)})
    assert [(row["model"], row["size"]) for row in rows] == [
        ("tiny", "64x48"), ("base", "64x48"), ("tiny", "96x48"), ("base", "96x48"),
    ]  # fmt: skip
    assert all(row["speed_up"] == 1.0 for row in rows)


def test_a_file_that_is_computed_in_another_precision_is_told():
    rows = summarise(
        {
            replace(CASE, precision="fp16"): [answer_of(1.0, "fp32")],
            replace(CASE, precision="fp32"): [answer_of(2.0, "fp32")],
            replace(CASE, precision="auto"): [answer_of(3.0, "bf16")],
        }
    )
    assert [row["precision"] for row in rows] == ["fp16 as fp32", "fp32", "bf16"]


def test_gpu_memory_has_a_column_only_where_there_is_any():
    on_cpu, on_gpu = (summarise({CASE: [answer_of(1.0, gpu_mib=mib)]}) for mib in (None, 300))
    columns = [len(screen_table("", rows).columns) for rows in (on_cpu, on_gpu)]
    assert columns[1] == columns[0] + 1


def test_reasons_are_said_once_each():
    tried = [
        replace(CASE, engine=engine, precision=precision, width=width)
        for engine in ("tensorrt", "torch")
        for precision in ("fp32", "fp16", "int8")
        for width in (64, 96)
    ]
    reasons = {case: "not\n  installed" for case in tried if case.engine == "tensorrt"}
    reasons |= {c: "only fp32" for c in tried if c.engine == "torch" and c.precision != "fp32"}
    assert merge_reasons(tried, reasons) == [
        {"what": "tensorrt", "reason": "not installed"},
        {"what": "torch fp16/int8", "reason": "only fp32"},
    ]


def test_gpu_memory_is_added_up_or_is_unknown():
    assert sum_of_mib("1234\n10\n") == 1244
    assert sum_of_mib("[N/A]\n") is None  # Jetson
    assert sum_of_mib("") is None


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is a GPU")
def test_without_a_gpu_nothing_is_said_of_it():
    assert gpu_names() == [] and used_mib() is None
