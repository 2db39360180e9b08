"""Every frame is accounted for, with the real pairing and a worker, on a clock that is set."""

from __future__ import annotations

import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from rclpy.clock import ClockType  # noqa: E402
from rclpy.lifecycle import LifecycleNode  # noqa: E402
from rclpy.time import Time  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from ssvif_core.sync_policies import make_pairing  # noqa: E402
from ssvif_ros.accounting import FrameAccounts, unaccounted  # noqa: E402
from ssvif_ros.images import to_image  # noqa: E402
from ssvif_ros.inputs import Inputs  # noqa: E402
from ssvif_ros.worker import LatestWorker  # noqa: E402

ALL_WELL = {"visible": 0, "thermal": 0, "pairs": 0}
MS = 1_000_000


class Active:
    """Inputs and a worker; frames come as from the middleware, and time goes on with them."""

    def __init__(self, policy, singles=True):
        self.node, self.now_ns, self.fused = LifecycleNode("fusion"), 10**12, []
        self.clock, self.accounts = self.node.get_clock(), FrameAccounts()
        self.clock._set_ros_time_is_active(True)
        self.after(0)
        self.worker = LatestWorker(self.fused.append, print)
        self.inputs = Inputs(
            self.node, make_pairing(policy), {}, lambda *pair: self.worker.offer(pair),
            lambda _: None, lambda: None,
        )  # fmt: skip
        self.inputs.synchronizer.configure_presence(
            missing_after_s=0.5, frozen_after_s=0.0, singles=singles
        )

    def after(self, passed_ms):
        self.now_ns += passed_ms * MS
        self.clock.set_ros_time_override(
            Time(nanoseconds=self.now_ns, clock_type=ClockType.ROS_TIME)
        )

    def send(self, *cameras):
        for camera in cameras:
            header = Header(stamp=Time(nanoseconds=self.now_ns).to_msg())
            pixels = np.zeros((4, 6, 3) if camera == "visible" else (4, 6), np.uint8)
            encoding = "rgb8" if camera == "visible" else "mono8"
            self.inputs.valid[camera].signalMessage(to_image(pixels, encoding, header))

    def values(self):
        """As /diagnostics has them, once the worker is done."""
        deadline = time.monotonic() + 30
        while self.worker.in_work and time.monotonic() < deadline:
            time.sleep(0.001)
        counts = self.accounts.values(self.inputs, self.worker)
        return {**counts, "fused": len(self.fused), "bad_frames": 0}

    def end(self):
        """The values that are left."""
        self.inputs.destroy()
        self.worker.stop()
        self.accounts.close(self.inputs, self.worker)
        self.node.destroy_node()
        return {**self.accounts.values(None, None), "fused": len(self.fused), "bad_frames": 0}


def test_a_thermal_frame_that_is_held_is_in_several_pairs_and_counted_once(ros_domain):
    active = Active("hold")
    active.send("thermal")
    for _ in range(3):
        active.send("visible")
        active.after(33)
    active.send("thermal", "visible")
    active.send("thermal")  # a duplicate
    values = active.values()
    assert (values["paired"], values["reused_thermal"], values["received_thermal"]) == (4, 2, 3)
    assert unaccounted(values) == ALL_WELL
    assert unaccounted(active.end()) == ALL_WELL


@pytest.mark.parametrize("lost", ["visible", "thermal"])
@pytest.mark.parametrize("singles", [True, False])
def test_frames_of_a_camera_that_is_alone_and_of_one_that_comes_back_are_counted(
    ros_domain, lost, singles
):
    lives = "thermal" if lost == "visible" else "visible"
    active = Active("nearest", singles)
    cameras = [("visible", "thermal")] * 3 + [(lives,)] * 10 + [("visible", "thermal")] * 6
    for sent in cameras:
        active.send(*sent)
        active.after(100)
    values = active.values()
    assert values["paired"] > 3
    assert values[f"withheld_{lost}"] > 0  # until it is steady
    assert values[f"single_{lives}" if singles else f"withheld_{lives}"] > 3
    assert unaccounted(values) == ALL_WELL
    assert unaccounted(active.end()) == ALL_WELL
