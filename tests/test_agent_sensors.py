"""Parsers of /proc and /sys against folders that look like the boards they were seen on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from device_agent.firmware import ask_throttled
from device_agent.memory import parse_status
from device_agent.sensors import tree
from device_agent.sensors.cpufreq import read_frequencies, read_governor
from device_agent.sensors.load import (
    parse_busy_ticks,
    parse_meminfo,
    read_busy_ticks,
    read_load,
    read_memory,
    read_oom_kills,
)
from device_agent.sensors.rapl import find_packages, read_counters, sum_joules
from device_agent.sensors.thermal import read_temperature, read_throttling
from tests.planted_commands import plant_command

CPUFREQ = "sys/devices/system/cpu/cpu{}/cpufreq/{}"


def plant(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return str(root)


def plant_zones(root: Path, **zones: str) -> str:
    files = {}
    for index, (name, millidegrees) in enumerate(zones.items()):
        folder = f"sys/class/thermal/thermal_zone{index}"
        files |= {f"{folder}/type": name.replace("_", "-"), f"{folder}/temp": millidegrees}
    return plant(root, files)


def test_clocks_are_in_mhz_and_only_of_the_asked_cores(tmp_path: Path) -> None:
    clocks = {CPUFREQ.format(core, "scaling_cur_freq"): str(600000 * (core + 1)) for core in range(4)}
    root = plant(tmp_path, clocks)
    assert read_frequencies(root, [1, 3]) == [1200.0, 2400.0]


def test_a_board_without_clocks_has_none(tmp_path: Path) -> None:
    assert read_frequencies(str(tmp_path), [0]) is None
    assert read_governor(str(tmp_path), [0]) is None


def test_governors_that_differ_are_all_named(tmp_path: Path) -> None:
    names = {0: "schedutil", 1: "schedutil", 2: "performance"}
    root = plant(tmp_path, {CPUFREQ.format(core, "scaling_governor"): name for core, name in names.items()})
    assert read_governor(root, [0, 1]) == "schedutil"
    assert read_governor(root, [0, 1, 2]) == "performance,schedutil"


def test_the_temperature_is_that_of_the_processor(tmp_path: Path) -> None:
    # Jetson Nano, R32: PMIC-Die is a constant, the GPU is cooler than the processor here.
    root = plant_zones(
        tmp_path, AO_therm="41000", CPU_therm="38500", GPU_therm="36000", PMIC_Die="100000", PLL_therm="37000"
    )
    assert read_temperature(root) == 38.5


def test_the_hottest_core_counts_where_only_hwmon_tells(tmp_path: Path) -> None:
    root = plant(
        tmp_path,
        {
            "sys/class/hwmon/hwmon0/name": "nvme",
            "sys/class/hwmon/hwmon0/temp1_input": "70000",
            "sys/class/hwmon/hwmon3/name": "coretemp",
            "sys/class/hwmon/hwmon3/temp1_input": "51000",
            "sys/class/hwmon/hwmon3/temp2_input": "53000",
            "sys/class/hwmon/hwmon3/temp2_crit": "100000",
        },
    )
    assert read_temperature(root) == 53.0


def test_a_dead_or_constant_sensor_is_no_temperature(tmp_path: Path) -> None:
    assert read_temperature(plant_zones(tmp_path, cpu_thermal="-256000", PMIC_Die="100000")) is None


def test_a_sensor_whose_device_is_switched_off_is_no_temperature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file answers EAGAIN, as a pipe does that nobody has written to."""
    root = plant_zones(tmp_path, cpu_thermal="38500", gpu_thermal="0")
    (temp,) = (path.with_name("temp") for path in tmp_path.rglob("type") if "gpu" in path.read_text())
    temp.unlink()
    os.mkfifo(temp)
    writer = os.open(temp, os.O_RDWR)

    def open_at_once(path: str, mode: str) -> Any:
        return open(path, mode, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))

    monkeypatch.setattr(tree, "open", open_at_once, raising=False)
    try:
        assert tree.read_text(root, str(temp.relative_to(tmp_path))) is None
        assert read_temperature(root) == 38.5
    finally:
        os.close(writer)


def test_any_sensor_is_better_than_none(tmp_path: Path) -> None:
    assert read_temperature(plant_zones(tmp_path, acpitz="27800", PMIC_Die="50000")) == 27.8


def test_throttle_events_of_all_cores_are_summed(tmp_path: Path) -> None:
    folder = "sys/devices/system/cpu/cpu{}/thermal_throttle/{}"
    root = plant(
        tmp_path,
        {
            folder.format(0, "core_throttle_count"): "3",
            folder.format(0, "package_throttle_count"): "5",
            folder.format(1, "core_throttle_count"): "4",
        },
    )
    found = read_throttling(root)
    assert (found.events, found.bits, found.is_throttled_now) == (12, None, None)


@pytest.mark.parametrize(
    ("folder", "text", "bits", "is_now"),
    [
        ("soc/soc:firmware", "50000", 0x50000, False),
        ("soc/soc:firmware", "0", 0, False),
        ("soc@107c000000/soc@107c000000:firmware", "e0008", 0xE0008, True),
        ("soc/soc:firmware", "garbled", None, None),
    ],
)
def test_the_bits_of_a_raspberry_pi_are_read_from_sysfs(
    tmp_path: Path, folder: str, text: str, bits: int | None, is_now: bool | None
) -> None:
    found = read_throttling(plant(tmp_path, {f"sys/devices/platform/{folder}/get_throttled": text}))
    assert (found.bits, found.is_throttled_now) == (bits, is_now)


def test_a_board_that_cannot_throttle_has_no_value(tmp_path: Path) -> None:
    assert read_throttling(str(tmp_path)) == (None, None)


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("throttled=0x0\n", 0),
        ("throttled=0x60002\n", 0x60002),
        ("VCHI initialization failed\n", None),
        ('error=1 error_msg="Command not registered"\n', None),
        ("", None),
    ],
)
def test_what_vcgencmd_prints_is_bits_or_nothing(
    text: str, bits: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_command(tmp_path, monkeypatch, "vcgencmd", text)
    assert ask_throttled() == bits


STAT = """cpu  100 0 100 1000 0 0 0 0 0 0
cpu0 10 1 20 500 7 2 3 4 5 0
cpu1 90 0 80 500 0 0 0 0 0 0
intr 5 0
cpu11 1 1 1 1
"""


def test_busy_ticks_are_all_but_idle_and_waiting_and_steal_counts() -> None:
    assert parse_busy_ticks(STAT, [0]) == 10 + 1 + 20 + 2 + 3 + 4
    assert parse_busy_ticks(STAT, [0, 1]) == 40 + 170
    assert parse_busy_ticks(STAT, [11]) == 3


def test_memory_is_in_mib_and_none_where_an_old_kernel_does_not_tell(tmp_path: Path) -> None:
    assert parse_meminfo("MemTotal:  2048 kB\nHugePages_Total:  0\n") == {"MemTotal": 2.0}
    root = plant(tmp_path, {"proc/meminfo": "MemTotal:       1024 kB"})
    assert read_memory(root) == (1.0, None)


def test_kills_for_memory_are_counted_where_the_kernel_counts_them(tmp_path: Path) -> None:
    assert read_oom_kills(plant(tmp_path / "new", {"proc/vmstat": "pgfault 1\noom_kill 7\nx 2"})) == 7
    assert read_oom_kills(plant(tmp_path / "old", {"proc/vmstat": "pgfault 1"})) is None


def test_this_machine_tells_its_load_and_memory() -> None:
    assert (read_load("/") or 0) >= 0
    assert (read_memory("/").available or 0) > 0
    assert (read_busy_ticks("/", sorted(os.sched_getaffinity(0))) or 0) > 0


def test_a_field_of_status_is_in_mib_and_not_confused_with_a_longer_name() -> None:
    text = "VmPeak:\t 9216 kB\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n"
    assert parse_status(text, "VmRSS") == 1.0
    assert parse_status(text, "Rss") is None


def plant_rapl(root: Path, **zones: tuple[str, str]) -> str:
    files = {}
    for zone, (name, energy) in zones.items():
        folder = "sys/class/powercap/" + zone.replace("__", ":").replace("_", "-")
        files |= {f"{folder}/name": name, f"{folder}/energy_uj": energy}
        files |= {f"{folder}/max_energy_range_uj": "262143328850"}
    return plant(root, files)


def test_only_packages_are_summed(tmp_path: Path) -> None:
    # An Intel laptop: core and uncore lie inside the package, psys holds it, mmio is the same again.
    root = plant_rapl(
        tmp_path,
        intel_rapl__0=("package-0", "1000000"),
        intel_rapl__0__0=("core", "7"),
        intel_rapl__0__1=("uncore", "7"),
        intel_rapl__1=("psys", "7"),
        intel_rapl_mmio__0=("package-0", "7"),
    )
    packages = find_packages(root)
    assert [package.path for package in packages] == ["sys/class/powercap/intel-rapl:0/energy_uj"]
    assert read_counters(root, packages) == [1000000]


def test_a_counter_that_wrapped_gives_the_energy_all_the_same(tmp_path: Path) -> None:
    packages = find_packages(plant_rapl(tmp_path, intel_rapl__0=("package-0", "0")))
    assert sum_joules(packages, [262143328850 - 2000000], [1000000]) == pytest.approx(3.0)


def test_one_package_that_cannot_be_read_leaves_no_sum(tmp_path: Path) -> None:
    zones = {"intel_rapl__0": ("package-0", "1"), "intel_rapl__1": ("package-1", "1")}
    root = plant_rapl(tmp_path, **zones)
    packages = find_packages(root)
    (tmp_path / packages[1].path).unlink()
    assert read_counters(root, packages) is None
