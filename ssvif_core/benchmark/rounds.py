"""All cases in turn, round after round, each in a fresh process.

In turn, so that a slow minute of the machine hits all cases alike and not one of them.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ssvif_core.benchmark.case import AUTO, Case

__all__ = ["Report", "in_own_process", "run_rounds"]

#: Called before a case is run: (case, processes that ran, processes that will have run).
Report = Callable[[Case, int, int], None]
Runs = dict[Case, list[dict[str, Any]]]


def run_rounds(
    cases: Sequence[Case], rounds: int, frames: Mapping[str, Path], report: Report
) -> tuple[Runs, dict[Case, str]]:
    """Measure.

    Args:
        cases: in the order of running; of one engine, model and size, auto comes last.
        rounds: how often each is run.
        frames: size -> file of `draw_frames`.
        report: for a progress bar.

    Returns:
        The answers of `measure`, one a round, of the cases that work, and the reasons of the
        others. A case that is another under a different name is in neither. After Ctrl-C: those of
        the rounds that were finished.

    Raises:
        KeyboardInterrupt: before the first round was finished.
    """
    runs: Runs = {case: [] for case in cases}
    reasons: dict[Case, str] = {}
    done = 0
    try:
        for _ in range(rounds):
            for case in list(runs):
                left = sum(rounds - len(answers) for answers in runs.values())
                report(case, done, done + left)
                answer = _measured(case, frames[case.size], _known(case, runs))
                done += 1
                if "p50_ms" in answer:
                    runs[case].append(answer)
                    continue
                del runs[case]
                if "reason" in answer:
                    reasons[case] = answer["reason"]
    except KeyboardInterrupt:
        finished = min(map(len, runs.values()), default=0)
        if not finished:
            raise
        runs = {case: answers[:finished] for case, answers in runs.items()}
    return runs, reasons


def _known(case: Case, runs: Runs) -> list[str]:
    """Precisions in which this engine was measured because they were asked for."""
    return [
        answers[0]["describe"]["precision"]
        for other, answers in runs.items()
        if answers and other.precision != AUTO and replace(other, precision=AUTO) == case
    ]


def _measured(case: Case, frames: Path, known: list[str]) -> dict[str, Any]:
    if case.build and "tensorrt" in case.engine:
        # Building takes memory that running does not: in another process, done in no time if the
        # engine is there.
        built = in_own_process(replace(case, frames=1), frames, known)
        if "p50_ms" not in built:
            return built
    return in_own_process(case, frames, known)


def in_own_process(case: Case, frames: Path, known: Sequence[str] = ()) -> dict[str, Any]:
    """The answer of `measure` in a fresh Python, or `reason`: why there is none."""
    request = json.dumps({"case": asdict(case), "known": list(known)})
    command = [sys.executable, "-m", "ssvif_core.benchmark.measure", request, str(frames)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return dict(json.loads(done.stdout))
    if done.returncode < 0:
        return {"reason": f"its process ended with: {signal.strsignal(-done.returncode)}"}
    lines = done.stderr.strip().splitlines()
    return {"reason": lines[-1] if lines else f"its process ended with {done.returncode}"}
