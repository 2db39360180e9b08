"""A model in two halves answers what it answers as a whole, and the fused image comes first."""

from __future__ import annotations

import contextlib
import threading
import time

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.calibration import Calibration
from ssvif_core.imaging.registration import HomographyAlignment, Registration
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.engine import EngineOptions
from ssvif_core.inference.fallback import FAILURES_IN_ROW, FallbackEngine
from ssvif_core.inference.labels_half import LabelsHalf
from ssvif_core.inference.onnx_halves import split
from ssvif_core.inference.onnxruntime_engine import OnnxRuntimeEngine
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.models import FOLDER, open_model

SHIPPED = sorted(path.name for path in FOLDER.glob("*.onnx"))
TINY = (FOLDER / "tiny.onnx").read_bytes()


def frame(height, width, seed=0):
    rng = np.random.default_rng(seed)
    visible = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return visible, rng.integers(0, 256, (height, width), dtype=np.uint8)


@pytest.fixture
def tiny():
    engine = OnnxRuntimeEngine(open_model("tiny"), EngineOptions(threads=1))
    yield engine
    engine.close()


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("size", [(120, 160), (107, 151), (1, 1)])
def test_every_shipped_file_answers_the_same_in_halves(name, size, frame_pairs):
    model = open_model(FOLDER / name)
    engine = OnnxRuntimeEngine(model, EngineOptions(threads=1))
    whole = onnxruntime.InferenceSession(str(model.path), providers=["CPUExecutionProvider"])
    classes: set[int] = set()
    for visible, thermal, _ in frame_pairs[::3]:
        visible, thermal = (
            np.ascontiguousarray(image[: size[0], : size[1]]) for image in (visible, thermal)
        )
        wanted = whole.run(
            ["fused", "labels"], {"visible": visible[None], "thermal": thermal[None]}
        )
        came: list[np.ndarray] = []
        found = engine.infer(visible, thermal, lambda fused, came=came: came.append(fused.copy()))
        assert len(came) == 1
        np.testing.assert_array_equal(came[0], found[0])
        # Sessions of fixed and of open sizes round some sums in another order.
        assert np.abs(found[0].astype(int) - wanted[0][0]).max() <= 1
        assert (found[1] != wanted[1][0]).mean() < 1e-3
        classes |= set(np.unique(found[1]))
    engine.close()
    assert len(classes) > 1 or size == (1, 1)


def test_the_halves_are_halves():
    onnx = pytest.importorskip("onnx", reason="needs the extra `train` (onnx)")
    halves = split(TINY)
    first = onnx.load_from_string(halves.first)
    second = onnx.load_from_string(halves.second("tensor(float)"))
    assert [output.name for output in first.graph.output] == ["fused", halves.scores]
    assert [output.name for output in second.graph.output] == ["labels"]
    assert {value.name for value in second.graph.input} == {
        halves.scores,
        *halves.inputs_of_second,
    }
    operators = [{node.op_type for node in half.graph.node} for half in (first, second)]
    assert "ArgMax" in operators[1] - operators[0] and "Conv" in operators[0] - operators[1]
    assert sum(len(w.raw_data) for w in second.graph.initializer) < 1000  # no weights twice
    assert first.opset_import == second.opset_import == onnx.load_from_string(TINY).opset_import


def test_the_fused_image_is_there_before_the_labels_are(tiny):
    labels = tiny.infer(*frame(96, 128))[1]  # a buffer of the engine
    labels[:] = 9
    during = []
    fused, _ = tiny.infer(*frame(96, 128), lambda fused: during.append(fused.copy() + labels.min()))
    np.testing.assert_array_equal(during[0], fused + 9)
    assert labels.max() < 9


@pytest.fixture
def tiny_on_two_threads():
    engine = OnnxRuntimeEngine(open_model("tiny"), EngineOptions(threads=2))
    yield engine
    engine.close()


def test_with_two_threads_the_labels_come_while_the_fused_image_is_taken(tiny_on_two_threads):
    labels = tiny_on_two_threads.infer(*frame(96, 128))[1]
    wanted, came = labels.copy(), []
    labels[:] = 9

    def take(fused):
        deadline = time.monotonic() + 10
        while (labels == 9).any() and time.monotonic() < deadline:
            time.sleep(0.001)
        came.append((threading.current_thread(), labels.copy()))

    tiny_on_two_threads.infer(*frame(96, 128), take)
    assert came[0][0] is threading.current_thread()
    np.testing.assert_array_equal(came[0][1], wanted)


def test_who_fails_to_take_the_fused_image_does_not_stop_the_labels(tiny_on_two_threads):
    labels = tiny_on_two_threads.infer(*frame(96, 128))[1]
    wanted = labels.copy()
    labels[:] = 9

    def broken(fused):
        raise RuntimeError("cannot publish")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="cannot publish"):
            tiny_on_two_threads.infer(*frame(96, 128), broken)
        np.testing.assert_array_equal(labels, wanted)


def test_labels_that_cannot_be_computed_are_an_error_of_the_engine(
    tiny_on_two_threads, monkeypatch
):
    taken = []

    def fails(half):
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(LabelsHalf, "_compute", fails)
        with pytest.raises(RuntimeError, match="no memory"):
            tiny_on_two_threads.infer(*frame(96, 128), taken.append)
    assert len(taken) == 1
    tiny_on_two_threads.infer(*frame(96, 128), taken.append)
    assert len(taken) == 2


def test_a_closed_engine_and_one_of_another_size_keep_no_thread(tiny_on_two_threads):
    before = set(threading.enumerate())
    for size in ((96, 128), (48, 64), (96, 128)):
        tiny_on_two_threads.infer(*frame(*size), lambda fused: None)
        assert len(set(threading.enumerate()) - before) == 1
    tiny_on_two_threads.close()
    assert set(threading.enumerate()) <= before


def model_of(outputs, nodes, value=1.0):
    """A small ONNX model of the contract's inputs, made by the package onnx."""
    onnx = pytest.importorskip("onnx", reason="needs the extra `train` (onnx)")
    helper, kind = onnx.helper, onnx.TensorProto.UINT8
    values = {
        "visible": helper.make_tensor_value_info("visible", kind, [1, "height", "width", 3]),
        "thermal": helper.make_tensor_value_info("thermal", kind, [1, "height", "width"]),
        "fused": helper.make_tensor_value_info("fused", kind, [1, "height", "width", 3]),
        "labels": helper.make_tensor_value_info("labels", kind, [1, "height", "width"]),
    }
    graph = helper.make_graph(
        [helper.make_node(*node) for node in nodes],
        "small",
        [values["visible"], values["thermal"]],
        [values[name] for name in outputs],
    )
    return helper.make_model(graph).SerializeToString()


@pytest.mark.parametrize(
    "nodes",
    [
        # Labels of both cameras at once, and labels straight from an input.
        [
            ("Identity", ["visible"], ["fused"]),
            ("Max", ["thermal", "of_visible"], ["labels"]),
            ("Squeeze", ["visible"], ["of_visible"]),
        ],
        [("Identity", ["visible"], ["fused"]), ("Identity", ["thermal"], ["labels"])],
    ],
)
def test_a_model_without_a_place_to_cut_is_left_whole(nodes):
    assert split(model_of(["fused", "labels"], nodes)) is None


def test_scores_that_the_fused_image_uses_too_are_the_place():
    nodes = [
        ("Identity", ["thermal"], ["both"]),
        ("Add", ["both", "both"], ["scores"]),
        ("Mul", ["scores", "visible"], ["fused"]),
        ("Abs", ["scores"], ["absolute"]),
        ("Abs", ["absolute"], ["labels"]),
    ]
    halves = split(model_of(["fused", "labels"], nodes))
    assert halves.scores == "scores" and halves.inputs_of_second == ()
    assert halves.second("tensor(uint8)") and halves.second("tensor(string)") is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(TINY)), st.binary(max_size=20))
def test_a_damaged_file_is_a_value_error_at_the_most(length, tail):
    with contextlib.suppress(ValueError):
        split(TINY[:length] + tail)


def test_a_model_that_cannot_be_cut_runs_as_a_whole(tiny, monkeypatch):
    wanted = [answer.copy() for answer in tiny.infer(*frame(64, 80))]
    monkeypatch.setattr("ssvif_core.inference.onnxruntime_engine.split", lambda content: None)
    whole, came = OnnxRuntimeEngine(open_model("tiny"), EngineOptions(threads=1)), []
    found = whole.infer(*frame(64, 80), came.append)
    assert len(came) == 1
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_pipeline_hands_on_the_blended_image_once(tiny):
    shift = np.array([[1.0, 0, 30], [0, 1, 0], [0, 0, 1]])
    shifted = HomographyAlignment(Calibration(shift, (128, 96), (128, 96)))
    for registration in (None, Registration(shifted)):
        came: list[np.ndarray] = []
        pipeline = Pipeline(tiny, ThermalGain(), registration)
        result = pipeline.process(
            *frame(96, 128), on_fused=lambda fused, came=came: came.append(fused.copy())
        )
        assert len(came) == 1
        np.testing.assert_array_equal(came[0], result.fused)
    visible = frame(96, 128)[0]
    assert np.array_equal(
        came[0][:, :8], visible[:, :8]
    )  # where the shifted thermal does not reach


def test_an_image_that_is_passed_on_is_handed_on_as_well(tiny):
    came: list[np.ndarray] = []
    visible, _ = frame(96, 128)
    Pipeline(tiny, ThermalGain()).process(visible, None, passthrough=True, on_fused=came.append)
    assert len(came) == 1 and np.array_equal(came[0], visible)


def test_who_takes_the_fused_image_is_not_the_engine(tiny):
    """Its time is not the engine's, and what it raises no failure of the engine's."""

    def spare():
        raise AssertionError("the engine has not failed")

    def slow(fused):
        time.sleep(0.5)

    def broken(fused):
        raise RuntimeError("cannot publish")

    pipeline = Pipeline(FallbackEngine(tiny, spare), ThermalGain())
    pipeline.process(*frame(32, 32))
    times = pipeline.process(*frame(32, 32), on_fused=slow).times
    assert times.engine_ms < 400
    for _ in range(FAILURES_IN_ROW + 1):
        with pytest.raises(RuntimeError, match="cannot publish"):
            pipeline.process(*frame(32, 32), on_fused=broken)


class FailsBeforeTheLabels(OnnxRuntimeEngine):
    def infer(self, visible, thermal, on_fused=None):
        super().infer(visible, thermal, on_fused)
        raise SsvifError("no memory for the labels")


def test_a_frame_that_a_spare_computes_anew_is_handed_on_once():
    first = FailsBeforeTheLabels(open_model("tiny"), EngineOptions(threads=1))
    engine = FallbackEngine(
        first, lambda: OnnxRuntimeEngine(open_model("tiny"), EngineOptions(threads=1))
    )
    pipeline, came = Pipeline(engine, ThermalGain()), []
    for _ in range(FAILURES_IN_ROW - 1):
        with pytest.raises(SsvifError, match="no memory"):
            pipeline.process(*frame(32, 32))
    result = pipeline.process(*frame(32, 32), on_fused=lambda fused: came.append(fused.copy()))
    assert len(came) == 1 and np.array_equal(came[0], result.fused)
    engine.close()
