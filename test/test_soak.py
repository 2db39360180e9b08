"""Two cameras at 30 Hz, something wrong every few seconds, and a node that must not mind.

    pytest test/test_soak.py                   about a minute and a half: every fault three times
    SSVIF_SOAK_MINUTES=30 pytest test/test_soak.py
    make soak                                  30 minutes; writes benchmarks/results/soak.json, .png

Also read: SSVIF_SOAK_SIZE (160x128), SSVIF_SOAK_SEED (0), SSVIF_SOAK_RESULT (a .json to write).
The first round of all faults, and some hundred sizes, warm up; what is held of the machine then
must be held at the end.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from faulty_camera import FaultyCamera  # noqa: E402
from fusion_process import FusionProcess, Resources  # noqa: E402

from ssvif_core.benchmark.machine import processor  # noqa: E402
from ssvif_ros.accounting import FATES  # noqa: E402

MINUTES = float(os.environ.get("SSVIF_SOAK_MINUTES", "0.5"))
SIZE = tuple(int(n) for n in os.environ.get("SSVIF_SOAK_SIZE", "160x128").split("x"))
SEED = int(os.environ.get("SSVIF_SOAK_SEED", "0"))
RESULT = os.environ.get("SSVIF_SOAK_RESULT", "")
RATE_HZ = 30.0
FAULT_S = 1.5
"""How long a fault lasts."""
GROWTH_MIB = 5.0
SIZES_S = 8.0
"""How long every frame has another size before memory counts as warm: 240 sizes at 30 Hz."""


@dataclass
class Soak:
    """One run: the node, its cameras, and what was seen of them."""

    fusion: FusionProcess
    cameras: dict[str, FaultyCamera]
    random: np.random.Generator
    samples: list[dict[str, float]] = field(default_factory=list)
    faults: list[tuple[float, str]] = field(default_factory=list)
    begin: float = field(default_factory=time.monotonic)
    fused: int = 0

    def now(self) -> float:
        return time.monotonic() - self.begin

    def run_for(self, seconds: float) -> None:
        """Let it run, and take a sample every second."""
        end = self.now() + seconds

        def done() -> bool:
            self.fused += len(self.fusion.fused)
            self.fusion.fused.clear()
            if not self.samples or self.now() >= self.samples[-1]["t"] + 1.0:
                assert self.fusion.alive(), self.fusion.process.output
                held = asdict(Resources.of(self.fusion.pid))
                self.samples.append({"t": round(self.now(), 2), **held, "fused": self.fused})
            return self.now() >= end

        assert self.fusion.until(done, seconds + 60.0)

    def fuses(self) -> bool:
        """Whether fused images come (again)."""
        wanted = self.fused + 3
        return self.fusion.until(lambda: (self.run_for(0.0), self.fused >= wanted)[1], 90.0)

    def some(self) -> list[FaultyCamera]:
        """One camera, the other, or both."""
        both = list(self.cameras.values())
        return [both[:1], both[1:], both][self.random.integers(3)]

    def round(self, rest_s: float) -> None:
        """Every fault once, in random order; after each, frames must be fused again."""
        for name in self.random.permutation(sorted(FAULTS)):
            self.faults.append((round(self.now(), 2), str(name)))
            FAULTS[name](self)
            assert self.fuses(), (name, self.fusion.diagnostics, self.fusion.process.output[-3000:])
            self.run_for(rest_s)

    def meet_sizes(self) -> None:
        """ONNX Runtime's memory grows with the sizes that it meets, up to some 150 of them."""
        for camera in self.cameras.values():
            camera.tell(random_sizes=True)
        self.run_for(SIZES_S)
        for camera in self.cameras.values():
            camera.tell(random_sizes=False)

    # -- faults --------------------------------------------------------------------------------

    def told(self, during: dict[str, object], after: dict[str, object]) -> None:
        """Some cameras misbehave for a while."""
        chosen = self.some()
        for camera in chosen:
            camera.tell(**during)
        self.run_for(FAULT_S)
        for camera in chosen:
            camera.tell(**after)

    def killed(self) -> None:
        chosen = self.some()
        for camera in chosen:
            camera.kill()
        self.run_for(FAULT_S)
        for camera in chosen:
            camera.restart()

    def malformed(self) -> None:
        for camera in self.some():
            camera.tell(malformed=int(self.random.integers(50, 400)))
        self.run_for(FAULT_S)

    def jump(self) -> None:
        hours = float(self.random.choice([-24, -1, 1, 24]))
        self.told({"jump_s": 3600 * hours}, {"jump_s": 0.0})

    def parameters(self) -> None:
        for name, values in LIVE.items():
            assert self.fusion.set(name, values[self.random.integers(len(values))])
        self.run_for(FAULT_S)
        for name, values in LIVE.items():
            assert self.fusion.set(name, values[0])

    def engine(self) -> None:
        """Another engine takes over, and the first again."""
        for precision in ("fp16", "fp32"):
            assert self.fusion.set("precision", precision)
            self.run_for(FAULT_S)
            assert self.fusion.until(lambda p=precision: self.fusion.diagnostics["precision"] == p)

    def inactive(self) -> None:
        assert self.fusion.lifecycle.change("deactivate")
        self.run_for(FAULT_S)
        assert self.fusion.lifecycle.change("activate")


LIVE = {
    "slop": (0.05, 0.001, 0.02),
    "max_wait": (0.1, 0.0, 0.3),
    "thermal_offset": (0.0, -0.5, 0.01),
    "gain.mode": ("auto", "percentile", "fixed", "none"),
    "gain.time_constant": (1.0, 0.0, 60.0),
}
FAULTS = {
    "kill -9": Soak.killed,
    "malformed": Soak.malformed,
    "stamps jump": Soak.jump,
    "stamps repeat": lambda soak: soak.told({"stamps": "same"}, {"stamps": "true"}),
    "no stamps": lambda soak: soak.told({"stamps": "zero"}, {"stamps": "true"}),
    "sizes": lambda soak: soak.told({"random_sizes": True}, {"random_sizes": False}),
    "silent": lambda soak: soak.told({"silent": True}, {"silent": False}),
    "parameters": Soak.parameters,
    "engine": Soak.engine,
    "inactive": Soak.inactive,
}


@pytest.mark.long
@pytest.mark.timeout(600 + 90 * MINUTES)
def test_memory_threads_and_files_stay_and_every_frame_is_accounted_for(ros_domain, tmp_path):
    node, executor = ros_domain
    cameras = {c: FaultyCamera(c, tmp_path, RATE_HZ, SIZE) for c in ("visible", "thermal")}
    width, height = SIZE
    fusion = FusionProcess(
        node, executor, tmp_path / "fusion.log", warm_up_width=width, warm_up_height=height
    )
    try:
        soak = Soak(fusion.activate(), cameras, np.random.default_rng(SEED))
        assert soak.fuses(), fusion.process.output
        soak.round(rest_s=0.5)
        soak.meet_sizes()
        warm_s = soak.now()
        while soak.now() < warm_s + 60.0 * MINUTES:
            soak.round(rest_s=0.5 if MINUTES < 2 else float(soak.random.uniform(1.0, 8.0)))
        for camera in cameras.values():
            camera.stop()
        missing = fusion.missing()
        result = _result(soak, warm_s)
        if RESULT:
            _write(result, Path(RESULT))
        assert missing == {}
        assert result["held_at_end"]["rss_mib"] - result["held_when_warm"]["rss_mib"] < GROWTH_MIB
        for what in ("threads", "files"):
            assert result["held_at_end"][what] <= result["held_when_warm"][what], result
        assert fusion.process.stop() == 0
    finally:
        fusion.close()
        for camera in cameras.values():
            camera.kill()


def _held(samples: list[dict[str, float]]) -> dict[str, float]:
    return {
        key: round(statistics.median(s[key] for s in samples), 2)
        for key in ("rss_mib", "shared_mib", "threads", "files")
    }


def _result(soak: Soak, warm_s: float) -> dict[str, object]:
    """What is worth keeping of a run whose cameras are quiet."""
    warm = [s for s in soak.samples if s["t"] >= warm_s]
    part = max(len(warm) // 4, 1)
    count = soak.fusion.count
    fates = {
        camera: {
            "sent": soak.cameras[camera].sent,
            **{f: count(f"{f}_{camera}") for f in ("received", *FATES)},
        }
        for camera in soak.cameras
    }
    pairs = ("paired", "fused", "bad_frames", "dropped_by_worker", "in_work", "resets")
    return {
        "minutes": round((soak.now() - warm_s) / 60, 2), "size": list(SIZE), "seed": SEED,
        "warm_after_s": round(warm_s, 1), "faults": len(soak.faults),
        "held_when_warm": _held(warm[:part]), "held_at_end": _held(warm[-part:]),
        "frames": fates, "pairs": {key: count(key) for key in pairs},
        "samples": soak.samples, "log_of_faults": soak.faults,
    }  # fmt: skip


def _write(result: dict[str, object], path: Path) -> None:
    """The numbers, every tenth sample, and a picture of all of them beside."""
    read = {"MINUTES": f"{MINUTES:g}", "SIZE": f"{SIZE[0]}x{SIZE[1]}", "SEED": str(SEED)}
    command = " ".join(f"SSVIF_SOAK_{name}={value}" for name, value in read.items())
    about = {"command": f"{command} python -m pytest test/test_soak.py"}
    about |= {"date": date.today().isoformat(), "machine": f"{processor()}, {os.cpu_count()} cores"}
    kept = {"samples": result["samples"][::10]}
    path.write_text(json.dumps({**about, **result, **kept}) + "\n", encoding="utf-8")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    samples = result["samples"]
    minutes = [s["t"] / 60 for s in samples]
    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots(3, sharex=True)
    for axis, keys in zip(axes, (("rss_mib",), ("threads", "files"), ("fused",)), strict=True):
        for key in keys:
            axis.plot(minutes, [s[key] for s in samples], label=key)
        axis.legend(loc="lower right")
        axis.grid(alpha=0.3)
    axes[0].axvline(result["warm_after_s"] / 60, color="gray", linestyle="--")
    axes[0].set_title(f"{result['faults']} faults in {minutes[-1]:.0f} minutes")
    axes[-1].set_xlabel("minutes")
    figure.savefig(path.with_suffix(".png"), dpi=110)
