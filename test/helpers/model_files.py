"""Frames and model files for tests of engines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ssvif_core.models import FOLDER, Model, open_model, sha256_of


def frame(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 and (H, W) uint8 noise."""
    rng = np.random.default_rng(seed)
    visible = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return visible, rng.integers(0, 256, (height, width), dtype=np.uint8)


def model_of(content: bytes, folder: Path, **changes: object) -> Model:
    """A model file of these bytes, with a card that fits it."""
    path, card = folder / "mine.onnx", json.loads((FOLDER / "tiny.json").read_text())
    path.write_bytes(content)
    card |= {"sha256": sha256_of(path), **changes}
    path.with_suffix(".json").write_text(json.dumps(card))
    return open_model(path)
