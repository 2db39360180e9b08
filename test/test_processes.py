"""Domains of child processes."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_ros import processes  # noqa: E402


def test_programs_that_run_at_the_same_time_have_domains_of_their_own(tmp_path, monkeypatch):
    first = int(processes.private_domain(tmp_path)["ROS_DOMAIN_ID"])
    second = int(processes.private_domain(tmp_path)["ROS_DOMAIN_ID"])
    assert first != second
    monkeypatch.setattr(processes, "DOMAINS", [first, second])
    with pytest.raises(SsvifError, match="taken"):
        processes.private_domain(tmp_path)
