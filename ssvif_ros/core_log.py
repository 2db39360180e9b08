"""What `ssvif_core` logs appears in the node's log; the core itself knows nothing of ROS."""

from __future__ import annotations

import logging

from rclpy.logging import get_logger
from rclpy.node import Node

__all__ = ["forward_core_log", "stop_core_log"]


class _Forward(logging.Handler):
    """Where several nodes share a process, the core does not know which one it works for."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: tuple[Node, ...] = ()

    def emit(self, record: logging.LogRecord) -> None:
        nodes = self.nodes
        logger = nodes[0].get_logger() if len(nodes) == 1 else get_logger("ssvif")
        # One call each, for rclpy refuses another severity at the same place.
        if record.levelno >= logging.ERROR:
            logger.error(record.getMessage())
        elif record.levelno >= logging.WARNING:
            logger.warning(record.getMessage())
        else:
            logger.info(record.getMessage())


_core, _forward = logging.getLogger("ssvif"), _Forward()


def forward_core_log(node: Node) -> None:
    """Send the core's log to `node`'s, and nowhere else; in a name of its own if others ask too."""
    _forward.nodes += (node,)
    _core.handlers = [_forward]
    _core.setLevel(logging.INFO)
    _core.propagate = False


def stop_core_log(node: Node) -> None:
    """The end of it, for this node."""
    _forward.nodes = tuple(other for other in _forward.nodes if other is not node)
    if not _forward.nodes:
        _core.removeHandler(_forward)
        _core.propagate = True
