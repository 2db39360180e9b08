"""How many cores are there for this process? Of a machine it may have been given a part alone."""

from __future__ import annotations

import os

__all__ = ["cores"]


def cores() -> int:
    """Cores that this process may use: taskset, or `cpus:=` of the launch file, gives it some."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
