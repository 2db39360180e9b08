"""The fused images as a video in the report, which holds a link only: the page stays small."""

from __future__ import annotations

import html
from pathlib import Path

from ssvif_core.replay.outputs import VIDEO

__all__ = ["video_figure"]


def video_figure(page: Path, folder: Path, caption: str) -> str:
    """The video of a run as HTML, "" where it has none.

    Where a browser cannot play it, or the page was taken along without it, a sentence stands there.

    Args:
        page: folder of the page.
        folder: of the run, in that one or the same.
        caption: plain text.
    """
    if not (folder / VIDEO).is_file():
        return ""
    source = html.escape((folder / VIDEO).relative_to(page).as_posix())
    return (
        f"<figure><figcaption>{html.escape(caption)}</figcaption>"
        f'<video controls muted loop playsinline preload="metadata" src="{source}" '
        'onerror="this.hidden = true; this.nextElementSibling.hidden = false"></video>'
        f"<p hidden>{source} is not beside this page, or this browser cannot play it.</p></figure>"
    )
