"""Which variable tells Fast DDS of the shipped profile, on which release of ROS."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssvif_ros.share import PROFILE_VARIABLES, use_shared_memory_profile

NEW, OLD = PROFILE_VARIABLES


@pytest.mark.parametrize(
    ("version", "variable"), [("6.2.7", OLD), ("8.4.3", OLD), ("9.3.3", NEW), ("10.0.0", NEW)]
)
def test_the_profile_is_named_where_the_installed_fast_dds_looks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, variable: str
) -> None:
    manifest = tmp_path / "share" / "rmw_fastrtps_cpp" / "package.xml"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(f"<package format='3'><version>{version}</version></package>")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/none:{tmp_path}")
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    environment: dict[str, str] = {}
    use_shared_memory_profile(environment)
    assert list(environment) == [variable]
    assert Path(environment[variable]).name == "fastdds_shm.xml"


def test_transports_that_are_chosen_already_stay() -> None:
    environment = {"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}
    use_shared_memory_profile(environment)
    assert list(environment) == ["FASTDDS_BUILTIN_TRANSPORTS"]
    environment = {"FASTDDS_BUILTIN_TRANSPORTS": "DEFAULT"}
    use_shared_memory_profile(environment)
    assert set(environment) & set(PROFILE_VARIABLES)


def test_a_profile_that_is_chosen_already_stays() -> None:
    environment = {OLD: "/mine.xml"}
    use_shared_memory_profile(environment)
    assert environment == {OLD: "/mine.xml"}
