"""The map from thermal to visible from a board that both cameras see.

A chessboard in the thermal image is often inverted (black paint is warm in the sun), faint, or
unevenly warm, so that each image is tried as it is and inverted, plain and with its contrast
equalised. A board may be found turned by half a turn in one image, a square one by a quarter: of
these orders the one is taken that leaves the thermal image nearest to upright.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from ssvif_core.calibration.board_poses import (
    bare_corner,
    common_corners,
    corner_deviations,
    poses_of,
)
from ssvif_core.calibration.certainty import ERROR_DEVIATIONS
from ssvif_core.calibration.geometry import Size, apply
from ssvif_core.calibration.lenses import Lenses
from ssvif_core.cores import cores
from ssvif_core.errors import SsvifError

__all__ = ["PATTERNS", "Board", "TargetFit", "find_board", "fit_boards"]

PATTERNS = ("chessboard", "circles", "asymmetric")
#: Images narrower than this are enlarged before the search: a small board has too few pixels.
SEARCH_WIDTH = 640
#: A point further off than this is an outlier of the robust fit, in visible pixels at width 640.
INLIER_PX = 2.0
#: Times that the outliers are found anew.
REFITS = 5
#: A board whose points are off by more than this (root mean square) is left out.
MOST_ERROR_PX = 3.0


@dataclass(frozen=True)
class Board:
    """What is looked for: inner corners of a chessboard, or circles, as (columns, rows)."""

    pattern: str
    columns: int
    rows: int

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise SsvifError(f"There is no pattern {self.pattern!r}: use one of {PATTERNS}.")
        if min(self.columns, self.rows) < 3:
            raise SsvifError(
                f"A grid of {self.columns}x{self.rows} is too small: give the inner corners (or "
                "circles) of the board as COLUMNSxROWS, 3 or more each, such as 9x6."
            )

    @classmethod
    def parse(cls, pattern: str, grid: str) -> Board:
        """From the texts of the command line. Raises SsvifError if they are none."""
        columns, separator, rows = grid.lower().partition("x")
        if not (separator and columns.strip().isdigit() and rows.strip().isdigit()):
            raise SsvifError(f"--grid is {grid!r}: give COLUMNSxROWS, such as 9x6.")
        return cls(pattern, int(columns), int(rows))


@dataclass(frozen=True)
class TargetFit:
    """A map and how well the boards fit it.

    Attributes:
        homography: (3, 3), thermal pixel -> visible pixel.
        error_px: what the worst corner of what both see may be off by, in visible pixels: twice the
            standard deviation by what changes without each pose; infinite for a single pose.
        residual_px: root mean square distance of all points that were used, in visible pixels.
        frame_errors_px: the same of each frame in which both cameras saw the board, by name.
        left_out: name -> why, for every frame that was not used.
        poses: in how many the board was held; frames in which it hardly moved count once.
        coverage: part of the visible image that the boards covered together, 0..1.
        bare_corner: of what both see, the corner that is farthest from all boards, in words.
    """

    homography: np.ndarray
    error_px: float
    residual_px: float
    frame_errors_px: dict[str, float]
    left_out: dict[str, str]
    poses: int
    coverage: float
    bare_corner: str


def find_board(image: np.ndarray, board: Board) -> np.ndarray | None:
    """Points of the board in a (H, W) uint8 image, (N, 2) float64 in its order, or None."""
    scale = max(1.0, SEARCH_WIDTH / image.shape[1])
    enlarged = image
    if scale > 1:
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        enlarged = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    equalised = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(8, 8)).apply(enlarged)
    for attempt in (enlarged, 255 - enlarged, equalised, 255 - equalised):
        points = _detect(attempt, board)
        if points is not None:
            ratio = np.array(enlarged.shape[1::-1]) / np.array(image.shape[1::-1])
            return (points + 0.5) / ratio - 0.5
    return None


def _detect(image: np.ndarray, board: Board) -> np.ndarray | None:
    grid = (board.columns, board.rows)
    if board.pattern == "chessboard":
        flags = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_ACCURACY
        found, points = cv2.findChessboardCornersSB(image, grid, flags=flags)
    else:
        kind = (
            cv2.CALIB_CB_SYMMETRIC_GRID
            if board.pattern == "circles"
            else cv2.CALIB_CB_ASYMMETRIC_GRID
        )
        found, points = cv2.findCirclesGrid(image, grid, flags=kind | cv2.CALIB_CB_CLUSTERING)
        if not found:
            found, points = cv2.findCirclesGrid(image, grid, flags=kind)
    return points.reshape(-1, 2).astype(np.float64) if found and points is not None else None


def fit_boards(
    names: Sequence[str],
    visible: Sequence[np.ndarray],
    thermal: Sequence[np.ndarray],
    board: Board,
    progress: Callable[[float], None] = lambda _part: None,
    lenses: Lenses | None = None,
) -> TargetFit:
    """Fit one map to the boards of all frames.

    Args:
        names: of the frames.
        visible: (H, W) uint8 grey each.
        thermal: (h, w) uint8 each.
        board: what to look for.
        progress: called with the part that is done.
        lenses: of images of these sizes; the map is then of undistorted images.

    Raises:
        SsvifError: the board is in no frame seen by both cameras, or no map fits.
    """
    seen: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    left_out: dict[str, str] = {}
    for index, (name, (in_visible, in_thermal)) in enumerate(
        zip(names, _found(visible, thermal, board), strict=True)
    ):
        if in_visible is None or in_thermal is None:
            left_out[name] = f"no board in the {'visible' if in_visible is None else 'thermal'} one"
        else:
            points = in_visible, in_thermal
            if lenses is not None:
                points = lenses.undone_points(*points)
            if np.isfinite(points).all():
                seen[name] = points
            else:
                left_out[name] = "where the lens of its camera_info has no pixels"
        progress((index + 1) / len(names))
    if not seen:
        raise SsvifError(_not_seen(board, left_out))
    width = visible[0].shape[1]
    ordered = {name: (v, _as_visible(v, t, board)) for name, (v, t) in seen.items()}
    used = dict(ordered)
    while True:
        homography = _robust(list(used.values()), _limit(width))
        errors = {n: _rms(homography, *points) for n, points in used.items()}
        worst = max(errors, key=errors.__getitem__)
        if errors[worst] <= MOST_ERROR_PX * max(1.0, width / 640):
            break
        if len(used) == 1:
            raise SsvifError(
                f"No plane-to-plane map fits the board ({errors[worst]:.1f} px off): hold it still "
                "and flat, further away, and record both cameras at the same time."
            )
        left_out[worst] = f"{errors[worst]:.1f} px off: moved, bent, or much nearer than the others"
        del used[worst]
    # One board alone always fits itself.
    if len(used) == 1 < len(ordered) or 2 * len(used) < len(ordered):
        raise SsvifError(
            f"{len(ordered)} frames show the board to both cameras, and only {len(used)} of them "
            "agree on a map: hold the board still and flat, further away, and record both cameras "
            "at the same time (--offset, --time)."
        )
    sizes = visible[0].shape[1::-1], thermal[0].shape[1::-1]
    return _judged(homography, used, errors, left_out, board, sizes)


def _judged(
    homography: np.ndarray,
    used: dict[str, tuple[np.ndarray, np.ndarray]],
    errors: dict[str, float],
    left_out: dict[str, str],
    board: Board,
    sizes: tuple[Size, Size],
) -> TargetFit:
    """How sure the map of the frames that agree is; sizes: of the two images."""
    size = sizes[0]
    points = list(used.values())
    boards = [v for v, _ in points]
    poses = poses_of([_orders(v, board) for v in boards], size[0])

    def fit(there: np.ndarray) -> np.ndarray:
        return _robust([p for p, use in zip(points, there, strict=True) if use], _limit(size[0]))

    places = common_corners(homography, *sizes)
    deviations = corner_deviations(homography, poses, fit, places)
    everything = np.concatenate([_residuals(homography, *one) for one in points])
    return TargetFit(
        homography,
        ERROR_DEVIATIONS * float(deviations.max()),
        float(np.sqrt((everything**2).mean())),
        errors,
        left_out,
        len(np.unique(poses)),
        _coverage(boards, size[::-1]),
        bare_corner(boards, places),
    )


def _found(
    visible: Sequence[np.ndarray], thermal: Sequence[np.ndarray], board: Board
) -> Iterator[tuple[np.ndarray | None, np.ndarray | None]]:
    """The board's points in both images of each frame, in order; thermal only where visible has it.

    An image without a board takes longest, 0.7 s of one core at 640x480: hence on all of them.
    """

    def look(seen: np.ndarray, felt: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        points = find_board(seen, board)
        return points, None if points is None else find_board(felt, board)

    pool = ThreadPoolExecutor(cores(), "boards")
    try:
        yield from pool.map(look, visible, thermal)
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C as well


def _not_seen(board: Board, left_out: dict[str, str]) -> str:
    no_visible = sum("visible" in reason for reason in left_out.values())
    return (
        f"No frame in which both cameras see a {board.pattern} of {board.columns}x{board.rows}: of "
        f"{len(left_out)} frames, the visible camera does not see it in {no_visible}, thermal not "
        f"in {len(left_out) - no_visible}. Check --grid (inner corners, not squares), warm the "
        "board (sun, lamp) so that it shows in thermal, and fill more of the image with it."
    )


def _orders(points: np.ndarray, board: Board) -> list[np.ndarray]:
    """The orders in which the same board may be found: those of a turned board, (N, 2) each."""
    if board.columns != board.rows or board.pattern == "asymmetric":
        return [points, points[::-1]]
    grid = points.reshape(board.rows, board.columns, 2)
    return [np.rot90(grid, turns).reshape(-1, 2) for turns in range(4)]


def _as_visible(visible: np.ndarray, thermal: np.ndarray, board: Board) -> np.ndarray:
    """Thermal points (N, 2) in the order of the visible ones: that which turns the image least.

    A wrong order turns the thermal image by half a turn, or that of a square board by a quarter,
    and two cameras that look the same way are not mounted like that.
    """
    centred = visible - visible.mean(0)
    # The same points turned by an angle: its cosine, times what all orders have in common.
    return max(_orders(thermal, board), key=lambda t: float(((t - t.mean(0)) * centred).sum()))


def _limit(width: int) -> float:
    """Distance of an outlier, in pixels of a visible image of this width."""
    return INLIER_PX * max(1.0, width / 640)


def _robust(points: Sequence[tuple[np.ndarray, np.ndarray]], limit: float) -> np.ndarray:
    visible = np.concatenate([v for v, _ in points])
    thermal = np.concatenate([t for _, t in points])
    homography: np.ndarray | None
    homography, _ = cv2.findHomography(thermal, visible, cv2.RANSAC, limit, maxIters=5000)
    # What is near the map of the four points that were drawn leans to them: 2 to 4 times the error.
    for _ in range(REFITS):
        if homography is not None:
            near = _residuals(homography, visible, thermal) <= limit
            homography = _plain(thermal[near], visible[near])
    if homography is None:
        raise SsvifError(
            "No plane-to-plane map fits the boards: hold the board still and flat, and record both "
            "cameras at the same time."
        )
    return homography


def _plain(thermal: np.ndarray, visible: np.ndarray) -> np.ndarray | None:
    return cv2.findHomography(thermal, visible, 0)[0] if len(thermal) >= 4 else None


def _residuals(homography: np.ndarray, visible: np.ndarray, thermal: np.ndarray) -> np.ndarray:
    return np.linalg.norm(apply(homography, thermal) - visible, axis=1)


def _rms(homography: np.ndarray, visible: np.ndarray, thermal: np.ndarray) -> float:
    return float(np.sqrt((_residuals(homography, visible, thermal) ** 2).mean()))


def _coverage(boards: Sequence[np.ndarray], shape: tuple[int, int]) -> float:
    mask = np.zeros(shape, np.uint8)
    for points in boards:
        hull = cv2.convexHull(points.astype(np.float32))
        cv2.fillConvexPoly(mask, np.rint(hull).astype(np.int32), 1)
    return float(mask.mean())
