"""Decompressing what may be cut short: as much as there is, and what stopped it."""

from __future__ import annotations

import bz2
from pathlib import Path
from typing import Any

from ssvif_core.errors import SsvifError

__all__ = ["ZSTD_MAGIC", "unpack_file", "unpacked"]

#: A zstd frame (RFC 8878, 3.1.1). CDR messages begin with a zero.
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
#: Decompressors lose what they hold when they fail; so they are fed in pieces.
PIECE = 2**16


def _zstd() -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found]  # Python 3.14
    except ImportError:
        from backports import zstd
    return zstd


def _decompressor(compression: str) -> Any:
    if compression == "bz2":
        return bz2.BZ2Decompressor()
    if compression == "lz4":
        from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]

        return LZ4FrameDecompressor()
    if compression == "zstd":
        return _zstd().ZstdDecompressor()
    raise SsvifError(f"the compression '{compression}' is not known")


def unpacked(data: bytes, compression: str) -> tuple[bytes, str]:
    """Decompress as far as it goes.

    Args:
        data: compressed bytes, or the beginning of them.
        compression: "" or "none", "bz2", "lz4", "zstd".

    Returns:
        What came out, and why it ends there; "" at the end of the data.

    Raises:
        SsvifError: the compression is not known.
    """
    if compression in ("", "none"):
        return data, ""
    decompressor, pieces = _decompressor(compression), list[bytes]()
    try:
        for start in range(0, len(data), PIECE):
            if decompressor.eof:
                break
            pieces.append(decompressor.decompress(data[start : start + PIECE]))
    except Exception as error:  # each library has its own
        return b"".join(pieces), f"its {compression} data is damaged ({error})"
    return b"".join(pieces), "" if decompressor.eof else f"its {compression} data is cut short"


def unpack_file(path: Path, target: Path) -> str:
    """Decompress a .zstd file as far as it goes; why it ends there, or "" at its end.

    It may have several frames, one after the other (`pzstd` writes such, and `cat` makes them).

    Raises:
        OSError: a file cannot be read or written.
    """
    decompressor = _zstd().ZstdDecompressor()
    with path.open("rb") as packed, target.open("wb") as file:
        try:
            while piece := packed.read(PIECE):
                while piece:
                    if decompressor.eof:
                        decompressor = _zstd().ZstdDecompressor()
                    file.write(decompressor.decompress(piece))
                    piece = decompressor.unused_data
        except _zstd().ZstdError as error:
            return f"its zstd data is damaged ({error})"
    return "" if decompressor.eof else "its zstd data is cut short"
