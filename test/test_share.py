"""Which variable tells Fast DDS of the shipped profile, on which release of ROS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ssvif_ros.share import PROFILE_VARIABLES, use_shared_memory_profile

NEW, OLD = PROFILE_VARIABLES


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a version of rmw_fastrtps_cpp the one that is found."""

    def install(version: str) -> None:
        manifest = tmp_path / "share" / "rmw_fastrtps_cpp" / "package.xml"
        manifest.parent.mkdir(parents=True)
        manifest.write_text(f"<package format='3'><version>{version}</version></package>")
        monkeypatch.setenv("AMENT_PREFIX_PATH", f"/none:{tmp_path}")
        monkeypatch.delenv("ROS_DISTRO", raising=False)

    return install


@pytest.mark.parametrize(
    ("version", "variable"), [("6.2.7", OLD), ("8.4.3", OLD), ("9.3.3", NEW), ("10.0.0", NEW)]
)
def test_the_profile_is_named_where_the_installed_fast_dds_looks_for_it(
    installed: Callable[[str], None], version: str, variable: str
) -> None:
    installed(version)
    environment: dict[str, str] = {}
    use_shared_memory_profile(environment)
    assert list(environment) == [variable]
    assert Path(environment[variable]).name == "fastdds_shm.xml"


@pytest.mark.parametrize(
    ("version", "only", "used"),
    [("6.2.7", "1", False), ("6.2.7", "0", True), ("7.1.4", "1", True), ("9.3.3", "1", True)],
)
def test_humble_does_not_leave_the_machine_by_the_profile_where_it_must_not(
    installed: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
    version: str,
    only: str,
    used: bool,
) -> None:
    installed(version)
    environment = {"ROS_LOCALHOST_ONLY": only}
    use_shared_memory_profile(environment)
    assert bool(set(environment) & set(PROFILE_VARIABLES)) == used
    assert ("ROS_LOCALHOST_ONLY=1" in caplog.text) == (not used)


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
