"""The folder of engines: what fits is used, and nothing else ever is."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ssvif_core.deploy import engine_cache
from ssvif_core.deploy.engine_builder import UnfitEngineError, cached_or_built_plan, refuse
from ssvif_core.deploy.engine_cache import EngineCache, default_folder
from ssvif_core.deploy.engine_key import EngineKey
from ssvif_core.errors import SsvifError
from ssvif_core.inference.cuda import Gpu
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import FOLDER, open_model

ORIN = Gpu("Orin", "8.7", integrated=True)
PLAN = b"ftrt" + bytes(range(256)) * 8


@pytest.fixture
def stored(tmp_path):
    """A cache with one engine: (cache, path, key)."""
    cache, options = EngineCache(tmp_path / "engines"), EngineOptions()
    model = open_model("tiny")
    key, path = EngineKey.of(model, options, "10.3.0", ORIN), cache.path_of(model, options)
    cache.store(path, key, PLAN, 61.5)
    return cache, path, key


def test_what_was_stored_is_found_and_described(stored):
    cache, path, key = stored
    assert cache.find(path, key) == (PLAN, "")
    (entry,) = cache.entries()
    assert entry.path == path and entry.problem == ""
    assert entry.about["seconds"] == 61.5
    assert entry.key["gpu"] == "Orin"
    assert entry.key["size"] == "640x480"
    assert path.name.startswith("tiny-") and path.name.endswith(".fp32.640x480.engine")
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list(cache.folder.glob("*.partial"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_sha256", "0" * 64),
        ("precision", "fp16"),
        ("tensorrt", "10.4.0"),
        ("gpu", "NVIDIA H200"),
        ("compute_capability", "9.0"),
        ("size", "1280x720"),
        ("smallest", "320x240"),
        ("largest", "1280x1024"),
        ("dla_core", 0),
        ("workspace_mib", 512),
        ("recipe", 0),
    ],
)
def test_whatever_matters_makes_it_another_engine(stored, field, value):
    cache, path, key = stored
    plan, why = cache.find(path, replace(key, **{field: value}))
    assert plan is None
    assert field in why and "cached" in why and "wanted" in why


@pytest.mark.parametrize(
    ("smallest", "largest", "fits"),
    [
        ((480, 640), (480, 640), True),
        ((240, 320), (1024, 1280), True),
        ((480, 640), (1024, 1280), True),
        ((240, 320), (480, 320), False),
        ((720, 1280), (1024, 1280), False),
    ],
)
def test_an_engine_for_a_range_is_loaded_for_a_size_within(smallest, largest, fits, tmp_path):
    cache, model, wanted = EngineCache(tmp_path), open_model("tiny"), EngineOptions()
    path = cache.path_of(model, wanted)
    made = replace(wanted, smallest=smallest, largest=largest)
    cache.store(path, EngineKey.of(model, made, "10.3.0", ORIN), PLAN, 1.0)
    key = EngineKey.of(model, wanted, "10.3.0", ORIN)
    assert (cache.find(path, key, to_load=True)[0] == PLAN) is fits
    assert (cache.find(path, key)[0] == PLAN) is (smallest == largest)  # to build is to ask for it
    other = replace(key, tensorrt="10.4.0")
    assert cache.find(path, other, to_load=True)[0] is None


def test_who_may_build_takes_what_the_robot_has_as_it_was_built(tmp_path):
    """`ssvif bench --build` beside a robot's engine: for a range, in little memory."""
    cache, model = EngineCache(tmp_path), open_model("tiny")
    wanted = EngineOptions(cache=tmp_path, allow_build=True)
    robots = replace(wanted, largest=(1024, 1280), workspace_mib=512)
    cache.store(
        cache.path_of(model, robots), EngineKey.of(model, robots, "10.3.0", ORIN), PLAN, 1.0
    )
    no_tensorrt = SimpleNamespace(__version__="10.3.0")  # a build would miss all the rest of it
    assert cached_or_built_plan(no_tensorrt, model, wanted, ORIN) == PLAN


def test_a_truncated_engine_is_not_used(stored):
    cache, path, key = stored
    path.write_bytes(PLAN[:-10])
    plan, why = cache.find(path, key)
    assert plan is None and "damaged" in why


def test_an_engine_that_was_built_another_way_is_not_loaded(stored):
    """Those of before say nothing of how: they have other arithmetic on TensorRT 8."""
    cache, path, key = stored
    sidecar = path.parent / (path.name + ".json")
    about = json.loads(sidecar.read_text())
    del about["key"]["recipe"]
    sidecar.write_text(json.dumps(about))
    plan, why = cache.find(path, key, to_load=True)
    assert plan is None and "recipe: cached None, wanted 1" in why


def test_an_engine_from_elsewhere_is_not_used(stored):
    cache, path, key = stored
    (path.parent / (path.name + ".json")).unlink()
    plan, why = cache.find(path, key)
    assert plan is None and "nothing says what it was built from" in why


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 99, "key": {"a": 1}}',
        '{"format": 1, "key": "x", "sha256": ""}',
        '{"format": 1, "key": {}, "sha256": ""}',
    ],
)
def test_a_damaged_description_is_not_used(stored, text):
    cache, path, key = stored
    (path.parent / (path.name + ".json")).write_text(text)
    assert cache.find(path, key)[0] is None
    assert isinstance(cache.entries()[0].key, dict)  # of which `ssvif engine list` makes a row


def test_an_engine_of_another_version_of_this_program_is_not_called_damaged(stored):
    cache, path, key = stored
    sidecar = path.parent / (path.name + ".json")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"format": 0}))
    plan, why = cache.find(path, key)
    assert plan is None and why.endswith("another version of this program built it")


def test_an_engine_that_others_may_write_is_not_used(stored):
    cache, path, key = stored
    path.chmod(0o666)
    plan, why = cache.find(path, key)
    assert plan is None and "others may write" in why


def test_an_engine_that_cannot_be_read_is_not_used(stored):
    cache, path, key = stored
    sidecar = path.parent / (path.name + ".json")
    sidecar.unlink()
    sidecar.mkdir()  # root, who may run this, can read every file
    plan, why = cache.find(path, key)
    assert plan is None and "cannot be read" in why
    assert "cannot be read" in cache.entries()[0].problem


def test_a_folder_that_cannot_be_is_one_clear_error(tmp_path):
    cache, model = EngineCache(tmp_path / ("x" * 300)), open_model("tiny")
    path = cache.path_of(model, EngineOptions())
    key = EngineKey.of(model, EngineOptions(), "10.3.0", ORIN)
    plan, why = cache.find(path, key)
    assert plan is None and "cannot be read" in why
    with pytest.raises(SsvifError, match=r"Cannot write.*SSVIF_ENGINES"), cache.lock(path):
        pass


def test_before_the_first_build_it_says_so(tmp_path):
    cache, model = EngineCache(tmp_path), open_model("tiny")
    key = EngineKey.of(model, EngineOptions(), "10.3.0", ORIN)
    plan, why = cache.find(cache.path_of(model, EngineOptions()), key)
    assert plan is None and "no engine was built yet" in why


def test_an_engine_for_another_size_or_precision_is_named(stored):
    cache, path, key = stored
    model, size = open_model("tiny"), EngineOptions(height=720, width=1280)
    wanted = cache.path_of(model, size)
    why = cache.find(wanted, EngineKey.of(model, size, "10.3.0", ORIN))[1]
    assert why == f"no engine was built yet ({wanted}; there is {path.name})"
    half = open_model(FOLDER / "tiny.fp16.onnx")
    assert cache.alike(cache.path_of(half, EngineOptions())) == [path.name]
    assert cache.alike(cache.path_of(open_model("base"), EngineOptions())) == []


def test_sizes_precisions_and_cores_lie_side_by_side(tmp_path):
    cache, model = EngineCache(tmp_path), open_model("tiny")
    options = [
        EngineOptions(),
        EngineOptions(height=720, width=1280),
        EngineOptions(dla_core=0),
    ]
    assert len({cache.path_of(model, o) for o in options}) == 3


def test_a_store_that_fails_leaves_the_old_engine(stored, monkeypatch):
    cache, path, key = stored

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SsvifError, match="No space left"):
        cache.store(path, key, b"new", 1.0)
    monkeypatch.undo()
    assert cache.find(path, key) == (PLAN, "")
    assert not list(cache.folder.glob("*.partial"))


@pytest.mark.parametrize(("step", "left"), [(1, PLAN), (2, PLAN), (3, b"new")])
def test_wherever_a_store_ends_there_is_one_whole_engine(stored, step, left, monkeypatch):
    cache, path, key = stored
    steps, replace_file = iter(range(1, 9)), os.replace

    def ends(source, target):
        if next(steps) == step:
            raise OSError(errno.EIO, "switched off")
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", ends)
    with pytest.raises(SsvifError, match="switched off"):
        cache.store(path, key, b"new", 1.0)
    assert cache.find(path, key) == (left, "")
    assert [(e.path, e.problem) for e in cache.entries()] == [(path, "")]
    monkeypatch.undo()
    cache.store(path, key, PLAN, 1.0)
    assert cache.find(path, key) == (PLAN, "")
    assert len(list(cache.folder.iterdir())) == 2


def test_timings_that_cannot_be_kept_or_read_are_a_warning(stored, caplog):
    cache, _, key = stored
    cache.timing_path(key).mkdir()
    cache.store_timing(key, b"timings")
    assert "the engine is there" in caplog.text
    cache.timing_path(key).rmdir()
    cache.timing_path(key).symlink_to("/proc/self/mem")  # which ends the first read with an error
    assert cache.load_timing(key) == b"" and "building without the timings" in caplog.text


def test_timings_are_kept_for_each_gpu_and_version(stored):
    cache, _, key = stored
    assert cache.load_timing(key) == b""
    cache.store_timing(key, b"timings")
    assert cache.load_timing(key) == b"timings"
    assert cache.load_timing(replace(key, gpu="NVIDIA H200")) == b""


def test_clear_deletes_all_or_only_what_is_of_no_use(stored):
    cache, path, key = stored
    other = path.with_name("mine-0123ab.int8.640x480.dla0.engine")
    other.write_bytes(b"what is this")
    assert cache.clear(damaged_only=True) == ([other], [])
    assert cache.find(path, key)[0] == PLAN
    assert cache.clear() == ([path], [])
    assert list(cache.folder.iterdir()) == []


def test_clear_takes_what_builds_left_that_were_killed(stored):
    cache, path, key = stored
    cache.store_timing(key, b"timings")
    name = path.name.replace("640x480", "1280x720")
    left = (f"{name}.12.partial", f"{name}.lock", f"{name}.json", f"{name}.json.12.partial")
    for rest in (*left, "tensorrt-10.3.0-Orin-8.7.timing.12.partial"):
        (cache.folder / rest).touch()
    aside = cache.folder / name.replace(".engine", ".onnxruntime.partial")
    (aside / "in it").mkdir(parents=True)
    (cache.folder / "notes.txt").touch()
    assert {e.path.name: bool(e.problem) for e in cache.entries()} == {name: True, path.name: False}
    assert cache.clear() == ([cache.folder / name, path], [])
    assert [rest.name for rest in cache.folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("damaged_only", [True, False])
@pytest.mark.parametrize("begun", [True, False])
def test_clear_leaves_what_is_being_built(stored, begun, damaged_only):
    cache, path, key = stored
    cache.store_timing(key, b"timings")
    built = path.with_name(path.name.replace("640x480.engine", "1280x720.onnxruntime"))
    with cache.lock(built):
        if begun:
            built.mkdir()
            (built / "any.timing").touch()
        partial = built.with_name(f"{built.name}.json.12.partial")
        partial.touch()
        assert [(e.path, e.building) for e in cache.entries()] == [(built, True), (path, False)]
        assert cache.clear(damaged_only) == ([] if damaged_only else [path], [built])
        assert built.exists() is begun and partial.exists()
        with cache.lock(built, wait=False) as got:
            assert not got
    cache.clear()  # nobody builds any more
    assert list(cache.folder.iterdir()) == []


def test_who_waits_for_a_lock_that_is_deleted_gets_the_one_that_others_see(stored):
    cache, path, _ = stored
    got, done = threading.Event(), threading.Event()

    def wait():
        with cache.lock(path):
            got.set()
            done.wait(30)

    with cache.lock(path):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.05)  # until it waits; if that takes longer it has less to do
        (path.parent / f"{path.name}.lock").unlink()
    assert got.wait(30)
    with cache.lock(path, wait=False) as second:
        assert not second
    done.set()
    waiting.join()


def test_without_locks_an_engine_is_built_and_a_warning_says_so(stored, monkeypatch, caplog):
    """A file system without locks is not to be had in a test: the call answers as on one."""
    cache, path, _ = stored

    def flock(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with cache.lock(path) as got:
        assert got
    assert "file system without locks" in caplog.text
    assert cache.clear() == ([path], [])


def test_engines_of_other_programs_in_the_same_folder_are_left_alone(stored):
    cache, path, _ = stored
    theirs = ["yolov8n.engine", "yolov8n-640.engine", "yolov8n.engine.json", "model.timing"]
    for name in theirs:
        (cache.folder / name).write_text("{}")
    (cache.folder / "keep.onnxruntime").mkdir()
    assert [entry.path for entry in cache.entries()] == [path]
    assert cache.clear(damaged_only=True) == ([], [])
    assert cache.clear() == ([path], [])
    left = sorted(p.name for p in cache.folder.iterdir())
    assert left == sorted([*theirs, "keep.onnxruntime"])


def test_a_shipped_model_has_the_same_engine_in_every_installation(stored, tmp_path, monkeypatch):
    cache, path, key = stored
    elsewhere = tmp_path / "install" / "models"
    elsewhere.mkdir(parents=True)
    for suffix in (".onnx", ".json"):
        shutil.copy(FOLDER / f"tiny{suffix}", elsewhere)
    copied = open_model(elsewhere / "tiny.onnx")
    own = cache.path_of(copied, EngineOptions())
    assert own != path  # a model of the user's, wherever it came from
    assert f"there is {path.name}" in cache.misfit(own, key)
    assert isinstance(
        refuse(own, copied, EngineOptions(cache=cache.folder), "why"), UnfitEngineError
    )
    monkeypatch.setattr(engine_cache, "FOLDER", elsewhere)
    assert cache.path_of(copied, EngineOptions()) == path


def test_no_name_on_a_card_leads_out_of_the_folder(tmp_path):
    tiny = open_model("tiny")
    model = replace(tiny, card=replace(tiny.card, name="../../outside"))
    assert EngineCache(tmp_path).path_of(model, EngineOptions()).parent == tmp_path


def test_the_home_folder_may_be_written_as_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert EngineCache(Path("~/engines")).folder == tmp_path / "engines"
    monkeypatch.setenv("SSVIF_ENGINES", "~/mine")
    assert EngineCache().folder == tmp_path / "mine"
    monkeypatch.setenv("SSVIF_ENGINES", "")
    assert EngineCache().folder != Path()


def test_two_processes_do_not_build_at_once(tmp_path):
    path = tmp_path / "x.engine"
    script = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from ssvif_core.deploy.engine_cache import EngineCache
        with EngineCache(Path({str(tmp_path)!r})).lock(Path({str(path)!r})) as got:
            print(got, flush=True)
            time.sleep(60)
        """
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline().strip() == "True"
        with EngineCache(tmp_path).lock(path, wait=False) as got:
            assert not got
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    start = time.monotonic()
    with EngineCache(tmp_path).lock(path) as got:  # a process that was killed holds no lock
        assert got
    assert time.monotonic() - start < 30


def test_the_folder_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("SSVIF_ENGINES", str(tmp_path / "a"))
    assert default_folder() == tmp_path / "a"
    monkeypatch.delenv("SSVIF_ENGINES")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert default_folder() == tmp_path / "b" / "ssvif" / "engines"


def test_the_description_is_json_that_people_can_read(stored):
    _, path, key = stored
    about = json.loads((path.parent / (path.name + ".json")).read_text())
    assert set(about["key"]) == set(vars(key))
    assert about["bytes"] == len(PLAN)
