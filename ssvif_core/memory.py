"""What the C library keeps of freed memory: image buffers while frames come, little else.

glibc maps every block above a threshold afresh and unmaps it when it is freed, so each image costs
hundreds of page faults. Raising the thresholds was measured to take the transport of a 640x480
frame pair from 9.5 ms to 3.0 ms. But then nothing goes back to the kernel by itself: an engine that
was closed leaves 60 MiB resident at 640x480 and 240 at 1280x1024.

And each thread takes from an arena of its own, up to eight for each core. Threads come and go with
activations, cameras and engines, and each arena ends up with room for the largest work that any
thread ever did in it. With one for all a node holds 16 MiB less, and stays at what it holds.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

__all__ = ["give_back_freed", "keep_image_buffers", "use_one_arena"]

# Parameter numbers of mallopt(3), glibc malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8


def _of_glibc(name: str) -> Any:
    """A function of malloc.h, or None where the C library has none of this name, as musl."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None


def _set(options: dict[int, int]) -> bool:
    mallopt = _of_glibc("mallopt")
    return mallopt is not None and all([mallopt(o, value) == 1 for o, value in options.items()])


def keep_image_buffers() -> bool:
    """Tune malloc for images; call once, early. Returns whether the C library took it."""
    wanted = {M_MMAP_THRESHOLD: 1 << 30, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 64 << 20}
    return _set(wanted)


def use_one_arena() -> bool:
    """Have all threads that start from now on share an arena. Whether the C library took it.

    For programs in which few threads take memory at a time: they wait for each other there.
    """
    return _set({M_ARENA_MAX: 1})


def give_back_freed() -> None:
    """Have the kernel take what is free: after something large was closed, never for each frame.

    Takes 4 ms after an engine for 640x480 and 15 after one for 1280x1024. The image buffers go
    too: the next frame maps them anew.
    """
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)
