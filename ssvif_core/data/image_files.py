"""Is this image file whole, and how large is it? Without decoding its pixels, where that suffices.

OpenCV decodes a truncated JPEG without an error, the rest gray, so a file's end is looked at, too.
Pillow, which reads headers, is no part of the runtime: a robot imports this and does not call it.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from ssvif_core.errors import SsvifError

__all__ = ["image_size", "require_pillow"]

#: Last marker of a whole file. Other formats, and files with something after it, are decoded.
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
#: Padding that cameras leave after the last marker.
TAIL_BYTES = 64


def require_pillow() -> None:
    """Raises SsvifError, which says how to get it, where Pillow is not installed."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise SsvifError(
            f"Opening folders of pairs needs Pillow: pip install pillow, or '.[train]' ({error})."
        ) from error


def image_size(path: Path) -> tuple[int, int]:
    """Rows and columns of an image file that is not truncated; about 0.1 ms for JPEG and PNG.

    Damage in the middle of the file is not seen here.

    Raises:
        SsvifError: there is no such file, it is no image, or its end is missing; or see
            `require_pillow`.
    """
    require_pillow()
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on damaged metadata
            with Image.open(path) as image:
                if not _ends_well(path, image.format):
                    image.load()
                return image.height, image.width
    except FileNotFoundError as error:
        raise SsvifError(f"there is no file {path}") from error
    except UnidentifiedImageError as error:
        raise SsvifError(f"{path.name} is empty, damaged, or no image") from error
    # Pillow's decoders raise what they meet: OSError, SyntaxError, struct.error, ValueError ...
    except Exception as error:
        raise SsvifError(f"{path.name} is damaged: {error}") from error


def _ends_well(path: Path, kind: str | None) -> bool:
    with path.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - TAIL_BYTES))
        tail = file.read()
    if kind == "WEBP":
        with path.open("rb") as file:
            return end >= 8 + int.from_bytes(file.read(8)[4:], "little")
    return kind in ENDS and ENDS[kind] in tail
