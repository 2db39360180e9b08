"""Where the time of a frame goes on the CPU: each node of the graph, beside what the CPU can do.

    python benchmarks/cpu_profile.py [--models base tiny] [--size 640x480] [--frames 60]

One thread, so that a node's time is work and not waiting. Convolutions are given with the part of
the CPU's peak that they reach: the peak is a large matrix product in single precision, by NumPy or
by ONNX Runtime, whichever is faster, measured in turns with the model in the same run. (OpenBLAS
takes its AVX2 kernels on CPUs that it does not know: half of what one with AVX-512 can do.) Writes
benchmarks/results/cpu_profile.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from report import write_result
from rich.console import Console
from rich.table import Table

from ssvif_core.models import open_model

ROUNDS = 5

CONVOLUTION = "Conv"


def matrix_product(size: int) -> onnxruntime.InferenceSession:
    """A session that multiplies two square matrices on one thread."""
    names = ("a", "b", "c")
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [size, size]) for n in names]
    node = helper.make_node("MatMul", names[:2], names[2:])
    graph = helper.make_graph([node], "product", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def peak_gflops(size: int = 1024) -> float:
    """Best of a few matrix products: 2 n^3 operations each."""
    a = np.random.default_rng(0).random((size, size), np.float32)
    session = matrix_product(size)
    best = float("inf")
    for product in (lambda: a @ a, lambda: session.run(None, {"a": a, "b": a})) * 5:
        start = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best * 1e-9


def profile(name: str, width: int, height: int, frames: int) -> list[dict[str, Any]]:
    """Kernel times of one session, as ONNX Runtime's profiler gives them (microseconds)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(tempfile.mkdtemp()) / "profile")
    options.add_free_dimension_override_by_name("height", height)
    options.add_free_dimension_override_by_name("width", width)
    session = onnxruntime.InferenceSession(
        str(open_model(name).path), options, providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(0)
    frame = {
        "visible": rng.integers(0, 256, (1, height, width, 3), dtype=np.uint8),
        "thermal": rng.integers(0, 256, (1, height, width), dtype=np.uint8),
    }
    for _ in range(frames):
        session.run(None, frame)
    events = json.loads(Path(session.end_profiling()).read_text())
    return [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]


def nodes(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Median time of each node, and for convolutions the operations (as laid out in memory)."""
    times: dict[str, list[float]] = defaultdict(list)
    about: dict[str, dict[str, Any]] = {}
    for event in events:
        times[event["name"]].append(event["dur"])
        about[event["name"]] = event["args"]
    found = []
    for name, values in times.items():
        args = about[name]
        row = {
            "node": name.removesuffix("_kernel_time").removesuffix("_nchwc"),
            "kind": args["op_name"],
            "ms": statistics.median(values) * 1e-3,
        }
        if args["op_name"] == CONVOLUTION:
            row["gflop"] = _operations(args) * 1e-9
        found.append(row)
    return sorted(found, key=lambda row: -row["ms"])


def _operations(args: dict[str, Any]) -> float:
    """2 x output pixels x weights; weights from the size of the parameters without the bias."""
    (shape,) = next(iter(args["output_type_shape"])).values()
    channels, pixels = shape[1], shape[2] * shape[3]
    weights = int(args["parameter_size"]) / 4 - channels
    return 2.0 * pixels * weights


def summary(rows: list[dict[str, Any]], peak: float) -> dict[str, Any]:
    convolutions = [row for row in rows if row["kind"] == CONVOLUTION]
    total = sum(row["ms"] for row in rows)
    in_convolutions = sum(row["ms"] for row in convolutions)
    gflop = sum(row["gflop"] for row in convolutions)
    return {
        "total_ms": round(total, 2),
        "convolutions_ms": round(in_convolutions, 2),
        "rest_ms": round(total - in_convolutions, 2),
        "gflop": round(gflop, 3),
        "peak_gflops": round(peak, 1),
        "convolutions_part_of_peak": round(gflop / in_convolutions * 1e3 / peak, 3),
        "at_peak_ms": round(gflop / peak * 1e3, 2),
    }


def show(name: str, rows: list[dict[str, Any]], about: dict[str, Any]) -> None:
    table = Table("node", "kind", "ms", "of peak", title=f"{name}: {about}")
    for row in rows[:25]:
        part = row.get("gflop", 0) / row["ms"] * 1e3 / about["peak_gflops"]
        table.add_row(
            row["node"][-48:], row["kind"], f"{row['ms']:.2f}", f"{part:.0%}" if part else ""
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["base", "tiny"])
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--frames", type=int, default=60)
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    result: dict[str, Any] = {}
    for name in options.models:
        events: list[dict[str, Any]] = []
        peaks = []
        for _ in range(ROUNDS):
            peaks.append(peak_gflops())
            events += profile(name, width, height, options.frames // ROUNDS)
        rows = nodes(events)
        about = summary(rows, max(peaks))
        show(name, rows, about)
        for row in rows:
            row.update({key: round(row[key], 4) for key in ("ms", "gflop") if key in row})
        result[name] = {**about, "size": options.size, "nodes": rows}
    print("written", write_result("cpu_profile", {"models": result}))


if __name__ == "__main__":
    main()
