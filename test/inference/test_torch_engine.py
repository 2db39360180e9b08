"""The engine on torch: the same answers as ONNX Runtime, on the shipped models."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from model_files import frame, model_of

from ssvif_core.errors import SsvifError
from ssvif_core.inference.engine import EngineOptions, create_engine
from ssvif_core.inference.onnxruntime_engine import OnnxRuntimeEngine
from ssvif_core.models import FOLDER, open_model

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")
onnx = pytest.importorskip("onnx", reason="needs the extra `train` (onnx)")

from ssvif_core.deploy.graph import DeployedGraph  # noqa: E402 - needs torch, as do these
from ssvif_core.inference.torch_engine import TorchEngine  # noqa: E402
from ssvif_core.network.fusion_network import FusionNetwork  # noqa: E402

#: fp32 on a GPU as well, so that these hold there too.
EXACT = EngineOptions(threads=1, precision="fp32")
CUDA = torch.cuda.is_available()


def test_without_torch_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # "not found", by Python's documentation
    monkeypatch.delitem(sys.modules, "ssvif_core.inference.torch_engine")
    with pytest.raises(SsvifError, match=r"torch.*pip install '\.\[train\]'"):
        create_engine(open_model("tiny"), "torch")


@pytest.mark.parametrize("name", ["base", "tiny"])
def test_it_answers_like_onnxruntime(name, frame_pairs):
    model = open_model(name)
    engine, reference = TorchEngine(model, EXACT), OnnxRuntimeEngine(model, EXACT)
    for visible, thermal, _ in frame_pairs:
        fused, labels = engine.infer(visible, thermal)
        wanted, wanted_labels = reference.infer(visible, thermal)
        assert np.abs(fused.astype(int) - wanted).max() <= 1
        assert (labels == wanted_labels).mean() >= 0.999
    engine.close()


def test_the_size_may_change_from_frame_to_frame():
    model = open_model("tiny")
    engine, reference = TorchEngine(model, EXACT), OnnxRuntimeEngine(model, EXACT)
    for size in ((121, 163), (16, 16), (1, 1), (96, 128), (121, 163)):
        pair = frame(*size)
        fused, labels = engine.infer(*pair)
        wanted, _ = reference.infer(*pair)
        assert fused.shape == (*size, 3) and labels.shape == size
        assert fused.dtype == labels.dtype == np.uint8
        assert fused.flags.c_contiguous and labels.flags.c_contiguous
        assert np.abs(fused.astype(int) - wanted).max() <= 1
    engine.close()


def test_buffers_are_reused_and_inputs_may_be_read_only():
    engine, pairs = TorchEngine(open_model("tiny"), EXACT), [frame(32, 48, s) for s in (0, 1)]
    for array in (a for pair in pairs for a in pair):
        array.flags.writeable = False  # as `np.frombuffer` gives a message's bytes
    first, _ = engine.infer(*pairs[0])
    kept = first.copy()
    second, _ = engine.infer(*pairs[1])
    assert np.shares_memory(first, second)
    assert not np.array_equal(second, kept)
    np.testing.assert_array_equal(engine.infer(*pairs[0])[0], kept)
    engine.close()


def test_the_number_of_threads_of_others_stays_as_it_was():
    before = torch.get_num_threads()
    engine = TorchEngine(open_model("tiny"), EngineOptions(threads=before + 1))
    engine.warm_up(32, 32)
    assert torch.get_num_threads() == before
    engine.close()


def test_a_closed_engine_says_so():
    engine = TorchEngine(open_model("tiny"), EXACT)
    engine.warm_up(32, 32)
    engine.close()
    with pytest.raises(SsvifError, match="closed"):
        engine.infer(*frame(32, 32))


def test_it_says_what_it_computes_in():
    about = TorchEngine(open_model("tiny"), EXACT).describe()
    assert about["engine"] == "torch"
    assert about["precision"] == "fp32"
    assert about["version"] == torch.__version__
    assert about["model"] == "tiny"
    assert (about["device"] == "CPU") is not CUDA


@pytest.mark.parametrize("length", [0, 100, 100_000])
def test_a_truncated_model_is_one_clear_error(length, tmp_path):
    content = (FOLDER / "tiny.onnx").read_bytes()[:length]
    with pytest.raises(SsvifError, match=r"cannot load .*mine\.onnx.*Export the model again"):
        TorchEngine(model_of(content, tmp_path), EXACT)


def test_a_file_of_another_network_is_refused(tmp_path):
    content = (FOLDER / "base.onnx").read_bytes()  # with the card of tiny
    with pytest.raises(SsvifError, match=r"cannot load .*mine\.onnx.*kernel"):
        TorchEngine(model_of(content, tmp_path), EXACT)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_only_fp32_files_can_be_reopened(precision, tmp_path):
    content = (FOLDER / "tiny.onnx").read_bytes()
    with pytest.raises(SsvifError, match=rf"{precision}.*only fp32"):
        TorchEngine(model_of(content, tmp_path, precision=precision))


def test_the_graph_makes_no_tensors_of_numbers_and_waits_for_none():
    """On a GPU both pass through the CPU, which cannot be recorded into a CUDA graph."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Calls(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.names: set[str] = set()

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.names.add(str(func.overloadpacket))
            return func(*args, **(kwargs or {}))

    graph = DeployedGraph(FusionNetwork("tiny"))
    inputs = [torch.from_numpy(array)[None] for array in frame(121, 163)]
    with torch.inference_mode(), Calls() as calls:
        graph(*inputs)
    assert "aten.convolution" in calls.names or "aten.conv2d" in calls.names
    assert not calls.names & {"aten.lift_fresh", "aten._local_scalar_dense"}


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA, reason="needs an NVIDIA GPU and torch with CUDA")
@pytest.mark.parametrize("name", ["base", "tiny"])
@pytest.mark.parametrize(
    ("precision", "difference", "agreement"), [("fp32", 1, 0.999), ("auto", 4, 0.995)]
)
def test_on_a_gpu_it_answers_like_onnxruntime(name, precision, difference, agreement, frame_pairs):
    model, options = open_model(name), EngineOptions(threads=1, precision=precision)
    engine, reference = TorchEngine(model, options), OnnxRuntimeEngine(model, EXACT)
    assert engine.describe()["precision"] == ("fp16" if precision == "auto" else "fp32")
    pairs = [(visible, thermal) for visible, thermal, _ in frame_pairs]
    for pair in [*pairs, frame(121, 163), frame(16, 16), *pairs]:
        fused, labels = engine.infer(*pair)
        wanted, wanted_labels = reference.infer(*pair)
        assert np.abs(fused.astype(int) - wanted).max() <= difference
        assert (labels == wanted_labels).mean() >= agreement
    engine.close()
