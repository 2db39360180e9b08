"""Reading an .mp4 file whose writer was killed: its MPEG-4 frames are there, its index is not.

The index (`moov`, ISO/IEC 14496-12) comes last, and in it (`esds`, 14496-14) the header without
which no frame can be decoded. But the same writer gives every video of one size and rate the same
header. Behind that, the frames as they lie in the file (`mdat`) are an elementary stream (14496-2),
which FFmpeg reads.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from mmap import mmap
from pathlib import Path

from ssvif_core.errors import SsvifError

__all__ = ["has_index", "salvage_video"]

#: Of a box: its length with this head, and its kind. 0: to the end of the file; 1: 64 bits follow.
HEAD = struct.Struct(">I4s")
TO_THE_END, LONG = 0, 1
#: Start codes of a header (visual_object_sequence), a frame (vop), and a group of frames.
BEGIN, FRAME, GROUP = b"\x00\x00\x01\xb0", b"\x00\x00\x01\xb6", b"\x00\x00\x01\xb3"
#: Before the first frame of a group.
GROUP_BYTES = 8


def has_index(video: Path) -> bool:
    """Whether a file was closed, so that any player can read it."""
    return any(kind == b"moov" for kind, _, _ in _boxes(video))


def salvage_video(killed: Path, like: Path, to: Path) -> None:
    """Write the frames of a video that was not closed as an MPEG-4 elementary stream.

    Args:
        killed: .mp4 file without index.
        like: whole .mp4 file that the same writer has made, of the same size and rate.
        to: file to write, .m4v. The last frame, which may be torn, is left out.

    Raises:
        SsvifError: it was killed before its first frame, or there is no header.
    """
    frames = next((begin for kind, begin, _ in _boxes(killed) if kind == b"mdat"), None)
    if frames is None:
        raise SsvifError(f"{killed} holds no frame.")
    header = _header(like)
    with killed.open("rb") as source, to.open("w+b") as stream:
        source.seek(frames)
        stream.write(header)
        shutil.copyfileobj(source, stream)
        stream.flush()
        with mmap(stream.fileno(), 0) as content:
            last = content.rfind(FRAME)
            group = content.rfind(GROUP, max(0, last - GROUP_BYTES), max(0, last))
        end = last if group < 0 else group
        stream.truncate(max(0, end))
    if end <= len(header):
        raise SsvifError(f"{killed} holds no whole frame.")


def _boxes(path: Path) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the content of each box."""
    position, size = 0, path.stat().st_size
    with path.open("rb") as file:
        while position + HEAD.size <= size:
            file.seek(position)
            length, kind = HEAD.unpack(file.read(HEAD.size))
            begin = position + HEAD.size
            if length == LONG:
                length = int.from_bytes(file.read(8), "big")
                begin += 8
            end = size if length == TO_THE_END else position + length
            yield kind, begin, min(end, size)
            if end <= position:
                return
            position = end


def _header(video: Path) -> bytes:
    content = video.read_bytes()
    at = content.find(BEGIN, content.rfind(b"esds"))
    if at < 0:
        raise SsvifError(f"{video} has no MPEG-4 header.")
    return content[at : at + content[at - 1]]  # the byte before it is its length
