"""~/timing: where the time of each frame went, as numbers that plot tools read without more ado.

A std_msgs/Float64MultiArray, for rqt_plot, PlotJuggler and Foxglove plot its elements
(`/fusion/timing/data[1]`) and every ROS has it; /diagnostics carries text, and a message of our own
would have to be built wherever a recording is opened. The stamp is the first element: the type has
no header, and a 32-bit float could not hold it.
"""

from __future__ import annotations

import math
from array import array

from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Float64MultiArray, MultiArrayDimension, MultiArrayLayout

from ssvif_ros.diagnostics import FrameRecord
from ssvif_ros.wait_set import NO_EVENTS

__all__ = ["FIELDS", "TimingPublisher"]

#: Elements in their order; the label of the message's only dimension names them, too.
FIELDS = (
    "stamp_s",  # of the fused image
    "latency_ms",  # from that stamp to the end of publishing
    "delta_ms",  # thermal stamp + thermal_offset - visible stamp; NaN of one camera alone
    "decode_ms",
    "gain_ms",
    "warp_ms",
    "engine_ms",
    "blend_ms",
    "publish_ms",
)


class TimingPublisher:
    """Publishes while somebody listens. Args: node: a lifecycle node."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._publisher = node.create_lifecycle_publisher(
            Float64MultiArray, "~/timing", 10, event_callbacks=NO_EVENTS
        )
        dimension = MultiArrayDimension(
            label=",".join(FIELDS), size=len(FIELDS), stride=len(FIELDS)
        )
        self._layout = MultiArrayLayout(dim=[dimension])

    def publish(self, stamp_s: float, record: FrameRecord) -> None:
        """One frame."""
        if not self._publisher.get_subscription_count():
            return
        known = {"stamp_s": stamp_s, **vars(record), **vars(record.times)}
        values = (known[name] for name in FIELDS)
        data = array("d", [math.nan if value is None else value for value in values])
        self._publisher.publish(Float64MultiArray(layout=self._layout, data=data))

    def destroy(self) -> None:
        self._node.destroy_lifecycle_publisher(self._publisher)
