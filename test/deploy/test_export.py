"""Export: what leaves torch computes the same in ONNX Runtime, at any size."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")
onnx = pytest.importorskip("onnx", reason="needs the extra `train` (onnx)")

from ssvif_core.data.pairs import FramePair, list_pairs, read_pair  # noqa: E402
from ssvif_core.deploy.export import export_model, load_trained  # noqa: E402
from ssvif_core.deploy.parity import check_parity  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.inference.onnxruntime_engine import OnnxRuntimeEngine  # noqa: E402
from ssvif_core.models import FOLDER, PRECISIONS, in_precision, open_model  # noqa: E402
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


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_graph_is_the_contract(precision, pairs, tmp_path):
    export_model(
        random_network("tiny"),
        tmp_path / "m.onnx",
        CLASSES,
        pairs[:1],
        precision=precision,
        calibration=pairs[:2],
    )
    model = onnx.load(str(tmp_path / "m.onnx"))
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    graph = model.graph
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.output]
    }
    assert shapes == {
        "visible": [1, "height", "width", 3],
        "thermal": [1, "height", "width"],
        "fused": [1, "height", "width", 3],
        "labels": [1, "height", "width"],
    }
    types = {v.type.tensor_type.elem_type for v in [*graph.input, *graph.output]}
    assert types == {onnx.TensorProto.UINT8}


def test_parity_fails_for_another_network_and_needs_frames(pairs, tmp_path):
    model = export_model(random_network("tiny"), tmp_path / "m.onnx", CLASSES, pairs[:1])
    with pytest.raises(SsvifError, match=r"largest difference of fused.* must be at most 2"):
        check_parity(model, random_network("tiny", seed=1), pairs[:1])
    with pytest.raises(SsvifError, match="frame"):
        check_parity(model, random_network("tiny"), [])


@pytest.mark.parametrize(("height", "width"), [(12, 20), (20, 6), (1, 1)])
def test_frames_of_any_size_will_do_for_parity(height, width, tmp_path):
    grey = np.arange(height * width, dtype=np.uint8).reshape(height, width)
    pair = FramePair("small", np.dstack([grey, grey, grey]), grey)
    model = export_model(random_network("tiny"), tmp_path / "m.onnx", CLASSES, [pair])
    assert model.card.content["parity"]["frames"] == 1


def test_iou_is_measured_where_frames_have_labels_that_mean_something(frame_pairs, tmp_path):
    labelled = [FramePair(str(i), *frame) for i, frame in enumerate(frame_pairs[:3])]
    network, path = random_network("tiny"), tmp_path / "m.onnx"
    parity = export_model(network, path, CLASSES, labelled).card.content["parity"]
    assert parity["frames"] == 3
    assert parity["iou"] == pytest.approx(parity["iou_fp32"], abs=1e-3)
    assert 0 <= parity["iou"] <= 1
    for frames, mode in (
        ([FramePair(p.name, p.visible, p.thermal) for p in labelled], "finetuned"),
        (labelled, "clusters"),
    ):
        model = export_model(network, path, CLASSES, frames, mode=mode)
        assert "iou" not in model.card.content["parity"]


def test_label_ids_that_are_no_class_are_an_error_that_says_what_to_do(frame_pairs, tmp_path):
    visible, thermal, labels = frame_pairs[0]
    pair = FramePair("street", visible, thermal, labels + 4)
    with pytest.raises(SsvifError, match="'street' .* --label-map"):
        export_model(random_network("tiny"), tmp_path / "m.onnx", CLASSES, [pair])
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_does_not_agree_leaves_the_old_file_alone(pairs, tmp_path):
    network = random_network("tiny")
    options = {"precision": "int8", "calibration": pairs}
    export_model(network, tmp_path / "m.onnx", CLASSES, pairs, **options)
    before = (tmp_path / "m.onnx").read_bytes()
    dark = FramePair("dark", np.zeros_like(pairs[0].visible), np.zeros_like(pairs[0].thermal))
    options["calibration"] = [dark]
    with pytest.raises(SsvifError, match="mean difference of fused.*Calibrate on"):
        export_model(network, tmp_path / "m.onnx", CLASSES, pairs, **options)
    assert (tmp_path / "m.onnx").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.json", "m.onnx"]


def test_files_of_other_precisions_lie_beside_the_first_and_are_found(pairs, tmp_path):
    network = random_network("tiny")
    for precision in PRECISIONS:
        name = "m.onnx" if precision == "fp32" else f"m.{precision}.onnx"
        model = export_model(
            network, tmp_path / name, CLASSES, pairs[:2], precision=precision, calibration=pairs
        )
        assert (model.card.name, model.precision) == ("m", precision)
        assert (tmp_path / name).with_suffix(".json").is_file()
    for precision in PRECISIONS:
        assert in_precision(open_model(tmp_path / "m.onnx"), precision).precision == precision
    assert len(list(tmp_path.iterdir())) == 6


def test_a_checkpoint_without_the_weights_of_its_network_is_one_clear_error():
    with pytest.raises(SsvifError, match="The checkpoint"):
        load_trained({"variant": "tiny", "classes": CLASSES, "average": {}})


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
    assert model.card.content["parity"]["frames"] == len(chosen)


def test_a_precision_file_of_another_model_is_not_taken_for_this_one(tmp_path, caplog):
    for suffix in (".onnx", ".json"):
        for precision, name in (("", "mine"), (".fp16", "mine.fp16")):
            source = FOLDER / f"tiny{precision}{suffix}"
            (tmp_path / f"{name}{suffix}").write_bytes(source.read_bytes())
    mine = open_model(tmp_path / "mine.onnx")
    assert in_precision(mine, "fp16").precision == "fp16"
    card = json.loads((tmp_path / "mine.fp16.json").read_text())
    card["training"]["exported"] = "on another day"
    (tmp_path / "mine.fp16.json").write_text(json.dumps(card))
    assert in_precision(mine, "fp16").precision == "fp16"
    card["classes"][2]["name"] = "of a training before"
    (tmp_path / "mine.fp16.json").write_text(json.dumps(card))
    with pytest.raises(SsvifError, match="is of another model than mine.onnx.*export it again"):
        in_precision(mine, "fp16")
    with caplog.at_level("WARNING"):
        assert in_precision(mine, "fp16", or_given=True) == mine
    assert "of another model" in caplog.text


@pytest.mark.parametrize(
    ("source", "with_card", "says"),
    [("tiny.int8", True, "is int8, not fp16"), ("tiny.fp16", False, "has no card")],
)
def test_a_neighbour_that_is_not_what_its_name_says_costs_no_start(
    source, with_card, says, tmp_path, caplog
):
    for name, file in (("mine", "tiny"), ("mine.fp16", source)):
        for suffix in (".onnx", ".json"):
            if suffix == ".onnx" or with_card or name == "mine":
                (tmp_path / f"{name}{suffix}").write_bytes(
                    (FOLDER / f"{file}{suffix}").read_bytes()
                )
    mine = open_model(tmp_path / "mine.onnx")
    with pytest.raises(SsvifError, match=says):
        in_precision(mine, "fp16")
    with caplog.at_level("WARNING"):
        assert in_precision(mine, "fp16", or_given=True) == mine
    assert says in caplog.text
