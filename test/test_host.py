"""What is read of the machine: on this one, and on trees of files as Linux lays them out."""

from __future__ import annotations

import itertools
import mmap
import os
import threading
import time

import pytest

from ssvif_ros import host
from ssvif_ros.host import HostMonitor, process_usage, temperatures


def tree(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def read(monitor, keys, timeout_s=10.0):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and not keys <= set(monitor.values):
        time.sleep(0.02)
    monitor.stop()
    return monitor.values


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no Linux")
def test_this_process_is_seen_as_it_is():
    before = process_usage()
    # Not from malloc, which may still hold what an earlier test gave back.
    ballast = mmap.mmap(-1, 32 << 20)
    ballast.write(bytes(range(256)) * (1 << 17))
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    with open(os.devnull) as _file:
        after = process_usage()
    stop.set()
    thread.join()
    assert after["rss_mib"] - before["rss_mib"] > 30, len(ballast)
    assert after["threads"] == before["threads"] + 1
    assert after["open_files"] == before["open_files"] + 1
    assert after["cpu_s"] >= before["cpu_s"] > 0
    assert process_usage(2**30) == {}


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no Linux")
def test_readings_come_by_themselves_and_end_with_stop(tmp_path):
    threads = threading.active_count()
    monitor = HostMonitor(tmp_path)  # a machine without sensors
    values = read(monitor, {"process_cpu_percent", "cpu_percent"})
    assert 0 <= values["cpu_percent"] <= 100
    assert values["process_cpu_percent"] >= 0
    assert values["memory_available_mib"] > 0
    assert not {"temperature_c", "gpu_load_percent"} & set(values)
    assert threading.active_count() == threads


def test_the_hottest_sensor_is_named_and_near_its_limit_it_is_a_problem(tmp_path):
    zone, chip = "class/thermal/thermal_zone", "class/hwmon/hwmon"
    sys = tree(
        tmp_path,
        {
            f"{zone}0/type": "CPU-therm",
            f"{zone}0/temp": 97500,
            f"{zone}0/trip_point_0_type": "passive",
            f"{zone}0/trip_point_0_temp": 70000,
            f"{zone}0/trip_point_1_type": "critical",
            f"{zone}0/trip_point_1_temp": 101000,
            f"{zone}1/type": "GPU-therm",
            f"{zone}1/temp": "",  # a part that is switched off
            f"{chip}0/name": "k10temp",
            f"{chip}0/temp1_input": 98500,
            f"{chip}0/temp1_label": "Tctl",
            f"{chip}0/temp2_input": 55000,
            f"{chip}0/temp2_label": "Tccd1",
            f"{chip}1/name": "nvme",
            f"{chip}1/temp1_input": 99000,
        },
    )
    names = ["CPU-therm", "k10temp Tctl", "k10temp Tccd1"]
    assert [sensor.name for sensor in temperatures(sys)] == names
    monitor = HostMonitor(sys)
    values = read(monitor, {"temperature_c"})
    assert (values["temperature_c"], values["temperature_sensor"]) == (98.5, "k10temp Tctl")
    (problem,) = monitor.problems
    assert "CPU-therm has 98 °C of at most 101" in problem  # the hottest has no limit


@pytest.mark.parametrize(("available_kib", "low"), [(51_000, True), (53_000, False)])
def test_waiting_for_a_disk_is_idle_time_and_little_memory_is_a_problem(
    tmp_path, monkeypatch, available_kib, low
):
    rounds = itertools.count(1)

    def text(path):  # as proc(5) has it
        if path == "/proc/stat":  # user nice system idle iowait irq softirq steal guest guest_nice
            n = next(rounds)
            return f"cpu {30 * n} 0 {10 * n} {45 * n} {15 * n} 0 0 0 {20 * n} 0\ncpu0 1 2 3 4"
        if path == "/proc/meminfo":
            return f"MemTotal: 1048576 kB\nMemAvailable: {available_kib} kB"
        return ""

    monkeypatch.setattr(host, "_text", text)
    monkeypatch.setattr(host, "PERIOD_S", 0.01)
    monitor = HostMonitor(tmp_path)
    assert read(monitor, {"cpu_percent"})["cpu_percent"] == 40.0
    assert [problem[:16] for problem in monitor.problems] == ["Only 50 MiB of m"] * low


def test_the_load_of_a_jetson_is_found_by_the_device_tree(tmp_path):
    device = "class/devfreq/17000000.gpu/device"
    sys = tree(tmp_path, {f"{device}/of_node/name": "gpu\0", f"{device}/load": 735})
    assert read(HostMonitor(sys), {"gpu_load_percent"})["gpu_load_percent"] == 73.5
