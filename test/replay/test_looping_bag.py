"""A recording that loops, on simulated time, as replay.launch.py plays it: real processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from fusion_process import RELIABLE_INPUTS, FusionProcess  # noqa: E402

from ssvif_ros.processes import child_environment  # noqa: E402

LOOPS, RATE = 3, 1.5


def stamp_ns(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


@pytest.mark.slow
def test_a_looping_recording_restarts_the_pairing_once_a_loop_and_loses_no_frame(
    drive, ros_domain, tmp_path, repository
):
    node, executor = ros_domain
    sizes = {"warm_up_width": 96, "warm_up_height": 72}
    log = tmp_path / "node.log"
    process = FusionProcess(node, executor, log, use_sim_time=True, **sizes, **RELIABLE_INPUTS)
    command = [sys.executable, repository / "test" / "helpers" / "bag_player.py"]
    try:
        process.activate()
        player = subprocess.Popen([*command, drive, str(RATE), str(LOOPS)], env=child_environment())
        try:
            assert process.until(lambda: player.poll() is not None, 120.0)
        finally:
            player.kill()
            player.wait()
        assert player.returncode == 0
        assert process.missing() == {}
        assert process.count("resets") == LOOPS - 1
        stamps = [stamp_ns(message) for message in process.fused]
        back = [i for i in range(1, len(stamps)) if stamps[i] <= stamps[i - 1]]
        assert len(back) == LOOPS - 1  # in order, and back at each loop
        loops = [set(stamps[a:b]) for a, b in zip([0, *back], [*back, None], strict=True)]
        # Each loop gives the same pairs, but for those that a busy machine had no time for.
        assert all(len(loop & loops[0]) >= len(loops[0]) / 2 for loop in loops)
        assert process.alive()
    finally:
        process.close()
