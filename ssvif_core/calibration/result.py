"""From an estimate to a file, or to a refusal that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from ssvif_core.calibration.frames import Shots, choose_frames
from ssvif_core.calibration.lenses import Lenses
from ssvif_core.calibration.picture import before_and_after, save_picture
from ssvif_core.calibration.target import Board, TargetFit, fit_boards
from ssvif_core.calibration.targetless import Estimate, estimate
from ssvif_core.errors import SsvifError
from ssvif_core.imaging.calibration import Calibration
from ssvif_core.writable import check_writable

__all__ = [
    "calibrate_target",
    "calibrate_targetless",
    "check",
    "describe_target",
    "known_offset",
    "picture_path",
    "place_of",
]

#: Unrelated scenes and noise gave up to 0.44, real clips 0.66 and more (docs/calibration.md).
LEAST_AGREEMENT = 0.6
#: Error of the worst corner, as a part of the visible width: 6 pixels of 640.
MOST_ERROR = 6 / 640
PICTURE_ROWS = 3
#: Two poses that do not agree do not say which one is wrong.
LEAST_POSES = 3
#: Boards must have covered this part of the visible image: elsewhere a map is a guess.
LEAST_COVERAGE = 0.15


def calibrate_targetless(
    shots: Shots,
    frames: int,
    output: Path,
    *,
    initial: Calibration | None = None,
    lenses: Lenses | None = None,
    progress: Callable[[float], None] = lambda _part: None,
) -> tuple[Calibration, Estimate]:
    """Estimate from the best frames, and draw the picture beside the file to come.

    The picture is there even when the map is refused: it shows why.

    Args:
        shots: pairs to choose from.
        frames: how many to use.
        output: path of the file, which is not written here.
        initial: an old calibration of the same cameras to start from.
        lenses: distortion that is undone first; the map is then of undistorted images.
        progress: called with the part that is done.

    Raises:
        SsvifError: too little to see, or a map that is not sure enough.
    """
    chosen = choose_frames(shots, frames)
    masks = None
    if lenses is not None:
        chosen, masks = lenses.undone(chosen)
    start = None if initial is None else initial.matrix(shots.visible_size, shots.thermal_size)
    found = estimate(chosen.grey, chosen.thermal, initial=start, masks=masks, progress=progress)
    _save_rows(chosen, found.homography, output)
    check(found, len(chosen), shots.visible_size[0], picture_path(output))
    calibration = Calibration(
        homography=found.homography,
        visible_size=shots.visible_size,
        thermal_size=shots.thermal_size,
        lenses=None if lenses is None else lenses.both,
        method="targetless",
        frames=len(chosen),
        error_px=round(found.error_px, 2),
        confidence=round(found.agreement, 3),
        created=_now(),
    )
    return calibration, found


def calibrate_target(
    shots: Shots,
    board: Board,
    output: Path,
    *,
    lenses: Lenses | None = None,
    progress: Callable[[float], None] = lambda _part: None,
) -> tuple[Calibration, TargetFit]:
    """The same from a board; see `target.fit_boards`.

    Raises:
        SsvifError: the board is not seen by both, in too few poses or too small a part of the
            image, or the map is not sure enough.
    """
    if lenses is not None:
        lenses = lenses.resized(shots.visible_size, shots.thermal_size)
    fit = fit_boards(shots.names, shots.grey, shots.thermal, board, progress, lenses)
    used = shots.only([i for i, name in enumerate(shots.names) if name in fit.frame_errors_px])
    _save_rows(used if lenses is None else lenses.undone(used)[0], fit.homography, output)
    _check_boards(fit, shots.visible_size[0], picture_path(output))
    calibration = Calibration(
        homography=fit.homography,
        visible_size=shots.visible_size,
        thermal_size=shots.thermal_size,
        lenses=None if lenses is None else lenses.both,
        method="chessboard" if board.pattern == "chessboard" else "circles",
        frames=len(fit.frame_errors_px),
        error_px=round(fit.error_px, 2),
        created=_now(),
    )
    return calibration, fit


def describe_target(fit: TargetFit) -> str:
    """A line a frame and the sum, for people."""
    lines = [f"{name}: {error:.2f} px" for name, error in fit.frame_errors_px.items()]
    lines += [f"{name}: left out, {reason}" for name, reason in fit.left_out.items()]
    lines.append(
        f"map: corners within {fit.error_px:.1f} px, by what changes without each of {fit.poses} "
        f"poses; reprojection error {fit.residual_px:.2f} px from {len(fit.frame_errors_px)} "
        f"frames, boards over {fit.coverage:.0%} of the image"
    )
    return "\n".join(lines)


def _check_boards(fit: TargetFit, width: int, picture: Path) -> None:
    """Raise SsvifError with what to do if a board's map is not good enough to be used."""
    todo = (
        "hold the board still in every part of what both cameras see, corners too (none was near "
        f"the {fit.bare_corner} one); see {picture}"
    )
    if fit.poses < LEAST_POSES:
        others = "".join(f"; {name}: left out, {why}" for name, why in [*fit.left_out.items()][:1])
        raise SsvifError(
            f"Not written: {len(fit.frame_errors_px)} frames show the board in {fit.poses} of the "
            f"{LEAST_POSES} poses or more that are needed (frames in which it hardly moved count "
            f"once{others}): {todo}"
        )
    if fit.coverage < LEAST_COVERAGE:
        raise SsvifError(
            f"Not written: the boards cover {fit.coverage:.0%} of the visible image, and "
            f"{LEAST_COVERAGE:.0%} are needed: {todo}"
        )
    if fit.error_px > MOST_ERROR * width:
        raise SsvifError(
            f"Not written: without one of its {fit.poses} poses the board gives another map, and "
            f"the corners may be off by {fit.error_px:.1f} px (at most {MOST_ERROR * width:.1f}): "
            f"keep it facing the cameras, at the distance that matters, and {todo}"
        )


def check(found: Estimate, frames: int, width: int, picture: Path) -> None:
    """Raise SsvifError with what to do if a target-less map is not good enough to be used."""
    seen = (
        f"agreement {found.agreement:.2f} (at least {LEAST_AGREEMENT}), corners ± "
        f"{found.error_px:.1f} px (at most {MOST_ERROR * width:.1f}), from {frames} "
        f"frames; see {picture}"
    )
    if found.agreement < LEAST_AGREEMENT:
        raise SsvifError(
            f"Not written: the two cameras' edges do not agree anywhere: {seen}. Check that both "
            "look the same way at the same time (--offset, --slop), record a scene with edges that "
            "are warm or cold (buildings, trees, people, cars; by day), or use a target "
            "(--pattern)."
        )
    if found.error_px > MOST_ERROR * width:
        raise SsvifError(
            f"Not written: the corners are not certain: {seen}. Give more frames (--frames), move "
            "the cameras so that structure fills the corners too, keep near things out of view "
            "(below some 5 m, their parallax differs), or use a target (--pattern)."
        )


def place_of(output: str | Path) -> Path:
    """Where a calibration file goes, `~` expanded: ask before anybody moves a camera.

    Folders above it are made when something is written.

    Raises:
        SsvifError: nothing may be written there, or something else than a calibration is.
    """
    path = Path(output).expanduser()
    if path.is_dir():
        raise SsvifError(f"{path} is a folder: name a file, such as {path / 'calibration.yaml'}.")
    if path.exists():
        try:
            Calibration.load(path)
        except SsvifError as error:
            raise SsvifError(
                f"Not written over {path}, for it is no calibration: name another file with -o."
            ) from error
    check_writable(path)
    return path


def known_offset(given_s: float, *before: Calibration | None) -> tuple[float, str] | None:
    """The time offset that a new map keeps, in seconds, and where it is from; None: there is none.

    Args:
        given_s: what pairs were made with; 0 where nothing was given.
        before: files of the same cameras, the nearest first. Their map says nothing of time.
    """
    if given_s:
        return given_s, "the offset given"
    stored_s = [c.thermal_offset_s for c in before if c and c.thermal_offset_s is not None]
    return (stored_s[0], "the file before") if stored_s else None


def picture_path(output: Path) -> Path:
    """Where the before/after picture of a calibration file goes."""
    return output.with_name(f"{output.stem}.before_after.jpg")


def _save_rows(shots: Shots, homography: np.ndarray, output: Path) -> None:
    """The before/after picture of a few frames, spread over what was used."""
    count = min(PICTURE_ROWS, len(shots))
    picks = np.unique(np.linspace(0, len(shots) - 1, count).round().astype(int))
    some = shots.only([int(i) for i in picks])
    save_picture(picture_path(output), before_and_after(some.visible, some.thermal, homography))


def _now() -> str:
    """ISO 8601 date and time, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
