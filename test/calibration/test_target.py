"""Boards drawn through known maps, as each camera would see them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssvif_core.calibration.frames import shots_of
from ssvif_core.calibration.geometry import centred_similarity, corner_errors, corners, translation
from ssvif_core.calibration.result import calibrate_target, describe_target
from ssvif_core.calibration.target import Board, find_board, fit_boards
from ssvif_core.errors import SsvifError

VISIBLE, THERMAL = (640, 480), (320, 256)
TRUE = translation(14, -9) @ centred_similarity(THERMAL, VISIBLE, 1.1, 2.0)


def chessboard(columns=9, rows=6, square=20):
    """A board with a white rim; `columns` x `rows` inner corners."""
    grid = np.indices((rows + 1, columns + 1)).sum(0) % 2
    board = np.kron(grid, np.ones((square, square))).astype(np.uint8) * 170 + 30
    return cv2.copyMakeBorder(board, *[square] * 4, cv2.BORDER_CONSTANT, value=225)


def circles(columns, rows, asymmetric):
    image = np.full((rows * 30 + 60, columns * (60 if asymmetric else 30) + 60), 225, np.uint8)
    for row in range(rows):
        for column in range(columns):
            x = 45 + (60 * column + 30 * (row % 2) if asymmetric else 30 * column)
            cv2.circle(image, (x, 45 + 30 * row), 9, 30, -1, cv2.LINE_AA)
    return image


def scene(board, x, y, size, degrees=0.0):
    """A visible frame with the board at (x, y), `size` wide; and what thermal sees of it."""
    height, width = board.shape
    scale = size / width
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    place = np.eye(3)
    place[:2, :2], place[:2, 2] = turn, (x, y)
    visible = cv2.warpPerspective(board, place, VISIBLE, flags=cv2.INTER_AREA, borderValue=110)
    inverse = np.linalg.inv(TRUE) @ place
    thermal = cv2.warpPerspective(board, inverse, THERMAL, flags=cv2.INTER_AREA, borderValue=110)
    # Warm where black, faint, blurred, noisy.
    faint = 140 - 0.18 * cv2.GaussianBlur(thermal, (0, 0), 0.8).astype(float)
    noisy = faint + np.random.default_rng(int(x)).normal(0, 0.7, faint.shape)
    return np.dstack([visible] * 3), np.rint(noisy).clip(0, 255).astype(np.uint8)


PLACES = [(60, 50, 300), (300, 40, 300), (60, 210, 280), (290, 200, 300), (180, 120, 340)]


def frames(board, places=PLACES):
    return [(f"frame {i}", *scene(board, *p)) for i, p in enumerate(places)]


@pytest.mark.parametrize(
    ("board", "image"),
    [
        (Board("chessboard", 9, 6), chessboard()),
        (Board("circles", 7, 5), circles(7, 5, False)),
        (Board("asymmetric", 4, 9), circles(4, 9, True)),
    ],
    ids=["chessboard", "circles", "asymmetric"],
)
def test_a_faint_inverted_board_gives_the_map(board, image, tmp_path):
    shots = shots_of(frames(image))
    calibration, fit = calibrate_target(shots, board, tmp_path / "c.yaml")
    assert len(fit.frame_errors_px) >= 3
    assert corner_errors(calibration.homography, TRUE, VISIBLE).max() <= 2.0
    assert calibration.error_px < 1.0
    assert (tmp_path / "c.before_after.jpg").exists()


def test_a_frame_in_which_the_board_moved_is_named_and_left_out(tmp_path):
    good = frames(chessboard())
    _, elsewhere = scene(chessboard(), 220, 150, 300)
    names, visible, thermal = zip(*good, ("moved", good[0][1], elsewhere), strict=True)
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in visible]
    fit = fit_boards(names, grey, thermal, Board("chessboard", 9, 6))
    assert "off" in fit.left_out["moved"]
    assert corner_errors(fit.homography, TRUE, VISIBLE).max() <= 2.0
    assert "moved: left out" in describe_target(fit)


def test_a_board_found_upside_down_in_one_image_is_turned_round():
    image = chessboard()
    visible, thermal = scene(image, 150, 100, 330)
    points = find_board(cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY), Board("chessboard", 9, 6))
    upside_down = cv2.rotate(cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY), cv2.ROTATE_180)
    turned = find_board(upside_down, Board("chessboard", 9, 6))
    assert np.allclose(
        np.sort(corners(VISIBLE)[2] - turned, axis=0), np.sort(points, axis=0), atol=0.6
    )
    fit = fit_boards(["one"], [cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY)], [thermal],
                     Board("chessboard", 9, 6))  # fmt: skip
    assert fit.homography[0, 0] > 0


@pytest.mark.parametrize("degrees", [40, -50, 130])
@pytest.mark.parametrize(
    ("board", "image"),
    [
        (Board("chessboard", 6, 6), chessboard(6, 6)),
        (Board("chessboard", 7, 7), chessboard(7, 7)),
        (Board("circles", 5, 5), circles(5, 5, False)),
    ],
    ids=["even", "odd", "circles"],
)
def test_a_square_board_that_is_rolled_does_not_turn_the_map(board, image, degrees):
    place = np.deg2rad(degrees)
    x, y = (320, 240) - 130 * np.array(
        [np.cos(place) - np.sin(place), np.sin(place) + np.cos(place)]
    )
    visible, thermal = scene(image, x, y, 260, degrees)
    fit = fit_boards(["one"], [cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY)], [thermal], board)
    assert corner_errors(fit.homography, TRUE, VISIBLE).max() <= 10  # one board in the middle


def test_no_board_says_what_to_check():
    visible, thermal = scene(chessboard(), 150, 100, 330)
    grey = cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY)
    with pytest.raises(SsvifError, match="inner corners"):
        fit_boards(["one"], [grey], [thermal], Board("chessboard", 11, 4))


#: Two pinhole cameras, 4 cm apart: size and focal length.
VIEWS = ((VISIBLE, 600.0), (THERMAL, 280.0))
APART = 0.04


def lens(size, f):
    return np.array([[f, 0, (size[0] - 1) / 2], [0, f, (size[1] - 1) / 2], [0, 0, 1]])


def held(places):
    """What the two see of a board of 60 cm at each (x, y, distance, tilt in degrees)."""
    image = cv2.copyMakeBorder(chessboard(), 30, 30, 30, 30, cv2.BORDER_CONSTANT, value=110)
    height, width = image.shape
    in_metres = np.array([[0.003, 0, -0.0015 * width], [0, 0.003, -0.0015 * height], [0, 0, 1]])
    frames = []
    for index, (x, y, distance, tilt) in enumerate(places):
        turn = cv2.Rodrigues(np.array([0.0, np.deg2rad(tilt), 0.0]))[0]
        seen, felt = (
            cv2.warpPerspective(
                image,
                lens(size, f)
                @ np.column_stack([turn[:, :2], (x - aside, y, distance)])
                @ in_metres,
                size,
                borderValue=110,
            )
            for (size, f), aside in zip(VIEWS, (0, APART), strict=True)
        )
        frames.append((f"frame {index}", np.dstack([seen] * 3), 255 - felt))
    return frames


def of_plane(distance):
    """The map of what is at a distance, for the cameras of `held`."""
    seen, felt = (lens(*view) for view in VIEWS)
    return seen @ translation(APART / distance, 0) @ np.linalg.inv(felt)


FACING = [(x, y, 1.5, 0) for x, y in ((-0.35, -0.25), (0.35, -0.2), (-0.3, 0.25), (0.35, 0.25))]


def test_boards_that_face_the_cameras_at_one_distance_give_a_map_and_an_error_that_holds(tmp_path):
    calibration, fit = calibrate_target(
        shots_of(held(FACING)), Board("chessboard", 9, 6), tmp_path / "c.yaml"
    )
    assert fit.poses == 4
    off = corner_errors(calibration.homography, of_plane(1.5), VISIBLE).max()
    assert off <= calibration.error_px <= 3.0
    assert fit.residual_px < off  # how well a map fits its own boards says little


@pytest.mark.parametrize("places", [[(0, 0, 0.9, 35)], [(0.01 * i, 0, 0.9, 35) for i in range(4)]])
def test_one_pose_of_a_board_is_refused_however_well_it_fits_itself(places, tmp_path):
    with pytest.raises(
        SsvifError, match=r"the board in 1 of the 3 poses.*every part.*(left|right) one"
    ):
        calibrate_target(shots_of(held(places)), Board("chessboard", 9, 6), tmp_path / "c.yaml")
    assert (tmp_path / "c.before_after.jpg").exists()


def test_boards_at_different_slants_give_no_map_of_one_plane(tmp_path):
    slanted = [(x, y, z, tilt) for (x, y, z, _), tilt in zip(FACING, (0, -30, 25, 30), strict=True)]
    with pytest.raises(SsvifError, match="without one of its . poses.*facing the cameras"):
        calibrate_target(shots_of(held(slanted)), Board("chessboard", 9, 6), tmp_path / "c.yaml")


def test_boards_in_one_corner_are_refused(tmp_path):
    shots = shots_of(frames(chessboard(), [(60, 50, 190), (70, 60, 190)]))
    with pytest.raises(SsvifError, match="every part"):
        calibrate_target(shots, Board("chessboard", 9, 6), tmp_path / "c.yaml")


@pytest.mark.parametrize("grid", ["9", "9x", "2x6", "axb"])
def test_a_grid_that_is_none_is_refused(grid):
    with pytest.raises(SsvifError, match="grid"):
        Board.parse("chessboard", grid)


@pytest.mark.parametrize("count", [2, 5])
def test_boards_of_which_no_two_agree_are_refused_though_each_fits_itself(count):
    """As from cameras that were not recorded at the same time, and a board that moved."""
    moved = []
    for i, (name, visible, _) in enumerate(frames(chessboard(), [(150, 90, 340)] * count)):
        _, elsewhere = scene(chessboard(), 60 + 45 * i, 60 + 30 * (i % 3), 330)
        moved.append((name, visible, elsewhere))
    with pytest.raises(SsvifError, match=f"{count} frames show the board.*same time"):
        fit_boards(
            [n for n, _, _ in moved], [v[..., 0] for _, v, _ in moved], [t for _, _, t in moved],
            Board("chessboard", 9, 6),
        )  # fmt: skip
