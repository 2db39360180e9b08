"""Engines and the pipeline on the shipped models: the real files, the real runtime."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import textwrap
import weakref
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ssvif_core.deploy.engine_builder import cached_plan
from ssvif_core.deploy.engine_cache import EngineCache
from ssvif_core.deploy.engine_key import EngineKey
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.cuda import Gpu
from ssvif_core.inference.engine import ENGINES, EngineOptions, create_engine
from ssvif_core.inference.onnxruntime_engine import OnnxRuntimeEngine
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.inference.sized_engine import SizedEngine
from ssvif_core.models import FOLDER, in_precision, open_model, sha256_of, shipped_models


@pytest.fixture(scope="module")
def tiny():
    engine, _ = create_engine(open_model("tiny"), options=EngineOptions(threads=1))
    yield engine
    engine.close()


def copy_of_tiny(folder):
    """The shipped tiny model with its card, in `folder`."""
    for suffix in (".onnx", ".json"):
        shutil.copy(FOLDER / f"tiny{suffix}", folder / f"mine{suffix}")
    return folder / "mine.onnx"


def test_base_and_tiny_are_shipped_with_cards_that_describe_them():
    assert shipped_models() == ["base", "tiny"]
    for name in shipped_models():
        card = open_model(name).card
        assert card.mode == "finetuned"
        assert [c.name for c in card.classes] == ["background", "car", "person", "bicycle"]
        assert card.palette.shape == (256, 3)
        assert len({c.color for c in card.classes}) == 4
        for section in ("contract", "training", "metrics", "parity"):
            assert card.content[section], section


def test_a_broken_package_does_not_keep_auto_from_the_next_engine(monkeypatch, caplog):
    def broken(*_):
        raise TypeError("incompatible function arguments")

    monkeypatch.setitem(ENGINES, "tensorrt", broken)
    engine, why = create_engine(open_model("tiny"), "auto", EngineOptions(threads=1))
    assert engine.name == "onnxruntime" and "why not tensorrt" in why
    assert "tensorrt is broken here: TypeError" in caplog.text


def test_auto_takes_no_engine_that_starts_on_a_gpu_and_computes_nothing(monkeypatch, caplog):
    """As ONNX Runtime's CUDA on a GPU that it has no kernels for; what that says is told here."""
    made = []

    class NoKernels(OnnxRuntimeEngine):
        def describe(self):
            return super().describe() | {"device": "GPU"}

        def infer(self, visible, thermal, on_fused=None):
            assert thermal.shape == (48, 64)
            raise RuntimeError("no kernel image is available")

    def start(model, options):
        made.append(NoKernels(model, options))
        return made[-1]

    monkeypatch.setitem(ENGINES, "onnxruntime-cuda", start)
    options = EngineOptions(threads=1, height=48, width=64)
    engine, why = create_engine(open_model("tiny"), "auto", options)
    assert engine.name == "onnxruntime" and "onnxruntime-cuda" in why
    assert "onnxruntime-cuda: it starts and cannot compute a frame: no kernel" in caplog.text
    assert made[0]._closed


def test_what_onnx_runtime_raises_for_a_frame_is_one_clear_error(tiny):
    """Here for a visible image of another size, which a caller must not give; there on a GPU."""
    with pytest.raises(SsvifError, match=r"cannot compute a frame on CPUExec.*use another engine"):
        tiny.infer(np.zeros((48, 32, 3), np.uint8), np.zeros((32, 32), np.uint8))
    assert tiny.infer(np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8))


def test_an_engine_that_was_built_and_does_not_fit_is_shown_side_by_side(
    monkeypatch, tmp_path, caplog
):
    """TensorRT was updated: its version is told here, for it needs a GPU to load anything."""
    gpu, tiny = Gpu("Orin", "8.7", True), open_model("tiny")
    cache, options = EngineCache(tmp_path), EngineOptions(threads=1, cache=tmp_path)
    key = EngineKey.of(tiny, options, "10.3.0", gpu)
    cache.store(cache.path_of(tiny, options), key, b"ftrt", 75.0)
    now = SimpleNamespace(__version__="10.7.0")
    monkeypatch.setitem(ENGINES, "tensorrt", lambda m, o: cached_plan(now, m, o, gpu))
    engine, why = create_engine(tiny, "auto", options)
    assert engine.name == "onnxruntime" and "why not tensorrt" in why
    assert "tensorrt: cached 10.3.0, wanted 10.7.0. Build it with: ssvif engine" in caplog.text
    caplog.clear()
    create_engine(tiny, "auto", replace(options, width=320))
    assert "there is tiny-" in caplog.text and "--size 320x480" in caplog.text
    cache.clear()
    caplog.clear()
    create_engine(tiny, "auto", options)
    assert caplog.text == ""  # who never built one knows


@pytest.mark.parametrize("name", ["base", "tiny"])
@pytest.mark.parametrize("size", [(480, 640), (121, 163), (16, 16), (1, 1)])
def test_any_size_gives_a_fused_image_and_labels_of_that_size(name, size):
    engine, why = create_engine(open_model(name), "auto", EngineOptions(threads=1))
    rng = np.random.default_rng(0)
    visible = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    thermal = rng.integers(0, 256, size, dtype=np.uint8)
    fused, labels = engine.infer(visible, thermal)
    assert fused.shape == (*size, 3)
    assert labels.shape == size
    assert fused.dtype == labels.dtype == np.uint8
    assert labels.max() <= 3
    assert "onnxruntime" in why


def test_a_hot_body_that_the_camera_cannot_see_is_bright_in_the_fused_image(tiny):
    visible = np.full((128, 160, 3), 110, np.uint8)
    thermal = np.full((128, 160), 40, np.uint8)
    cv2.ellipse(thermal, (80, 64), (14, 40), 0, 0, 360, 230, -1)
    fused, _ = tiny.infer(visible, thermal)
    luma = cv2.cvtColor(fused, cv2.COLOR_RGB2GRAY)
    assert luma[64, 80] > luma[10, 10] + 50


def test_fusion_moves_all_channels_alike(tiny):
    rng = np.random.default_rng(1)
    visible = rng.integers(90, 160, (64, 80, 3), dtype=np.uint8)  # far from clipping
    thermal = rng.integers(90, 160, (64, 80), dtype=np.uint8)
    fused, _ = tiny.infer(visible, thermal)
    shift = fused.astype(int) - visible
    inside = (fused > 0).all(2) & (fused < 255).all(2)
    assert inside.mean() > 0.5
    assert np.ptp(shift, axis=2)[inside].max() <= 1  # rounding


def test_output_buffers_are_reused_and_a_new_size_makes_new_ones(tiny):
    frame = np.zeros((32, 48, 3), np.uint8)
    first, _ = tiny.infer(frame, frame[..., 0].copy())
    second, _ = tiny.infer(frame + 200, frame[..., 0].copy())
    assert np.shares_memory(first, second)
    third, _ = tiny.infer(np.zeros((48, 48, 3), np.uint8), np.zeros((48, 48), np.uint8))
    assert third.shape == (48, 48, 3)
    assert not np.shares_memory(first, third)


def test_a_closed_engine_says_so():
    engine, _ = create_engine(open_model("tiny"), options=EngineOptions(threads=1))
    engine.warm_up(32, 32)
    engine.close()
    with pytest.raises(SsvifError, match="closed"):
        engine.infer(np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8))


def test_a_checkpoint_is_no_model(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"PK")
    with pytest.raises(SsvifError, match="ssvif export"):
        open_model(path)


def test_a_file_that_is_too_large_is_refused_unread(tmp_path):
    path = copy_of_tiny(tmp_path)
    with path.open("r+b") as file:
        file.truncate(300 << 20)  # a hole: no room on the disk
    with pytest.raises(SsvifError, match="300 MiB"):
        open_model(path)


def test_a_model_that_keeps_weights_elsewhere_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs the extra `train` (onnx)")
    path = copy_of_tiny(tmp_path)
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, size_threshold=0)
    card = path.with_suffix(".json")
    content = path.read_bytes()
    key, rest = b"\x0a\x08location", content.partition(b"\x0a\x08location\x12")[2]
    value = b"\x12" + rest[: 1 + rest[0]]
    odd_length = key.replace(b"\x08", b"\x88\x00") + value  # of two bytes, as none would write it
    for order in (key + value, value + key, odd_length):
        path.write_bytes(content.replace(key + value, order))
        card.write_text(json.dumps({**json.loads(card.read_text()), "sha256": sha256_of(path)}))
        with pytest.raises(SsvifError, match="another file"):
            open_model(path)


def test_the_file_of_another_precision_is_found_or_how_to_make_it(tmp_path):
    mine = open_model(copy_of_tiny(tmp_path))
    assert mine.precision == "fp32"
    assert in_precision(mine, "fp32") == mine
    assert in_precision(mine, "fp16", or_given=True) == mine
    with pytest.raises(SsvifError, match=r"ssvif export .*--precision fp16"):
        in_precision(mine, "fp16")


def test_a_missing_model_names_the_shipped_ones(tmp_path):
    with pytest.raises(SsvifError, match="tiny"):
        open_model(tmp_path / "nothing.onnx")


def test_a_model_without_a_card_is_refused(tmp_path):
    path = copy_of_tiny(tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(SsvifError, match="no card"):
        open_model(path)


def test_a_model_whose_bytes_changed_is_refused(tmp_path):
    path = copy_of_tiny(tmp_path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(SsvifError, match="sha256"):
        open_model(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "guessed"}, "guessed"),
        ({"format": 99}, "99"),
        ({"classes": [{"id": 0, "name": "a", "color": [0, 0, 300]}]}, "300"),
        ({"classes": "none"}, "not valid"),
        ({"classes": []}, "ids"),
        ({"classes": [{"id": 1, "name": "a", "color": [0, 0, 0]}]}, "ids"),
        ({"precision": "fp32x"}, "fp32x"),
        ({"sha256": None}, "damaged or was replaced"),
    ],
)
def test_a_card_with_a_wrong_value_says_which(tmp_path, change, message):
    path = copy_of_tiny(tmp_path)
    card = path.with_suffix(".json")
    card.write_text(json.dumps({**json.loads(card.read_text()), **change}))
    with pytest.raises(SsvifError, match=message):
        open_model(path)


def with_hash(path):
    """Make the card fit the file, so that loading gets past the hash."""
    from ssvif_core.models import sha256_of

    card = path.with_suffix(".json")
    card.write_text(json.dumps({**json.loads(card.read_text()), "sha256": sha256_of(path)}))
    return open_model(path)


def test_a_file_that_is_no_onnx_model_is_refused(tmp_path):
    path = copy_of_tiny(tmp_path)
    path.write_bytes(b"this is not a network")
    with pytest.raises(SsvifError, match="cannot load"):
        OnnxRuntimeEngine(with_hash(path))


def test_an_onnx_model_with_other_inputs_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs the extra `train` (onnx) to make the file")
    path = copy_of_tiny(tmp_path)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["image"], ["same"])],
        "other",
        [value("image", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [value("same", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    with pytest.raises(SsvifError, match="image"):
        OnnxRuntimeEngine(with_hash(path))


def test_an_unknown_engine_names_the_known_ones():
    with pytest.raises(SsvifError, match="onnxruntime"):
        create_engine(open_model("tiny"), "abacus")


@pytest.mark.parametrize("precision", ["fp8", "fp16"])
def test_a_precision_that_cannot_be_had_is_said_once(precision, tmp_path):
    model = open_model(copy_of_tiny(tmp_path))  # an fp32 file alone
    with pytest.raises(SsvifError, match="Unknown precision 'fp8'|no fp16 file") as refused:
        create_engine(model, "auto", EngineOptions(threads=1, precision=precision))
    assert "onnxruntime" not in str(refused.value)


def test_the_session_of_a_size_is_freed_before_the_next_is_made(monkeypatch):
    engine = OnnxRuntimeEngine(open_model("tiny"), EngineOptions(threads=1))
    engine.warm_up(32, 32)
    before, load = weakref.ref(engine._session._sess), engine._load

    def looks(*arguments):
        assert before() is None
        return load(*arguments)

    monkeypatch.setattr(engine, "_load", looks)
    engine.warm_up(48, 48)


def test_a_model_file_that_went_is_one_clear_error_at_the_next_size(tmp_path):
    for suffix in (".onnx", ".json"):
        shutil.copy(open_model("tiny").path.with_suffix(suffix), tmp_path / f"mine{suffix}")
    engine = OnnxRuntimeEngine(open_model(tmp_path / "mine.onnx"), EngineOptions(threads=1))
    engine.warm_up(32, 32)
    (tmp_path / "mine.onnx").unlink()
    with pytest.raises(SsvifError, match=r"cannot load .*mine\.onnx"):
        engine.warm_up(48, 48)


#: Given one core, an engine with a thread for each; where may its threads run?
ONE_CORE = """
    import os, sys
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})  # before numpy is imported, whose BLAS has threads, too
    from pathlib import Path
    from ssvif_core.inference.engine import EngineOptions, create_engine
    from ssvif_core.models import open_model
    engine, _ = create_engine(open_model("tiny"), sys.argv[1], EngineOptions(threads=0))
    engine.warm_up(48, 64)
    allowed = [os.sched_getaffinity(int(task.name)) for task in Path("/proc/self/task").iterdir()]
    assert allowed == [{core}] * len(allowed), allowed
    print(engine.describe()["threads"])
"""


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs Linux and two cores",
)
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch"])
def test_one_thread_for_each_core_stays_on_the_cores_that_were_given(engine):
    pytest.importorskip(engine, reason=f"needs {engine}")
    code = [sys.executable, "-c", textwrap.dedent(ONE_CORE), engine]
    done = subprocess.run(code, capture_output=True, text=True)
    assert done.stdout == "one for each core\n", done.stderr


@pytest.mark.parametrize("threads", [-1, 257, 100_000])
def test_threads_that_no_engine_could_start_are_refused(threads):
    with pytest.raises(SsvifError, match=f"{threads} threads: give 0.* to 256"):
        EngineOptions(threads=threads)


def test_the_pipeline_resizes_thermal_and_says_it_once_for_each_pair_of_sizes(tiny, caplog):
    pipeline = Pipeline(tiny, ThermalGain(mode="auto"))
    visible, thermal = np.zeros((96, 128, 3), np.uint8), np.zeros((48, 64), np.uint8)
    thermal[:, 32:] = 200
    with caplog.at_level(logging.WARNING, "ssvif"):
        for _ in range(3):
            result = pipeline.process(visible, thermal, 0.0)
        assert result.thermal[50, 100] == 200
        for other in (thermal[:24], thermal, thermal[:24]):
            pipeline.process(visible, other, 0.0)
    assert result.thermal.shape == (96, 128)
    assert result.fused.shape == (96, 128, 3)
    said = [r.getMessage() for r in caplog.records if "resized" in r.getMessage()]
    assert [text[:16] for text in said] == ["thermal is 64x48", "thermal is 64x24"]


def test_the_pipeline_takes_raw_counts(tiny):
    pipeline = Pipeline(tiny, ThermalGain(mode="auto"))
    thermal = np.full((96, 128), 6800, np.uint16)
    thermal[30:60, 40:80] = 7100
    result = pipeline.process(np.zeros((96, 128, 3), np.uint8), thermal, 1.0)
    assert result.thermal[45, 60] > 200
    assert result.thermal[5, 5] < 30
    assert result.times.engine_ms > 0


@pytest.mark.parametrize(
    ("visible", "thermal"),
    [
        (np.zeros((0, 0, 3), np.uint8), np.zeros((8, 8), np.uint8)),
        (np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8), np.uint8)),
        (np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)),
        (np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8)),
        (np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.float64)),
    ],
)
def test_arrays_that_are_no_images_are_refused(tiny, visible, thermal):
    with pytest.raises(SsvifError):
        Pipeline(tiny, ThermalGain(mode="auto")).process(visible, thermal, 0.0)


@pytest.mark.parametrize("name", ["base", "tiny"])
def test_people_in_smoke_that_the_camera_cannot_see_are_in_the_fused_image(name, shared_data):
    """The smoke clip: where thermal is hot, fused has far more contrast than visible."""
    from ssvif_core.data.streams import open_stream

    clips = shared_data / "clips"
    streams = [open_stream(clips / m / "0117_1605.mp4", m) for m in ("visible", "thermal")]
    engine, _ = create_engine(open_model(name), options=EngineOptions(threads=0))
    gains = []
    for index, (seen, felt) in enumerate(
        zip(streams[0].frames(), streams[1].frames(), strict=True)
    ):
        visible, thermal = seen.pixels, felt.pixels
        if index % 60:
            continue
        hot = thermal > np.percentile(thermal, 97)
        near = cv2.dilate(hot.astype(np.uint8), np.ones((41, 41))).astype(bool) & ~hot
        fused, _ = engine.infer(visible, thermal)
        contrast = [
            float(image[hot].mean()) - float(image[near].mean())
            for image in (
                cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY).astype(float),
                cv2.cvtColor(fused, cv2.COLOR_RGB2GRAY).astype(float),
            )
        ]
        gains.append(contrast[1] - contrast[0])
    assert np.mean(gains) > 15


def test_of_many_sizes_one_engine_at_a_time_is_held():
    made, closed = [], []

    def make(size):
        engine = create_engine(open_model("tiny"), options=EngineOptions(1, "auto", *size))[0]
        close = engine.close
        engine.close = lambda: (closed.append(size), close())
        made.append(size)
        return engine

    engines = SizedEngine(make)
    for size in ((32, 48), (32, 48), (48, 32), (32, 48)):
        image = np.zeros((*size, 3), np.uint8)
        assert engines.of(size).infer(image, image[..., 0])[1].shape == size
    engines.close()
    engines.close()
    assert made == closed == [(32, 48), (48, 32), (32, 48)]
