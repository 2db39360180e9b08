"""How long the engine takes, beside a yardstick that anyone can build.

    python benchmarks/engine.py [--rounds 5] [--frames 60]

Each case runs alone in a process of its own (several ONNX Runtime sessions in one process disturb
each other), in turn, for several rounds; a case's figure is the median over the rounds of the
median over its frames, and its ratio is taken against the yardstick of the same round, size and
number of threads. The yardstick is four 3x3 convolutions 1-16-16-16-1 with ReLU at full
resolution, in float.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import cv2
import numpy as np
from report import write_result

from ssvif_core.memory import keep_image_buffers

CASES = ("yardstick", "base", "tiny", "laplacian")
SIZES = ("640x480", "1280x1024")
THREADS = (1, 2)
#: Largest allowed ratio to the yardstick at 640x480 with 2 threads, as shipped.
BARS = {"base": 1.25, "tiny": 0.62}
WARM_UP = 10


def yardstick(width: int, height: int, threads: int) -> Callable[[], object]:
    """ONNX Runtime on four convolutions with random weights."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    channels, nodes, weights = [1, 16, 16, 16, 1], [], []
    for i in range(4):
        kernel = rng.standard_normal((channels[i + 1], channels[i], 3, 3), dtype=np.float32) / 10
        weights.append(numpy_helper.from_array(kernel, f"w{i}"))
        source = f"r{i - 1}" if i else "image"
        nodes.append(helper.make_node("Conv", [source, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
    shape = [1, 1, height, width]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name in ("image", "r3")
    ]
    graph = helper.make_graph(nodes, "yardstick", *ends, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        onnx.save(model, file.name)
        session = onnxruntime.InferenceSession(
            file.name, options, providers=["CPUExecutionProvider"]
        )
    image = rng.random(shape, dtype=np.float32)
    return lambda: session.run(None, {"image": image})


def work_of(case: str, width: int, height: int, threads: int) -> Callable[[], object]:
    """The call that is timed."""
    if case == "yardstick":
        return yardstick(width, height, threads)
    rng = np.random.default_rng(0)
    visible = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    visible = cv2.GaussianBlur(visible, (0, 0), 3)
    thermal = cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY)
    if case == "laplacian":
        from ssvif_core.evaluation.baselines import laplacian_max_base

        cv2.setNumThreads(threads)
        return lambda: laplacian_max_base(visible, thermal)
    from ssvif_core.inference.engine import EngineOptions, create_engine
    from ssvif_core.models import open_model

    engine, _ = create_engine(open_model(case), "onnxruntime", EngineOptions(threads))
    return lambda: engine.infer(visible, thermal)


def run_case(
    case: str, size: str, threads: int, frames: int, rate_hz: float = 0.0
) -> dict[str, float]:
    """Time one case in this process: milliseconds, wall and CPU; back to back, or at a rate."""
    keep_image_buffers()  # for all cases alike, as in the node and in every command that fuses
    work = work_of(case, *map(int, size.split("x")), threads)
    for _ in range(WARM_UP):
        work()
    wall, cpu_start = [], time.process_time()
    for _ in range(frames):
        start = time.perf_counter()
        work()
        wall.append((time.perf_counter() - start) * 1e3)
        if rate_hz:
            time.sleep(max(0.0, 1 / rate_hz - wall[-1] * 1e-3))
    return {
        "p50_ms": statistics.median(wall),
        "p99_ms": float(np.percentile(wall, 99)),
        "cpu_ms": (time.process_time() - cpu_start) / frames * 1e3,
    }


def in_own_process(
    case: str, size: str, threads: int, frames: int, rate_hz: float = 0.0
) -> dict[str, float]:
    """`run_case` in a fresh Python."""
    command = [sys.executable, __file__, "--case", case, "--size", size, "--rate", str(rate_hz)]
    command += ["--threads", str(threads), "--frames", str(frames)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)


def measure(rounds: int, frames: int) -> list[dict[str, object]]:
    """All cases at all sizes and thread counts, as rows with medians over the rounds."""
    rows = []
    for size in SIZES:
        for threads in THREADS:
            runs: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
            for _ in range(rounds):
                for case in CASES:
                    runs[case].append(in_own_process(case, size, threads, frames))
            for case in CASES:
                pairs = zip(runs[case], runs["yardstick"], strict=True)
                ratios = [mine["p50_ms"] / yard["p50_ms"] for mine, yard in pairs]
                row: dict[str, object] = {"case": case, "size": size, "threads": threads}
                for key in ("p50_ms", "p99_ms", "cpu_ms"):
                    row[key] = round(statistics.median(run[key] for run in runs[case]), 2)
                row["ratio"] = round(statistics.median(ratios), 3)
                row["ratio_range"] = [round(min(ratios), 3), round(max(ratios), 3)]
                rows.append(row)
                print("{case:10} {size:>9} {threads} threads  {p50_ms:8.2f} ms  ratio {ratio:.3f} "
                      "{ratio_range}".format(**row), flush=True)  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--size", default="640x480", help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        case = options.case, options.size, options.threads, options.frames, options.rate
        print(json.dumps(run_case(*case)))
        return
    rows = measure(options.rounds, options.frames)
    bars = {}
    for case, bar in BARS.items():
        row = next(r for r in rows if (r["case"], r["size"], r["threads"]) == (case, "640x480", 2))
        bars[case] = {"bar": bar, "ratio": row["ratio"], "met": row["ratio"] <= bar}
        print(f"{case}: {row['ratio']} of the yardstick, bar {bar}: {bars[case]['met']}")
    print("written", write_result("engine", {"rows": rows, "bars": bars}))


if __name__ == "__main__":
    main()
