"""How fast `ssvif replay` is beside the bare engine, on one worker and on two.

    python benchmarks/replay.py [--rounds 5] [--seconds 60] [--model base]

The recording is drawn: two cameras of 640x480 at 30 Hz, raw, as mcap. Each case runs in a process
of its own, in turn, for several rounds, and its ratio is taken against the bare engine right before
and right after it, for shared machines drift: the engine alone, on one thread, with the frames of
that recording already decoded. A replay
counts from the first message to the written report; the start of Python and the loading of the
model count for neither. CPU time for each pair is told beside the rate, for it is steadier on a
machine that does other things as well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from report import write_result

from ssvif_core.memory import keep_image_buffers

#: Least part of the bare engine's frame rate, by workers.
BARS = {1: 0.8, 2: 1.6}
#: Name: workers, and whether with everything that is on by default.
CASES = {
    "default, 1 worker": (1, True),
    "bare measures, 1 worker": (1, False),
    "default, 2 workers": (2, True),
    "bare measures, 2 workers": (2, False),
}
ENGINE = "engine"
#: How often it runs over the decoded frames: a second of it alone was no steady yardstick.
ENGINE_TURNS = 6


def bare_engine(bag: Path, model: str) -> tuple[int, float, float]:
    """Frames, wall and CPU seconds of the engine alone."""
    from ssvif_core.inference.engine import EngineOptions, create_engine
    from ssvif_core.models import open_model
    from ssvif_core.replay.recording import Recording

    images: dict[str, list[np.ndarray]] = {"visible": [], "thermal": []}
    with Recording(bag) as recording:
        for arrival in recording.arrivals():
            if arrival.role in images and len(images[arrival.role]) < 60:
                images[arrival.role].append(recording.pixels(arrival).copy())
    thermal = [cv2.convertScaleAbs(t, alpha=1 / 64) for t in images["thermal"]]
    engine, _ = create_engine(open_model(model), "onnxruntime", EngineOptions(1))
    engine.warm_up(*thermal[0].shape)
    pairs = list(zip(images["visible"], thermal, strict=True))
    pairs *= ENGINE_TURNS
    start, cpu = time.perf_counter(), time.process_time()
    for visible, warm in pairs:
        engine.infer(visible, warm)
    return len(pairs), time.perf_counter() - start, time.process_time() - cpu


def replayed(bag: Path, model: str, workers: int, everything: bool) -> tuple[int, float, float]:
    """Pairs, wall and CPU seconds of a replay, from the first message to the report."""
    from ssvif_core.replay.folder import write_run
    from ssvif_core.replay.options import ReplayOptions
    from ssvif_core.replay.run import replay
    from ssvif_core.replay.settings import NodeSettings

    settings = NodeSettings(model=model, engine="onnxruntime", threads=1)
    options = ReplayOptions(settings=settings, workers=workers)
    if not everything:
        options = ReplayOptions(settings=settings, workers=workers, metrics_every=0, video=False)
    with tempfile.TemporaryDirectory() as folder:
        cpu = 0.0

        def begun(*_: object) -> None:
            nonlocal cpu
            cpu = cpu or time.process_time()

        played = replay(bag, Path(folder), options, begun)
        start = time.perf_counter()
        write_run(played, Path(folder))
        wall = played.seconds_taken + time.perf_counter() - start
    return len(played.table), wall, time.process_time() - cpu


def in_own_process(bag: Path, model: str, case: str) -> dict[str, float]:
    """Pairs per second and CPU milliseconds for each pair."""
    command = [sys.executable, __file__, "--bag", str(bag), "--case", case, "--model", model]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    pairs, wall, cpu = json.loads(answer.stdout.splitlines()[-1])
    return {"pairs_per_second": pairs / wall, "cpu_ms": cpu / pairs * 1e3}


def measure(bag: Path, model: str, rounds: int) -> list[dict[str, object]]:
    """All cases, as rows with medians over the rounds."""
    runs: dict[str, list[dict[str, float]]] = {case: [] for case in (ENGINE, *CASES)}

    def run(case: str) -> dict[str, float]:
        runs[case].append(in_own_process(bag, model, case))
        print(case, {k: round(v, 1) for k, v in runs[case][-1].items()}, flush=True)
        return runs[case][-1]

    before = run(ENGINE)
    for _ in range(rounds):
        for case in CASES:
            mine, after = run(case), run(ENGINE)
            bare = {key: (before[key] + after[key]) / 2 for key in after}
            mine["ratio"] = mine["pairs_per_second"] / bare["pairs_per_second"]
            mine["engine_part_of_cpu"] = bare["cpu_ms"] / mine["cpu_ms"]
            before = after
    return [_row(case, found) for case, found in runs.items()]


def _row(case: str, found: list[dict[str, float]]) -> dict[str, object]:
    """Medians of a case; of the yardstick rates alone."""
    medians = {key: statistics.median(run[key] for run in found) for key in found[0]}
    row: dict[str, object] = {"case": case, **{k: round(v, 3) for k, v in medians.items()}}
    if case in CASES:
        ratios = [run["ratio"] for run in found]
        row["ratio_range"] = [round(min(ratios), 3), round(max(ratios), 3)]
        row["bar"] = BARS[CASES[case][0]]
        row["met"] = medians["ratio"] >= BARS[CASES[case][0]]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--model", default="base")
    parser.add_argument("--bag", type=Path, help="another recording")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        keep_image_buffers()  # as the command does
        cv2.setNumThreads(1)
        if options.case == ENGINE:
            print(json.dumps(bare_engine(options.bag, options.model)))
        else:
            print(json.dumps(replayed(options.bag, options.model, *CASES[options.case])))
        return
    with tempfile.TemporaryDirectory() as folder:
        bag = options.bag or Path(folder) / "drive"
        if options.bag is None:
            command = [sys.executable, "-m", "ssvif_core.cli", "record-demo", str(bag)]
            command += ["--thermal-rate", "30", "--duration", str(options.seconds)]
            subprocess.run(command, check=True)
        rows = measure(bag, options.model, options.rounds)
    for row in rows:
        print(row)
    print("written", write_result("replay", {"model": options.model, "rows": rows}))


if __name__ == "__main__":
    main()
