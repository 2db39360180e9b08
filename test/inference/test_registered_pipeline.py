"""The pipeline with two cameras that are not aligned: what is fused, and how its edge looks."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from ssvif_core.cli.app import app
from ssvif_core.imaging.calibration import Calibration
from ssvif_core.imaging.registration import HomographyAlignment, Registration
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.engine import EngineOptions, create_engine
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.models import open_model


@pytest.fixture(scope="module")
def engine():
    made, _ = create_engine(open_model("tiny"), options=EngineOptions(threads=1))
    yield made
    made.close()


def central(size, part=0.7):
    """A thermal camera that sees the central part of the visible image, and its frame's window."""
    width, height = size
    x, y = round(width * (1 - part) / 2), round(height * (1 - part) / 2)
    inner = (width - 2 * x, height - 2 * y)
    matrix = np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
    window = slice(y, height - y), slice(x, width - x)
    return Calibration(matrix, size, inner), window


def test_a_frame_is_gained_then_warped_and_the_same_file_serves_the_command_line(
    engine, frame_pairs, tmp_path
):
    visible, thermal, _ = frame_pairs[0]
    matrix = np.array([[0.9, 0.02, 9], [-0.01, 0.95, 4], [1e-5, 0, 1]])
    calibration = Calibration(matrix, (160, 120), (160, 120))
    calibration.save(tmp_path / "rig.yaml")
    raw = 7000 + 3 * thermal.astype(np.uint16)
    registration = Registration(HomographyAlignment(calibration))
    result = Pipeline(engine, ThermalGain(), registration).process(visible, raw, 0.0)
    expected = cv2.warpPerspective(ThermalGain().apply(raw, 0.0), matrix, (160, 120))
    inside = cv2.erode(cv2.warpPerspective(np.ones((120, 160)), matrix, (160, 120)), None) > 0.99
    assert np.abs(result.thermal[inside].astype(int) - expected[inside]).max() <= 8
    assert np.abs(result.thermal[inside].astype(int) - expected[inside]).mean() < 0.5

    cv2.imwrite(str(tmp_path / "v.png"), visible[..., ::-1])
    cv2.imwrite(str(tmp_path / "t.png"), raw)
    words = ["fuse", *(str(tmp_path / n) for n in ("v.png", "t.png")), "--model", "tiny"]
    words += ["--threads", "1", "--calibration", str(tmp_path / "rig.yaml")]
    ran = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "out")])
    assert ran.exit_code == 0, ran.output
    written = cv2.imread(str(next((tmp_path / "out" / "fused").iterdir())))[..., ::-1]
    assert (written == result.fused).all()


def test_a_registration_is_replaced_between_frames_by_another_thread(engine, frame_pairs):
    visible, thermal, _ = frame_pairs[1]
    shifts = [
        Registration(HomographyAlignment(Calibration(m, (160, 120), (160, 120))))
        for m in (np.eye(3), np.array([[1, 0, 20.0], [0, 1, 0], [0, 0, 1]]))
    ]
    expected = [
        Pipeline(engine, ThermalGain(), r).process(visible, thermal).fused.copy() for r in shifts
    ]
    assert (expected[0] != expected[1]).any()
    pipeline, stop = Pipeline(engine, ThermalGain(), shifts[0]), threading.Event()

    def replace():
        while not stop.is_set():
            for registration in shifts:
                pipeline.registration = registration

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        for _ in range(40):
            fused = pipeline.process(visible, thermal).fused
            assert any((fused == one).all() for one in expected)
    finally:
        stop.set()
        thread.join()


def test_with_one_camera_gone_the_other_is_where_it_was(engine, frame_pairs):
    visible, thermal, _ = frame_pairs[2]
    calibration, window = central((160, 120))
    outside = np.ones((120, 160), bool)
    outside[window] = False
    cut = np.ascontiguousarray(thermal[window])
    pipeline = Pipeline(engine, ThermalGain(), Registration(HomographyAlignment(calibration)))
    both = pipeline.process(visible, cut)
    warped = both.thermal.copy()
    for passthrough in (False, True):
        alone = pipeline.process(None, cut, passthrough=passthrough)
        assert (alone.thermal == warped).all()
        # Nobody knows what is there: not the mirror image that the network is given.
        assert (alone.fused[outside] == 0).all()
        assert alone.fused[50:70, 70:90].max() > 0
    plain = Pipeline(engine, ThermalGain()).process(visible, None).fused.copy()
    assert (pipeline.process(visible, None).fused == plain).all()


def test_on_real_frames_there_is_no_seam_and_masks_inside_stay(engine, shared_data):
    folder = shared_data / "msrs" / "val"
    files = sorted((folder / "visible").iterdir())[::5]
    calibration, window = central((640, 480))
    registration = Registration(HomographyAlignment(calibration))
    covered = np.zeros((480, 640), bool)
    covered[window] = True
    steps, agreement = [], {"full": np.zeros((4, 2)), "cut": np.zeros((4, 2))}
    for file in files:
        visible = cv2.imread(str(file))[..., ::-1].copy()
        thermal = cv2.imread(str(folder / "thermal" / file.name), cv2.IMREAD_GRAYSCALE)
        truth = cv2.imread(str(folder / "labels" / file.name), cv2.IMREAD_GRAYSCALE)
        full = Pipeline(engine, ThermalGain()).process(visible, thermal)
        _count(agreement["full"], full.labels, truth, covered)
        cut = Pipeline(engine, ThermalGain(), registration).process(
            visible, np.ascontiguousarray(thermal[window])
        )
        _count(agreement["cut"], cut.labels, truth, covered)
        assert (cut.fused[~covered] == visible[~covered]).all()
        steps.append([_step(image, window) for image in (cut.fused, visible)])
    fused_step, visible_step = np.mean(steps, axis=0)
    # The step across the border of the coverage is the one that the visible image has there.
    assert fused_step < visible_step + 0.5
    iou = {name: both[:, 0] / np.maximum(both[:, 1], 1) for name, both in agreement.items()}
    for label in (1, 2):  # car, person
        assert iou["cut"][label] > iou["full"][label] - 0.08, iou


def _count(sums, labels, truth, region):
    known = region & (truth != 255)
    for label in range(1, 4):
        found, real = labels[known] == label, truth[known] == label
        sums[label] += (found & real).sum(), (found | real).sum()


def _step(image, window):
    """Mean grey level step across the four sides of a window."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(int)
    rows, columns = window
    top, bottom, left, right = rows.start, rows.stop, columns.start, columns.stop
    sides = (
        gray[top, columns] - gray[top - 1, columns],
        gray[bottom, columns] - gray[bottom - 1, columns],
        gray[rows, left] - gray[rows, left - 1],
        gray[rows, right] - gray[rows, right - 1],
    )
    return np.mean([np.abs(side).mean() for side in sides])
