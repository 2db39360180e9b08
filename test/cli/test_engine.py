"""`ssvif engine`, where there is no GPU: what it lists, refuses and deletes."""

from __future__ import annotations

import importlib.util

import pytest
from typer.testing import CliRunner

from ssvif_core.cli.app import app
from ssvif_core.cli.engine import parse_size
from ssvif_core.deploy.engine_cache import EngineCache, EngineKey
from ssvif_core.errors import SsvifError
from ssvif_core.inference.cuda import Gpu
from ssvif_core.inference.options import EngineOptions
from ssvif_core.models import open_model

runner = CliRunner()


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
    assert "ssvif engine build" in run("list", "--cache", tmp_path).output


def test_clear_deletes_the_damaged_or_all(engines):
    assert "deleted 1" in run("clear", "--damaged", "--cache", engines).output
    assert len(EngineCache(engines).entries()) == 1
    assert "deleted 1" in run("clear", "--cache", engines).output
    assert EngineCache(engines).entries() == []


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is here")
@pytest.mark.parametrize("verb", [("build", "tiny"), ("verify",)])
def test_without_tensorrt_it_says_where_to_get_it(verb, tmp_path):
    result = run(*verb, "--cache", tmp_path)
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
    ],
)
def test_wrong_wishes_are_refused_with_the_reason(arguments, says, tmp_path):
    result = run("build", "tiny", "--cache", tmp_path, *arguments)
    assert isinstance(result.exception, SsvifError)
    assert says in str(result.exception)


def test_sizes_are_width_times_height():
    assert parse_size("1280x720") == (1280, 720)
    assert parse_size("64X48") == (64, 48)
