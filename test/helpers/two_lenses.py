"""A rig of two small cameras whose lenses distort: what they see, and how exact a map of it is."""

from __future__ import annotations

import cv2
import numpy as np
import yaml

from ssvif_core.calibration.geometry import apply, translation
from ssvif_core.imaging.calibration import Calibration
from ssvif_core.imaging.pinhole import Camera
from ssvif_core.imaging.registration import HomographyAlignment

VISIBLE, THERMAL = (320, 240), (160, 128)
#: Drawn images are this much larger on each side, for what a barrel lens sees beside a pinhole.
MARGIN = {VISIBLE: 48, THERMAL: 24}
BARREL = ("plumb_bob", (-0.28, 0.09, 0.001, -0.001, 0.0))
RATIONAL = ("rational_polynomial", (0.4, 0.1, 0.0005, -0.0005, 0.01, 0.7, 0.2, 0.02))
FISHEYE = ("equidistant", (0.05, -0.01, 0.002, -0.0003))
PINCUSHION = ("plumb_bob", (0.15, -0.03, 0.0, 0.0, 0.0))
STRAIGHT = ("plumb_bob", (0.0, 0.0, 0.0, 0.0, 0.0))


def camera(size, lens):
    f = 0.9 * size[0]
    return Camera(size, np.array([[f, 0, size[0] / 2], [0, f, size[1] / 2], [0, 0, 1.0]]), *lens)


def enlarged(size):
    return size[0] + 2 * MARGIN[size], size[1] + 2 * MARGIN[size]


def straight_pixels(lens, pixels):
    return lens.rays(pixels) @ lens.matrix[:2, :2].T + lens.matrix[:2, 2]


def grid(size):
    axes = [np.arange(n, dtype=np.float64) for n in size]
    return np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)


def through(lens, image):
    """What a lens makes of a pinhole image with a margin."""
    places = straight_pixels(lens, grid(lens.size)) + MARGIN[lens.size]
    places = np.nan_to_num(places, nan=-1e4).reshape(*lens.size[::-1], 2).astype(np.float32)
    return cv2.remap(image, places, None, cv2.INTER_LINEAR)


def without_margin(true):
    """Of images with a margin -> of those without."""
    return translation(*[-MARGIN[VISIBLE]] * 2) @ true @ translation(*[MARGIN[THERMAL]] * 2)


def errors_px(file, lenses, true):
    """(N,) visible pixels by which the node's maps are off, where thermal covers."""
    seen = grid(VISIBLE)
    straight = straight_pixels(lenses.visible, seen)
    felt = apply(np.linalg.inv(true), straight)
    expected = lenses.thermal.pixels(
        np.column_stack([felt, np.ones(len(felt))]) @ np.linalg.inv(lenses.thermal.matrix).T
    )
    alignment = HomographyAlignment(Calibration.load(file))
    found = alignment.coordinates(VISIBLE, THERMAL).reshape(-1, 2)
    with np.errstate(invalid="ignore"):
        covered = ((expected >= 0) & (expected <= np.array(THERMAL) - 1)).all(1)
    assert covered.mean() > 0.3
    per_thermal_pixel = np.sqrt(abs(np.linalg.det(true[:2, :2])))
    return np.linalg.norm(found[covered] - expected[covered], axis=1) * per_thermal_pixel


def info_file(path, lens):
    model = lens.model or "plumb_bob"
    content = {
        "image_width": lens.size[0],
        "image_height": lens.size[1],
        "camera_name": path.stem,
        "camera_matrix": {"rows": 3, "cols": 3, "data": lens.matrix.ravel().tolist()},
        "distortion_model": model,
        "distortion_coefficients": {
            "rows": 1,
            "cols": len(lens.distortion),
            "data": list(lens.distortion),
        },
    }
    path.write_text(yaml.safe_dump(content))
    return path


def chessboard():
    squares = np.kron(np.indices((7, 10)).sum(0) % 2, np.ones((20, 20))).astype(np.uint8)
    return cv2.copyMakeBorder(squares * 170 + 30, *[20] * 4, cv2.BORDER_CONSTANT, value=225)


def boards(true):
    """Pairs of images with margins, the board in several places, warm where black in thermal."""
    pairs = []
    for x, y, width in [(60, 60, 160), (190, 60, 160), (60, 160, 160), (190, 160, 160)]:
        place = translation(x, y) @ np.diag([width / 240, width / 240, 1.0])
        images = [
            cv2.warpPerspective(chessboard(), h @ place, enlarged(size), flags=cv2.INTER_AREA,
                                borderValue=110)
            for h, size in ((np.eye(3), VISIBLE), (np.linalg.inv(true), THERMAL))
        ]  # fmt: skip
        pairs.append((np.dstack([images[0]] * 3), 255 - images[1]))
    return pairs
