"""`ssvif engine`, where there is no GPU: what it lists, refuses and deletes."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from types import SimpleNamespace

import onnxruntime
import pytest
from typer.testing import CliRunner

from ssvif_core.cli.app import app
from ssvif_core.cli.doctor import _options as tried
from ssvif_core.cli.doctor import _try as try_engine
from ssvif_core.cli.engine import parse_size
from ssvif_core.deploy import tensorrt_api as api
from ssvif_core.deploy.engine_builder import cached_plan
from ssvif_core.deploy.engine_cache import EngineCache
from ssvif_core.deploy.engine_key import EngineKey
from ssvif_core.errors import SsvifError
from ssvif_core.inference.cuda import Gpu
from ssvif_core.inference.engine import ENGINES
from ssvif_core.inference.onnxruntime_tensorrt import folder_and_key
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import FOLDER, open_model

runner = CliRunner()


@pytest.fixture
def by_provider(tmp_path):
    """A folder with what ONNX Runtime's TensorRT provider built here, as it lays it down."""
    cache, model = EngineCache(tmp_path), open_model("tiny")
    folder, key = folder_and_key(model, EngineOptions(cache=tmp_path))
    cache.make_folder(folder)
    (folder / "TensorrtExecutionProvider_TRTKernel_graph_main_graph_1_0_0_sm87.engine").touch(0o600)
    (folder / "TensorrtExecutionProvider_cache_sm87.timing").touch(0o600)
    cache.describe(folder, key, 75.0, model.path)
    return folder


@pytest.fixture
def engines(tmp_path):
    """A folder with one whole engine and one damaged."""
    cache, model = EngineCache(tmp_path), open_model("tiny")
    for options in (EngineOptions(), EngineOptions(height=720, width=1280)):
        key = EngineKey.of(model, options, "10.3.0", Gpu("Orin", "8.7", True))
        cache.store(cache.path_of(model, options), key, b"plan", 75.0)
    cache.path_of(model, options).write_bytes(b"pl")
    return tmp_path


def run(*arguments):
    return runner.invoke(app, ["engine", *map(str, arguments)], env={"COLUMNS": "200"})


def test_list_shows_what_is_there_and_its_state(engines):
    text = run("list", "--cache", engines).output
    assert "640x480" in text and "1280x720" in text
    assert "Orin" in text and "10.3.0" in text
    assert "whole" in text and "damaged" in text


def test_list_of_nothing_says_how_to_begin(tmp_path):
    for verb in ("list", "verify"):
        assert "ssvif engine build" in run(verb, "--cache", tmp_path).output


def test_what_the_provider_of_onnxruntime_built_is_listed_verified_and_cleared(by_provider):
    cache = by_provider.parent
    version = f"of ONNX Runtime {onnxruntime.__version__}"
    listed = run("list", "--cache", cache).output
    assert by_provider.name in listed and version in listed and "whole" in listed
    assert f"{by_provider.name}: fits" in run("verify", "--cache", cache).output
    sidecar = by_provider.with_name(f"{by_provider.name}.json")
    written = sidecar.read_text()
    sidecar.write_text(written.replace(version, "of ONNX Runtime 1.20.0"))
    answer = run("verify", "--cache", cache)
    assert "1 engine cannot be used" in str(answer.exception)
    assert "of ONNX Runtime 1.20.0, here" in answer.output and version in answer.output
    sidecar.write_text(written)
    next(by_provider.glob("*.engine")).write_bytes(b"cut")
    assert "damaged" in run("list", "--cache", cache).output
    assert "deleted 1 engine" in run("clear", "--damaged", "--cache", cache).output
    assert list(cache.iterdir()) == []


def test_doctor_tries_all_engines_of_the_shipped_model_as_they_were_built(monkeypatch, tmp_path):
    monkeypatch.setenv("SSVIF_ENGINES", str(tmp_path))
    (usual,), (small,) = tried("tensorrt", "tiny"), tried("openvino", "tiny")
    assert usual.width == 640 and small.width == 64
    cache, model = EngineCache(), open_model(FOLDER / "tiny.fp16.onnx")
    large = EngineOptions(threads=1, precision="fp16", height=720, width=1280)
    for built in (large, replace(large, height=480, width=640)):
        key = EngineKey.of(model, built, "10.3.0", Gpu("Orin", "8.7", True))
        cache.store(cache.path_of(model, built), key, b"plan", 75.0)
    users = cache.path_of(replace(model, path=tmp_path / "tiny.fp16.onnx"), large)  # of that name
    cache.store(users, key, b"plan", 75.0)
    assert tried("tensorrt", "tiny") == [large, built]
    assert tried("tensorrt", "base") == tried("onnxruntime-tensorrt", "tiny") == [usual]
    cache.path_of(model, built).write_bytes(b"pl")
    assert tried("tensorrt", "tiny") == [large]


def test_doctor_takes_the_first_engine_that_fits(monkeypatch, tmp_path):
    """TensorRT was updated, and one of two engines built anew; its version and the GPU are told."""
    monkeypatch.setenv("SSVIF_ENGINES", str(tmp_path))
    gpu, cache, model = Gpu("Orin", "8.7", True), EngineCache(), open_model("tiny")
    for version, size in (("8.6.2", (720, 1280)), ("10.3.0", (480, 640))):
        built = EngineOptions(precision="fp32", height=size[0], width=size[1])
        key = EngineKey.of(model, built, version, gpu)
        cache.store(cache.path_of(model, built), key, b"plan", 75.0)

    def load(model, options):
        cached_plan(SimpleNamespace(__version__="10.3.0"), model, options, gpu)
        return ENGINES["onnxruntime"](model, options)

    monkeypatch.setitem(ENGINES, "tensorrt", load)
    assert "CPU, fp32" in try_engine("tensorrt", "tiny")
    cache.remove(cache.path_of(model, built))
    with pytest.raises(SsvifError, match=r"cached 8\.6\.2, wanted 10\.3\.0"):
        try_engine("tensorrt", "tiny")


def test_verify_sees_that_the_model_was_exported_again(tmp_path):
    for suffix in (".onnx", ".json"):
        shutil.copy(open_model("tiny").path.with_suffix(suffix), tmp_path / f"mine{suffix}")
    cache, model = EngineCache(tmp_path / "engines"), open_model(tmp_path / "mine.onnx")
    folder, key = folder_and_key(model, EngineOptions(cache=cache.folder))
    cache.make_folder(folder)
    (folder / "any.engine").touch(0o600)
    cache.describe(folder, key, 75.0, model.path)
    assert "fits" in run("verify", "--cache", cache.folder).output
    model.path.write_bytes(b"another")
    assert "is another one now" in run("verify", "--cache", cache.folder).output
    model.path.unlink()
    answer = run("verify", "--cache", cache.folder)  # it may be used where the model is
    assert "fits, but its model" in answer.output and answer.exit_code == 0


def test_verify_knows_a_shipped_model_that_another_installation_built_from(by_provider):
    sidecar = by_provider.with_name(f"{by_provider.name}.json")
    about = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps(about | {"model": "/opt/old/ssvif_core/models/tiny.onnx"}))
    answer = run("verify", "--cache", by_provider.parent)
    assert answer.output == f"{by_provider.name}: fits\n" and answer.exit_code == 0
    of_before = {name: value for name, value in about["key"].items() if name != "recipe"}
    sidecar.write_text(json.dumps(about | {"key": of_before}))
    assert "recipe: None, here 1" in run("verify", "--cache", by_provider.parent).output
    about["key"]["model_sha256"] = "0" * 64
    sidecar.write_text(json.dumps(about | {"model": "/opt/old/ssvif_core/models/tiny.onnx"}))
    assert "is another one now" in run("verify", "--cache", by_provider.parent).output


@pytest.mark.parametrize(("version", "fit"), [("10.3.0", True), ("10.4.0", False)])
def test_verify_says_what_this_machine_has_instead(version, fit, engines, monkeypatch):
    """The version and the GPU are told: TensorRT and a GPU are not needed to compare them."""
    monkeypatch.setattr(api, "load", lambda: SimpleNamespace(__version__=version))
    monkeypatch.setattr("ssvif_core.cli.engine.find_gpu", lambda: Gpu("Orin", "8.7", True))
    EngineCache(engines).clear(damaged_only=True)
    answer = run("verify", "--cache", engines)
    assert answer.output.splitlines()[0].endswith(
        "640x480.engine: fits" if fit else "640x480.engine: tensorrt: 10.3.0, here 10.4.0"
    )
    assert answer.exit_code == (0 if fit else 1)


def test_names_are_whole_on_a_narrow_terminal(engines):
    text = runner.invoke(app, ["engine", "list", "--cache", str(engines)], env={"COLUMNS": "80"})
    for entry in EngineCache(engines).entries():
        assert entry.path.name in text.output


@pytest.mark.parametrize("hears", [True, False])
def test_a_build_ends_with_its_next_step_or_a_second_ctrl_c(hears):
    script = """
        import sys, time
        from ssvif_core.cli.engine import in_background
        def build(report):
            print("begun", flush=True)
            while report("phase", 1, 2) or not int(sys.argv[1]):
                time.sleep(0.05)
        in_background(build)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(int(hears))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    if not hears:
        assert any("again" in line for line in process.stderr)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == (-signal.SIGINT if hears else 130), said


def test_clear_deletes_the_damaged_or_all(engines):
    assert "deleted 1" in run("clear", "--damaged", "--cache", engines).output
    assert len(EngineCache(engines).entries()) == 1
    assert "deleted 1" in run("clear", "--cache", engines).output
    assert EngineCache(engines).entries() == []


def test_what_is_being_built_is_said_and_left_alone(by_provider):
    cache = EngineCache(by_provider.parent)
    sidecar = by_provider.with_name(f"{by_provider.name}.json")
    sidecar.unlink()  # which is written last
    with cache.lock(by_provider):
        assert "being built" in run("list", "--cache", cache.folder).output
        assert f"{by_provider.name}: being built" in run("verify", "--cache", cache.folder).output
        for arguments in ((), ("--damaged",)):
            said = run("clear", *arguments, "--cache", cache.folder).output
            assert f"{by_provider.name}: being built" in said and "deleted 0 engines" in said
    assert len(list(by_provider.iterdir())) == 2


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is here")
@pytest.mark.parametrize("verb", [("build", "tiny"), ("verify",)])
def test_without_tensorrt_it_says_where_to_get_it(verb, engines):
    result = run(*verb, "--cache", engines)
    assert isinstance(result.exception, SsvifError)
    assert "JetPack" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--size", "640"), "no size"),
        (("--size", "0x480"), "no size"),
        (("--smallest", "800x600"), "between"),
        (("--largest", "320x240"), "between"),
        (("--dla-core", "0", "--largest", "1280x1024"), "DLA"),
        (("--engine", "openvino"), "no building"),
        (("--engine", "foo"), "Unknown engine 'foo': use tensorrt"),
        (("--engine", "onnxruntime-tensorrt", "--largest", "1280x1024"), "range"),
    ],
)
def test_wrong_wishes_are_refused_with_the_reason(arguments, says, tmp_path):
    result = run("build", "tiny", "--cache", tmp_path, *arguments)
    assert isinstance(result.exception, SsvifError)
    assert says in str(result.exception)


def test_sizes_are_width_times_height():
    assert parse_size("1280x720") == (1280, 720)
    assert parse_size("64X48") == (64, 48)
