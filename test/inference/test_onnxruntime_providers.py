"""What ONNX Runtime's TensorRT provider is told, and what of it may be loaded.

To run it needs a GPU, so here lie folders as its source says that it leaves them (ONNX Runtime,
core/providers/tensorrt/tensorrt_execution_provider.cc).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from ssvif_core.deploy import onnxruntime_build
from ssvif_core.deploy.engine_builder import UnfitEngineError
from ssvif_core.deploy.engine_cache import EngineCache
from ssvif_core.deploy.onnxruntime_build import ensure_folder, ensure_loadable
from ssvif_core.errors import SsvifError
from ssvif_core.inference import onnxruntime_engine, onnxruntime_providers
from ssvif_core.inference.engine import create_engine
from ssvif_core.inference.onnxruntime_engine import OnnxRuntimeEngine
from ssvif_core.inference.onnxruntime_providers import providers
from ssvif_core.inference.onnxruntime_tensorrt import folder_and_key, tensorrt_options
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import open_model

PROVIDERS = onnxruntime.get_available_providers()
NO_PROVIDER = pytest.mark.skipif(
    "TensorrtExecutionProvider" in PROVIDERS, reason="this ONNX Runtime has the provider"
)
PLAN = "TensorrtExecutionProvider_TRTKernel_graph_main_graph_1503285926_0_0_sm87.engine"
TIMING = "TensorrtExecutionProvider_cache_sm87.timing"


@pytest.fixture
def tiny():
    return open_model("tiny")


def leave_behind(folder, content=b"ftrt plan"):
    """Files of a build: one engine, readable for all as the provider writes it, and timings."""
    (folder / PLAN).write_bytes(content)
    (folder / PLAN).chmod(0o644)
    (folder / TIMING).write_bytes(b"timings")


@pytest.fixture
def built(tiny, tmp_path):
    """What `ensure_folder` leaves: (cache, folder, key, options)."""
    options = EngineOptions(cache=tmp_path / "engines", workspace_mib=512)
    cache = EngineCache(options.cache)
    folder, key = folder_and_key(tiny, options)
    cache.make_folder(folder)
    leave_behind(folder)
    cache.describe(folder, key, 75.0, tiny.path)
    return cache, folder, key, options


# -- what is loaded --------------------------------------------------------------------------------


def test_what_was_built_is_loaded_with_the_words_that_the_provider_knows(tiny, built):
    _, folder, _, options = built
    told = tensorrt_options(tiny, options)
    yes = {name for name, value in told.items() if value == "True"}
    assert yes == {"trt_engine_cache_enable", "trt_timing_cache_enable"}
    assert told["trt_max_workspace_size"] == str(512 * 2**20)
    assert told["trt_engine_cache_path"] == told["trt_timing_cache_path"] == str(folder)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_cuda_is_told_to_compute_fp32_in_fp32(provider, tiny, built, monkeypatch):
    """What it is told; this ONNX Runtime may be one without it."""
    monkeypatch.setattr(onnxruntime_providers, "require", lambda name: None)
    told = dict(chosen for chosen in providers(provider, tiny, built[3]) if len(chosen) == 2)
    assert told["CUDAExecutionProvider"] == {"use_tf32": "0"}


@pytest.mark.parametrize(
    ("provider", "error", "says"),
    [
        ("cuda", "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=0", "Memory"),
        ("cuda", "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED", "stop other programs, or use"),
        ("tensorrt", "Failed to allocate memory for requested buffer", "set --workspace"),
        ("cuda", "CUDA failure 35: driver version is insufficient", "nvidia-smi"),
        ("cuda", "CUDA failure 700: an illegal memory access", "nvidia-smi"),
        ("tensorrt", "EP_FAIL : TensorRT EP failed to create engine", "CUDA, cuDNN and TensorRT"),
        (
            "cuda",
            "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF",
            "Export the model again",
        ),
        ("cpu", "bad allocation", "Memory is full"),
    ],
)
def test_a_session_that_cannot_be_made_says_what_to_do(provider, error, says, tiny, monkeypatch):
    """What ONNX Runtime says on GPUs is told: there is none here."""

    def refuses(*_, **__):
        raise RuntimeError(error)

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuses)
    monkeypatch.setattr(onnxruntime_engine, "providers", lambda *_: [])
    with pytest.raises(SsvifError, match=says) as refused:
        OnnxRuntimeEngine(tiny, EngineOptions(threads=1), provider)
    assert ("Export" in str(refused.value)) is (says == "Export the model again")


def test_two_engines_at_once_load_cuda_once_and_leave_standard_output_as_it_was(
    tiny, monkeypatch, capsys
):
    """What loads it needs no GPU here: it prints what is missing, slowly."""

    def preload():
        print("no cuDNN")
        time.sleep(0.1)

    monkeypatch.setattr(onnxruntime, "preload_dlls", preload, raising=False)
    monkeypatch.setattr(onnxruntime_providers, "require", lambda name: None)
    onnxruntime_providers._preload.cache_clear()
    before = sys.stdout
    both = [threading.Thread(target=providers, args=("cuda", tiny, None)) for _ in range(2)]
    for thread in both:
        thread.start()
        time.sleep(0.05)
    for thread in both:
        thread.join()
    onnxruntime_providers._preload.cache_clear()
    assert sys.stdout is before
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "no cuDNN\n")


def test_a_dla_is_refused_which_it_would_leave_idle(tiny, built):
    with pytest.raises(SsvifError, match="engine tensorrt"):
        tensorrt_options(tiny, replace(built[3], dla_core=0))


def test_before_the_first_build_the_error_names_the_command(tiny, tmp_path):
    with pytest.raises(SsvifError, match="no engine was built yet.*--engine onnxruntime-tensorrt"):
        tensorrt_options(tiny, EngineOptions(cache=tmp_path))


def test_timings_of_a_build_that_failed_are_no_engine(tiny, built):
    _, folder, _, options = built
    (folder / PLAN).unlink()
    with pytest.raises(UnfitEngineError, match="missing.*--engine onnxruntime-tensorrt"):
        tensorrt_options(tiny, options)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: (folder / PLAN).write_bytes(b"ftrt"), "damaged or replaced"),
        (lambda folder: (folder / f"other_{PLAN}").write_bytes(b"code"), "damaged or replaced"),
        (lambda folder: folder.with_name(f"{folder.name}.json").unlink(), "nothing says"),
        (lambda folder: folder.chmod(0o777), "engine is code"),
        (lambda folder: (folder / PLAN).chmod(0o666), "engine is code"),
    ],
)
def test_what_is_damaged_or_foreign_is_never_handed_to_it(change, says, tiny, built):
    _, folder, _, options = built
    change(folder)
    with pytest.raises(UnfitEngineError, match=f"{says}.*Build it with: ssvif engine build"):
        tensorrt_options(tiny, options)


@NO_PROVIDER
def test_what_was_built_with_another_workspace_is_loaded_and_not_built_anew(tiny, built):
    _, folder, _, options = built
    other = EngineOptions(cache=options.cache)
    ensure_loadable(tiny, other)  # a build would say that the provider is missing
    assert tensorrt_options(tiny, other)["trt_engine_cache_path"] == str(folder)


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_another_tensorrt_is_shown_side_by_side_and_never_built_for(tiny, tmp_path):
    """A library with the one function that is asked stands where TensorRT's would."""
    describe = """
        cache, (folder, key) = EngineCache(options.cache), folder_and_key(model, options)
        cache.make_folder(folder)
        (folder / "any.engine").touch(0o600)
        cache.describe(folder, key, 1.0)
    """
    load = "tensorrt_options(model, options)"
    assert _with_library(tmp_path, 100300, describe) == ""
    assert _with_library(tmp_path, 100300, load) == ""
    said = _with_library(tmp_path, 101500, load)
    runtime = f"of ONNX Runtime {onnxruntime.__version__}"
    assert f"tensorrt: cached 10.3.0 {runtime}, wanted 10.15.0 {runtime}" in said
    assert "wanted 8.6.1 of" in _with_library(tmp_path, 8601, load)


def _with_library(folder, version, code):
    """Run `code` in a process that finds a TensorRT of this version; what it ends with."""
    place = folder / str(version)
    place.mkdir(exist_ok=True)
    (place / "version.c").write_text(f"int getInferLibVersion(void) {{ return {version}; }}")
    library = ["-o", place / "libnvinfer.so.10", place / "version.c"]
    subprocess.run(["cc", "-shared", "-fPIC", *library], check=True)
    script = "\n".join(
        [
            "from pathlib import Path",
            "from ssvif_core.deploy.engine_cache import EngineCache",
            "from ssvif_core.inference.onnxruntime_tensorrt import *",
            "from ssvif_core.inference.options import EngineOptions",
            "from ssvif_core.models import open_model",
            f"model, options = open_model('tiny'), EngineOptions(cache=Path({str(folder)!r}))",
            textwrap.dedent(code),
        ]
    )
    # A search path is read when a process starts, and a library that is loaded stays.
    paths = f"{place}{os.pathsep}{os.environ.get('LD_LIBRARY_PATH', '')}"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "LD_LIBRARY_PATH": paths},
        capture_output=True,
        text=True,
    )
    return done.stderr


# -- what is built ---------------------------------------------------------------------------------


@NO_PROVIDER
def test_without_the_provider_nothing_is_made(tiny, tmp_path):
    with pytest.raises(SsvifError, match="no TensorrtExecutionProvider"):
        ensure_folder(tiny, EngineOptions(cache=tmp_path / "engines"))
    assert not (tmp_path / "engines").exists()


def test_it_is_built_once_and_again_when_something_changes(tiny, tmp_path, monkeypatch, caplog):
    """What the provider leaves is put there by hand: it needs a GPU to do so."""
    caplog.set_level("INFO", logger="ssvif")
    builds = []

    def build(model, options, path):
        told = tensorrt_options(model, replace(options, allow_build=True))
        assert told["trt_engine_cache_path"] == str(path)
        assert list(path.iterdir()) == [] and path.stat().st_mode & 0o777 == 0o700
        leave_behind(path, content=b"ftrt %d" % len(builds))
        builds.append(options)

    monkeypatch.setattr(onnxruntime_build, "require", lambda provider: None)
    monkeypatch.setattr(onnxruntime_build, "_build", build)
    options = EngineOptions(cache=tmp_path)
    folder, now = ensure_folder(tiny, options)
    assert now and ensure_folder(tiny, options) == (folder, False)
    assert tensorrt_options(tiny, options)["trt_engine_cache_path"] == str(folder)
    assert ensure_folder(tiny, options, force=True) == (folder, True)
    (folder / PLAN).write_bytes(b"cut")
    assert ensure_folder(tiny, options)[1] and "damaged" in caplog.text
    assert ensure_folder(tiny, EngineOptions(cache=tmp_path, workspace_mib=9)) == (folder, True)
    assert "workspace_mib: cached 0, wanted 9" in caplog.text
    assert len(builds) == 4 and len(EngineCache(tmp_path).entries()) == 1


@pytest.mark.parametrize("left", [False, True])
def test_a_build_that_fails_keeps_the_engine_that_was_there(left, tiny, built, monkeypatch):
    cache, folder, key, options = built
    aside = folder.with_name(f"{folder.name}.partial")
    if left:  # by one that was killed
        (aside / folder.name).mkdir(parents=True)
        leave_behind(aside / folder.name)

    def fails(model, options, path):
        assert list(path.iterdir()) == []
        leave_behind(path, b"half of one")
        raise SsvifError("no memory")

    monkeypatch.setattr(onnxruntime_build, "require", lambda provider: None)
    monkeypatch.setattr(onnxruntime_build, "_build", fails)
    for asked, force in ((options, True), (replace(options, workspace_mib=9), False)):
        with pytest.raises(SsvifError, match="no memory"):
            ensure_folder(tiny, asked, force=force)
        assert cache.misfit(folder, key) == "" and (folder / PLAN).read_bytes() == b"ftrt plan"
    assert not aside.exists()


@pytest.mark.gpu
@pytest.mark.skipif("CUDAExecutionProvider" not in PROVIDERS, reason="needs onnxruntime-gpu")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_cuda_answers_like_the_cpu(precision, tiny, frame_pairs):
    same_answers(create_engine(tiny, "onnxruntime-cuda", sized(precision))[0], tiny, frame_pairs)


@pytest.mark.gpu
@pytest.mark.tensorrt
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    "TensorrtExecutionProvider" not in PROVIDERS, reason="needs onnxruntime-gpu and TensorRT"
)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_tensorrt_answers_like_the_cpu(precision, tiny, frame_pairs, tmp_path):
    options = sized(precision, cache=tmp_path, allow_build=True)
    create_engine(tiny, "onnxruntime-tensorrt", options)[0].close()
    (entry,) = EngineCache(tmp_path).entries()
    assert entry.by_provider and entry.problem == ""
    loaded, _ = create_engine(tiny, "onnxruntime-tensorrt", sized(precision, cache=tmp_path))
    same_answers(loaded, tiny, frame_pairs)
    assert EngineCache(tmp_path).entries() == [entry]  # nothing was built for any frame


def sized(precision, **more):
    return EngineOptions(threads=1, precision=precision, height=120, width=160, **more)


def same_answers(engine, model, frame_pairs):
    reference, _ = create_engine(model, "onnxruntime", sized(engine.describe()["precision"]))
    for visible, thermal, _ in frame_pairs:
        fused, labels = (answer.copy() for answer in engine.infer(visible, thermal))
        wanted, wanted_labels = reference.infer(visible, thermal)
        assert np.abs(fused.astype(int) - wanted).max() <= 4
        assert (labels == wanted_labels).mean() >= 0.995
    engine.close()
