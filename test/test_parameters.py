"""The parameters and the file that documents them."""

from __future__ import annotations

import dataclasses

import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from ssvif_core.parameter_limits import LIMITS  # noqa: E402
from ssvif_core.replay.settings import NodeSettings  # noqa: E402
from ssvif_ros.parameter_table import parameter_table  # noqa: E402
from ssvif_ros.parameters import Settings, ros_name  # noqa: E402


def flattened(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_the_shipped_file_has_every_parameter_with_its_default(repository):
    content = yaml.safe_load((repository / "config" / "fusion.yaml").read_text())
    in_file = dict(flattened(content["/**"]["ros__parameters"]))
    declared = {ros_name(f.name): f.default for f in dataclasses.fields(Settings)}
    assert in_file == declared
    assert {k: type(v) for k, v in in_file.items()} == {k: type(v) for k, v in declared.items()}


def test_what_node_and_replay_share_has_one_range_for_both():
    shared = {f.name for f in dataclasses.fields(NodeSettings)}
    assert LIMITS.keys() <= shared
    for field in dataclasses.fields(Settings):
        if field.name in shared:
            said = {key: field.metadata[key] for key in ("low", "high", "choices")}
            assert said == {"low": None, "high": None, "choices": (), **LIMITS.get(field.name, {})}


def test_the_table_in_the_docs_is_what_the_declarations_say(repository):
    written = (repository / "docs" / "parameters.md").read_text(encoding="utf-8")
    assert written == parameter_table(), "run `make parameters`"
    assert len(written.splitlines()) > len(dataclasses.fields(Settings))
    for field in dataclasses.fields(Settings):
        (row,) = [x for x in written.splitlines() if x.startswith(f"| `{ros_name(field.name)}` |")]
        assert row.replace("\\|", "").count("|") == 7
        assert ("| live |" in row) == field.metadata["live"]


@pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=lambda field: field.name)
def test_every_parameter_says_what_it_is_and_numbers_have_a_range(field):
    about = field.metadata
    assert len(about["description"]) > 20
    if isinstance(field.default, (int, float)) and not isinstance(field.default, bool):
        assert about["low"] <= field.default <= about["high"]
    if about["choices"]:
        assert field.default in about["choices"]
