"""All figures of a replay as one dictionary: summary.json, and what the report shows."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np

from ssvif_core import __version__
from ssvif_core.benchmark.machine import installed, processor
from ssvif_core.evaluation.fusion_metrics import METRICS
from ssvif_core.replay.frame_table import STAGES, FrameTable
from ssvif_core.replay.names import name_of
from ssvif_core.replay.replayed import Replayed
from ssvif_core.replay.stability import STABILITY
from ssvif_core.replay.streams import GAP_S, Span, both_silent, outside, stamp_warnings

__all__ = ["finite", "summarise", "versions"]

FORMAT = 1
PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime", "rosbags", "pyarrow", "av")
BINS = 40
#: Of fewer timed pairs, where others were not timed, nothing is said of the slow ones.
LEAST_TIMED = 20


def summarise(played: Replayed) -> dict[str, Any]:
    """The figures; what is not finite is None, so that it is valid JSON."""
    table, options = played.table, played.options
    fused = int(table.fused.sum())
    seconds, end_ns, silent = _length_s(played), _end_ns(played), _silent(played)
    awake_s = seconds - sum(span.seconds for span in silent)
    content = {
        "format": FORMAT,
        "bag": name_of(played.recording.path),
        "complete": not played.interrupted,
        "interrupted": played.interrupted,
        "recording": _recording(played, seconds),
        "streams": {
            camera: watch.summary(end_ns, silent) for camera, watch in played.streams.items()
        },
        "silent": [span._asdict() for span in silent],
        "pairing": _pairing(played, awake_s),
        "presence": _presence(played, seconds),
        "real_time": _real_time(table, awake_s),
        "stages_ms": {
            name: _of_timed(table, name) for name in (*STAGES, "total_ms")
        },
        "fused": fused,
        "bad": played.bad,
        "last_error": played.last_error,
        "fusion": {
            "every": played.measures.every,
            "measured": int(np.isfinite(table.column("Qabf")).sum()),
            "box": _box(played),
            "metrics": {name: _spread(table.column(name)) for name in METRICS},
        },
        "stability": {name: _spread(table.column(name)) for name in STABILITY},
        "segmentation": played.measures.segmentation(),
        "without_truth": _without_truth(played),
        "timeline": played.timeline.series() | ({} if _enough(table) else {"dropped": None}),
        "warnings": _warnings(played),
        "parameters": options.settings.parameters(),
        "stamps": options.stamps,
        "registration": played.parts.registration,
        "model": {
            "name": played.parts.model.card.name,
            "mode": played.parts.model.card.mode,
            "sha256": played.parts.model.card.sha256,
            "classes": list(played.measures.names),
        },
        "engine": {"why": played.parts.why, **played.engine},
        "versions": versions(),
        "machine": processor(),
        "workers": played.workers,
        "resumed_from": played.resumed_from,
        "seconds_taken": played.seconds_taken,
        "pairs_per_second": fused / played.seconds_taken if played.seconds_taken else None,
    }  # fmt: skip
    return finite(content)


def versions() -> dict[str, str]:
    """Of what takes part in a replay."""
    return {"ssvif": __version__, "python": platform.python_version(), **installed(PACKAGES)}


def finite(value: Any) -> Any:
    """The same with None for NaN and infinity, and plain numbers for NumPy's."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _recording(played: Replayed, seconds: float) -> dict[str, Any]:
    recording, options = played.recording, played.options
    return {
        "topics": dict(recording.topics),
        "encodings": {t: recording.encodings.get(t, "") for t in recording.topics.values()},
        "found": recording.found,
        "sizes": played.sizes,
        "seconds": seconds,
        "start_s": options.part.start_s,
        "start_ns": recording.start_ns,
        "broken": recording.broken,
        "unreadable": recording.unreadable,
        "refused": recording.refused,
    }


def _end_ns(played: Replayed) -> int:
    """When the last camera message was received."""
    watches = played.streams.values()
    ends = [watch.last_ns for watch in watches if watch.last_ns is not None]
    return max(ends, default=played.recording.start_ns)


def _length_s(played: Replayed) -> float:
    """From the start of the slice to the last camera message."""
    return (_end_ns(played) - played.recording.start_ns) * 1e-9


def _silent(played: Replayed) -> list[Span]:
    """When neither camera sent."""
    return both_silent(played.streams["visible"], played.streams["thermal"], _end_ns(played))


def _possible(played: Replayed) -> int:
    """Pairs, had each camera sent all the time in which one did; of policy hold, one for each
    visible frame.
    """
    silent = _silent(played)
    hold = played.options.settings.sync__policy == "hold"
    watches = [watch for name, watch in played.streams.items() if name == "visible" or not hold]
    expected = [watch.expected(_end_ns(played), silent) for watch in watches]
    return min([e for e in expected if e is not None], default=min(w.frames for w in watches))


def _pairing(played: Replayed, seconds: float) -> dict[str, Any]:
    delta = played.table.column("delta_ms")
    counts = played.parts.pairing.counts
    return {
        "pairs": counts.paired,
        "possible": _possible(played),
        "rate_hz": counts.paired / seconds if seconds > 0 else None,
        "delta_ms": _spread(np.abs(delta)),
        "delta_signed_ms": _spread(delta),
        "delta_histogram": _histogram(delta),
        "wait_ms": _spread(played.table.column("wait_ms")),
        "counts": dict(vars(counts)),
    }


def _presence(played: Replayed, seconds: float) -> list[dict[str, Any]]:
    """When which cameras went on: mode, beginning and length in seconds."""
    starts = [(span.start_ns - played.recording.start_ns) * 1e-9 for span in played.modes]
    return (
        [
            {"mode": span.mode, "start_s": start, "seconds": end - start}
            for span, start, end in zip(
                played.modes, starts, [*starts[1:], max(seconds, *starts[-1:])], strict=True
            )
        ]
        if starts
        else []
    )


def _histogram(values: np.ndarray) -> dict[str, list[float]]:
    values = values[np.isfinite(values)]
    if not len(values):
        return {"edges": [], "counts": []}
    counts, edges = np.histogram(values, BINS)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _real_time(table: FrameTable, seconds: float) -> dict[str, Any]:
    dropped, enough = table.column("dropped"), _enough(table)
    done = int(((dropped == 0) & table.fused).sum())
    return {
        "timed": _timed(table),
        "dropped": int((dropped == 1).sum()) if enough else None,
        "fused": done if enough else None,
        "rate_hz": done / seconds if enough and seconds > 0 else None,
        "latency_ms": _of_timed(table, "latency_ms"),
        "after_receipt_ms": _of_timed(table, "after_receipt_ms"),
    }


def _timed(table: FrameTable) -> int:
    return int(np.isfinite(table.column("total_ms")).sum())


def _enough(table: FrameTable) -> bool:
    """Whether so many pairs were timed that the slow ones are among them."""
    timed = _timed(table)
    return timed >= LEAST_TIMED or timed == int(table.fused.sum())


def _of_timed(table: FrameTable, column: str) -> dict[str, float | int | None]:
    """The spread of times; those of pairs that were not timed come from one that was."""
    spread = _spread(table.column(column))
    if spread["measured"]:
        spread["measured"] = min(int(spread["measured"] or 0), _timed(table))
        if not _enough(table):
            spread |= dict.fromkeys(("p95", "p99", "max"))
    return spread


def _spread(values: np.ndarray) -> dict[str, float | int | None]:
    values = values[np.isfinite(values)]
    if not len(values):
        return {"measured": 0}
    p5, p50, p95, p99 = np.percentile(values, (5, 50, 95, 99))
    return {
        "measured": len(values),
        "mean": float(values.mean()),
        "p5": float(p5),
        "p50": float(p50),
        "p95": float(p95),
        "p99": float(p99),
        "max": float(values.max()),
    }


def _box(played: Replayed) -> dict[str, int] | None:
    """In which part of the picture fusion was measured; None where there was no pair."""
    if len(played.sizes) < 2:
        return None
    (width, height), thermal = played.sizes["visible"], played.sizes["thermal"]
    rows, columns = played.measures.box((height, width), (thermal[1], thermal[0]))
    return {
        "x": columns.start, "y": rows.start,
        "width": columns.stop - columns.start, "height": rows.stop - rows.start,
    }  # fmt: skip


def _without_truth(played: Replayed) -> str:
    if played.measures.without_truth:
        return played.measures.without_truth
    return "" if played.measures.labelled else played.label_error or played.none_fit


def _warnings(played: Replayed) -> list[str]:
    """What a person should know before reading the figures."""
    found = [f"{name}: {reason}" for name, reason in played.recording.broken.items()]
    for role, count in played.recording.unreadable.items():
        found.append(f"{count} {role} messages cannot be read and were left out.")
    if refused := played.recording.refused:
        counts = " and ".join(f"{count} {camera}" for camera, count in refused.items())
        found.append(
            f"{counts} images are refused as in the node. The last: {played.recording.refusal}"
        )
    if steps := played.recording.steps_s:
        found.append(
            f"The clock of receipt goes on by hours between two messages {_times(len(steps))}, "
            f"{max(steps) / 3600:.1f} at the most: it was set, or nothing was recorded. The times "
            "here leave that out."
        )
    streams, options, silent = played.streams, played.options, _silent(played)
    if silent:
        longest = max(span.seconds for span in silent)
        found.append(
            f"Neither camera sent anything {_times(len(silent))}, {longest:.1f} s at the longest: "
            "the recorder paused, or both were gone. Rates and possible pairs leave that out."
        )
    found += stamp_warnings(
        streams["visible"], streams["thermal"], options.settings.slop, options.stamps
    )
    for camera, watch in streams.items():
        if watch.frozen:
            longest = max(span.seconds for span in watch.frozen)
            found.append(
                f"The {camera} image stood still {_times(len(watch.frozen))}, {longest:.2f} s at "
                "the longest."
            )
        gaps = [span for span in watch.gaps(_end_ns(played)) if _own_s(span, silent) > GAP_S]
        if gaps and watch.frames:
            longest = max(span.seconds for span in gaps)
            found.append(
                f"The {camera} camera paused {_times(len(gaps))}, {longest:.2f} s at the longest."
            )
    for camera, other in (("thermal", "visible"), ("visible", "thermal")):
        alone = [s["seconds"] for s in _presence(played, _length_s(played)) if s["mode"] == other]
        if alone:
            found.append(
                f"The node would have taken the {camera} camera as missing {_times(len(alone))}, "
                f"{sum(alone):.1f} s in all."
            )
    if any(words in played.parts.registration for words in ("not registered", "not read")):
        found.append(f"{played.parts.registration}.")
    if played.bad:
        found.append(f"{played.bad} pairs could not be fused. The last: {played.last_error}")
    if played.unread_labels:
        found.append(
            f"True labels of {played.unread_labels} pairs were of no use. The last: "
            f"{played.label_error}"
        )
    if played.parts.pairing.counts.resets:
        found.append(f"Stamps jumped back {_times(played.parts.pairing.counts.resets)}.")
    if not played.parts.pairing.counts.paired:
        found.append("No pair at all: see the counts of the pairing and the stamps.")
    if played.options.jobs > 1:
        found.append(
            f"Up to {played.options.jobs} recordings were replayed at the same time: the times "
            "here are longer than alone."
        )
    if played.interrupted:
        found.append(f"Not the whole recording: {played.interrupted}.")
    return found


def _own_s(gap: Span, silent: Sequence[Span]) -> float:
    """How much of a camera's gap lies outside of the time in which the other one was silent too."""
    return float(np.diff(outside(silent, np.array([gap.start_s, gap.end_s])))[0])


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
