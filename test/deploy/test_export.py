"""Export: what leaves torch computes the same in ONNX Runtime, at any size."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")
onnx = pytest.importorskip("onnx", reason="needs the extra `train` (onnx)")

from ssvif_core.data.pairs import FramePair, list_pairs, read_pair  # noqa: E402
from ssvif_core.deploy.export import check_parity, export_model  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.inference.onnxruntime_engine import OnnxRuntimeEngine  # noqa: E402
from ssvif_core.models import open_model  # noqa: E402
from ssvif_core.network.fusion_network import FusionNetwork  # noqa: E402

CLASSES = ["background", "car", "person", "bicycle"]


def random_network(variant: str, seed: int = 0) -> FusionNetwork:
    """A network whose every branch matters: statistics moved, coefficients not zero."""
    torch.manual_seed(seed)
    network = FusionNetwork(variant)
    torch.nn.init.normal_(network.coefficients.weight, std=0.1)
    for _ in range(3):
        network(torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64))
    return network.eval()


@pytest.fixture(scope="module")
def pairs(frame_pairs):
    return [FramePair(str(i), v, t) for i, (v, t, _) in enumerate(frame_pairs)]


@pytest.mark.parametrize("variant", ["base", "tiny"])
def test_the_exported_model_agrees_with_torch(variant, pairs, tmp_path):
    model = export_model(random_network(variant), tmp_path / "m.onnx", CLASSES, pairs[:3])
    assert model.card.content["parity"]["fused_max_difference"] <= 2
    assert model.card.content["parity"]["label_agreement"] >= 0.999
    assert open_model(tmp_path / "m.onnx") == model
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.json", "m.onnx"]


def test_the_graph_is_the_contract(pairs, tmp_path):
    export_model(random_network("tiny"), tmp_path / "m.onnx", CLASSES, pairs[:1])
    graph = onnx.load(str(tmp_path / "m.onnx"))
    assert graph.opset_import[0].version == 17
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*graph.graph.input, *graph.graph.output]
    }
    assert shapes == {
        "visible": [1, "height", "width", 3],
        "thermal": [1, "height", "width"],
        "fused": [1, "height", "width", 3],
        "labels": [1, "height", "width"],
    }
    uint8 = onnx.TensorProto.UINT8
    types = {v.type.tensor_type.elem_type for v in [*graph.graph.input, *graph.graph.output]}
    assert types == {uint8}


def test_parity_fails_for_another_network_and_needs_frames(pairs, tmp_path):
    model = export_model(random_network("tiny"), tmp_path / "m.onnx", CLASSES, pairs[:1])
    with pytest.raises(SsvifError, match="differs from torch"):
        check_parity(model, random_network("tiny", seed=1), pairs[:1])
    with pytest.raises(SsvifError, match="frame"):
        check_parity(model, random_network("tiny"), [])


def test_an_export_that_does_not_agree_leaves_the_old_file_alone(pairs, tmp_path, monkeypatch):
    export_model(random_network("tiny"), tmp_path / "m.onnx", CLASSES, pairs[:1])
    before = (tmp_path / "m.onnx").read_bytes()
    monkeypatch.setattr("ssvif_core.deploy.export.MIN_LABEL_AGREEMENT", 1.1)
    with pytest.raises(SsvifError):
        export_model(random_network("tiny", seed=1), tmp_path / "m.onnx", CLASSES, pairs[:1])
    assert (tmp_path / "m.onnx").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.json", "m.onnx"]


def test_a_fixed_size_session_answers_like_the_dynamic_file(pairs, tmp_path):
    import onnxruntime

    model = export_model(random_network("tiny"), tmp_path / "m.onnx", CLASSES, pairs[:1])
    session = onnxruntime.InferenceSession(str(model.path), providers=["CPUExecutionProvider"])
    visible, thermal = pairs[0].visible, pairs[0].thermal
    dynamic = session.run(None, {"visible": visible[None], "thermal": thermal[None]})
    fixed = OnnxRuntimeEngine(model).infer(visible, thermal)
    np.testing.assert_allclose(fixed[0], dynamic[0][0], atol=1)
    assert (fixed[1] == dynamic[1][0]).mean() >= 0.999


@pytest.mark.parametrize("variant", ["base", "tiny"])
def test_parity_on_real_frames(variant, shared_data, tmp_path):
    chosen = list_pairs(shared_data / "vifb")[::7]
    frames = [read_pair(*pair) for pair in chosen]
    model = export_model(random_network(variant), tmp_path / "m.onnx", CLASSES, frames)
    assert model.card.content["parity"]["frames"] == 2 * len(chosen)
