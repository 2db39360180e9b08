"""Engines on TensorRT: the same answers as ONNX Runtime. Need a GPU and TensorRT.

What can be checked without: `test/deploy/test_tensorrt_build.py`, on TensorRT-RTX.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from ssvif_core.errors import SsvifError
from ssvif_core.inference.engine import EngineOptions, create_engine
from ssvif_core.inference.tensorrt_engine import _unfit_size
from ssvif_core.models import FOLDER, open_model

FILES = sorted(path.name for path in FOLDER.glob("*.onnx"))
HERE = importlib.util.find_spec("tensorrt") is not None
needs_tensorrt = pytest.mark.skipif(not HERE, reason="needs TensorRT and an NVIDIA GPU")


@pytest.mark.skipif(HERE, reason="TensorRT is installed here")
def test_without_tensorrt_the_error_says_where_it_comes_from():
    with pytest.raises(SsvifError, match=r"TensorRT is not installed.*JetPack"):
        create_engine(open_model("tiny"), "tensorrt")


def test_a_frame_of_another_size_names_the_command_that_builds_for_it(tmp_path):
    """With the options of the engine that runs: the model, its precision, the folder, the DLA."""
    options = EngineOptions(largest=(960, 1280), dla_core=1, cache=tmp_path)
    said = str(_unfit_size(open_model("tiny"), options, "640x480 to 1280x960", 1200, 1600))
    assert "built for 640x480 to 1280x960 and the frame is 1600x1200" in said
    command = said.partition("with: ")[2]
    assert command == (
        f"ssvif engine build {FOLDER / 'tiny.onnx'} --size 1600x1200 --precision fp32 --dla-core 1 "
        f"--cache {tmp_path}"
    )


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    return EngineOptions(threads=1, height=120, width=160, cache=folder, allow_build=True)


@needs_tensorrt
@pytest.mark.gpu
@pytest.mark.tensorrt
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FILES)
def test_every_file_answers_like_onnxruntime(name, options, frame_pairs):
    model = open_model(FOLDER / name)
    engine, _ = create_engine(model, "tensorrt", options)
    reference, _ = create_engine(model, "onnxruntime", options)
    for visible, thermal, _ in frame_pairs:
        fused, labels = engine.infer(visible, thermal)
        wanted, wanted_labels = reference.infer(visible, thermal)
        assert np.abs(fused.astype(int) - wanted).max() <= 4
        assert (labels == wanted_labels).mean() >= 0.995
    first, _ = engine.infer(visible, thermal)
    assert np.shares_memory(first, engine.infer(visible, thermal)[0])
    engine.close()
    with pytest.raises(SsvifError, match="closed"):
        engine.infer(visible, thermal)


@needs_tensorrt
@pytest.mark.gpu
@pytest.mark.tensorrt
@pytest.mark.timeout(1800)
def test_another_size_is_refused_and_the_next_frame_works(options, frame_pairs):
    engine, _ = create_engine(open_model("tiny"), "tensorrt", options)
    with pytest.raises(SsvifError, match="built for 160x120"):
        engine.infer(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8))
    visible, thermal, _ = frame_pairs[0]
    assert engine.infer(visible, thermal)[0].shape == (120, 160, 3)
    engine.close()
