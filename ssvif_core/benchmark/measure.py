"""One case, measured in this process: `python -m ssvif_core.benchmark.measure CASE FRAMES`.

Answers with one line of JSON. A process of its own for each case: several ONNX Runtime sessions in
one process disturb each other by a factor of two, and memory can be told apart in no other way.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ssvif_core.benchmark.case import AUTO, Case
from ssvif_core.benchmark.frames import load_frames
from ssvif_core.benchmark.nvidia_smi import used_mib
from ssvif_core.errors import SsvifError
from ssvif_core.inference.engine import Engine, EngineOptions, create_engine
from ssvif_core.memory import keep_image_buffers
from ssvif_core.models import open_model

__all__ = ["measure"]

#: Frames that are not timed: the first are slow, while caches fill and clocks rise.
WARM_UP = 10


def measure(
    case: Case, frames: list[tuple[np.ndarray, np.ndarray]], known: list[str]
) -> dict[str, Any]:
    """Time `Engine.infer`, frame after frame.

    Args:
        case: what to run.
        frames: of `case.size`, taken in turn.
        known: precisions that this engine was measured in; if auto means one of them, it is the
            same thing under another name.

    Returns:
        p50_ms and p99_ms (latency), cpu_ms (time of all threads of the process, for one frame),
        peak_mib (of the process), gpu_mib (by how much the used memory of the GPUs grew; None
        for a CPU, or where it cannot be told) and describe; or `same`, the precision that it is.

    Raises:
        SsvifError: the engine does not work here.
    """
    gpu_before = used_mib()
    options = EngineOptions(
        threads=case.threads,
        precision=case.precision,
        height=case.height,
        width=case.width,
        allow_build=case.build,
    )
    engine, _ = create_engine(open_model(case.model), case.engine, options)
    describe = engine.describe()
    if case.precision == AUTO and describe["precision"] in known:
        return {"same": describe["precision"]}
    engine.warm_up(case.height, case.width)
    wall_ms, cpu_ms = _time(engine, frames, case.frames)
    on_cpu = describe["device"] == "CPU"
    answer = {
        "p50_ms": round(float(np.median(wall_ms)), 3),
        "p99_ms": round(float(np.percentile(wall_ms, 99)), 3),
        "cpu_ms": round(cpu_ms, 3),
        "peak_mib": _peak_mib(),
        "gpu_mib": None if on_cpu else _growth(gpu_before, used_mib()),
        "describe": describe,
    }
    engine.close()
    return answer


def _time(
    engine: Engine, frames: list[tuple[np.ndarray, np.ndarray]], count: int
) -> tuple[list[float], float]:
    """Wall time of each frame and mean CPU time of a frame, in ms."""
    for index in range(WARM_UP):
        engine.infer(*frames[index % len(frames)])
    wall_ms, cpu_start = [], time.process_time()
    for index in range(count):
        visible, thermal = frames[index % len(frames)]
        start = time.perf_counter()
        engine.infer(visible, thermal)
        wall_ms.append((time.perf_counter() - start) * 1e3)
    return wall_ms, (time.process_time() - cpu_start) / count * 1e3


def _peak_mib() -> int | None:
    """Peak of the resident memory. Not `getrusage`: its figure is never below the parent's peak."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:  # no Linux
        return None
    peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peaks[0]) >> 10 if peaks else None


def _growth(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(0, after - before)


def main() -> None:
    """Read the case from the command line, write the answer to stdout."""
    keep_image_buffers()  # as in the node
    answer_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answer
    request = json.loads(sys.argv[1])
    answer: dict[str, Any]
    try:
        answer = measure(Case(**request["case"]), load_frames(Path(sys.argv[2])), request["known"])
    except SsvifError as error:
        answer = {"reason": str(error)}
    print(json.dumps(answer), file=answer_to, flush=True)


if __name__ == "__main__":
    main()
