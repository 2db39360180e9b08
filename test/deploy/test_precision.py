"""Precision: what is in the file, what it costs, and that nothing worse is kept."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")
onnx = pytest.importorskip("onnx", reason="needs the extra `train` (onnx)")

from onnx import numpy_helper  # noqa: E402

from ssvif_core.data.pairs import FramePair  # noqa: E402
from ssvif_core.data.sources import open_pairs  # noqa: E402
from ssvif_core.deploy.export import export_model  # noqa: E402
from ssvif_core.deploy.precision import FLOAT_LAYERS, missed_bars, quantise  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.models import in_precision, open_model  # noqa: E402
from ssvif_core.network.fusion_network import FusionNetwork  # noqa: E402
from ssvif_core.training.reopen import reopen  # noqa: E402
from ssvif_core.training.validation import as_tensors  # noqa: E402

CLASSES = ["background", "car", "person", "bicycle"]
STREET_IDS = {0: 0, 1: 1, 2: 2, 3: 3, 4: 0, 5: 0, 6: 0, 7: 0, 8: 0}
#: Inputs of QuantizeLinear and DequantizeLinear.
VALUE, SCALE, ZERO = 0, 1, 2


@pytest.fixture(scope="module")
def pairs(frame_pairs):
    return [FramePair(str(i), v, t) for i, (v, t, _) in enumerate(frame_pairs)]


@pytest.fixture(scope="module")
def network():
    """Random, with coefficients that are not zero."""
    torch.manual_seed(0)
    network = FusionNetwork("tiny")
    torch.nn.init.normal_(network.coefficients.weight, std=0.1)
    for _ in range(3):
        network(torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64))
    return network.eval()


@pytest.fixture(scope="module")
def files(network, pairs, tmp_path_factory):
    """Path of the random network in each precision."""
    folder = tmp_path_factory.mktemp("models")
    return {
        precision: export_model(
            network,
            folder / f"{precision}.onnx",
            CLASSES,
            pairs[:2],
            precision=precision,
            calibration=pairs,
        ).path
        for precision in ("fp32", "fp16", "int8")
    }


def opened(path):
    """Nodes, nodes by the name of what they give, and constants by name."""
    graph = onnx.load(str(path)).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return graph.node, {name: node for node in graph.node for name in node.output}, constants


def convolutions(nodes):
    return [node for node in nodes if node.op_type == "Conv"]


def layer(node):
    return node.name.split("/")[1]


# What is in the files.


def test_fp16_convolutions_are_half_and_the_arithmetic_on_grey_levels_is_not(files):
    nodes, made_by, constants = opened(files["fp16"])
    for node in convolutions(nodes):
        assert all(constants[name].dtype == np.float16 for name in node.input[1:])
    luma = next(node for node in nodes if node.op_type == "MatMul")
    assert constants[luma.input[0]].dtype == np.float32
    sigmoid = next(node for node in nodes if node.op_type == "Sigmoid")
    before = next(node for node in nodes if sigmoid.input[0] in node.output)
    assert before.op_type == "Cast"
    assert before.attribute[0].i == onnx.TensorProto.FLOAT
    assert files["fp16"].stat().st_size < 0.6 * files["fp32"].stat().st_size


def test_int8_has_q_dq_at_the_inputs_of_convolutions_symmetric_and_by_channel(files):
    nodes, made_by, constants = opened(files["int8"])
    for node in nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants[node.input[ZERO]]
            assert zero.dtype == np.int8
            assert not zero.any()
    quantised = [node for node in convolutions(nodes) if layer(node) not in FLOAT_LAYERS]
    assert len(quantised) == 23
    for node in quantised:
        activation, kernel = (made_by[name] for name in node.input[:2])
        assert activation.op_type == kernel.op_type == "DequantizeLinear"
        assert made_by[activation.input[VALUE]].op_type == "QuantizeLinear"
        assert constants[activation.input[SCALE]].shape == ()
        integers = constants[kernel.input[VALUE]]
        assert integers.dtype == np.int8
        assert constants[kernel.input[SCALE]].shape == integers.shape[:1]
        assert constants[node.input[2]].dtype == np.float32  # the bias is not quantised
    followers = {n.op_type for c in quantised for n in nodes if c.output[0] in n.input}
    assert "QuantizeLinear" not in followers
    assert files["int8"].stat().st_size < 0.4 * files["fp32"].stat().st_size


def test_what_int8_cannot_resolve_stays_in_float(files):
    nodes, made_by, constants = opened(files["int8"])
    floats = [node for node in convolutions(nodes) if layer(node) in FLOAT_LAYERS]
    assert {layer(node) for node in floats} == set(FLOAT_LAYERS)
    for node in floats:
        assert constants[node.input[1]].dtype == np.float32
        assert node.input[0] not in made_by or made_by[node.input[0]].op_type != "DequantizeLinear"


# Quantising.


def test_quantising_is_silent_counts_frames_and_takes_frames_of_any_size(
    files, pairs, tmp_path, caplog, capfd
):
    steps = []
    mixed = [FramePair("part", pairs[0].visible[:70, :90], pairs[0].thermal[:70, :90]), *pairs[:3]]
    with caplog.at_level(logging.WARNING):
        quantise(files["fp32"], tmp_path / "q.onnx", mixed, lambda: steps.append(1))
    assert len(steps) == 4
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["q.onnx"]
    assert sorted(p.name for p in files["fp32"].parent.iterdir()) == sorted(
        f"{name}.{ending}" for name in files for ending in ("onnx", "json")
    )


def test_quantising_needs_frames_and_onnx(files, pairs, tmp_path, monkeypatch):
    with pytest.raises(SsvifError, match="--calibrate"):
        quantise(files["fp32"], tmp_path / "q.onnx", [])
    monkeypatch.setitem(sys.modules, "onnx", None)  # as where it is not installed
    with pytest.raises(SsvifError, match="pip install"):
        quantise(files["fp32"], tmp_path / "q.onnx", pairs)
    assert list(tmp_path.iterdir()) == []


# Bars.


def test_bars_say_by_how_much_they_are_missed():
    good = {"fused_mean_difference": 1.5, "iou_loss": -0.1}
    assert missed_bars("int8", good) == []
    assert missed_bars("int8", {"fused_mean_difference": 0.4}) == []  # no labels, no IoU
    assert missed_bars("int8", {**good, "iou_loss": 0.016}) == [
        "mean IoU below that of fp32: 0.016, must be at most 0.015"
    ]
    nothing = {"fused_max_difference": float("nan"), "label_agreement_mean": float("nan")}
    assert len(missed_bars("fp16", nothing)) == 2
    few = {"fused_max_difference": 0, "label_agreement_mean": 0.99, "label_agreement": 0.1}
    assert missed_bars("fp16", few) == [
        "part of labels equal, all frames: 0.99, must be at least 0.995"
    ]


def test_a_network_beyond_the_range_of_fp16_is_refused(pairs, tmp_path):
    torch.manual_seed(0)
    network = FusionNetwork("tiny").eval()
    with torch.no_grad():
        network.decode.norm.weight.mul_(1e5)
    export_model(network, tmp_path / "m.onnx", CLASSES, pairs[:1])
    with pytest.raises(SsvifError, match=r"largest number within .* Use fp32"):
        export_model(network, tmp_path / "m.fp16.onnx", CLASSES, pairs[:1], precision="fp16")
    assert not (tmp_path / "m.fp16.onnx").exists()


# The shipped models on real frames.


@pytest.mark.parametrize("name", ["base", "tiny"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_cards_of_shipped_files_hold_the_bars_on_all_of_msrs_val_as_the_docs_say(
    name, precision, repository
):
    model = in_precision(open_model(name), precision)
    parity = model.card.content["parity"]
    assert parity["frames"] == 46
    assert missed_bars(precision, parity | {"iou_loss": parity["iou_fp32"] - parity["iou"]}) == []
    lines = (repository / "docs" / "engines.md").read_text().splitlines()
    said = [line for line in lines if line.startswith(f"| `{name}.{precision}` |")]
    if precision != "fp32":
        cells = [
            str(parity["fused_max_difference"]),
            f"{parity['fused_mean_difference']:.2f}",
            f"{parity['label_agreement_mean']:.3%}".replace("%", " %"),
            f"{parity['label_agreement']:.2%}".replace("%", " %"),
            f"{parity['iou']:.3f} ({parity['iou_fp32']:.3f})",
            f"{model.path.stat().st_size / 1e6:.2f}",
        ]
        assert said == [f"| `{name}.{precision}` | {' | '.join(cells)} |"]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("name", ["base", "tiny"])
def test_bars_hold_for_the_shipped_models_on_real_frames(name, precision, shared_data, tmp_path):
    folder = shared_data / "msrs"
    # On fewer, some pixels of the one bicycle there decide.
    frames = list(open_pairs(folder / "val", labels="labels", label_map=STREET_IDS, limit=12))
    calibration = list(open_pairs(folder / "train", limit=8))
    network = reopen(open_model(name), [as_tensors(frames[0], torch.device("cpu"))])
    model = export_model(
        network.eval(),
        tmp_path / f"{name}.{precision}.onnx",
        CLASSES,
        frames,
        precision=precision,
        calibration=calibration,
    )
    parity = model.card.content["parity"]
    assert parity["frames"] == 12
    assert parity["iou"] > parity["iou_fp32"] - 0.015
    if precision == "fp16":
        assert parity["fused_max_difference"] <= 2
        assert parity["label_agreement"] > 0.999
        assert 1 < parity["largest_activation"] < 1000
    else:
        assert parity["fused_mean_difference"] < 1
        assert parity["label_agreement_mean"] > 0.99
