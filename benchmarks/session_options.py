"""What ONNX Runtime's session options do for the shipped models on a CPU.

    python benchmarks/session_options.py [--models tiny base] [--rounds 3] [--frames 60]
        [--variants "threads pinned"] [--result session_options_pinned]

Each runs the whole model in one session, where the engine cuts it in two. "shipped" has the options
that `ssvif_core/inference/onnxruntime_engine.py` sets; every other variant differs from it in one
thing. Each runs in a process of its own, in turn, at 640x480 on two threads, back to back and at 30
frames a second. Ratios are taken against the shipped options of the same round. Frames are told by
p50 and by the processor time of all threads: what spins takes the cores from the callbacks that
bring the next frame, which the p50 of an engine alone does not show.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import onnxruntime
from report import write_result
from rich.console import Console
from rich.table import Table

from ssvif_core.models import open_model

HEIGHT, WIDTH, THREADS, WARM_UP = 480, 640, 2, 10
RATES_HZ = (0.0, 30.0)
LEVELS = onnxruntime.GraphOptimizationLevel
Options = onnxruntime.SessionOptions


def entry(key: str, value: str) -> Callable[[Options], object]:
    """A change of one entry of the configuration."""
    return lambda options: options.add_session_config_entry(key, value)


def attribute(name: str, value: object) -> Callable[[Options], object]:
    """A change of one attribute."""
    return lambda options: setattr(options, name, value)


SHIPPED = "shipped"
#: Name: what is changed after the shipped options are set.
VARIANTS: dict[str, Callable[[Options], object]] = {
    SHIPPED: lambda options: None,
    "threads go on spinning (the default)": entry("session.force_spinning_stop", "0"),
    "threads never spin": entry("session.intra_op.allow_spinning", "0"),
    "fewer graph optimisations": attribute("graph_optimization_level", LEVELS.ORT_ENABLE_EXTENDED),
    "branches in parallel": attribute(
        "execution_mode", onnxruntime.ExecutionMode.ORT_PARALLEL
    ),
    "no memory pattern": attribute("enable_mem_pattern", False),
    "no memory arena": attribute("enable_cpu_mem_arena", False),
    "denormals are zero": entry("session.set_denormal_as_zero", "1"),
    "sizes left open": lambda options: None,
    # The caller's thread computes as well and stays free, or it could never move away from another.
    "threads pinned": entry("session.intra_op_thread_affinities", "2"),
}  # fmt: skip


def run(model: str, variant: str, frames: int, rate_hz: float) -> dict[str, float]:
    """Time one variant in this process; milliseconds."""
    options = Options()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if variant != "sizes left open":
        options.add_free_dimension_override_by_name("height", HEIGHT)
        options.add_free_dimension_override_by_name("width", WIDTH)
    VARIANTS[variant](options)
    session = onnxruntime.InferenceSession(
        str(open_model(model).path), options, providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(0)
    frame = {
        "visible": rng.integers(0, 256, (1, HEIGHT, WIDTH, 3), dtype=np.uint8),
        "thermal": rng.integers(0, 256, (1, HEIGHT, WIDTH), dtype=np.uint8),
    }
    for _ in range(WARM_UP):
        session.run(None, frame)
    wall, cpu = [], time.process_time()
    for _ in range(frames):
        start = time.perf_counter()
        session.run(None, frame)
        wall.append((time.perf_counter() - start) * 1e3)
        if rate_hz:
            time.sleep(max(0.0, 1 / rate_hz - wall[-1] * 1e-3))
    cpu = (time.process_time() - cpu) / frames * 1e3
    return {"p50_ms": statistics.median(wall), "cpu_ms": cpu}


def in_own_process(*arguments: object) -> dict[str, float]:
    """`run` in a fresh Python."""
    command = [sys.executable, __file__, "--run", *map(str, arguments)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)


def measure(
    model: str, rate_hz: float, rounds: int, frames: int, variants: list[str]
) -> list[dict[str, object]]:
    """These variants beside the shipped one, as rows with medians over the rounds."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in (SHIPPED, *variants)}
    for _ in range(rounds):
        for name, found in runs.items():
            found.append(in_own_process(model, name, frames, rate_hz))
    rows = []
    for name, found in runs.items():
        row: dict[str, object] = {"model": model, "rate_hz": rate_hz, "variant": name}
        for key in ("p50_ms", "cpu_ms"):
            ratios = [
                mine[key] / shipped[key]
                for mine, shipped in zip(found, runs[SHIPPED], strict=True)
            ]  # fmt: skip
            row[key] = round(statistics.median(each[key] for each in found), 2)
            row[f"{key}_ratio"] = round(statistics.median(ratios), 3)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["tiny", "base"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--result", default="session_options")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        model, variant, frames, rate_hz = options.run
        print(json.dumps(run(model, variant, int(frames), float(rate_hz))))
        return
    rows = []
    for model in options.models:
        for rate_hz in RATES_HZ:
            rows += measure(model, rate_hz, options.rounds, options.frames, options.variants)
    table = Table("model", "rate", "variant", "p50 ms", "ratio", "CPU ms", "ratio")
    for row in rows:
        table.add_row(*(str(value) for value in (
            row["model"], row["rate_hz"] or "most", row["variant"], row["p50_ms"],
            row["p50_ms_ratio"], row["cpu_ms"], row["cpu_ms_ratio"],
        )))  # fmt: skip
    Console().print(table)
    print("written", write_result(options.result, {"threads": THREADS, "rows": rows}))


if __name__ == "__main__":
    main()
