"""How close `ssvif calibrate` comes to known maps, and whether the error that it prints is true.

Each case displaces thermal (320x256) from visible (640x480) by a random map: scale 0.7 to 1.4,
shift up to 15 %, rotation up to 5 degrees, some perspective. The error is that of the worst corner
of the visible image. Scenes are drawn streets, and real ones: clips of cameras that stand still,
and folders of single pairs of a rig that moves, in three parts.

Real pairs are not aligned to the pixel, and near things have parallax, so that the truth is the map
that the same frames give undisplaced. It has an error of its own, which is written beside it
(`own`), and so is the error against the data set's own alignment (`as_published_px`). What is
displaced is magnified, too: both cameras are cut out of 640x480.

`before` is the rule that this one replaced: one standard deviation, from draws and halves only.
The baseline is `cv2.findTransformECC` on the intensities, one homography a frame from equal widths,
and the best of the frames by its own measure.

    python benchmarks/calibration.py [--data ../shared/data] [--real-cases 4] [--jobs 1]
    python benchmarks/calibration.py --picture docs/images/calibration.jpg   # no figures
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from report import write_result
from rich.console import Console
from rich.table import Table

from ssvif_core.benchmark.machine import describe_machine
from ssvif_core.calibration.frames import Shots, Source, choose_frames, read_shots, shots_of
from ssvif_core.calibration.geometry import apply, centred_similarity, corner_errors, corners
from ssvif_core.calibration.picture import before_and_after, save_picture
from ssvif_core.calibration.result import LEAST_AGREEMENT, check
from ssvif_core.calibration.targetless import Estimate, estimate
from ssvif_core.cli.progress import progress_bar
from ssvif_core.errors import SsvifError
from ssvif_core.simulation.scenes import SCENE_KINDS
from ssvif_core.simulation.two_views import misalignment, placed, seen, street

VISIBLE, THERMAL = (640, 480), (320, 256)
DRAWN_FRAMES, REAL_FRAMES, CANDIDATES = 6, 12, 60
BAR_PX = 2.0
#: What was written before: standard deviation of the worst corner at most, from draws and halves.
BEFORE_MOST_PX = 3.0
CLIPS = ("0111_1716", "0113_1714", "1230_1202", "0117_1605")
#: Name -> folder, the end of its files' names, which of how many interleaved parts.
FOLDERS = {
    "msrs day 1": ("msrs/train", "D", 0, 3),
    "msrs day 2": ("msrs/train", "D", 1, 3),
    "msrs night": ("msrs/train", "N", 0, 3),
    "roadscene": ("roadscene/train", "", 0, 3),
}

Frames = list[np.ndarray]


@dataclass(frozen=True)
class Case:
    """Frames of two cameras, and the map between them; `own` is that of undisplaced real ones."""

    scene: str
    true: np.ndarray
    visible: Frames
    thermal: Frames
    own: Estimate | None = None
    published: np.ndarray | None = None


def drawn(case: int) -> Case:
    """A drawn street of a kind in turn."""
    kind = SCENE_KINDS[case % len(SCENE_KINDS)]
    true = misalignment(np.random.default_rng([case, 1]))
    times = [1.5 * i for i in range(DRAWN_FRAMES)]
    visible, thermal = street(kind, case, true, times)
    return Case(kind, true, [cv2.cvtColor(v, cv2.COLOR_RGB2GRAY) for v in visible], thermal)


def real(case: int, data: Path) -> Case:
    """A clip or a folder in turn, displaced."""
    names = (*CLIPS, *FOLDERS)
    name = names[case % len(names)]
    visible, thermal, own = _undisplaced(name, data)
    at_visible, at_thermal = placed(
        misalignment(np.random.default_rng([case, 2])), VISIBLE, THERMAL, visible[0].shape[1::-1]
    )
    expected = np.linalg.inv(at_visible) @ own.homography @ at_thermal
    return Case(
        name,
        expected / expected[2, 2],
        [seen(image, at_visible, VISIBLE) for image in visible],
        [seen(image, at_thermal, THERMAL) for image in thermal],
        own,
        np.linalg.inv(at_visible) @ at_thermal,
    )


@cache
def _undisplaced(name: str, data: Path) -> tuple[Frames, Frames, Estimate]:
    shots = _clip(name, data) if name in CLIPS else _folder(*FOLDERS[name], data)
    chosen = choose_frames(shots, REAL_FRAMES)
    return chosen.grey, chosen.thermal, estimate(chosen.grey, chosen.thermal, initial=np.eye(3))


def _clip(name: str, data: Path) -> Shots:
    visible, thermal = (data / "clips" / c / f"{name}.mp4" for c in ("visible", "thermal"))
    return read_shots(Source(visible, thermal), CANDIDATES)


def _folder(folder: str, ending: str, part: int, parts: int, data: Path) -> Shots:
    """Pairs are brought to one size: those of RoadScene are cut as each came out."""
    there = sorted(p for p in (data / folder / "visible").iterdir() if p.stem.endswith(ending))
    pairs = []
    for path in there[part::parts][:CANDIDATES]:
        images = [cv2.imread(str(data / folder / c / path.name)) for c in ("visible", "thermal")]
        bgr, grey = (cv2.resize(i, VISIBLE, interpolation=cv2.INTER_AREA) for i in images)
        rgb, thermal = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), cv2.cvtColor(grey, cv2.COLOR_BGR2GRAY)
        pairs.append((path.stem, rgb, thermal))
    return shots_of(pairs)


def baseline(visible: Frames, thermal: Frames) -> np.ndarray | None:
    """ECC on intensities (Evangelidis and Psarakis, PAMI 2008), as OpenCV has it.

    None where it converges on none of the frames.
    """
    start = np.linalg.inv(centred_similarity(THERMAL, VISIBLE)).astype(np.float32)
    best, found = 0.0, None
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-5)
    for v, t in zip(visible, thermal, strict=True):
        try:
            value, warp = cv2.findTransformECC(
                v, t, start.copy(), cv2.MOTION_HOMOGRAPHY, criteria, None, 5
            )
        except cv2.error:  # it did not converge
            continue
        if value > best:
            best, found = value, warp
    return None if found is None else np.linalg.inv(found.astype(np.float64))


def measure(case: Case) -> dict[str, Any]:
    begin = time.process_time()
    found = estimate(case.visible, case.thermal)
    seconds = time.process_time() - begin
    try:
        check(found, len(case.visible), VISIBLE[0], Path("the picture"))
        written = True
    except SsvifError:
        written = False

    def off_px(homography: np.ndarray, true: np.ndarray) -> float:
        return round(float(corner_errors(homography, true, VISIBLE).max()), 2)

    before = max(found.spread_px, found.halves_px / 2)
    other = baseline(case.visible, case.thermal)
    row = {
        "scene": case.scene,
        "error_px": off_px(found.homography, case.true),
        "printed_px": round(found.error_px, 2),
        "agreement": round(found.agreement, 3),
        "written": written,
        "before_printed_px": round(before, 2),
        "before_written": before <= BEFORE_MOST_PX and found.agreement >= LEAST_AGREEMENT,
        "parts": {
            part: round(getattr(found, part), 2)
            for part in ("spread_px", "blocks_px", "halves_px", "scales_px")
        },
        "baseline_px": None if other is None else off_px(other, case.true),
        "cpu_s": round(seconds, 1),
    }
    if case.own is not None and case.published is not None:
        moved = apply(case.own.homography, corners(VISIBLE)) - corners(VISIBLE)
        row["as_published_px"] = off_px(found.homography, case.published)
        row["own"] = {
            "corners_off_px": np.round(np.linalg.norm(moved, axis=1), 1).tolist(),
            "printed_px": round(case.own.error_px, 2),
            "agreement": round(case.own.agreement, 3),
        }
    return row


def summary(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of the cases that were written, after and before."""
    out: dict[str, Any] = {"cases": len(cases)}
    for prefix in ("", "before_"):
        rows = [c for c in cases if c[f"{prefix}written"]]
        errors = [c["error_px"] for c in rows]
        out |= {
            f"{prefix}written": len(rows),
            f"{prefix}within_2_px": sum(e <= BAR_PX for e in errors),
            f"{prefix}within_printed": sum(c["error_px"] <= c[f"{prefix}printed_px"] for c in rows),
            f"{prefix}median_error_px": round(statistics.median(errors), 2) if errors else None,
            f"{prefix}worst_error_px": max(errors, default=None),
        }
    other = [c["baseline_px"] for c in cases if c["baseline_px"] is not None]
    return out | {
        "baseline_did_not_converge": len(cases) - len(other),
        "baseline_within_2_px": sum(e <= BAR_PX for e in other),
        "baseline_median_px": round(statistics.median(other), 1) if other else None,
        "cpu_s_median": round(statistics.median(c["cpu_s"] for c in cases), 1),
    }


def one(number: int, data: Path | None) -> dict[str, Any]:
    """A case by its number, for a process of a pool."""
    cv2.setNumThreads(1)
    return measure(drawn(number) if data is None else real(number, data))


def draw(path: Path) -> None:
    """The before/after picture of one drawn case, small enough for the docs."""
    true = misalignment(np.random.default_rng([4, 1]))
    visible, thermal = street("day", 4, true, [0.0, 2.0, 4.0, 6.0])
    grey = [cv2.cvtColor(v, cv2.COLOR_RGB2GRAY) for v in visible]
    found = estimate(grey, thermal)
    picture = before_and_after(visible[:1], thermal[:1], found.homography)
    small = cv2.resize(picture, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    save_picture(path, small)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cases", type=int, default=20, help="drawn streets")
    parser.add_argument("--real-cases", type=int, default=4, help="of each clip and folder")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--picture", type=Path, help="draw the picture of the docs, only")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.picture:
        draw(options.picture)
        return
    sets: dict[str, tuple[int, Path | None]] = {"simulation": (options.cases, None)}
    if (options.data / "clips").is_dir():
        count = options.real_cases * (len(CLIPS) + len(FOLDERS))
        sets["real"] = count, options.data
    results: dict[str, Any] = {"machine_now": describe_machine()}
    with progress_bar() as bar, ProcessPoolExecutor(options.jobs) as pool:
        for name, (count, data) in sets.items():
            done = pool.map(one, range(count), [data] * count)
            cases = list(bar.track(done, total=count, description=name))
            kinds = list(dict.fromkeys(c["scene"] for c in cases))
            by_scene = {k: summary([c for c in cases if c["scene"] == k]) for k in kinds}
            results[name] = {"all": summary(cases), "by_scene": by_scene, "each": cases}
    write_result("calibration", results)
    _show(sets, results)


def _show(sets: Sequence[str] | dict[str, Any], results: dict[str, Any]) -> None:
    columns = ("written", "within_2_px", "within_printed", "median_error_px", "worst_error_px")
    table = Table("set", "scene", "cases", *columns, "before: written", "within printed")
    for name in sets:
        for scene, s in {"all": results[name]["all"], **results[name]["by_scene"]}.items():
            before = s["before_written"], s["before_within_printed"]
            table.add_row(name, scene, *map(str, (s["cases"], *(s[c] for c in columns), *before)))
    Console().print(table)


if __name__ == "__main__":
    main()
