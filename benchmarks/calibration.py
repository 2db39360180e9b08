"""How close `ssvif calibrate` comes to known maps: drawn streets and real clips, and a baseline.

Each case displaces thermal (320x256) from visible (640x480) by a random map: scale 0.7 to 1.4,
shift up to 15 %, rotation up to 5 degrees, some perspective. The error is that of the worst corner
of the visible image. Real clips have an error of their own: the map that is found on them as they
are is part of what is expected. The baseline is `cv2.findTransformECC` on the intensities, one
homography a frame from equal widths, and the best of the frames by its own measure.

    python benchmarks/calibration.py [--data ../shared/data] [--cases 20]
    python benchmarks/calibration.py --picture docs/images/calibration.jpg   # no figures
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from report import write_result
from rich.console import Console
from rich.table import Table

from ssvif_core.benchmark.machine import describe_machine
from ssvif_core.calibration.geometry import centred_similarity, corner_errors
from ssvif_core.calibration.picture import before_and_after, save_picture
from ssvif_core.calibration.result import check
from ssvif_core.calibration.targetless import estimate
from ssvif_core.cli.progress import progress_bar
from ssvif_core.data.streams import open_stream
from ssvif_core.errors import SsvifError
from ssvif_core.simulation.scenes import SCENE_KINDS
from ssvif_core.simulation.two_views import misalignment, placed, seen, street

VISIBLE, THERMAL = (640, 480), (320, 256)
FRAMES = 6
BAR_PX = 2.0
CLIPS = ("0111_1716", "0113_1714", "1230_1202")

Frames = list[np.ndarray]


def drawn(case: int) -> tuple[str, np.ndarray, Frames, Frames]:
    """A drawn street of a kind in turn."""
    kind = SCENE_KINDS[case % len(SCENE_KINDS)]
    true = misalignment(np.random.default_rng([case, 1]))
    times = [1.5 * i for i in range(FRAMES)]
    visible, thermal = street(kind, case, true, times)
    return kind, true, [cv2.cvtColor(v, cv2.COLOR_RGB2GRAY) for v in visible], thermal


class Clips:
    """Frames of real clips, and the map that each has by itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[Frames, Frames, np.ndarray]] = {}

    def case(self, case: int) -> tuple[str, np.ndarray, Frames, Frames]:
        name = CLIPS[case % len(CLIPS)]
        visible, thermal, own = self._clip(name)
        source = visible[0].shape[1::-1]
        true = misalignment(np.random.default_rng([case, 2]))
        at_visible, at_thermal = placed(true, VISIBLE, THERMAL, source)
        expected = np.linalg.inv(at_visible) @ own @ at_thermal
        return (
            name,
            expected / expected[2, 2],
            [seen(image, at_visible, VISIBLE) for image in visible],
            [seen(image, at_thermal, THERMAL) for image in thermal],
        )

    def _clip(self, name: str) -> tuple[Frames, Frames, np.ndarray]:
        if name not in self._known:
            visible = self._frames("visible", name)
            thermal = self._frames("thermal", name)
            grey = [cv2.cvtColor(v, cv2.COLOR_RGB2GRAY) for v in visible]
            self._known[name] = grey, thermal, estimate(grey, thermal).homography
        return self._known[name]

    def _frames(self, camera: Any, name: str) -> Frames:
        images = [f for _, f in open_stream(self._folder / camera / f"{name}.mp4", camera).frames()]
        picks = np.linspace(0, len(images) - 1, FRAMES).astype(int)
        return [images[i] for i in picks]


def baseline(visible: Frames, thermal: Frames) -> np.ndarray:
    """ECC on intensities (Evangelidis and Psarakis, PAMI 2008), as OpenCV has it."""
    best, start = -1.0, np.linalg.inv(centred_similarity(THERMAL, VISIBLE)).astype(np.float32)
    found = start
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-5)
    for v, t in zip(visible[:2], thermal[:2], strict=True):
        try:
            value, warp = cv2.findTransformECC(
                v, t, start.copy(), cv2.MOTION_HOMOGRAPHY, criteria, None, 5
            )
        except cv2.error:  # it did not converge
            continue
        if value > best:
            best, found = value, warp
    return np.linalg.inv(found.astype(np.float64))


def measure(case: tuple[str, np.ndarray, Frames, Frames]) -> dict[str, Any]:
    name, true, visible, thermal = case
    begin = time.process_time()
    found = estimate(visible, thermal)
    seconds = time.process_time() - begin
    try:
        check(found, len(visible), VISIBLE[0], Path("the picture"))
        written = True
    except SsvifError:
        written = False
    return {
        "scene": name,
        "error_px": round(float(corner_errors(found.homography, true, VISIBLE).max()), 2),
        "uncertainty_px": round(found.uncertainty_px, 2),
        "agreement": round(found.agreement, 3),
        "written": written,
        "baseline_px": round(
            float(corner_errors(baseline(visible, thermal), true, VISIBLE).max()), 1
        ),
        "cpu_s": round(seconds, 1),
    }


def summary(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    errors = [c["error_px"] for c in cases if c["written"]]
    return {
        "cases": len(cases),
        "written": len(errors),
        "written_within_2_px": sum(e <= BAR_PX for e in errors),
        "median_error_px": round(statistics.median(errors), 2) if errors else None,
        "worst_error_px": max(errors, default=None),
        "baseline_within_2_px": sum(c["baseline_px"] <= BAR_PX for c in cases),
        "baseline_median_px": round(statistics.median(c["baseline_px"] for c in cases), 1),
        "cpu_s_median": round(statistics.median(c["cpu_s"] for c in cases), 1),
    }


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
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--picture", type=Path, help="draw the picture of the docs, only")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.picture:
        draw(options.picture)
        return
    sets: dict[str, Any] = {"simulation": drawn}
    if (options.data / "clips").is_dir():
        sets["clips"] = Clips(options.data / "clips").case
    results: dict[str, Any] = {"machine_now": describe_machine()}
    with progress_bar() as bar:
        for name, make in sets.items():
            cases = []
            for case in bar.track(range(options.cases), description=name):
                cases.append(measure(make(case)))
            kinds = sorted({c["scene"] for c in cases})
            by_scene = {k: summary([c for c in cases if c["scene"] == k]) for k in kinds}
            results[name] = {"all": summary(cases), "by_scene": by_scene, "each": cases}
    write_result("calibration", results)
    table = Table("set", "scene", "written", "<= 2 px", "median", "worst", "ECC median")
    for name in sets:
        for scene, s in {"all": results[name]["all"], **results[name]["by_scene"]}.items():
            table.add_row(
                name, scene, f"{s['written']} of {s['cases']}", str(s["written_within_2_px"]),
                str(s["median_error_px"]), str(s["worst_error_px"]), str(s["baseline_median_px"]),
            )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
