"""What the C library keeps of freed memory: image buffers while frames come, little else.

glibc maps every block above a threshold afresh and unmaps it when it is freed, so each image costs
hundreds of page faults. Raising the thresholds was measured to take the transport of a 640x480
frame pair from 9.5 ms to 3.0 ms. But then nothing goes back to the kernel by itself: an engine that
was closed leaves 60 MiB resident at 640x480 and 240 at 1280x1024.

With SSVIF_HUGE_PAGES=1 in the environment what is kept lies in huge pages where the kernel has them
on request ("madvise", the default of Ubuntu; with "always", that of Debian, it had them before). An
engine walks through all of its memory for every frame, and with pages of 4 KiB the processor
forgets where they are: huge ones were measured to take 3 to 14 % from an engine at 1280x1024 and
2 to 8 % at 640x480 (docs/engines.md). They cost some 15 MiB.

And each thread takes from an arena of its own, up to eight for each core. Threads come and go with
activations, cameras and engines, and each arena ends up with room for the largest work that any
thread ever did in it. With one for all a node holds 16 MiB less, and stays at what it holds.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["give_back_freed", "huge_pages", "keep_image_buffers", "use_one_arena"]

# Parameter numbers of mallopt(3), glibc malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8
#: madvise(2), mman.h.
MADV_HUGEPAGE = 14
#: Of addresses, not of memory: what the heap may grow by in huge pages.
HUGE_ROOM = 1 << 29
#: With pages of 64 KiB, which some ARM kernels have, a huge one is half a gigabyte: too huge.
LARGEST_HUGE_PAGE = 1 << 22
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")

_keeps = False


def _of_glibc(name: str) -> Any:
    """A function of malloc.h, or None where the C library has none of this name, as musl."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None


def _set(options: dict[int, int]) -> bool:
    mallopt = _of_glibc("mallopt")
    return mallopt is not None and all([mallopt(o, value) == 1 for o, value in options.items()])


def keep_image_buffers() -> bool:
    """Tune malloc for images; call once, early. Returns whether the C library took it."""
    global _keeps
    wanted = {M_MMAP_THRESHOLD: 1 << 30, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 64 << 20}
    _keeps = _set(wanted)
    if _keeps and _wants_huge_pages():
        _ask_for_huge_pages()
    return _keeps


def _wants_huge_pages() -> bool:
    return os.environ.get("SSVIF_HUGE_PAGES") == "1"


def _ask_for_huge_pages() -> None:
    """Let the heap grow by `HUGE_ROOM` and have the kernel back that with huge pages, if it can.

    glibc's own way is an environment variable that must be there when the process starts
    (GLIBC_TUNABLES=glibc.malloc.hugetlb=1). Nothing depends on this: what fails is as it was.
    """
    page = _huge_page()
    if page is None:
        return
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    room = libc.malloc(HUGE_ROOM)  # freed at once: what malloc then has lies there, and is kept
    if room is None:
        return
    begin, end = -(-room // page) * page, (room + HUGE_ROOM) // page * page
    libc.madvise(begin, end - begin, MADV_HUGEPAGE)
    libc.free(room)


def _huge_page() -> int | None:
    """Bytes of a huge page; None where the kernel has none, or has none of a usable size."""
    try:
        size = int((_HUGE_PAGES / "hpage_pmd_size").read_text())
    except (OSError, ValueError):
        return None
    return size if size <= LARGEST_HUGE_PAGE else None


def huge_pages() -> str | None:
    """Whom the kernel gives huge pages: always, madvise (who asks) or never; None: it has none."""
    try:
        modes = (_HUGE_PAGES / "enabled").read_text()
        return modes[modes.index("[") + 1 : modes.index("]")]
    except (OSError, ValueError):
        return None


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
        if _keeps and _wants_huge_pages():  # the room for huge pages went with it
            _ask_for_huge_pages()
