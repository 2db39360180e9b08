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
    if lens is BARREL:  # what is not undone is far off
        run(*common, "-o", tmp_path / "bent.yaml", "--no-undistort")
        assert Calibration.load(tmp_path / "bent.yaml").lenses is None
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
