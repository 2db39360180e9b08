"""The engine on OpenVINO: the same answers as ONNX Runtime, on the shipped models."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from model_files import frame, model_of

from ssvif_core.errors import SsvifError
from ssvif_core.inference.engine import EngineOptions, create_engine
from ssvif_core.inference.onnxruntime_engine import OnnxRuntimeEngine
from ssvif_core.inference.openvino_engine import OpenVinoEngine
from ssvif_core.models import FOLDER, open_model

#: auto is fp32 too, also on a CPU that computes in bf16.
EXACT = EngineOptions(threads=1, height=120, width=160)


#: Not `pytest.importorskip`: importing it otherwise than the engine does reports to its makers.
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs the extra `openvino`"
)


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)  # "not found", by Python's documentation
    with pytest.raises(SsvifError, match="pip install openvino"):
        create_engine(open_model("tiny"), "openvino")


@needs_openvino
@pytest.mark.parametrize("name", ["base", "tiny"])
def test_it_answers_like_onnxruntime(name, frame_pairs):
    model = open_model(name)
    engine, reference = OpenVinoEngine(model, EXACT), OnnxRuntimeEngine(model, EXACT)
    for visible, thermal, _ in frame_pairs:
        fused, labels = engine.infer(visible, thermal)
        wanted, wanted_labels = reference.infer(visible, thermal)
        assert np.abs(fused.astype(int) - wanted).max() <= 1
        assert (labels == wanted_labels).mean() >= 0.999
    engine.close()


@needs_openvino
def test_the_size_may_change_from_frame_to_frame():
    model = open_model("tiny")
    engine, reference = OpenVinoEngine(model, EXACT), OnnxRuntimeEngine(model, EXACT)
    for size in ((121, 163), (16, 16), (1, 1), (96, 128), (121, 163)):
        pair = frame(*size)
        fused, labels = engine.infer(*pair)
        wanted, _ = reference.infer(*pair)
        assert fused.shape == (*size, 3) and labels.shape == size
        assert fused.dtype == labels.dtype == np.uint8
        assert np.abs(fused.astype(int) - wanted).max() <= 1
    engine.close()


@needs_openvino
def test_buffers_are_reused_and_inputs_may_be_read_only():
    engine, pairs = OpenVinoEngine(open_model("tiny"), EXACT), [frame(32, 48, s) for s in (0, 1)]
    for array in (a for pair in pairs for a in pair):
        array.flags.writeable = False  # as `np.frombuffer` gives a message's bytes
    first, _ = engine.infer(*pairs[0])
    kept = first.copy()
    second, _ = engine.infer(*pairs[1])
    assert np.shares_memory(first, second)
    assert not np.array_equal(second, kept)
    np.testing.assert_array_equal(engine.infer(*pairs[0])[0], kept)
    engine.close()


@needs_openvino
def test_a_closed_engine_says_so():
    engine = OpenVinoEngine(open_model("tiny"), EXACT)
    engine.warm_up(32, 32)
    engine.close()
    with pytest.raises(SsvifError, match="closed"):
        engine.infer(*frame(32, 32))


@needs_openvino
def test_it_says_what_it_computes_in():
    about = OpenVinoEngine(open_model("tiny"), EXACT).describe()
    assert about["engine"] == "openvino"
    assert about["precision"] == "fp32"
    assert about["device"] == "CPU"
    assert about["threads"] == "1"
    assert about["model"] == "tiny"
    assert about["version"][0].isdigit()
    auto = OpenVinoEngine(open_model("tiny"), replace(EXACT, threads=0))
    assert auto.describe()["precision"] == "fp32"
    assert auto.describe()["threads"] == "one for each core"


@needs_openvino
@pytest.mark.parametrize("length", [0, 100, 100_000])
def test_a_truncated_model_is_one_clear_error(length, tmp_path):
    content = (FOLDER / "tiny.onnx").read_bytes()[:length]
    with pytest.raises(SsvifError, match=r"mine\.onnx.*(Export the model again|ssvif export)"):
        OpenVinoEngine(model_of(content, tmp_path), EXACT)


@needs_openvino
def test_a_file_that_is_no_onnx_model_is_refused(tmp_path):
    with pytest.raises(SsvifError, match="cannot load"):
        OpenVinoEngine(model_of(b"this is not a network", tmp_path), EXACT)


def test_int8_is_refused(tmp_path):
    content = (FOLDER / "tiny.onnx").read_bytes()
    with pytest.raises(SsvifError, match=r"int8.*onnxruntime"):
        OpenVinoEngine(model_of(content, tmp_path, precision="int8"), EXACT)


@needs_openvino
@pytest.mark.parametrize("operator", ["Identity", "Abacus"])
def test_a_model_that_is_another_is_refused(operator, tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs the extra `train` (onnx) to make the file")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, ["image"], ["same"])],
        "other",
        [value("image", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [value("same", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    made = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    with pytest.raises(SsvifError, match="image" if operator == "Identity" else operator):
        OpenVinoEngine(model_of(made.SerializeToString(), tmp_path), EXACT)


@needs_openvino
def test_nothing_is_reported_to_the_makers_of_openvino(tmp_path):
    """Importing openvino sends a report and writes to the home folder; the engine must not."""
    program = (
        "import sys\n"
        "from ssvif_core.inference.openvino_engine import OpenVinoEngine\n"
        "from ssvif_core.models import open_model\n"
        "OpenVinoEngine(open_model('tiny')).warm_up(32, 32)\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(FOLDER.parent.parent)}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"
    assert not (tmp_path / "intel").exists()


@needs_openvino
def test_two_engines_may_be_the_first_at_the_same_time():
    """As where the parameter is set and the node activated at once."""
    program = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from ssvif_core.inference.openvino_engine import OpenVinoEngine\n"
        "from ssvif_core.models import open_model\n"
        "with ThreadPoolExecutor(2) as threads:\n"
        "    print(len(list(threads.map(OpenVinoEngine, [open_model('tiny')] * 2))))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent.parent)}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert ran.stdout.strip() == "2", ran.stderr
