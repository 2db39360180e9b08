"""What `ssvif_core` logs appears in the node's log; the core itself knows nothing of ROS."""

from __future__ import annotations

import logging

from rclpy.node import Node

__all__ = ["forward_core_log"]


class _Forward(logging.Handler):
    def __init__(self, node: Node) -> None:
        super().__init__()
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        # Two calls, for rclpy refuses another severity at the same place.
        if record.levelno >= logging.WARNING:
            self._logger.warning(record.getMessage())
        else:
            self._logger.info(record.getMessage())


def forward_core_log(node: Node) -> None:
    """Send the core's log to `node`'s, and nowhere else; the node that asks last has it."""
    core = logging.getLogger("ssvif")
    core.handlers = [_Forward(node)]
    core.setLevel(logging.INFO)
    core.propagate = False
