"""The build of TensorRT engines, on TensorRT-RTX: it parses and builds without a GPU.

Running an engine needs a GPU and TensorRT: `test/inference/test_tensorrt_engine.py`.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from subprocess import PIPE
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

rtx = pytest.importorskip(
    "tensorrt_rtx_bindings", reason="needs the extra `tensorrt-check` (TensorRT-RTX)"
)

from ssvif_core.cli.app import app  # noqa: E402
from ssvif_core.deploy import tensorrt_api as api  # noqa: E402
from ssvif_core.deploy.engine_builder import ensure_plan  # noqa: E402
from ssvif_core.deploy.engine_cache import EngineCache  # noqa: E402
from ssvif_core.deploy.engine_entry import lock_of  # noqa: E402
from ssvif_core.deploy.engine_key import EngineKey  # noqa: E402
from ssvif_core.deploy.tensorrt_build import build_plan  # noqa: E402
from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.inference.cuda import Gpu  # noqa: E402
from ssvif_core.inference.options import EngineOptions  # noqa: E402
from ssvif_core.models import FOLDER, Model, open_model  # noqa: E402

FILES = sorted(path.name for path in FOLDER.glob("*.onnx"))
GPU = Gpu("none, built on a CPU", "0.0", integrated=False)


@pytest.mark.parametrize("name", FILES)
def test_every_shipped_file_is_parsed_and_built(name):
    built = build_plan(rtx, open_model(FOLDER / name), EngineOptions())
    assert len(built.plan) > 100_000
    assert built.seconds > 0


@pytest.mark.parametrize("name", FILES)
def test_a_range_of_sizes_is_built(name):
    options = EngineOptions(smallest=(240, 320), largest=(1024, 1280))
    assert len(build_plan(rtx, open_model(FOLDER / name), options).plan) > 100_000


def test_a_limit_of_scratch_memory_is_taken_and_one_that_is_too_low_is_said():
    assert build_plan(rtx, open_model("tiny"), EngineOptions(workspace_mib=512)).plan
    for too_low in (1, 8):  # of which TensorRT says "no tactics" and "OutOfMemory"
        with pytest.raises(SsvifError, match=f"--workspace {too_low} .* too little.* give more"):
            build_plan(rtx, open_model("tiny"), EngineOptions(workspace_mib=too_low))


def test_odd_sizes_are_built():
    built = build_plan(rtx, open_model("tiny"), EngineOptions(height=483, width=645))
    assert built.plan


def test_the_network_is_strongly_typed_and_has_the_contract():
    log = api.make_logger(rtx)
    network = api.create_network(rtx, rtx.Builder(log))
    assert network.get_flag(rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert rtx.OnnxParser(network, log).parse(open_model("tiny").path.read_bytes())
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    assert [t.name for t in inputs] == ["visible", "thermal"]
    assert [t.name for t in outputs] == ["fused", "labels"]
    assert {t.dtype for t in inputs + outputs} == {rtx.uint8}


def test_who_asks_for_fp32_does_not_get_tf32():
    builder = rtx.Builder(api.make_logger(rtx))
    network, config = api.create_network(rtx, builder), builder.create_builder_config()
    api.set_precision(rtx, network, config, "fp16")
    assert config.get_flag(rtx.BuilderFlag.TF32)
    api.set_precision(rtx, network, config, "fp32")
    assert not config.get_flag(rtx.BuilderFlag.TF32)


class Weak:
    """As TensorRT 8 for `set_precision`: layers of RTX, of which types can be asked."""

    NetworkDefinitionCreationFlag = type("Flags", (), {"EXPLICIT_BATCH": 0})
    BuilderFlag = type("Flags", (), dict.fromkeys(("FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS")))
    LayerType, float32 = rtx.LayerType, rtx.float32

    def __init__(self, network):
        self.layers = [Weak.Layer(network.get_layer(i)) for i in range(network.num_layers)]
        self.num_layers, self.get_layer = len(self.layers), self.layers.__getitem__

    class Layer:
        def __init__(self, layer):
            self._layer, self.asked = layer, {}

        def __getattr__(self, name):
            return getattr(self._layer, name)

        def set_output_type(self, index, kind):
            self.asked[index] = kind


@pytest.mark.parametrize("name", ["base.fp16.onnx", "tiny.fp16.onnx", "tiny.int8.onnx"])
def test_tensorrt_8_is_held_to_the_arithmetic_on_grey_levels_and_to_nothing_else(name):
    """Squares of grey levels, up to 65025, lose all their detail in half precision."""
    log = api.make_logger(rtx)
    network = api.create_network(rtx, rtx.Builder(log))
    assert rtx.OnnxParser(network, log).parse((FOLDER / name).read_bytes())
    weak = Weak(network)
    api.set_precision(Weak, weak, SimpleNamespace(set_flag=lambda flag: None), "fp16")
    held = [layer for layer in weak.layers if "precision" in vars(layer)]
    assert all(la.precision == rtx.float32 and la.asked.get(0) == rtx.float32 for la in held)
    names = {layer.name for layer in held}
    assert {f"/AveragePool{n}" for n in ("", "_1", "_2", "_3")} <= names  # the fourth map's
    assert {"/Sigmoid", "/Clip_1", "/ArgMax", "/MatMul", "/Resize_4", "/Resize_5"} <= names
    kinds = {layer.type.name for layer in held} - {"SQUEEZE"}  # 8.x has none
    assert kinds == {"ACTIVATION", "ELEMENTWISE", "MATRIX_MULTIPLY", "POOLING", "RESIZE", "TOPK"}
    assert not [name for name in names if "Relu" in name or name == "/Add_4"]  # of the network


def test_a_tensorrt_without_the_flag_of_strong_typing_follows_the_graph():
    later = SimpleNamespace(
        NetworkDefinitionCreationFlag=SimpleNamespace(), BuilderFlag=SimpleNamespace()
    )
    assert api.is_strongly_typed(later) and api.is_strongly_typed(rtx)
    assert not api.is_strongly_typed(Weak)


def test_progress_is_told_and_can_end_the_build():
    seen: list[tuple[str, int, int]] = []

    def watch(phase: str, step: int, steps: int) -> bool:
        seen.append((phase, step, steps))
        return True

    build_plan(rtx, open_model("tiny"), EngineOptions(), report=watch)
    assert seen
    assert all(0 < step <= steps for _, step, steps in seen)
    with pytest.raises(SsvifError, match="could not build"):
        build_plan(rtx, open_model("tiny"), EngineOptions(), report=lambda *_: False)


def test_a_report_that_raises_ends_the_build_and_not_the_process():
    def broken(*_):
        raise RuntimeError("the terminal is gone")

    with pytest.raises(SsvifError, match="could not build"):
        build_plan(rtx, open_model("tiny"), EngineOptions(), report=broken)


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_file_that_is_no_model_is_one_clear_error(content, tmp_path):
    tiny = open_model("tiny")
    path = tmp_path / "broken.onnx"
    path.write_bytes(tiny.path.read_bytes()[:4000] if content is None else content)
    with pytest.raises(SsvifError, match=r"cannot read .*broken\.onnx|could not build broken"):
        build_plan(rtx, Model(path, tiny.card), EngineOptions())


def test_a_size_outside_the_range_is_refused():
    options = EngineOptions(smallest=(960, 1280), largest=(1024, 1280))
    with pytest.raises(SsvifError, match="could not build"):
        build_plan(rtx, open_model("tiny"), options)


def test_there_is_no_dla_here():
    with pytest.raises(SsvifError, match="no DLA core 0"):
        build_plan(rtx, open_model(FOLDER / "tiny.fp16.onnx"), EngineOptions(dla_core=0))


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.int8.onnx"])
def test_a_file_is_refused_for_the_dla_which_would_compute_nothing_of_it(name):
    with pytest.raises(SsvifError, match="precision fp16"):
        build_plan(rtx, open_model(FOLDER / name), EngineOptions(dla_core=0))


def test_the_dla_gets_a_network_without_a_size_that_is_left_open(monkeypatch, caplog):
    """It takes no wildcard but the first (NvInfer.h, addInput); TensorRT would use the GPU."""
    sizes = []

    def use_dla(trt, builder, config, core, precision):
        """There is none here."""

    def look(trt, network, config):
        layers = [network.get_layer(i) for i in range(network.num_layers)]
        convolutions = [la for la in layers if la.type == trt.LayerType.CONVOLUTION]
        sizes.extend(tuple(la.get_output(0).shape) for la in convolutions)
        real(trt, network, config)

    real = api.warn_of_idle_dla
    monkeypatch.setattr(api, "use_dla", use_dla)
    monkeypatch.setattr(api, "warn_of_idle_dla", look)
    assert build_plan(rtx, open_model(FOLDER / "tiny.fp16.onnx"), EngineOptions(dla_core=0)).plan
    assert sizes and all(-1 not in size for size in sizes)
    assert "runs on the DLA" in caplog.text


def test_timings_that_are_damaged_do_not_stop_the_build():
    assert build_plan(rtx, open_model("tiny"), EngineOptions(), timing_cache=b"damaged").plan


def test_kernels_that_were_skipped_for_want_of_memory_are_counted_once_each():
    log = api.make_logger(rtx)
    for number in (44, 45):  # as TensorRT 8.5 to 10.3 say it on an Orin
        log.log(
            rtx.ILogger.WARNING,
            "Tactic Device request: 1000MB Available: 302MB. Device memory is insufficient to use "
            "tactic.",
        )
        log.log(
            rtx.ILogger.WARNING,
            f"UNSUPPORTED_STATE: Skipping tactic {number} due to insufficient memory on requested "
            "size of 1048576000 detected for tactic 0x6e2a3c7a7fc5e4e1.",
        )
    assert log.out_of_memory == 2


def test_a_tensorrt_that_does_not_start_is_one_clear_error():
    log = api.make_logger(rtx)

    def null_pointer(_):
        log.log(rtx.ILogger.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")  # as all versions do

    with pytest.raises(SsvifError, match=r"does not start: CUDA init.*35.*driver"):
        api.make(null_pointer, log)


def test_an_engine_is_built_once_and_again_when_something_changes(tmp_path, caplog):
    caplog.set_level("INFO", logger="ssvif")
    model, options = open_model("tiny"), EngineOptions(cache=tmp_path / "engines")
    path, plan, built = ensure_plan(rtx, model, options, GPU)
    assert built and path.read_bytes() == plan
    assert ensure_plan(rtx, model, options, GPU) == (path, plan, False)
    assert ensure_plan(rtx, model, options, GPU, force=True)[2]

    other = Gpu("another", "9.0", integrated=False)
    caplog.clear()
    assert ensure_plan(rtx, model, options, other)[0] == path
    assert "gpu: cached none, built on a CPU, wanted another" in caplog.text
    assert len(EngineCache(options.cache).entries()) == 1

    path.write_bytes(path.read_bytes()[:1000])
    caplog.clear()
    assert ensure_plan(rtx, model, options, other)[2]
    assert "damaged" in caplog.text
    assert EngineCache(options.cache).entries()[0].problem == ""


def test_who_wants_it_meanwhile_waits_for_the_build_of_another_process(tmp_path):
    script = textwrap.dedent(
        f"""
        import logging
        from pathlib import Path
        import tensorrt_rtx_bindings as rtx
        from ssvif_core.deploy.engine_builder import ensure_plan
        from ssvif_core.inference.cuda import Gpu
        from ssvif_core.inference.options import EngineOptions
        from ssvif_core.models import open_model
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        options = EngineOptions(cache=Path({str(tmp_path)!r}))
        print(ensure_plan(rtx, open_model("tiny"), options, {GPU!r})[2])
        """
    )
    model, cache, options = open_model("tiny"), EngineCache(tmp_path), EngineOptions()
    path, key = cache.path_of(model, options), EngineKey.of(model, options, rtx.__version__, GPU)
    with cache.lock(path):
        other = subprocess.Popen(
            [sys.executable, "-c", script], stdout=PIPE, stderr=PIPE, text=True
        )
        assert any("another process is building" in line for line in other.stderr)
        cache.store(path, key, build_plan(rtx, model, options).plan, 1.0)
    said, problems = other.communicate()
    assert said.strip() == "False", problems


@pytest.mark.parametrize("builds", [False, True])
def test_a_build_is_forced_unless_another_process_made_one_meanwhile(builds, tmp_path, caplog):
    """`ssvif engine list` has each lock for a moment, too; here for as long as it takes."""
    caplog.set_level("INFO", logger="ssvif")
    model, cache, options = open_model("tiny"), EngineCache(tmp_path), EngineOptions(cache=tmp_path)
    path, plan, _ = ensure_plan(rtx, model, options, GPU)
    answers = []
    asked = threading.Thread(
        target=lambda: answers.append(ensure_plan(rtx, model, options, GPU, force=True)[2])
    )
    with open(lock_of(path), "r+") as other:
        fcntl.flock(other, fcntl.LOCK_EX if builds else fcntl.LOCK_SH)
        asked.start()
        while "waiting for it" not in caplog.text:
            time.sleep(0.01)
        if builds:
            cache.store(path, EngineKey.of(model, options, rtx.__version__, GPU), plan, 1.0)
    asked.join()
    assert answers == [not builds]


def test_the_command_builds_once_and_says_where(tmp_path, monkeypatch):
    """As a user calls it; which module is TensorRT, and which GPU is there, is told."""
    monkeypatch.setattr(api, "load", lambda: rtx)
    monkeypatch.setattr("ssvif_core.cli.engine.find_gpu", lambda: GPU)

    def build(*more):
        words = ["engine", "build", "base", "--size", "320x240", "--cache", str(tmp_path), *more]
        return CliRunner().invoke(app, words, env={"COLUMNS": "200"})

    answer = build()
    assert answer.exit_code == 0, answer.exception
    assert f"base.fp16.onnx (fp16) for {GPU.name}" in answer.output
    assert "built: " in answer.output and ".fp16.320x240.engine" in answer.output
    assert "up to date: " in build().output
    assert "built: " in build("--force").output
    assert "built: " in build("--precision", "int8").output
    assert len(EngineCache(tmp_path).entries()) == 2


def test_a_build_that_fails_keeps_what_was_there(tmp_path):
    model, options = open_model("tiny"), EngineOptions(cache=tmp_path / "engines")
    path, plan, _ = ensure_plan(rtx, model, options, GPU)
    with pytest.raises(SsvifError):
        ensure_plan(rtx, model, options, GPU, report=lambda *_: False, force=True)
    assert path.read_bytes() == plan


def test_the_same_model_in_two_places_has_two_engines(tmp_path):
    cache, options = EngineCache(tmp_path), EngineOptions()
    for suffix in (".onnx", ".json"):
        shutil.copy(FOLDER / f"tiny{suffix}", tmp_path / f"tiny{suffix}")
    mine = open_model(tmp_path / "tiny.onnx")
    assert cache.path_of(mine, options) != cache.path_of(open_model("tiny"), options)
