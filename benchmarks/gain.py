"""Thermal gain: flicker, contrast, time, and what the network makes of it. Writes gain.json.

    python benchmarks/gain.py [--data ../shared/data] [--model base]

Flicker is how much the grey levels of pixels that do not change do change from frame to frame: a
static drawn street, without noise, so that all of it is the gain's, while a thing of about 60 C,
whose heat varies as a flame's does, comes in. Baselines: each frame stretched between its minimum
and maximum, and between its own percentiles. Masks are scored on drawn raw scenes
and, with --data, on msrs/val, whose thermal images are 8 bit and dark. Also draws
docs/images/gain.jpg.
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

from ssvif_core.evaluation.evaluation_set import open_evaluation_set
from ssvif_core.evaluation.segmentation_metrics import ConfusionMatrix, named_iou
from ssvif_core.imaging.panels import contact_sheet, panel_row
from ssvif_core.imaging.thermal_cleaning import ThermalCleaning
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.engine import EngineOptions, create_engine
from ssvif_core.models import open_model
from ssvif_core.simulation.scenes import SCENE_KINDS, Scene

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "gain.jpg"
RATE_HZ, SECONDS, ENTERS_S = 30.0, 8.0, 2.0
#: About 60 C beside a street of 20 C, in the drawn camera's counts, and how much it varies.
HOT_COUNTS, VARIES = 4000.0, 0.1
#: A usual step of all counts after a shutter closed.
SHUTTER_COUNTS = 60
NOISE_COUNTS = 4.0

Gain = Callable[[np.ndarray, float], np.ndarray]


def stretched(frame: np.ndarray, low: float, high: float) -> np.ndarray:
    scaled = (frame.astype(np.float32) - low) * (255.0 / (high - low))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def min_max(frame: np.ndarray, stamp_s: float) -> np.ndarray:
    """What a naive driver does (optris_drivers#43)."""
    return stretched(frame, float(frame.min()), float(frame.max()))


def frame_percentiles(frame: np.ndarray, stamp_s: float) -> np.ndarray:
    return stretched(frame, *np.percentile(frame, (1.0, 99.5)))


def low_pass_alone() -> Gain:
    """Percentiles with a time constant of 1 s, and nothing for steps of all counts."""
    limits = None

    def apply(frame: np.ndarray, stamp_s: float) -> np.ndarray:
        nonlocal limits
        wanted = np.percentile(frame, (1.0, 99.5))
        part = 1.0 - np.exp(-1.0 / RATE_HZ)
        limits = wanted if limits is None else limits + part * (wanted - limits)
        return stretched(frame, *limits)

    return apply


def gains() -> dict[str, Gain]:
    return {
        "minimum and maximum of each frame": min_max,
        "percentiles of each frame": frame_percentiles,
        "percentile": ThermalGain(mode="percentile").apply,
        "plateau": ThermalGain(mode="plateau").apply,
    }


def still_scene(kind: str, width: int, height: int) -> np.ndarray:
    """A drawn street of which nothing moves."""
    return Scene(kind, width, height, seed=1).render(2.0, visible=False, labels=False).thermal  # type: ignore[arg-type]


def hot_thing_enters(scene: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
    """(frame, stamp) while a disc of varying heat comes in from the left."""
    height, width = scene.shape
    random = np.random.default_rng(0)
    radius = height // 8
    for index in range(int(SECONDS * RATE_HZ)):
        stamp = index / RATE_HZ
        frame = scene.copy()
        x = int((stamp - ENTERS_S) * width / 4) - radius
        if stamp >= ENTERS_S:
            heat = scene.mean() + HOT_COUNTS * (1.0 + VARIES * random.standard_normal())
            cv2.circle(frame, (min(x, width // 2), height // 2), radius, float(heat), -1)
        yield frame, stamp


Frames = Iterator[tuple[np.ndarray, float]]


def changes(gain: Gain, frames: Frames, still: np.ndarray) -> np.ndarray:
    """Mean absolute change of the `still` pixels' grey levels, for each frame but the first."""
    levels = [gain(frame, stamp)[still].astype(np.float64) for frame, stamp in frames]
    return np.array([np.abs(b - a).mean() for a, b in zip(levels, levels[1:], strict=False)])


def flicker(width: int = 640, height: int = 480) -> dict[str, dict[str, float]]:
    """Worst and mean change of grey levels while the hot thing comes in, for each gain."""
    scene = still_scene("day", width, height)
    still = np.ones(scene.shape, bool)
    still[height // 2 - height // 8 - 2 : height // 2 + height // 8 + 3] = False
    results = {}
    for name, gain in gains().items():
        change = changes(gain, hot_thing_enters(scene), still)
        after = change[int(ENTERS_S * RATE_HZ) - 1 :]
        results[name] = {"worst": round(after.max(), 2), "mean": round(after.mean(), 3)}
    return results


def shutter_step(width: int = 640, height: int = 480) -> dict[str, dict[str, float]]:
    """Grey levels by which a still scene is off after all counts rose by the same amount."""
    scene = still_scene("day", width, height)
    random = np.random.default_rng(0)
    frames = [
        (scene + np.uint16(SHUTTER_COUNTS * (index >= 30))
         + np.rint(random.normal(64, NOISE_COUNTS, scene.shape)).astype(np.uint16), index / RATE_HZ)
        for index in range(60)
    ]  # fmt: skip
    results = {}
    for name, gain in {"percentile, low pass alone": low_pass_alone(), **gains()}.items():
        means = np.array([gain(frame, stamp).mean() for frame, stamp in frames])
        results[name] = {"worst": round(float(np.abs(means[30:] - means[29]).max()), 2)}
    return results


def noise_jitter(width: int = 640, height: int = 480) -> dict[str, dict[str, float]]:
    """By how many grey levels noise moves the whole picture: deviation of its mean over 10 s."""
    scene, random = still_scene("day", width, height), np.random.default_rng(0)
    means: dict[str, list[float]] = {name: [] for name in gains()}
    chosen = gains()
    for index in range(int(10 * RATE_HZ)):
        noise = np.rint(random.normal(64, NOISE_COUNTS, scene.shape)).astype(np.uint16)
        for name, gain in chosen.items():
            means[name].append(float(gain(scene + noise, index / RATE_HZ).mean()))
    return {name: {"deviation": round(float(np.std(m)), 3)} for name, m in means.items()}


def local_contrast(image: np.ndarray) -> float:
    """Mean of the standard deviation within 15 x 15 pixels."""
    values = image.astype(np.float32)
    mean = cv2.blur(values, (15, 15))
    return float(np.sqrt(np.maximum(cv2.blur(values * values, (15, 15)) - mean * mean, 0)).mean())


def contrast(data: Path | None) -> dict[str, dict[str, dict[str, float]]]:
    """Local contrast and share of black and white pixels, by scene and gain."""
    scenes = {f"drawn {kind}": still_scene(kind, 640, 512) for kind in ("day", "night")}
    scenes["drawn night, a flame"] = list(hot_thing_enters(scenes["drawn night"]))[-1][0]
    if data is not None:
        path = data / "radiometric" / "example_radiometric.tiff"
        scenes["real radiometric frame"] = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for title, frame in scenes.items():
        for name, gain in gains().items():
            image = gain(frame, 0.0)
            ends = float(((image == 0) | (image == 255)).mean())
            results.setdefault(title, {})[name] = {
                "local_contrast": round(local_contrast(image), 2), "black_or_white": round(ends, 4)
            }  # fmt: skip
    return results


def cpu_ms(step: Gain, frame: np.ndarray) -> dict[str, float]:
    """Of a scene that passes by: three pixels in each frame."""
    views = [np.roll(frame, -3 * index, axis=1) for index in range(24)]
    times = []
    for index in range(240):
        start = time.thread_time()
        step(views[index % len(views)], index / RATE_HZ)
        times.append((time.thread_time() - start) * 1e3)
    times = times[16:]
    return {"mean": round(float(np.mean(times)), 2), "p50": round(float(np.median(times)), 2)}


def timings() -> dict[str, dict[str, float]]:
    """CPU time of each step for a frame of 640 x 512 with 30 bad pixels."""
    frame = still_scene("day", 640, 512)
    random = np.random.default_rng(0)
    y, x = random.integers(0, 512, 30), random.integers(0, 640, 30)

    def with_bad_pixels(image: np.ndarray, stamp_s: float) -> np.ndarray:
        image[y, x] = 12000
        return bad_pixels.apply(image)

    bad_pixels = ThermalCleaning()
    celsius = frame.astype(np.float32) * 0.01
    steps: dict[str, tuple[Gain, np.ndarray]] = {}
    for mode in ("fixed", "percentile", "plateau"):
        steps[mode] = ThermalGain(mode=mode, low=4000, high=6000).apply, frame
        steps[f"{mode}, float32"] = ThermalGain(mode=mode, low=40, high=60).apply, celsius
    steps["bad pixels"] = with_bad_pixels, frame
    for title, stripes in (("stripes of columns", "columns"), ("stripes of both", "both")):
        cleaning = ThermalCleaning("none", stripes)
        steps[title] = (lambda image, stamp_s, c=cleaning: c.apply(image)), frame
    return {title: cpu_ms(step, image) for title, (step, image) in steps.items()}


def masks(model: str, data: Path | None) -> dict[str, dict[str, dict[str, float]]]:
    """IoU by gain: drawn raw scenes with their true labels; the 8-bit frames of msrs/val."""
    loaded = open_model(model)
    engine, _ = create_engine(loaded, "onnxruntime", EngineOptions(threads=1))
    names = [label.name for label in loaded.card.classes]
    chosen = {
        "none": ThermalGain(mode="none"),
        "percentile": ThermalGain(mode="percentile"),
        "percentile to 99.9": ThermalGain(mode="percentile", high_percentile=99.9),
        "plateau": ThermalGain(mode="plateau"),
    }
    results: dict[str, dict[str, dict[str, float]]] = {}
    for title, frames in labelled(data).items():
        for name, gain in chosen.items():
            if name == "none" and title == "drawn":
                continue
            matrix = ConfusionMatrix(len(names))
            for visible, thermal, labels in frames():
                matrix.update(labels, engine.infer(visible, gain.apply(thermal))[1])
            iou = named_iou(matrix, names)
            results.setdefault(title, {})[name] = {k: round(v, 3) for k, v in iou.items()}
    engine.close()
    return results


Labelled = tuple[np.ndarray, np.ndarray, np.ndarray]


def labelled(data: Path | None) -> dict[str, Callable[[], Iterator[Labelled]]]:
    """(visible, thermal, labels) of each set."""

    def drawn() -> Iterator[Labelled]:
        for kind in SCENE_KINDS:
            scene = Scene(kind, seed=2)
            for time_s in (0.5, 2.0, 3.5, 5.0):
                frame = scene.render(time_s)
                yield frame.visible, frame.thermal, frame.labels

    def msrs() -> Iterator[Labelled]:
        assert data is not None
        frames = open_evaluation_set(data / "msrs" / "val", "labels", LABEL_MAP)
        for name in frames.labels:
            pair = frames.read(name)
            assert pair.labels is not None
            yield pair.visible, pair.thermal, pair.labels

    return {"drawn": drawn} if data is None else {"drawn": drawn, "msrs/val": msrs}


def strip() -> np.ndarray:
    """Before and after: gains while a flame comes in, and a sensor with defects."""
    size = 320, 240
    scene = still_scene("night", *size)
    frames = list(hot_thing_enters(scene))
    titles = ("minimum, maximum", "percentile", "plateau")
    chosen = {**gains(), "minimum, maximum": min_max}
    shown: dict[str, list[np.ndarray]] = {title: [] for title in titles}
    moments = [int(ENTERS_S * RATE_HZ) - 1, int((ENTERS_S + 0.5) * RATE_HZ), len(frames) - 1]
    for index, (frame, stamp) in enumerate(frames):
        for title in titles:
            image = chosen[title](frame, stamp)
            if index in moments:
                shown[title].append(image)
    captions = ("before", "0.5 s after", "6 s after")
    rows = [panel_row(shown[t], [f"{t}: {captions[0]}", captions[1], captions[2]]) for t in titles]
    return contact_sheet([*rows, defects(*size)])


def defects(width: int, height: int) -> np.ndarray:
    """A sensor with stripes and bad pixels that drives by, as it comes and cleaned."""
    random = np.random.default_rng(1)
    scene = Scene("night", width, height, seed=1)
    stripes = np.rint(random.normal(64, 14, width)).astype(np.uint16)
    y, x = random.integers(0, height, 50), random.integers(0, width, 50)
    bad = random.choice([300, 800, 1600], 50).astype(np.uint16)
    cleaning = ThermalCleaning("auto", "columns")
    for index in range(240):
        still = scene.render(index / RATE_HZ, visible=False, labels=False).thermal
        view = np.roll(still, -3 * index, axis=1) + stripes
        view[y, x] += bad
        cleaned = cleaning.apply(view)
    images = [ThermalGain().apply(i, 0.0) for i in (view, cleaned)]
    apart = cv2.multiply(cv2.absdiff(*images), 4.0)
    return panel_row([*images, apart], ["stripes, bad pixels", "cleaned", "taken off, x 4"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with msrs/val and radiometric")
    parser.add_argument("--model", default="base")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    content: dict[str, object] = {
        "flicker_grey_levels": flicker(),
        "shutter_step_grey_levels": shutter_step(),
        "noise_jitter_grey_levels": noise_jitter(),
        "contrast": contrast(options.data),
        "cpu_ms_640x512": timings(),
    }
    content["iou"] = {"model": options.model, **masks(options.model, options.data)}
    path = write_result("gain", content)
    image = cv2.cvtColor(strip(), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(PICTURE), image, [cv2.IMWRITE_JPEG_QUALITY, 82])
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
