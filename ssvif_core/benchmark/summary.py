"""Figures of a case from its rounds, and reasons put together. Numbers and words, no files."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ssvif_core.benchmark.case import AUTO, Case

__all__ = ["merge_reasons", "summarise"]


def summarise(runs: Mapping[Case, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """One row a case, by model and size in the order of `runs`, the fastest first.

    Figures are medians over the rounds, peak_mib and gpu_mib the largest. `speed_up`: how many
    times as fast as the slowest of the same model and size (the one with the largest p50), as the
    median over the rounds of the ratio within a round.
    """
    groups: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in runs:
        groups[case.model, case.size].append(case)
    rows = []
    for cases in groups.values():
        cases.sort(key=lambda case: _median(runs[case], "p50_ms"))
        rows += [_row(case, runs[case], runs[cases[-1]]) for case in cases]
    return rows


def _row(
    case: Case, answers: Sequence[Mapping[str, Any]], slowest: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    pairs = zip(slowest, answers, strict=True)
    ratios = [slow["p50_ms"] / mine["p50_ms"] for slow, mine in pairs]
    p50_ms = _median(answers, "p50_ms")
    return {
        "model": case.model,
        "size": case.size,
        "engine": case.engine,
        "precision": _precision(case, answers[0]["describe"]["precision"]),
        "p50_ms": p50_ms,
        "p99_ms": _median(answers, "p99_ms"),
        "fps": round(1000 / p50_ms, 2),
        "cpu_ms": _median(answers, "cpu_ms"),
        "peak_mib": _largest(answers, "peak_mib"),
        "gpu_mib": _largest(answers, "gpu_mib"),
        "speed_up": round(statistics.median(ratios), 3),
        "describe": answers[0]["describe"],
        "rounds": [{k: v for k, v in a.items() if k != "describe"} for a in answers],
    }


def _precision(case: Case, computed: str) -> str:
    """What is computed in; "fp16 as fp32": an fp16 file, computed in fp32."""
    same = case.precision in (AUTO, computed)
    return computed if same else f"{case.precision} as {computed}"


def _median(answers: Sequence[Mapping[str, Any]], key: str) -> float:
    return round(statistics.median(answer[key] for answer in answers), 3)


def _largest(answers: Sequence[Mapping[str, Any]], key: str) -> int | None:
    return max((a[key] for a in answers if a[key] is not None), default=None)


def merge_reasons(cases: Sequence[Case], reasons: Mapping[Case, str]) -> list[dict[str, str]]:
    """What does not work and why, each reason once.

    Args:
        cases: all that were tried.
        reasons: why some of them do not work.

    Returns:
        Entries of `what`, such as "tensorrt", or "torch fp16/int8 tiny" where it is not all of an
        engine's cases, and `reason`, in one line.
    """
    merged: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case, reason in reasons.items():
        merged[case.engine, " ".join(reason.split())].append(case)
    entries = []
    for (engine, reason), failed in merged.items():
        tried = [case for case in cases if case.engine == engine]
        words = [engine]
        for name in ("precision", "model", "size"):
            some = dict.fromkeys(getattr(case, name) for case in failed)
            if len(some) < len({getattr(case, name) for case in tried}):
                words.append("/".join(some))
        entries.append({"what": " ".join(words), "reason": reason})
    return entries
