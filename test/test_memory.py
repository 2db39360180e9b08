"""What the C library is told about memory, in a process of its own, for it cannot be undone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ssvif_core import memory

FILLED = """
import os, re, sys
os.environ['SSVIF_HUGE_PAGES'] = '1'
from pathlib import Path
import numpy as np
from ssvif_core.memory import give_back_freed, keep_image_buffers

def huge_kib():
    said = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"AnonHugePages: +([0-9]+)", said)[1])

keep_image_buffers()
start = huge_kib()
images = [np.ones(8 << 20, np.uint8) for _ in range(4)]
print(huge_kib() - start)
del images
give_back_freed()
start = huge_kib()
images = [np.ones(8 << 20, np.uint8) for _ in range(4)]
print(huge_kib() - start)
"""


@pytest.mark.skipif(
    memory.huge_pages() in (None, "never") or memory._huge_page() is None,
    reason="this kernel gives nobody huge pages, or none of a usable size",
)
@pytest.mark.skipif(memory._of_glibc("mallopt") is None, reason="not the GNU C library")
def test_images_lie_in_huge_pages_also_after_freed_memory_was_given_back():
    said = subprocess.run([sys.executable, "-c", FILLED], capture_output=True, check=True)
    first, again = (int(word) for word in said.stdout.split())
    assert first >= 4 << 10  # of 32 MiB: as many as the kernel finds room for
    assert again >= 4 << 10


@pytest.mark.parametrize("content", [None, "", "536870912"])
def test_without_usable_huge_pages_nothing_is_asked_for(content, monkeypatch, tmp_path):
    if content is not None:
        (tmp_path / "hpage_pmd_size").write_text(content)
    monkeypatch.setattr(memory, "_HUGE_PAGES", tmp_path)
    monkeypatch.setattr(memory, "HUGE_ROOM", "no number of bytes")
    memory._ask_for_huge_pages()


@pytest.mark.parametrize(
    ("content", "said"),
    [("always [madvise] never\n", "madvise"), ("[always] madvise never\n", "always"), ("", None)],
)
def test_it_is_said_whom_the_kernel_gives_huge_pages(content, said, monkeypatch, tmp_path):
    (tmp_path / "enabled").write_text(content)
    monkeypatch.setattr(memory, "_HUGE_PAGES", tmp_path)
    assert memory.huge_pages() == said
