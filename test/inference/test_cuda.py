"""CUDA from Python: where there is none, the error says what is missing."""

from __future__ import annotations

import shutil

import pytest

from ssvif_core.errors import SsvifError
from ssvif_core.inference.cuda import _advice, _call, _release, find_gpu


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is a GPU here")
def test_without_a_gpu_the_error_says_what_to_do():
    with pytest.raises(SsvifError, match=r"pip install cuda-python|nvidia-smi"):
        find_gpu()


def without_driver(*_):
    """What every call of cuda-python 11.8, 12.2, 12.6 and 12.8 does where there is no driver."""
    raise RuntimeError("Failed to dlopen libcuda.so.1")


def test_an_older_cuda_python_that_raises_is_the_same_error():
    with pytest.raises(SsvifError, match=r"GPU failed: Failed to dlopen libcuda.*nvidia-smi"):
        _call("Looking for a GPU", without_driver)


def test_what_cannot_be_given_back_is_said_and_does_not_stop_the_closing(caplog):
    _release("Freeing memory of the GPU", without_driver, 1234)
    assert "Freeing memory of the GPU failed" in caplog.text


def test_a_driver_that_is_too_old_points_to_the_right_cuda_python():
    assert "cuda-python is made for a newer CUDA" in _advice("cudaErrorInsufficientDriver")


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
    kept = buffer.array
    buffer.free()
    np.testing.assert_array_equal(kept, pattern)  # an answer that somebody kept stays readable
    stream.free()
