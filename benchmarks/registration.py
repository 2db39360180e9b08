"""What registration costs, and what it does where thermal does not look.

    python benchmarks/registration.py --picture     # docs/images/registration.jpg, no data needed
    python benchmarks/registration.py [--model base] [--data ../shared/data]

The second cuts the thermal frames of labelled real pairs to their central 70 %, as a core with a
longer lens would send them, and compares what the engine can be given outside: nothing (black), the
image's last pixels again and again, or its mirror image faded to its mean, which is what
`MirroredBorder` does. Then it times the maps, the warp and the blend on one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from quality import LABEL_MAP
from report import write_result

from ssvif_core.benchmark.machine import describe_machine
from ssvif_core.evaluation.evaluation_set import open_evaluation_set
from ssvif_core.evaluation.segmentation_metrics import ConfusionMatrix
from ssvif_core.imaging.calibration import Calibration
from ssvif_core.imaging.panels import contact_sheet, panel_row
from ssvif_core.imaging.pinhole import Camera
from ssvif_core.imaging.poses import Pose
from ssvif_core.imaging.registration import HomographyAlignment, PlaneAlignment, Registration
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.engine import Engine, EngineOptions, create_engine
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.models import open_model
from ssvif_core.simulation.misalignment import Misalignment
from ssvif_core.simulation.scenes import Scene

HERE = Path(__file__).resolve().parent
PICTURE = HERE.parent / "docs" / "images" / "registration.jpg"
PART = 0.7
#: The rig of the picture: a core with a longer lens, aside and not quite straight.
VIEW = Misalignment(scale=0.72, shift_x=0.05, shift_y=0.02, rotation_deg=4.0)


def fillings(
    engine: Engine, visible: np.ndarray, thermal: np.ndarray
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, fused, labels) with the whole thermal frame, and with its centre by each method."""
    height, width = thermal.shape
    x, y = round(width * (1 - PART) / 2), round(height * (1 - PART) / 2)
    window = slice(y, height - y), slice(x, width - x)
    cut = np.ascontiguousarray(thermal[window])
    border = {"top": y, "bottom": y, "left": x, "right": x}
    given = {
        "whole thermal": thermal,
        "black": cv2.copyMakeBorder(cut, **border, borderType=cv2.BORDER_CONSTANT),
        "last pixels": cv2.copyMakeBorder(cut, **border, borderType=cv2.BORDER_REPLICATE),
    }
    for name, image in given.items():
        yield name, *engine.infer(visible, image)
    matrix = np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
    calibration = Calibration(matrix, (width, height), (width - 2 * x, height - 2 * y))
    registration = Registration(HomographyAlignment(calibration))
    result = Pipeline(engine, ThermalGain(mode="none"), registration).process(visible, cut)
    yield "registration", result.fused, result.labels


def compare(model: str, data: Path) -> dict[str, dict[str, float]]:
    """IoU inside and outside of the centre, and the grey level step across its border."""
    engine, _ = create_engine(open_model(model), options=EngineOptions(threads=1))
    frames = open_evaluation_set(data / "msrs" / "val", "labels", LABEL_MAP)
    counts: dict[tuple[str, str], ConfusionMatrix] = {}
    steps: dict[str, list[float]] = {}
    for name in frames.labels:
        pair = frames.read(name)
        steps.setdefault("visible", []).append(step(pair.visible))
        height, width = pair.thermal.shape
        inside = np.zeros((height, width), bool)
        x, y = round(width * (1 - PART) / 2), round(height * (1 - PART) / 2)
        inside[y : height - y, x : width - x] = True
        for method, fused, labels in fillings(engine, pair.visible, pair.thermal):
            steps.setdefault(method, []).append(step(fused))
            for where, mask in (("inside", inside), ("outside", ~inside)):
                table = counts.setdefault((method, where), ConfusionMatrix(4))
                table.update(pair.labels[mask], labels[mask])
    rows: dict[str, dict[str, float]] = {m: {"step": float(np.mean(s))} for m, s in steps.items()}
    for (method, where), table in counts.items():
        car, person = table.iou()[1:3]
        false = table.counts[0, 1:].sum() / table.counts[0].sum()
        rows[method] |= {
            f"car_{where}": float(car),
            f"person_{where}": float(person),
            f"false_alarms_{where}": float(false),
        }
    return rows


def step(image: np.ndarray) -> float:
    """Mean absolute difference of the grey levels on both sides of the border of the centre."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(int)
    height, width = gray.shape
    x, y = round(width * (1 - PART) / 2), round(height * (1 - PART) / 2)
    across, down = np.abs(np.diff(gray, axis=1)), np.abs(np.diff(gray, axis=0))
    sides = across[y:-y, x - 1], across[y:-y, width - x - 1]
    ends = down[y - 1, x:-x], down[height - y - 1, x:-x]
    return float(np.mean([s.mean() for s in (*sides, *ends)]))


def quiet_ms(work: Callable[[], object], runs: int) -> float:
    """The fastest of some runs: what it takes where nobody disturbs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return round(min(times) * 1e3, 3)


def wide_lens(size: tuple[int, int], f: float) -> Camera:
    """A camera with barrel distortion; `f` is the focal length as part of the width."""
    matrix = np.array([[f * size[0], 0, size[0] / 2], [0, f * size[0], size[1] / 2], [0, 0, 1]])
    return Camera(size, matrix, "plumb_bob", (-0.2, 0.05, 0.0, 0.0, 0.0))


def costs(visible_size: tuple[int, int], thermal_size: tuple[int, int]) -> dict[str, float]:
    """Milliseconds of everything, for a thermal camera with the narrower field of view."""
    rng = np.random.default_rng(0)
    thermal = rng.integers(0, 256, thermal_size[::-1], dtype=np.uint8)
    visible = rng.integers(0, 256, (*visible_size[::-1], 3), dtype=np.uint8)
    fused = np.ascontiguousarray(visible[::-1])
    cameras = [wide_lens(size, f) for size, f in ((visible_size, 0.8), (thermal_size, 1.1))]
    alignment = PlaneAlignment(*cameras, Pose.from_text("0.05 0 0 0 0 0.02"), 10.0)
    part = Registration(alignment)
    coverage = part.prepare(visible_size, thermal_size)
    matrix = Misalignment(scale=1.1, size=thermal_size).homography(visible_size)
    whole = Registration(HomographyAlignment(Calibration(matrix, visible_size, thermal_size)))
    return {
        "coverage": round(coverage, 2),
        "maps_ms": quiet_ms(lambda: Registration(alignment).prepare(visible_size, thermal_size), 5),
        "warp_ms": quiet_ms(lambda: part.warp(thermal, visible_size), 200),
        "blend_ms": quiet_ms(lambda: part.blend(fused, visible), 200),
        "warp_complete_ms": quiet_ms(lambda: whole.warp(thermal, visible_size), 200),
        "warpPerspective_ms": quiet_ms(
            lambda: cv2.warpPerspective(thermal, matrix, visible_size), 100
        ),
        "resize_ms": quiet_ms(lambda: cv2.resize(thermal, visible_size), 200),
    }


def draw_picture() -> None:
    """The misaligned simulation without and with registration."""
    size, engine = (640, 480), create_engine(open_model("base"))[0]
    frame = Scene("night", width=size[0], height=size[1], seed=4).render(3.0, labels=False)
    thermal = VIEW.apply(frame.thermal)
    calibration = Calibration(VIEW.homography(size), size, size)
    rows = []
    for title, registration in (
        ("without registration", None),
        ("with registration", Registration(HomographyAlignment(calibration))),
    ):
        result = Pipeline(engine, ThermalGain(), registration).process(frame.visible, thermal)
        images = [frame.visible, result.thermal, result.fused]
        rows.append(panel_row(images, ["visible", "thermal as the network sees it", title]))
    sheet = cv2.resize(contact_sheet(rows), (1280, 640), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(PICTURE), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    print(f"{PICTURE}: {PICTURE.stat().st_size // 1000} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--picture", action="store_true", help="only draw the picture of the docs")
    parser.add_argument("--model", default="base")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.picture:
        draw_picture()
        return
    edges = compare(options.model, options.data)
    for method, row in edges.items():
        print(method, " ".join(f"{key} {value:.3f}" for key, value in row.items()))
    times = {
        "640x480": costs((640, 480), (640, 512)),
        "1280x1024": costs((1280, 1024), (640, 512)),
    }
    for size, row in times.items():
        print(size, " ".join(f"{key} {value}" for key, value in row.items()))
    known = {"machine_now": describe_machine(), "model": options.model}
    write_result("registration", {**known, "edges": edges, "costs": times})


if __name__ == "__main__":
    main()
