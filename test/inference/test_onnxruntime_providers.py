"""What ONNX Runtime's TensorRT provider is told; to run it needs a GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from ssvif_core.errors import SsvifError
from ssvif_core.inference.onnxruntime_providers import _tensorrt, tensorrt_folder
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import open_model


@pytest.fixture
def tiny():
    return open_model("tiny")


def test_timings_of_a_build_that_failed_are_no_engine(tiny, tmp_path):
    options = EngineOptions(cache=tmp_path)
    folder = tensorrt_folder(tiny, options)
    folder.mkdir(parents=True)
    (folder / "TensorrtExecutionProvider_cache_sm87.timing").touch()
    with pytest.raises(SsvifError, match=r"no engine was built yet.*--engine onnxruntime-tensorrt"):
        _tensorrt(tiny, options)


def test_what_was_built_is_loaded_with_the_words_that_the_provider_knows(tiny, tmp_path):
    options = EngineOptions(cache=tmp_path, workspace_mib=512, dla_core=1)
    folder = tensorrt_folder(tiny, options)
    folder.mkdir(parents=True, mode=0o700)
    engine = folder / "TensorrtExecutionProvider_TRTKernel_graph_main_graph_0_sm87.engine"
    engine.touch(mode=0o600)
    told = _tensorrt(tiny, options)
    yes = {name for name, value in told.items() if value == "True"}
    assert yes == {"trt_engine_cache_enable", "trt_timing_cache_enable", "trt_dla_enable"}
    assert told["trt_max_workspace_size"] == str(512 * 2**20)
    assert told["trt_dla_core"] == "1"
    assert told["trt_engine_cache_path"] == str(folder)


@pytest.mark.parametrize("open_to_all", ["folder", "engine"])
def test_an_engine_that_others_may_write_is_not_loaded(open_to_all, tiny, tmp_path):
    options = EngineOptions(cache=tmp_path)
    folder = tensorrt_folder(tiny, options)
    folder.mkdir(parents=True, mode=0o700)
    engine = folder / "any.engine"
    engine.touch(mode=0o600)
    (folder if open_to_all == "folder" else engine).chmod(0o777)
    with pytest.raises(SsvifError, match="engine is code"):
        _tensorrt(tiny, options)


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_another_tensorrt_has_a_folder_of_its_own(tmp_path):
    """A library with the one function that is asked stands where TensorRT's would."""
    asked = (
        "from ssvif_core.inference.onnxruntime_providers import tensorrt_folder as folder;"
        "from ssvif_core.inference.options import EngineOptions;"
        "from ssvif_core.models import open_model;"
        "print(folder(open_model('tiny'), EngineOptions()).name)"
    )
    names = []
    for version in (100300, 101500):
        place = tmp_path / str(version)
        place.mkdir()
        source = place / "version.c"
        source.write_text(f"int getInferLibVersion(void) {{ return {version}; }}")
        library = place / "libnvinfer.so.10"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
        # A search path is read when a process starts, and a library that is loaded stays.
        paths = f"{place}{os.pathsep}{os.environ.get('LD_LIBRARY_PATH', '')}"
        names.append(
            subprocess.run(
                [sys.executable, "-c", asked], env={**os.environ, "LD_LIBRARY_PATH": paths},
                check=True, capture_output=True, text=True,
            ).stdout.strip()
        )  # fmt: skip
        assert f"tensorrt-{version}" in names[-1]
    assert names[0] != names[1]
