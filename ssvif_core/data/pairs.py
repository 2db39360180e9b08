"""One pair of frames and the files that it is read from. Knows arrays, nothing of training.

`list_pairs` is for the plain folder (`visible/`, `thermal/`; frames belong together when their file
names agree but for the extension); `sources.py` opens every other kind of paired data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.pinhole import same_shape
from ssvif_core.imaging.thermal_gain import ThermalGain

__all__ = [
    "FramePair",
    "image_files",
    "list_pairs",
    "natural_order",
    "make_pair",
    "read_labels",
    "read_packed",
    "read_pair",
    "read_thermal",
    "read_visible",
]

PNG = b"\x89PNG\r\n\x1a\n"
#: A 16-bit visible image that is nowhere brighter would become 15 of 255 at most: black. Cameras of
#: 10 and 12 bit leave such files.
DARK_16_BITS = 4096
#: Value of label pixels that are not known; ignored by losses and metrics.
UNKNOWN = 255
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class FramePair:
    """One moment seen by both cameras.

    Attributes:
        name: file name without extension.
        visible: (H, W, 3) uint8 RGB.
        thermal: (H, W) uint8, white is hot.
        labels: (H, W) uint8 class ids with 255 for unknown, or None.
    """

    name: str
    visible: np.ndarray
    thermal: np.ndarray
    labels: np.ndarray | None = None


def _read(path: Path, flags: int) -> np.ndarray:
    try:
        image = cv2.imread(str(path), flags)
    except cv2.error as error:  # a header that promises more pixels than OpenCV allows
        raise SsvifError(f"Cannot read the image {path}: it is damaged ({error.err}).") from error
    if image is None:
        raise SsvifError(f"Cannot read the image {path}: check that it exists and is not damaged.")
    return image


def read_visible(path: Path) -> np.ndarray:
    """Read an image as (H, W, 3) uint8 RGB.

    16 bits are scaled to 8 over their full range, as those of messages are. A tag that turns the
    picture (EXIF) is ignored, as it is in thermal images and labels.

    Raises:
        SsvifError: it cannot be decoded, holds other than 8 or 16 bit integers, or has 16 bits of
            which only the lower 12 are used: how bright it should be, the file does not say.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    image = _read(path, flags)
    if image.dtype == np.uint16:
        brightest = int(image.max())
        if 0 < brightest < DARK_16_BITS:
            raise SsvifError(
                f"{path} has 16 bits and is nowhere brighter than {brightest} of 65535: is it a "
                "camera's 10 or 12 bits? Save all files as 8 bit, divided by 4 or 16."
            )
        image = cv2.convertScaleAbs(image, alpha=255 / 65535)
    if image.dtype != np.uint8:
        raise SsvifError(f"{path} holds {image.dtype} pixels: convert it to 8 bit.")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_thermal(path: Path) -> np.ndarray:
    """Read a thermal frame as (H, W), uint8 or uint16 as stored; colour files give luminance."""
    image = _read(path, cv2.IMREAD_UNCHANGED)
    if image.dtype not in (np.uint8, np.uint16):
        raise SsvifError(f"{path} holds {image.dtype} pixels: convert it to 8 or 16 bit integers.")
    if image.ndim == 3:
        image = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2GRAY)
    return image


def read_packed(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a file that holds both cameras' images: visible in its colours, thermal in its alpha.

    Returns:
        visible (H, W, 3) uint8 RGB, thermal (H, W) uint8.

    Raises:
        SsvifError: the file is damaged or has no alpha channel.
    """
    image = _read(path, cv2.IMREAD_UNCHANGED)
    if image.ndim != 3 or image.shape[2] != 4 or image.dtype != np.uint8:
        raise SsvifError(f"{path} has no 4 channels of 8 bit: there is no thermal image in it.")
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGB), np.ascontiguousarray(image[..., 3])


def read_labels(path: Path, label_map: Mapping[int, int] | None = None) -> np.ndarray:
    """Read a label image as (H, W) uint8.

    The ids are the values of a one-channel image (or of three equal channels) as the file has
    them, 0 and 1 where it has one bit, or the palette indices of an image with a palette; colours
    are never guessed at.

    Args:
        path: label image.
        label_map: ids in the file -> class ids; ids that it does not name become 255 (unknown).

    Raises:
        SsvifError: the file is damaged or lossy, holds colours, or ids that do not fit into 8 bits.
    """
    labels = _read(path, cv2.IMREAD_UNCHANGED)
    _refuse_lossy(path)
    png_bits = _gray_png_bits(path)
    indices = _indices(path) if png_bits is None else None
    if indices is not None:
        labels = indices
    elif labels.ndim == 3:
        if (labels[..., :3] != labels[..., :1]).any():
            raise SsvifError(
                f"{path} holds colours, not class ids: convert it to one channel of ids, or name "
                "the folder that has them."
            )
        labels = labels[..., 0]
    if png_bits in (1, 2, 4):  # OpenCV has spread them over 0 to 255
        labels = labels // (255 // (2**png_bits - 1))
    if labels.dtype not in (np.uint8, np.uint16):
        raise SsvifError(f"{path} holds {labels.dtype} pixels: labels are 8 or 16 bit integers.")
    if label_map is None:
        if labels.max(initial=0) > UNKNOWN:
            raise SsvifError(f"{path} has label ids above 255: name the wanted ones in label_map.")
        return labels.astype(np.uint8)
    table = np.full(65536, UNKNOWN, np.uint8)
    for file_id, class_id in label_map.items():
        if not (0 <= file_id < len(table) and 0 <= class_id <= UNKNOWN):
            raise SsvifError(
                f"label_map has {file_id}: {class_id}; ids in files are 0 to 65535, classes 0 to "
                "255."
            )
        table[file_id] = class_id
    return table[labels]


def _refuse_lossy(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(12)
    webp = head[:4] == b"RIFF" and head[8:] == b"WEBP"
    if head[:2] == b"\xff\xd8" or (webp and b"VP8L" not in path.read_bytes()):
        kind = "lossy WebP" if webp else "JPEG"
        raise SsvifError(
            f"{path} is a {kind}, whose compression changes class ids: save label images as PNG, "
            "from what they were made of."
        )


def _gray_png_bits(path: Path) -> int | None:
    """Bits of a pixel of a gray PNG without alpha; None for another image."""
    with path.open("rb") as file:
        head = file.read(26)
    return head[24] if head[:8] == PNG and len(head) == 26 and head[25] == 0 else None


def _indices(path: Path) -> np.ndarray | None:
    """Indices of an image with a palette or one bit, which OpenCV gives as colours only; or None.

    The colours do not tell: those of the ids in one image may all be gray.
    """
    try:
        from PIL import Image
    except ImportError as error:
        with path.open("rb") as file:
            head = file.read(26)
        if head[:8] == PNG and head[25] != 3:
            return None  # a PNG says whether it has a palette
        raise SsvifError(
            f"{path} has colours or a palette; which of both needs `pip install pillow`."
        ) from error
    try:
        with Image.open(path) as image:
            return np.array(image).astype(np.uint8) if image.mode in ("P", "1") else None
    except OSError:  # a kind of file that OpenCV alone reads
        return None


def make_pair(
    name: str,
    visible: np.ndarray,
    thermal: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    gain: ThermalGain | None = None,
    stamp_s: float | None = None,
) -> FramePair:
    """Bring both cameras' frames to 8 bit and one size.

    A thermal frame of the same shape but another scale is resized to the visible one.

    Args:
        name: of the pair.
        visible: (H, W, 3) uint8 RGB.
        thermal: (h, w) uint8, or uint16 counts.
        labels: (H, W) uint8 class ids, or None.
        gain: maps counts to 8 bit; the same one for all frames of a sequence, so that the picture
            does not flicker. None: one for this frame, its 1 to 99.5 percentile.
        stamp_s: time of the thermal frame in its sequence, in seconds.

    Raises:
        SsvifError: the frames show different views, or the labels are of another size.
    """
    size, thermal_size = visible.shape[:2], thermal.shape[:2]
    if not same_shape(size, thermal_size):
        raise SsvifError(
            f"The images of pair '{name}' differ in size: visible {size}, thermal {thermal_size} "
            "(rows, columns). Crop or register them to the same view first."
        )
    if labels is not None and labels.shape != size:
        raise SsvifError(f"The labels of pair '{name}' are {labels.shape}, the image is {size}.")
    thermal = (gain or ThermalGain()).apply(thermal, stamp_s)
    if thermal_size != size:
        smaller = size[0] < thermal_size[0]
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        thermal = cv2.resize(thermal, size[::-1], interpolation=how)
    return FramePair(name, visible, np.ascontiguousarray(thermal), labels)


def natural_order(name: str) -> list[tuple[int, str]]:
    """A key that sorts names as people number them: 2 before 10."""
    parts = re.split("([0-9]+)", name)
    return [(int(part or 0) if i % 2 else 0, part) for i, part in enumerate(parts)]


def image_files(folder: Path) -> list[Path]:
    """The images of a folder in natural order.

    Hidden files are left out: macOS puts `._1.png` beside 1.png, which is no image.
    """
    files = (p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(
        (p for p in files if not p.name.startswith(".")), key=lambda p: natural_order(p.name)
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    return {p.stem: p for p in image_files(folder)}


def list_pairs(folder: Path) -> list[tuple[str, Path, Path]]:
    """Pairs of files in `folder/visible` and `folder/thermal`, in natural order of their names.

    Returns:
        (name, visible path, thermal path) for each pair.

    Raises:
        SsvifError: a folder is missing, or no names agree.
    """
    for part in ("visible", "thermal"):
        if not (folder / part).is_dir():
            raise SsvifError(f"{folder / part} is missing: a paired folder has visible/ thermal/.")
    visible, thermal = _by_stem(folder / "visible"), _by_stem(folder / "thermal")
    names = sorted(visible.keys() & thermal.keys(), key=natural_order)
    if not names:
        raise SsvifError(
            f"No pair in {folder}: {len(visible)} visible and {len(thermal)} thermal images, but "
            "no two have the same name."
        )
    return [(name, visible[name], thermal[name]) for name in names]


def read_pair(
    name: str,
    visible_path: Path,
    thermal_path: Path,
    labels_path: Path | None = None,
    label_map: Mapping[int, int] | None = None,
) -> FramePair:
    """Read one pair, with labels where a path is given; see `make_pair`.

    Raises:
        SsvifError: a file is damaged, or the frames do not show the same view.
    """
    visible, thermal = read_visible(visible_path), read_thermal(thermal_path)
    labels = None if labels_path is None else read_labels(labels_path, label_map)
    return make_pair(name, visible, thermal, labels)
