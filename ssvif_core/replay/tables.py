"""The answer of a replay in a few lines, for the terminal and the top of the report."""

from __future__ import annotations

from typing import Any

__all__ = ["answers", "summary_lines"]


def answers(summary: dict[str, Any]) -> dict[str, str]:
    """Question -> answer in one line each, plain text."""
    pairing, real_time = summary["pairing"], summary["real_time"]
    streams = summary["streams"]
    pairs, possible = pairing["pairs"], pairing["possible"]
    delta, latency = pairing["delta_ms"], real_time["latency_ms"]
    silent_s = sum(span["seconds"] for span in summary["silent"])
    pause = f", of which neither sent for {silent_s:.1f} s" if silent_s else ""
    rates = " and ".join(f"{c} {_number(s.get('rate_hz'), 1)} Hz" for c, s in streams.items())
    lines = {
        "Cameras": f"{rates} over {summary['recording']['seconds']:.1f} s{pause}",
        "Pairs": f"{pairs} of {possible} possible ({_percent(pairs, possible)}), "
        f"{_number(pairing['rate_hz'], 1)} Hz; |dt| median {_number(delta.get('p50'), 1)} ms, "
        f"p95 {_number(delta.get('p95'), 1)} ms",
        "At real time here": f"{_number(real_time['fused'], 0)} fused, "
        f"{_number(real_time['dropped'], 0)} dropped; latency p50 {_number(latency.get('p50'), 1)} "
        f"ms, p99 {_number(latency.get('p99'), 1)} ms{_too_few(summary)}",
    }
    stages = summary["stages_ms"]
    lines["Time of a pair"] = (
        f"median {_number(stages['total_ms'].get('p50'), 1)} ms of {real_time['timed']} that were "
        "timed: "
        + ", ".join(
            f"{name.removesuffix('_ms')} {_number(spread.get('p50'), 1)}"
            for name, spread in stages.items()
            if name != "total_ms"
        )
    )
    alone = {c: pairing["counts"][f"single_{c}"] for c in ("visible", "thermal")}
    if any(alone.values()):
        shown = " and ".join(f"{n} {camera}" for camera, n in alone.items() if n)
        lines["One camera alone"] = f"{shown} frames ({summary['parameters']['on_missing']})"
    if summary["bad"]:
        lines["Not fused"] = f"{summary['bad']} pairs; the last: {summary['last_error']}"
    fusion = summary["fusion"]
    if fusion["measured"]:
        metrics = fusion["metrics"]
        shown = ", ".join(f"{m} {_number(metrics[m].get('mean'), 3)}" for m in metrics)
        lines["Fusion"] = f"{shown} (mean of {fusion['measured']} pairs{_inside(summary)})"
    lines["Masks"] = _masks(summary)
    lines["Flicker"] = _flicker(summary["stability"])
    return lines


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """The answers and the warnings with rich markup."""
    from rich.markup import escape

    lines = [f"[dim]{escape(text)}[/]" for text in summary["recording"]["found"]]
    lines += [f"[bold]{name}:[/] {escape(text)}" for name, text in answers(summary).items()]
    lines += [f"[yellow]warning:[/] {escape(text)}" for text in summary["warnings"]]
    return lines


def _too_few(summary: dict[str, Any]) -> str:
    if summary["real_time"]["dropped"] is not None:
        return ""
    return f" ({summary['real_time']['timed']} timed pairs are too few: --workers 1 times all)"


def _inside(summary: dict[str, Any]) -> str:
    """In which part of the picture fusion was measured, where it is not all of it."""
    box, size = summary["fusion"]["box"], summary["recording"]["sizes"]["visible"]
    if [box["width"], box["height"]] == size:
        return ""
    part = 100 * box["width"] * box["height"] / (size[0] * size[1])
    return f", in the {box['width']} x {box['height']} pixels ({part:.0f} %) that thermal covers"


def _masks(summary: dict[str, Any]) -> str:
    segmentation = summary["segmentation"]
    if segmentation is None:
        return f"not measured: {summary['without_truth']}"
    iou = segmentation["iou"]
    shown = ", ".join(f"{name} {_number(value, 3)}" for name, value in iou.items())
    return f"IoU {shown} ({segmentation['labelled']} labelled frames)"


def _flicker(stability: dict[str, Any]) -> str:
    fused = stability["flicker_fused"]
    if not fused["measured"]:
        return "not measured: no two pairs with static pixels"
    labels = stability["flicker_labels"]
    return (
        f"fused luminance changes by {_number(fused['mean'], 2)} levels on static pixels from pair "
        f"to pair (visible {_number(stability['flicker_visible']['mean'], 2)}, thermal after gain "
        f"{_number(stability['flicker_thermal']['mean'], 2)}), labels on "
        f"{100 * labels['mean']:.2f} % of them"
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"
