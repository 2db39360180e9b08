"""CUDA from Python: where there is none, the error says what is missing."""

from __future__ import annotations

import shutil

import pytest

from ssvif_core.errors import SsvifError
from ssvif_core.inference.cuda import find_gpu


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is a GPU here")
def test_without_a_gpu_the_error_says_what_to_do():
    with pytest.raises(SsvifError, match=r"pip install cuda-python|nvidia-smi"):
        find_gpu()


@pytest.mark.gpu
@pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="needs an NVIDIA GPU")
def test_the_gpu_is_described_and_memory_goes_there_and_back():
    np = pytest.importorskip("numpy")
    pytest.importorskip("cuda", reason="needs cuda-python")
    from ssvif_core.inference.cuda import Buffer, Stream

    gpu = find_gpu()
    assert gpu.name and float(gpu.compute_capability) >= 5.0
    stream, buffer = Stream(), Buffer((1, 48, 64, 3), np.uint8, gpu.integrated)
    pattern = np.random.default_rng(0).integers(0, 256, buffer.array.shape, dtype=np.uint8)
    np.copyto(buffer.array, pattern)
    graph = stream.record(lambda: (buffer.upload(stream), buffer.download(stream)))
    graph.launch(stream)
    stream.wait()
    np.testing.assert_array_equal(buffer.array, pattern)
    graph.free()
    buffer.free()
    stream.free()
