"""`ssvif` where only the runtime is installed, as on a robot: no torch, Pillow, rosbags, ...

The other packages are in the environment of the tests, so a process that cannot import them stands
in for such a machine.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import re
import subprocess
import sys
import types
import typing

import pytest
import typer

from ssvif_core.cli.app import app

VERBS = list(typer.main.get_command(app).commands)

#: What is not the runtime is hidden, then `ssvif` runs with the arguments that follow.
RUN = """
import sys
hidden, sys.argv = sys.argv[1].split(","), ["ssvif", *sys.argv[2:]]
sys.modules.update(dict.fromkeys(hidden))  # None: "not found", by Python's documentation
from ssvif_core.cli import main
main()
"""


def runtime_distributions() -> set[str]:
    """Names of what `pip install .` installs, this package and the dependencies' own included."""
    found, queue = set(), ["ssvif_ros"]
    while queue:
        name = queue.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # needed on another platform or Python
            continue
        found.add(key)
        plain = [text for text in requirements if "extra ==" not in text]
        queue += [re.match(r"[\w.-]+", text).group() for text in plain]
    return found


@pytest.fixture(scope="module")
def hidden() -> str:
    """Top-level modules of every other installed package, joined by commas."""
    runtime = runtime_distributions()
    modules = [
        module
        for module, names in importlib.metadata.packages_distributions().items()
        if not any(re.sub(r"[-_.]+", "-", name).lower() in runtime for name in names)
        and module.isidentifier()
    ]
    assert "numpy" not in modules and "cv2" not in modules
    return ",".join(modules)


@pytest.fixture
def ssvif(hidden, tmp_path):
    def run(*arguments):
        command = [sys.executable, "-c", RUN, hidden, *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=110)

    return run


def test_what_is_hidden_cannot_be_imported(hidden):
    assert {"torch", "onnx", "PIL", "rosbags", "matplotlib"} <= set(hidden.split(","))


def test_a_package_that_is_broken_is_one_line_and_not_called_missing(tmp_path):
    """As apt's OpenCV is, when something has brought numpy 2."""
    broken = "raise ImportError('numpy.core.multiarray failed to import')"
    (tmp_path / "cv2.py").write_text(broken)
    done = subprocess.run(
        [sys.executable, "-m", "ssvif_core.cli", "doctor"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "multiarray failed to import" in done.stderr and "'numpy<2'" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_says_what_is_missing_and_how_to_get_it(ssvif):
    answer = ssvif("doctor")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "works" in answer.stdout
    assert "torch, onnx, matplotlib, PIL: pip install '.[train]'" in answer.stdout


def commands(group=app):
    """The functions behind the verbs, those of groups included."""
    yield from (command.callback for command in group.registered_commands)
    for below in group.registered_groups:
        yield from commands(below.typer_instance)


@pytest.mark.parametrize("command", list(commands()), ids=lambda command: command.__name__)
def test_the_typer_of_ubuntu_24_04_understands_every_option(command):
    # Version 0.9 takes annotations as they stand: no strings, and Optional[X] for `X | None`.
    for name, parameter in inspect.signature(command).parameters.items():
        assert typing.get_origin(parameter.annotation) is typing.Annotated, name
        (kind, *_) = typing.get_args(parameter.annotation)
        assert not isinstance(kind, types.UnionType), name


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_help(verb, ssvif):
    answer = ssvif(verb, "--help")
    assert answer.returncode == 0, answer.stderr
    assert "Usage" in answer.stdout


def test_a_folder_is_fused(paired_folder, ssvif, tmp_path):
    frames = paired_folder / "frames"
    options = ["--model", "tiny", "-o", tmp_path / "out"]
    answer = ssvif("fuse", frames / "visible", frames / "thermal", *options)
    assert answer.returncode == 0, answer.stderr
    assert len(list((tmp_path / "out" / "fused").glob("*.png"))) == len(
        list((frames / "visible").iterdir())
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "{repository}/config/training/fusion.yaml"],
        ["export", "base", "new.onnx", "--frames", "{pairs}"],
        ["evaluate", "base", "--data", "{pairs}"],
        ["adapt", "{pairs}", "--output", "adapted"],
        ["record-demo", "drive"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_needs_more_says_what_to_install(arguments, paired_folder, repository, ssvif):
    places = {"repository": repository, "pairs": paired_folder / "frames"}
    answer = ssvif(*[text.format(**places) for text in arguments])
    assert answer.returncode == 1, answer.stderr
    assert "Traceback" not in answer.stderr
    assert "pip install" in answer.stderr
