"""The header of what the node publishes: the visible camera's, also while it is missing."""

from __future__ import annotations

from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

__all__ = ["OutputHeaders"]


class OutputHeaders:
    """Remembers the visible camera's frame for when only the thermal one is left."""

    def __init__(self) -> None:
        self._frame_id: str | None = None

    @property
    def visible_seen(self) -> bool:
        """Whether the output's size is that of a visible image."""
        return self._frame_id is not None

    def of(
        self,
        visible: Image | CompressedImage | None,
        thermal: Image | CompressedImage | None,
        thermal_offset_s: float,
        grid_frame_id: str = "",
    ) -> Header:
        """The output's header: the visible message's own.

        Without one: the thermal message's stamp on the visible camera's clock, and the visible
        camera's frame, for the image is drawn on its grid. Before any visible frame was seen it is
        drawn on the thermal camera's grid and has that one's frame, unless a registration takes it
        to the visible one's.

        Args:
            visible: message, or None while that camera is missing.
            thermal: likewise; one of the two is there.
            thermal_offset_s: added to thermal stamps.
            grid_frame_id: the visible camera's frame, as camera_info has it, where thermal is
                registered; "" where it is not known or thermal is not registered.
        """
        if visible is not None:
            self._frame_id = visible.header.frame_id
            return visible.header
        assert thermal is not None
        stamp_ns = Time.from_msg(thermal.header.stamp).nanoseconds + round(thermal_offset_s * 1e9)
        frame_id = self._frame_id
        if frame_id is None:
            frame_id = grid_frame_id or thermal.header.frame_id
        return Header(stamp=Time(nanoseconds=max(stamp_ns, 0)).to_msg(), frame_id=frame_id)
