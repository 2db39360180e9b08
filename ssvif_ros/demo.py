"""`make demo`: two camera processes, the real node, and a recorder, on live topics for a while.

Everything runs as it would on a robot (separate processes, real messages, the shipped
shared-memory profile), in a ROS domain of its own, and is stopped before this ends.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ssvif_core.data.streams import MODALITIES, open_stream
from ssvif_core.data.video_writer import why_not_h264
from ssvif_core.errors import SsvifError
from ssvif_core.memory import keep_image_buffers
from ssvif_core.models import open_model, shipped_models
from ssvif_ros.demo_recorder import DemoRecorder
from ssvif_ros.ending import undisturbed
from ssvif_ros.processes import LifecycleClient, RosProcess, private_domain, spin_until

__all__ = ["main"]

#: Drawing two cameras, fusing and recording at 30 Hz takes about three cores.
RATE_HZ = 30.0 if (os.cpu_count() or 1) >= 4 else 15.0
#: The first fused image may take so long; a machine with ten times too much to do takes half of it.
BEGINS_S = 60.0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.split("\n")[0])
    parser.add_argument("--visible", default="", help="video or folder of the camera")
    parser.add_argument("--thermal", default="", help="video or folder of the thermal camera")
    parser.add_argument("--scene", default="show", help="drawn scene, if no files are given")
    parser.add_argument("--model", default="tiny", help=f"{shipped_models()} or an ONNX file")
    parser.add_argument("--duration", type=float, default=15.0, help="seconds to record")
    parser.add_argument("--rate", type=float, default=RATE_HZ, help="of the visible camera, Hz")
    parser.add_argument("--thermal-rate", type=float, default=RATE_HZ, help="Hz")
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    options = parser.parse_args(arguments)
    if bool(options.visible) != bool(options.thermal):
        parser.error("give both VISIBLE and THERMAL, or neither")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    console = Console()
    try:
        summary = run(options, console)
    except SsvifError as error:
        console.print(
            f"[bold red]demo failed:[/] {escape(str(error))}", soft_wrap=True, highlight=False
        )
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        console.print("stopped before anything was recorded")
        return 0
    show(summary, options.output, console)
    return 0


def run(options: argparse.Namespace, console: Console) -> dict[str, object]:
    """Start everything, record, stop everything; returns the summary."""
    for path, modality in zip((options.visible, options.thermal), MODALITIES, strict=True):
        if path:
            open_stream(Path(path), modality)  # a file that cannot be read is said at once
    options.output.mkdir(parents=True, exist_ok=True)
    os.environ.update(private_domain(options.output / "log"))
    keep_image_buffers()
    camera = {
        "scene": options.scene, "visible_file": options.visible, "thermal_file": options.thermal,
        "visible_rate": options.rate, "thermal_rate": options.thermal_rate, "jitter": 0.002,
    }  # fmt: skip
    rclpy.init()
    children: list[RosProcess] = []
    try:
        node = rclpy.create_node("demo")
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        logs = options.output / "log"
        fusion = RosProcess("ssvif_ros.fusion_node", {"model": options.model}, logs / "fusion.log")
        children.append(fusion)
        lifecycle = LifecycleClient(node, executor, "/fusion")
        _until_ready(lifecycle, fusion)
        legend = open_model(options.model).card.legend
        recorder = DemoRecorder(node, options.output, options.duration, legend)
        epoch = time.time() + 2.0
        for name in ("visible", "thermal"):
            parameters = {**camera, "cameras": name, "epoch": epoch}
            module = "ssvif_ros.simulated_cameras"
            children.append(RosProcess(module, parameters, logs / f"{name}.log"))
        if not spin_until(executor, lambda: _began(recorder, children), BEGINS_S):
            raise SsvifError(f"Nothing was fused within {BEGINS_S:.0f} s: see {logs}.")
        _record(recorder, options.duration, executor, children, console)
        with undisturbed():
            recorder.close()
            return summarise(recorder, options)
    finally:
        with undisturbed():
            statuses = {child.module: child.stop() for child in reversed(children)}
            rclpy.try_shutdown()
        for module, status in statuses.items():
            if status != 0:
                console.print(f"[yellow]{module} ended with status {status}[/]")


def _until_ready(lifecycle: LifecycleClient, fusion: RosProcess) -> None:
    lifecycle.wait()
    for transition in ("configure", "activate"):
        if not lifecycle.change(transition):
            raise SsvifError(f"The node refused to {transition}:\n{fusion.output}")


def _began(recorder: DemoRecorder, children: list[RosProcess]) -> bool:
    """Whether something was fused. Raises SsvifError if a process has ended."""
    if rclpy.ok():  # else Ctrl-C has ended them all
        for child in children:
            child.check()
    return bool(recorder.stamps_ns)


def _record(
    recorder: DemoRecorder,
    duration_s: float,
    executor: SingleThreadedExecutor,
    children: list[RosProcess],
    console: Console,
) -> None:
    """Record for so long, or until Ctrl-C. Raises SsvifError if a process has ended by itself."""
    start = time.monotonic()
    try:
        with Progress(
            *(TextColumn("fusing two live topics"), BarColumn(), TimeRemainingColumn()),
            console=console,
        ) as bar:
            task = bar.add_task("", total=duration_s)
            while (elapsed := time.monotonic() - start) < duration_s:
                executor.spin_once(timeout_sec=0.1)
                bar.update(task, completed=elapsed)
        for child in children:
            child.check()
        # Once a second the node says what it did: what it says of the end is waited for.
        end_ns = recorder.now_ns()
        spin_until(executor, lambda: recorder.said_ns > end_ns, 5.0)
    except (KeyboardInterrupt, ExternalShutdownException):
        console.print("stopped: what was recorded until now is kept")


def summarise(recorder: DemoRecorder, options: argparse.Namespace) -> dict[str, object]:
    """Numbers of the run: what the recorder saw, and what the node said of itself."""
    said = recorder.diagnostics
    span_s = (recorder.stamps_ns[-1] - recorder.stamps_ns[0]) * 1e-9
    p50, p99 = np.percentile(recorder.latencies_ms, (50, 99))
    summary: dict[str, object] = {
        "model": options.model,
        "source": [options.visible, options.thermal] if options.visible else options.scene,
        "fused_received": len(recorder.stamps_ns),
        "fused_rate_hz": round((len(recorder.stamps_ns) - 1) / max(span_s, 1e-9), 2),
        "latency_ms_p50": round(float(p50), 2),
        "latency_ms_p99": round(float(p99), 2),
    }
    for key, value in said.items():
        try:
            summary[f"node/{key}"] = float(value)
        except ValueError:
            summary[f"node/{key}"] = value
    (options.output / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def show(summary: dict[str, object], output: Path, console: Console) -> None:
    """Print the table."""

    def node(key: str) -> object:
        value = summary.get(f"node/{key}", "?")
        return f"{value:.4g}" if isinstance(value, float) else value

    table = Table("", "", title="Two cameras, fused live", show_header=False)
    rows = {
        "model, engine": f"{summary['model']}, {node('engine')} ({node('threads')} threads)",
        "visible, thermal rate": f"{node('visible_rate_hz')} Hz, {node('thermal_rate_hz')} Hz",
        "pairs made": node("paired"),
        "visible, thermal unpaired": f"{node('unpaired_visible')}, {node('unpaired_thermal')}",
        "pairs dropped (worker busy)": node("dropped_by_worker"),
        "frames not usable": node("bad_frames"),
        "fused rate": f"{summary['fused_rate_hz']} Hz",
        "latency from visible stamp": (
            f"p50 {summary['latency_ms_p50']} ms, p99 {summary['latency_ms_p99']} ms"
        ),
        "engine time": f"p50 {node('engine_ms_p50')} ms, p99 {node('engine_ms_p99')} ms",
        "time between cameras": f"p50 {node('delta_ms_p50')} ms, p99 {node('delta_ms_p99')} ms",
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    console.print(table)
    for name, what in (
        ("fused.mp4", "visible | thermal | fused | labels"),
        ("contact_sheet.png", "moments of it on one page"),
        ("summary.json", "these numbers and more"),
    ):
        console.print(f"  {output / name}: {what}", highlight=False)
    if note := why_not_h264():
        console.print(note, highlight=False, markup=False)


if __name__ == "__main__":
    sys.exit(main())
