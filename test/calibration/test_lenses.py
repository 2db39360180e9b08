"""Two distorted lenses: calibrated, written, and registered by what the node registers with."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from two_lenses import (
    BARREL,
    FISHEYE,
    PINCUSHION,
    RATIONAL,
    STRAIGHT,
    THERMAL,
    VISIBLE,
    boards,
    camera,
    enlarged,
    errors_px,
    info_file,
    through,
    without_margin,
)
from typer.testing import CliRunner

from ssvif_core.calibration.frames import Source
from ssvif_core.calibration.geometry import centred_similarity, translation
from ssvif_core.calibration.lenses import Lenses, read_lenses
from ssvif_core.cli.app import app
from ssvif_core.data.bag_writer import BagWriter
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.calibration import Calibration
from ssvif_core.imaging.camera_file import read_camera_file
from ssvif_core.imaging.registration import HomographyAlignment, Registration
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.engine import EngineOptions, create_engine
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.models import open_model
from ssvif_core.simulation.two_views import misalignment, street


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
    assert Calibration.load(output).lenses is not None
    # 1 px of 320 is 2 px of 640.
    assert errors_px(output, lenses, without_margin(true)).max() <= 1.0


def fused_as_the_file_says(folder):
    """`ssvif fuse` needs nothing but the calibration file to undo both lenses."""
    files = [folder / "rgb" / "0.png", folder / "lwir" / "0.png"]
    common = ["fuse", *files, "--model", "tiny", "--threads", 1]
    said = CliRunner().invoke(
        app, [*map(str, common), "--calibration", str(folder / "rig.yaml"), "-o", str(folder / "f")]
    )
    assert said.exit_code == 0, said.output
    visible = cv2.cvtColor(cv2.imread(str(files[0])), cv2.COLOR_BGR2RGB)
    thermal = cv2.imread(str(files[1]), cv2.IMREAD_UNCHANGED)
    registration = Registration(HomographyAlignment(Calibration.load(folder / "rig.yaml")))
    engine, _ = create_engine(open_model("tiny"), "onnxruntime", EngineOptions(threads=1))
    expected = Pipeline(engine, ThermalGain(), registration).process(visible, thermal).fused
    fused = cv2.imread(str(folder / "f" / "fused" / "0.png"))
    assert np.array_equal(fused[..., ::-1], expected)
    engine.close()


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
    fused_as_the_file_says(tmp_path)
    if lens is BARREL:  # what is not undone is no plane to plane
        with pytest.raises(SsvifError, match="Not written"):
            run(*common, "-o", tmp_path / "bent.yaml", "--no-undistort")


def test_lenses_without_distortion_leave_the_file_as_it_is_for_a_node_without_camera_info(tmp_path):
    lenses = Lenses(camera(VISIBLE, STRAIGHT), camera(THERMAL, STRAIGHT))
    flat = np.zeros((240, 320, 3), np.uint8), np.zeros((128, 160), np.uint8)
    found, why = read_lenses(Source(record(tmp_path / "drive", lenses, [flat])))
    assert found is None
    assert "neither" in why


def one_rig(path, images="rgb", size=VISIBLE):
    """A recording of `/rig/rgb` and `/rig/thermal`, with one camera_info of images of a size."""
    lens = camera(size, BARREL)
    numbers = {
        "k": lens.matrix.ravel(),
        "d": lens.distortion,
        "r": np.eye(3).ravel(),
        "p": np.zeros(12),
    }
    visible, thermal = (np.zeros(shape, np.uint8) for shape in ((240, 320, 3), (128, 160)))
    with BagWriter(path) as bag:
        bag.camera_info("/rig/camera_info", 10**9, 10**9, size[::-1], numbers, "rgb_optical")
        bag.image(f"/rig/{images}", 10**9, 10**9, visible, "rgb8", "rgb_optical")
        bag.image("/rig/thermal", 10**9, 10**9, thermal, "mono8", "thermal_optical")
    return Source(path)


def test_one_camera_info_beside_both_cameras_is_the_lens_of_one_as_in_replay(tmp_path):
    source = one_rig(tmp_path / "drive")
    found, why = read_lenses(source)
    assert found is None
    assert "/rig/camera_info is the visible camera's, whose frame it has" in why
    found, _ = read_lenses(source, None, info_file(tmp_path / "t.yaml", camera(THERMAL, FISHEYE)))
    assert found.visible.distortion == BARREL[1]
    assert found.thermal.distortion == FISHEYE[1]


def test_images_that_are_rectified_already_are_not_bent_once_more(tmp_path):
    thermal = info_file(tmp_path / "t.yaml", camera(THERMAL, FISHEYE))
    found, why = read_lenses(one_rig(tmp_path / "drive", "image_rect_color"), None, thermal)
    assert not found.visible.model
    assert "visible none (/rig/image_rect_color is rectified already), thermal equidistant" in why


def test_a_lens_of_images_of_another_shape_is_not_used(tmp_path):
    thermal = info_file(tmp_path / "t.yaml", camera(THERMAL, FISHEYE))
    cut = one_rig(tmp_path / "drive", size=(320, 256))
    with pytest.raises(SsvifError, match="images of 320x256, and these are 320x240"):
        read_lenses(cut, None, thermal)
    lenses = Lenses(camera((320, 256), BARREL), camera(THERMAL, FISHEYE))
    with pytest.raises(SsvifError, match="visible lens is one of images of 320x256"):
        lenses.resized(VISIBLE, THERMAL)
    assert lenses.resized((640, 512), (320, 256)).visible.size == (640, 512)


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
