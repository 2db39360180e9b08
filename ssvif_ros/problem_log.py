"""What /diagnostics calls wrong, in the log: when it begins, now and then, and when it ends.

By hand, for rclpy throttles by the place of a call, and here one place speaks of many things.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from diagnostic_msgs.msg import DiagnosticStatus

from ssvif_ros.diagnostics import Part

__all__ = ["ProblemLog"]

#: Seconds between two lines that say the same of a part.
REPEAT_S = 30.0
#: Seconds between two lines of a part that say different things; what is worse comes at once.
CHANGE_S = 5.0
#: A part that is well again for this long has recovered.
WELL_S = 5.0


class _Logger(Protocol):
    def info(self, message: str) -> object: ...
    def warning(self, message: str) -> object: ...
    def error(self, message: str) -> object: ...


class _Trouble:
    """Of one part: what was logged, when that was, and when trouble was last seen."""

    def __init__(self, part: Part, now_s: float) -> None:
        self.level, self.kind = part.level, _kind(part)
        self.logged_s = self.seen_s = now_s

    def due(self, part: Part, now_s: float) -> bool:
        """Whether this is worth another line."""
        if part.level > self.level:
            return True
        same = _kind(part) == self.kind
        return now_s - self.logged_s >= (REPEAT_S if same else CHANGE_S)


def _kind(part: Part) -> str:
    """The message without its numbers, which change all the time."""
    return re.sub(r"[\d.]+", "", part.message)


class ProblemLog:
    """Remembers what was said. Args: logger: of the node."""

    def __init__(self, logger: _Logger) -> None:
        self._logger = logger
        self._troubles: dict[str, _Trouble] = {}

    def look(self, parts: Sequence[Part], now_s: float) -> None:
        """Log what is new in this report; `now_s` from a clock that only goes on."""
        for part in parts:
            trouble = self._troubles.get(part.name)
            if part.level == DiagnosticStatus.OK:
                if trouble is not None and now_s - trouble.seen_s >= WELL_S:
                    del self._troubles[part.name]
                    self._logger.info(f"{part.name}: well again ({part.message})")
                continue
            if part.follows:
                if trouble is not None:
                    trouble.seen_s = now_s
            elif trouble is None or trouble.due(part, now_s):
                self._troubles[part.name] = _Trouble(part, now_s)
                self._say(part)
            else:
                trouble.seen_s = now_s

    def _say(self, part: Part) -> None:
        text = f"{part.name}: {part.message}"
        # Two calls, for rclpy refuses another severity at the same place.
        if part.level == DiagnosticStatus.ERROR:
            self._logger.error(text)
        else:
            self._logger.warning(text)
