"""Where thermal looks, from ordinary frames of a known misalignment."""

from __future__ import annotations

import tracemalloc
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssvif_core.calibration.choice import Look, choose
from ssvif_core.calibration.frames import (
    Source,
    choose_frames,
    read_best,
    read_shots,
    shots_of,
)
from ssvif_core.calibration.geometry import centred_similarity, corner_errors, translation
from ssvif_core.calibration.result import calibrate_targetless, check, picture_path
from ssvif_core.calibration.structure import structure_map
from ssvif_core.calibration.targetless import Estimate, estimate
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.calibration import Calibration
from ssvif_core.simulation.two_views import misalignment, placed, seen, street

SMALL, SMALL_THERMAL = (320, 240), (160, 128)


@pytest.fixture(scope="module")
def small_street():
    """Five frames by day, and the map between the cameras."""
    true = misalignment(np.random.default_rng(3), SMALL, SMALL_THERMAL)
    frames = street("day", 1, true, [0.0, 1.0, 2.0, 3.0, 4.0], SMALL, SMALL_THERMAL)
    return true, *frames


def shots(visible, thermal):
    names = [str(i) for i in range(len(visible))]
    return shots_of(list(zip(names, visible, thermal, strict=True)))


def test_structure_does_not_know_which_side_of_an_edge_is_bright():
    image = np.zeros((60, 80), np.uint8)
    cv2.rectangle(image, (20, 15), (60, 45), 180, -1)
    assert np.allclose(structure_map(image), structure_map(255 - image), atol=1e-4)
    assert np.linalg.norm(structure_map(image), axis=-1).max() > 0.5


def test_the_map_of_two_small_cameras_is_found_and_written_with_a_picture(small_street, tmp_path):
    true, visible, thermal = small_street
    output = tmp_path / "calibration.yaml"
    calibration, found = calibrate_targetless(shots(visible, thermal), 5, output)
    calibration.save(output)
    loaded = Calibration.load(output)
    assert corner_errors(loaded.homography, true, SMALL).max() <= 1.5
    assert loaded.method == "targetless"
    assert loaded.visible_size == SMALL
    assert loaded.thermal_size == SMALL_THERMAL
    assert found.agreement > 0.7
    assert corner_errors(loaded.homography, true, SMALL).max() <= loaded.error_px
    picture = cv2.imread(str(picture_path(output)))
    assert picture.shape[1] == 3 * SMALL[0]
    assert picture.shape[0] == 3 * SMALL[1]


def test_an_old_calibration_is_corrected(small_street):
    true, visible, thermal = small_street
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in visible]
    moved = translation(7, -5) @ true
    found = estimate(grey, [255 - image for image in thermal], initial=moved)
    assert corner_errors(found.homography, true, SMALL).max() <= 1.5


def test_noise_is_refused_with_what_to_do(tmp_path, small_street):
    _, visible, thermal = small_street
    random = np.random.default_rng(0)
    noise = [random.integers(0, 255, image.shape, dtype=np.uint8) for image in thermal]
    with pytest.raises(SsvifError, match="edges do not agree anywhere.*--pattern"):
        calibrate_targetless(shots(visible[:3], noise[:3]), 3, tmp_path / "noise.yaml")


def test_unrelated_scenes_are_refused_and_drawn(tmp_path, small_street):
    _, visible, _ = small_street
    _, other = street("night", 9, centred_similarity(SMALL_THERMAL, SMALL), [0.0, 1.0, 2.0],
                      SMALL, SMALL_THERMAL)  # fmt: skip
    with pytest.raises(SsvifError, match="Not written"):
        calibrate_targetless(shots(visible[:3], other), 3, tmp_path / "other.yaml")
    assert not (tmp_path / "other.yaml").exists()
    assert (tmp_path / "other.before_after.jpg").exists()


def test_black_frames_are_not_chosen(small_street):
    _, visible, thermal = small_street
    black = np.zeros_like(visible[0])
    mixed = shots([black, visible[0], black, visible[2]], thermal[:4])
    assert choose_frames(mixed, 4).names == ["1", "3"]
    with pytest.raises(SsvifError, match="There is 1 pair .* needs two at least"):
        choose_frames(shots(visible[:1], thermal[:1]), 2)
    with pytest.raises(SsvifError, match="by day"):
        choose_frames(shots([black, black], thermal[:2]), 2)


def look(thumb, visible=0.5, thermal=0.5):
    sizes = (240, 320), (128, 160)
    return Look("", sizes, [visible, thermal], np.array([float(thumb)]))


def test_frames_with_little_to_see_in_either_camera_are_not_chosen():
    looks = [look(0, 0.6), look(100, 0.2), look(1), look(200, 0.5, 0.1)]  # 0.2 < 0.35 * 0.6
    assert choose(looks, 4) == [0, 2]
    # But where there are not two that are better: all that show anything.
    assert choose([look(0, 0.6), look(1, 0.2), look(2, 0.0)], 4) == [0, 1]


def test_each_frame_that_is_chosen_is_the_one_least_like_those_before():
    # The richest is at 0; farthest from it is 9; from 0 and 9 then 4, for 8 is beside 9.
    looks = [look(8), look(2), look(0, 0.6, 0.6), look(4), look(9)]
    assert [choose(looks, count) for count in (2, 3, 4)] == [[2, 4], [2, 3, 4], [1, 2, 3, 4]]


@pytest.mark.parametrize("kind", ["folders", "videos"])
def test_only_the_chosen_frames_are_held_and_they_are_those_of_all(tmp_path, kind):
    random, count = np.random.default_rng(4), 30
    images = [
        cv2.GaussianBlur(random.integers(0, 255, (720, 960), dtype=np.uint8), (0, 0), 2 + i % 7)
        for i in range(count)
    ]
    paths = tmp_path / "v.avi", tmp_path / "t.avi"
    if kind == "folders":
        paths = tmp_path / "v", tmp_path / "t"
    for path in paths:
        if kind == "folders":
            path.mkdir()
            for index, image in enumerate(images):
                cv2.imwrite(str(path / f"{index}.png"), image)
            continue
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (960, 720))
        for image in images:
            writer.write(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
        writer.release()
    expected = choose_frames(read_shots(Source(*paths), 100), 4)
    tracemalloc.start()
    found, looked_at = read_best(Source(*paths), 100, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.names, looked_at) == (expected.names, count)
    for one, other in ((found.visible, expected.visible), (found.thermal, expected.thermal)):
        assert all((a == b).all() for a, b in zip(one, other, strict=True))
    assert peak < 0.5 * count * 960 * 720 * 4


def test_a_map_with_uncertain_corners_is_refused(small_street):
    true, visible, thermal = small_street
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in visible]
    # Structure in one corner only says nothing of the others.
    masked = []
    for image in grey[:3]:
        flat = np.full_like(image, 128)
        flat[:90, :120] = image[:90, :120]
        masked.append(flat)
    found = estimate(masked, thermal[:3], initial=true)
    with pytest.raises(SsvifError, match="Not written"):
        check(found, 3, SMALL[0], None)


@pytest.mark.parametrize(
    ("agreement", "spread_px", "message"),
    [(0.59, 0.1, "edges do not agree"), (0.61, 9.0, "corners are not certain"), (0.61, 0.1, None)],
)
def test_what_is_said_of_a_map_is_what_is_wrong_with_it(agreement, spread_px, message):
    found = Estimate(np.eye(3), spread_px, 0.1, 0.1, 0.1, agreement, np.ones(3))
    refusal = nullcontext() if message is None else pytest.raises(SsvifError, match=message)
    with refusal:
        check(found, 3, 640, Path("picture.jpg"))


@pytest.mark.long
@pytest.mark.parametrize(("kind", "seed"), [("day", 1), ("night", 2), ("glare", 1)])
def test_corners_are_within_two_pixels_at_640x480(kind, seed):
    true = misalignment(np.random.default_rng([seed, 640]))
    visible, thermal = street(kind, seed, true, [0.0, 1.5, 3.0, 4.5, 6.0, 7.5])
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in visible]
    found = estimate(grey, thermal)
    assert corner_errors(found.homography, true, (640, 480)).max() <= 2.0
    check(found, len(grey), 640, None)
    assert corner_errors(found.homography, true, (640, 480)).max() <= max(found.error_px, 1.0)


@pytest.mark.long
def test_a_real_clip_displaced_by_a_known_map_gives_that_map(shared_data):
    frames = {}
    for camera, code in (("visible", cv2.COLOR_BGR2GRAY), ("thermal", cv2.COLOR_BGR2GRAY)):
        capture = cv2.VideoCapture(str(shared_data / "clips" / camera / "0113_1714.mp4"))
        images = []
        while (decoded := capture.read())[0]:
            images.append(cv2.cvtColor(decoded[1], code))
        frames[camera] = images[:: max(1, len(images) // 8)][:8]
    own = estimate(frames["visible"], frames["thermal"]).homography
    true = misalignment(np.random.default_rng(2))
    at_visible, at_thermal = placed(true, (640, 480), (320, 256), (640, 480))
    found = estimate(
        [seen(image, at_visible, (640, 480)) for image in frames["visible"]],
        [seen(image, at_thermal, (320, 256)) for image in frames["thermal"]],
    )
    # The clip's own misalignment is part of what is found.
    expected = np.linalg.inv(at_visible) @ own @ at_thermal
    assert corner_errors(found.homography, expected, (640, 480)).max() <= 4.0
