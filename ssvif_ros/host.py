"""What the machine and this process are doing, read where Linux says it. Knows nothing of ROS.

Read once a second in a thread of its own: some sensors take milliseconds to answer, and the thread
that runs callbacks must not wait for them. What cannot be read is left out.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["HostMonitor", "Temperature", "process_usage", "temperatures"]

PERIOD_S = 1.0
#: Names of the integrated GPU in the device tree of Jetsons from TX2 to Orin; as jetson_stats
#: (jtop/core/gpu.py) finds it. Its file `load` is in thousandths.
JETSON_GPUS = ("gp10b", "gv11b", "ga10b", "gpu")


def _text(path: Path | str) -> str:
    """Content without surrounding space; empty where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None


class CpuMeter:
    """Share of time spent since the call before, from ever-growing counters, in percent."""

    def __init__(self) -> None:
        self._before: tuple[float, float] | None = None

    def percent(self, busy: float, total: float) -> float | None:
        before, self._before = self._before, (busy, total)
        if before is None or total <= before[1]:
            return None
        return 100.0 * (busy - before[0]) / (total - before[1])


def process_usage(pid: int | str = "self") -> dict[str, float]:
    """CPU seconds, resident memory in MiB, threads and open files of a process.

    Source: proc(5), /proc/PID/stat, fields 14, 15, 20 and 24. Empty where there is no /proc.
    """
    # The name in brackets may hold spaces; what follows its last bracket does not.
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(fields) < 22:
        return {}
    usage = {
        "cpu_s": (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
        "rss_mib": int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "threads": int(fields[17]),
    }
    with contextlib.suppress(OSError):
        usage["open_files"] = len(os.listdir(f"/proc/{pid}/fd"))
    return usage


class Temperature:
    """One sensor: its name, its file, and the degrees at which the machine slows or stops."""

    def __init__(self, name: str, path: Path, limit: float | None) -> None:
        self.name, self._path = name, path
        self.limit_c = limit / 1000 if limit and 40_000 < limit < 150_000 else None

    @property
    def celsius(self) -> float | None:
        """None where the sensor does not answer, as those of parts that are switched off."""
        value = _number(self._path)
        return value / 1000 if value is not None and -40_000 < value < 200_000 else None


def temperatures(sys: Path = Path("/sys")) -> list[Temperature]:
    """The machine's sensors: thermal zones and, on PCs, the hwmon chips of the CPU and the GPU.

    Other hwmon chips (disks, mainboard inputs that are not connected) tell nothing about load.
    """
    found = []
    for zone in sorted(sys.glob("class/thermal/thermal_zone*")):
        limits = [
            _number(kind.with_name(kind.name.replace("_type", "_temp")))
            for kind in zone.glob("trip_point_*_type")
            if _text(kind) in ("critical", "hot")
        ]
        known = [limit for limit in limits if limit]
        found.append(
            Temperature(_text(zone / "type"), zone / "temp", min(known) if known else None)
        )
    for chip in sorted(sys.glob("class/hwmon/hwmon*")):
        name = _text(chip / "name")
        if name in ("coretemp", "k10temp", "zenpower", "cpu_thermal", "amdgpu"):
            for path in sorted(chip.glob("temp*_input")):
                limit = _number(path.with_name(path.name.replace("_input", "_crit")))
                label = _text(path.with_name(path.name.replace("_input", "_label")))
                found.append(Temperature(f"{name} {label}".strip(), path, limit))
    return [sensor for sensor in found if sensor.celsius is not None]


def _jetson_gpu(sys: Path) -> Callable[[], dict[str, float]] | None:
    for name in sorted(sys.glob("class/devfreq/*/device/of_node/name")):
        path = name.parent.parent / "load"
        # The device tree ends its strings with a zero byte.
        if _text(name).rstrip("\0") in JETSON_GPUS and _number(path) is not None:
            return lambda: {"gpu_load_percent": (_number(path) or 0.0) / 10}
    return None


def _nvml_gpu() -> Callable[[], dict[str, float]] | None:
    """By NVIDIA's management library, where its Python module (nvidia-ml-py) is installed.

    The first GPU, which is the one that engines use. nvidia-smi would take longer than a second.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
        gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
    except Exception:  # not installed, no driver, no GPU: each its own kind of error
        return None

    def read() -> dict[str, float]:
        load, memory = (
            pynvml.nvmlDeviceGetUtilizationRates(gpu),
            pynvml.nvmlDeviceGetMemoryInfo(gpu),
        )
        return {
            "gpu_load_percent": float(load.gpu),
            "gpu_memory_mib": memory.used / 2**20,
            "gpu_temperature_c": float(
                pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU)
            ),
        }

    return read


class HostMonitor:
    """Reads until it is stopped.

    Attributes:
        values: newest readings, by their keys in /diagnostics: `process_cpu_percent` (of one core:
            200 is two cores busy), `process_rss_mib`, `process_threads`, `process_open_files`,
            `cpu_percent` (of all cores, whoever uses them), `load_average`,
            `memory_available_mib`, `temperature_c` and `temperature_sensor` (the hottest),
            `gpu_load_percent`, `gpu_memory_mib`, `gpu_temperature_c`.
        problems: sentences for people, newest only.
    """

    #: Degrees below a sensor's limit from which on it is a problem.
    MARGIN_C = 5.0
    #: Share of memory below which the kernel soon ends processes.
    LOW_MEMORY = 0.05

    def __init__(self, sys: Path = Path("/sys")) -> None:
        self.values: dict[str, Any] = {}
        self.problems: list[str] = []
        self._sys = sys
        self._process, self._machine = CpuMeter(), CpuMeter()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="host monitor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a sensor that hangs is left behind."""
        self._stopping.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        self._temperatures = temperatures(self._sys)
        self._gpu = _jetson_gpu(self._sys) or _nvml_gpu()
        while not self._stopping.is_set():
            self._read()
            self._stopping.wait(PERIOD_S)

    def _read(self) -> None:
        problems: list[str] = []
        values = {**self._own(), **self._shared(problems), **self._hottest(problems)}
        if self._gpu is not None:
            try:
                values.update(self._gpu())
            except Exception:  # a driver that was unloaded or reset meanwhile
                self._gpu = None
        self.values = {key: value for key, value in values.items() if value is not None}
        self.problems = problems

    def _own(self) -> dict[str, Any]:
        usage = process_usage()
        cpu = usage.pop("cpu_s", None)
        percent = None if cpu is None else self._process.percent(cpu, time.monotonic())
        return {
            "process_cpu_percent": percent,
            **{f"process_{key}": value for key, value in usage.items()},
        }

    def _shared(self, problems: list[str]) -> dict[str, Any]:
        ticks = [int(word) for word in _text("/proc/stat").partition("\n")[0].split()[1:9]]
        idle = sum(ticks[3:5])  # idle and iowait: proc_stat(5)
        lines = (line.split() for line in _text("/proc/meminfo").splitlines())
        memory = {words[0].rstrip(":"): int(words[1]) / 1024 for words in lines if len(words) > 1}
        available, total = memory.get("MemAvailable"), memory.get("MemTotal")
        if available is not None and total and available < self.LOW_MEMORY * total:
            problems.append(
                f"Only {available:.0f} MiB of memory are left: end other programs, or the kernel "
                "will end one."
            )
        return {
            "cpu_percent": self._machine.percent(sum(ticks) - idle, sum(ticks)) if ticks else None,
            "load_average": os.getloadavg()[0],
            "memory_available_mib": available,
        }

    def _hottest(self, problems: list[str]) -> dict[str, Any]:
        readings = [
            (celsius, sensor)
            for sensor in self._temperatures
            if (celsius := sensor.celsius) is not None
        ]
        for celsius, sensor in readings:
            if sensor.limit_c is not None and celsius > sensor.limit_c - self.MARGIN_C:
                problems.append(
                    f"{sensor.name} has {celsius:.0f} °C of at most {sensor.limit_c:.0f}: the "
                    "machine slows down or switches off. Cool it, or use a smaller model."
                )
        if not readings:
            return {}
        celsius, sensor = max(readings, key=lambda reading: reading[0])
        return {"temperature_c": celsius, "temperature_sensor": sensor.name}
