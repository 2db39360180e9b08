"""Two distorted lenses: calibrated, written, and registered by what the node registers with."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from ssvif_core.calibration.frames import Source
from ssvif_core.calibration.geometry import apply, centred_similarity, translation
from ssvif_core.calibration.lenses import Lenses, read_lenses
from ssvif_core.cli.app import app
from ssvif_core.data.bag_writer import BagWriter
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.calibration import Calibration
from ssvif_core.imaging.camera_file import read_camera_file
from ssvif_core.imaging.pinhole import Camera
from ssvif_core.imaging.registration import HomographyAlignment
from ssvif_core.simulation.two_views import misalignment, street

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
    calibration = Calibration.load(file)
    cameras = (lenses.visible, lenses.thermal)
    found = HomographyAlignment(calibration, cameras).coordinates(VISIBLE, THERMAL).reshape(-1, 2)
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


def record(path, lenses, frames):
    """A recording with images and camera_info, 1 Hz."""
    with BagWriter(path) as bag:
        for index, pair in enumerate(frames):
            at = (10 + index) * 10**9
            for name, lens, image in zip(
                ("visible", "thermal"), (lenses.visible, lenses.thermal), pair, strict=True
            ):
                encoding = "rgb8" if image.ndim == 3 else "mono8"
                bag.image(f"/{name}/image_raw", at, at, image, encoding, name)
                numbers = {"k": lens.matrix.ravel(), "d": lens.distortion, "r": np.eye(3).ravel(),
                           "p": np.zeros(12)}  # fmt: skip
                bag.camera_info(f"/{name}/camera_info", at, at, lens.size[::-1], numbers, name,
                                lens.model or "plumb_bob")  # fmt: skip
    return path


def run(*words):
    result = CliRunner().invoke(app, ["calibrate", *map(str, words)])
    if isinstance(result.exception, SsvifError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_a_recorded_street_through_two_lenses_gives_a_file_that_the_node_registers_with(tmp_path):
    lenses = Lenses(camera(VISIBLE, BARREL), camera(THERMAL, FISHEYE))
    large = enlarged(VISIBLE), enlarged(THERMAL)
    true = misalignment(np.random.default_rng(6), *large)
    visible, thermal = street("day", 5, true, [0.0, 2.0, 4.0], *large)
    frames = [
        (through(lenses.visible, v), through(lenses.thermal, t))
        for v, t in zip(visible, thermal, strict=True)
    ]
    bag, output = record(tmp_path / "drive", lenses, frames), tmp_path / "rig.yaml"
    # The search is none of this test's matter.
    moved = translation(6, -4) @ without_margin(true)
    Calibration(moved, VISIBLE, THERMAL).save(tmp_path / "old.yaml")
    said = run(bag, "-o", output, "--frames", 3, "--initial", tmp_path / "old.yaml")
    assert "undone, visible plumb_bob, thermal equidistant" in said
    assert "camera_info of both cameras" in said
    assert Calibration.load(output).undistorted
    # 1 px of 320 is 2 px of 640.
    assert errors_px(output, lenses, without_margin(true)).max() <= 1.0


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


@pytest.mark.parametrize("lens", [BARREL, RATIONAL, FISHEYE], ids=lambda lens: lens[0])
def test_boards_through_two_lenses_from_folders_and_camera_files(lens, tmp_path):
    lenses = Lenses(camera(VISIBLE, lens), camera(THERMAL, PINCUSHION))
    large = enlarged(VISIBLE), enlarged(THERMAL)
    true = centred_similarity(large[1], large[0], 1.05, 2.0)
    for index, (v, t) in enumerate(boards(true)):
        for name, optics, image in (("rgb", lenses.visible, v), ("lwir", lenses.thermal, t)):
            (tmp_path / name).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / name / f"{index}.png"), through(optics, image))
    common = [tmp_path / "rgb", "--thermal", tmp_path / "lwir", "--pattern", "chessboard",
              "--visible-info", info_file(tmp_path / "rgb.yaml", lenses.visible),
              "--thermal-info", info_file(tmp_path / "lwir.yaml", lenses.thermal)]  # fmt: skip
    run(*common, "-o", tmp_path / "rig.yaml")
    assert errors_px(tmp_path / "rig.yaml", lenses, without_margin(true)).max() <= 1.0
    if lens is BARREL:  # what is not undone is far off
        run(*common, "-o", tmp_path / "bent.yaml", "--no-undistort")
        assert not Calibration.load(tmp_path / "bent.yaml").undistorted
        assert errors_px(tmp_path / "bent.yaml", lenses, without_margin(true)).max() > 1.5


def test_lenses_without_distortion_leave_the_file_as_it_is_for_a_node_without_camera_info(tmp_path):
    lenses = Lenses(camera(VISIBLE, STRAIGHT), camera(THERMAL, STRAIGHT))
    flat = np.zeros((240, 320, 3), np.uint8), np.zeros((128, 160), np.uint8)
    found, why = read_lenses(Source(record(tmp_path / "drive", lenses, [flat])))
    assert found is None
    assert "neither" in why


def test_one_file_without_the_other_and_files_that_are_none_say_what_is_needed(tmp_path):
    good = info_file(tmp_path / "visible.yaml", camera(VISIBLE, BARREL))
    assert read_camera_file(good).distortion == pytest.approx(BARREL[1])
    with pytest.raises(SsvifError, match="--thermal-info"):
        read_lenses(Source(tmp_path), good)
    (tmp_path / "other.yaml").write_text("camera_matrix: 3\n")
    with pytest.raises(SsvifError, match="image_width"):
        read_camera_file(tmp_path / "other.yaml")
    with pytest.raises(SsvifError, match="cameracalibrator"):
        read_camera_file(tmp_path / "nowhere.yaml")
