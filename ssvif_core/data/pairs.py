"""Folders of paired frames, read once into memory. Knows files and arrays, nothing of training.

A folder holds `visible/`, `thermal/` and, optionally, a folder of label images. Frames belong
together when their file names agree but for the extension.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ssvif_core.errors import SsvifError

__all__ = ["FramePair", "list_pairs", "read_labels", "read_pair", "read_thermal", "read_visible"]

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


def read_visible(path: Path) -> np.ndarray:
    """Read an image as (H, W, 3) uint8 RGB. Raises SsvifError if it cannot be decoded."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SsvifError(f"Cannot read the image {path}: check that it exists and is not damaged.")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_thermal(path: Path) -> np.ndarray:
    """Read a thermal frame as (H, W), uint8 or uint16 as stored; colour files give luminance."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise SsvifError(f"Cannot read the image {path}: check that it exists and is not damaged.")
    if image.ndim == 3:
        image = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2GRAY)
    if image.dtype not in (np.uint8, np.uint16):
        raise SsvifError(f"{path} holds {image.dtype} pixels: convert it to 8 or 16 bit integers.")
    return image


def read_labels(path: Path, label_map: Mapping[int, int] | None = None) -> np.ndarray:
    """Read a label image as (H, W) uint8.

    Args:
        label_map: ids in the file -> class ids; ids that it does not name become 255 (unknown).
    """
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if labels is None or labels.ndim != 2:
        raise SsvifError(f"{path} is not a readable one-channel label image.")
    if label_map is None:
        return labels.astype(np.uint8)
    table = np.full(256, UNKNOWN, np.uint8)
    for file_id, class_id in label_map.items():
        table[file_id] = class_id
    return table[labels]


def _by_stem(folder: Path) -> dict[str, Path]:
    return {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in IMAGE_SUFFIXES}


def list_pairs(folder: Path) -> list[tuple[str, Path, Path]]:
    """Pairs of files in `folder/visible` and `folder/thermal`, sorted by name.

    Returns:
        (name, visible path, thermal path) for each pair.

    Raises:
        SsvifError: a folder is missing, or no names agree.
    """
    for part in ("visible", "thermal"):
        if not (folder / part).is_dir():
            raise SsvifError(f"{folder / part} is missing: a paired folder has visible/ thermal/.")
    visible, thermal = _by_stem(folder / "visible"), _by_stem(folder / "thermal")
    names = sorted(visible.keys() & thermal.keys())
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
    """Read one pair of 8-bit frames of the same size, with labels where a path is given.

    Raises:
        SsvifError: a file is damaged, thermal is not 8 bit, or sizes differ.
    """
    visible, thermal = read_visible(visible_path), read_thermal(thermal_path)
    if thermal.dtype != np.uint8:
        raise SsvifError(f"{thermal_path} is 16 bit: apply a thermal gain first (ssvif fuse does).")
    labels = None if labels_path is None else read_labels(labels_path, label_map)
    sizes = {image.shape[:2] for image in (visible, thermal, labels) if image is not None}
    if len(sizes) != 1:
        raise SsvifError(f"The images of pair '{name}' differ in size: {sorted(sizes)}.")
    return FramePair(name, visible, thermal, labels)
