"""frame_id and camera_info of what a replay writes, by the rules of `ssvif_ros/headers.py`."""

from __future__ import annotations

from typing import Any

from ssvif_core.replay.pairs import DecidedPair
from ssvif_core.replay.recording import Arrival

__all__ = ["OutputHeaders"]


class OutputHeaders:
    """Told of the pairs that were fused, in order: remembers the visible camera's frame.

    Args:
        registered: whether thermal is drawn on the visible camera's grid.
    """

    def __init__(self, *, registered: bool) -> None:
        self._registered = registered
        self._frame_id: str | None = None

    def of(self, pair: DecidedPair, info: Any) -> tuple[str, Any]:
        """The frame_id of a pair's output, and the camera_info that goes with it.

        Before any visible image was seen, the output is a thermal image in its own size: the
        visible camera's camera_info says nothing of it, but for the frame where it is registered.

        Args:
            pair: that was fused.
            info: the visible camera's CameraInfo, or None.
        """
        if pair.visible is not None:
            self._frame_id = _frame_of(pair.visible)
        if self._frame_id is not None:
            return self._frame_id, info
        assert pair.thermal is not None
        grid = info.header.frame_id if self._registered and info is not None else ""
        return grid or _frame_of(pair.thermal), None


def _frame_of(arrival: Arrival) -> str:
    assert arrival.image is not None  # of a camera
    return arrival.image.frame_id
