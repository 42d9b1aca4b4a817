"""Parsers of /proc and /sys against folders that look like the boards they were seen on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from device_agent.environment import read_environment
from device_agent.firmware import add_throttled, ask_throttled, read_state
from device_agent.memory import parse_status
from device_agent.sensors.cpufreq import (
    Clock,
    read_clock,
    read_frequencies,
    read_governor,
    read_measured_frequencies,
)
from device_agent.sensors.devfreq import read_gpu_clock
from device_agent.sensors.load import (
    parse_busy_ticks,
    parse_meminfo,
    read_busy_ticks,
    read_load,
    read_memory,
    read_oom_kills,
    read_swap_mb,
)
from device_agent.sensors.thermal import read_temperature, read_throttling
from device_agent.sustaining import add_surroundings
from device_agent.validity import is_throttled
from tests.planted_commands import plant_command

CPUFREQ = "sys/devices/system/cpu/cpu{}/cpufreq/{}"


def plant(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return str(root)


def test_clocks_are_in_mhz_and_only_of_the_asked_cores(tmp_path: Path) -> None:
    clocks = {CPUFREQ.format(core, "scaling_cur_freq"): str(600000 * (core + 1)) for core in range(4)}
    root = plant(tmp_path, clocks)
    assert read_frequencies(root, [1, 3]) == [1200.0, 2400.0]


def test_a_board_without_clocks_has_none(tmp_path: Path) -> None:
    assert read_frequencies(str(tmp_path), [0]) is None
    assert read_governor(str(tmp_path), [0]) is None


def test_an_offline_core_has_no_clock_and_the_others_keep_theirs(tmp_path: Path) -> None:
    root = plant(tmp_path, {CPUFREQ.format(0, "scaling_cur_freq"): "600000"})
    (tmp_path / "sys/devices/system/cpu/cpu1").mkdir()
    assert read_frequencies(root, [0, 1]) == [600.0]


@pytest.mark.parametrize("text", ["<unknown>", "0", "-1", "", "99999999999", "1_0", "600000 kHz"])
def test_a_clock_that_is_none_is_not_told(tmp_path: Path, text: str) -> None:
    root = plant(tmp_path, {CPUFREQ.format(0, "scaling_cur_freq"): text})
    assert read_frequencies(root, [0]) is None
    assert read_clock(root, 0).current_mhz is None


def test_a_virtual_machine_has_no_clock_though_cpuinfo_names_a_number(tmp_path: Path) -> None:
    root = plant(tmp_path, {"proc/cpuinfo": "processor\t: 0\ncpu MHz\t\t: 2793.438\n"})
    assert read_frequencies(root, [0]) is None


def test_what_the_hardware_runs_at_may_differ_from_what_the_governor_asked_for(tmp_path: Path) -> None:
    # A Raspberry Pi 4 whose firmware holds it at 600 MHz for lack of voltage.
    root = plant(
        tmp_path,
        {CPUFREQ.format(0, "scaling_cur_freq"): "1500000", CPUFREQ.format(0, "cpuinfo_cur_freq"): "600000"},
    )
    assert read_frequencies(root, [0]) == [1500.0]
    assert read_measured_frequencies(root, [0]) == [600.0]
    assert read_measured_frequencies(root, [1]) is None


def test_a_clock_tells_what_a_core_can_what_it_may_and_with_whom(tmp_path: Path) -> None:
    told = {
        "cpuinfo_min_freq": "115200",
        "cpuinfo_max_freq": "2201600",
        "scaling_min_freq": "729600",
        "scaling_max_freq": "1190400",
        "scaling_cur_freq": "729600",
        "scaling_governor": "schedutil",
        "related_cpus": "0 1 2 3",
    }
    root = plant(tmp_path, {CPUFREQ.format(0, name): text for name, text in told.items()})
    assert read_clock(root, 0) == Clock(115.2, 2201.6, 729.6, 1190.4, 729.6, "schedutil", (0, 1, 2, 3))
    assert read_clock(root, 1) == Clock(None, None, None, None, None, None, ())


@pytest.mark.parametrize(
    "name",
    ["57000000.gpu", "17000000.gp10b", "17000000.gv11b", "17000000.ga10b", "17000000.gpu", "gpu-gpc-0"],
)
def test_the_clock_of_a_gpu_is_found_by_any_of_its_names(tmp_path: Path, name: str) -> None:
    hertz = {"min_freq": "306000000", "max_freq": "918000000", "cur_freq": "612000000"}
    root = plant(tmp_path, {f"sys/class/devfreq/{name}/{file}": text for file, text in hertz.items()})
    plant(tmp_path, {"sys/class/devfreq/gpu-nvd-0/cur_freq": "1", "sys/class/devfreq/bwmgr/cur_freq": "2"})
    assert read_gpu_clock(root) == (306.0, 918.0, 612.0)


def test_a_board_without_such_a_gpu_has_no_clock_of_one(tmp_path: Path) -> None:
    assert read_gpu_clock(plant(tmp_path, {"sys/class/devfreq/ff9a0000.gpu-opp/cur_freq": "1"})) is None


def test_a_gpu_without_power_has_no_clock_now(tmp_path: Path) -> None:
    folder = "sys/class/devfreq/17000000.gpu/"
    assert read_gpu_clock(plant(tmp_path, {folder + "max_freq": "918000000", folder + "cur_freq": "0"})) == (
        None,
        918.0,
        None,
    )


def test_governors_that_differ_are_all_named(tmp_path: Path) -> None:
    names = {0: "schedutil", 1: "schedutil", 2: "performance"}
    root = plant(tmp_path, {CPUFREQ.format(core, "scaling_governor"): name for core, name in names.items()})
    assert read_governor(root, [0, 1]) == "schedutil"
    assert read_governor(root, [0, 1, 2]) == "performance,schedutil"


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


def surround(before: int | None, after: int | None) -> dict[str, Any]:
    """The state around a round, as sysfs tells it."""
    return {
        name: {"throttle_bits": bits, "throttled": None if bits is None else bool(bits & 0xF)}
        for name, bits in (("before", before), ("after", after))
    }


def test_what_vcgencmd_says_wins_over_what_sysfs_remembers() -> None:
    around = surround(0, 0)
    add_throttled(around, 0x0, 0x50005)
    assert around["after"] == {"throttle_bits": 0x50005, "throttled": True}
    assert is_throttled(around["before"], around["after"])
    around = surround(0x50005, 0x50005)  # it was so at boot, and nobody has asked since
    add_throttled(around, 0x50000, 0x50000)
    assert not is_throttled(around["before"], around["after"])


@pytest.mark.parametrize(("first", "last"), [(None, None), (0x0, 0x0), (0x0, 0x50005)])
def test_where_vcgencmd_is_silent_sysfs_counts(first: int | None, last: int | None) -> None:
    around = surround(first, last)
    add_throttled(around, None, None)
    assert around == surround(first, last)


def test_vcgencmd_and_sysfs_are_never_compared() -> None:
    around = surround(0, 0)
    add_throttled(around, None, 0x50000)  # perhaps long ago
    assert around["before"] == {"throttle_bits": None, "throttled": None}
    assert not is_throttled(around["before"], around["after"])
    pieces = [{"environment": surround(0, 0)} for _ in range(3)]
    add_surroundings(pieces, {"temperature_c": None}, 0x50000, 0x50000)
    environments = [one["environment"] for one in pieces]
    assert not any(is_throttled(one["before"], one["after"]) for one in environments)
    assert not is_throttled(environments[0]["before"], environments[-1]["after"])


def test_the_state_of_a_board_has_the_firmwares_own_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = plant(tmp_path, {"sys/devices/platform/soc/soc:firmware/get_throttled": "0"})
    assert (read_state(root)["throttle_bits"], read_state(root)["throttled"]) == (0, False)
    plant_command(tmp_path, monkeypatch, "vcgencmd", "throttled=0x50005\n")
    assert (read_state(root)["throttle_bits"], read_state(root)["throttled"]) == (0x50005, True)


def test_events_of_a_jetson_within_a_window_are_throttling(tmp_path: Path) -> None:
    chip = "sys/class/hwmon/hwmon2"
    root = plant(tmp_path, {f"{chip}/name": "soctherm_oc", f"{chip}/oc3_event_cnt": "4"})
    before = read_environment(root)
    same = read_environment(root)
    plant(tmp_path, {f"{chip}/oc3_event_cnt": "5"})
    after = read_environment(root)
    assert (before["throttle_count"], after["throttle_count"], after["throttled"]) == (4, 5, None)
    assert not is_throttled(before, same)
    assert is_throttled(before, after)
    assert read_throttling(root).events is None  # doctor tells them under a name of their own


def test_events_of_a_processor_and_of_its_supply_count_together(tmp_path: Path) -> None:
    assert read_environment(str(tmp_path))["throttle_count"] is None
    chip, cpu = "sys/class/hwmon/hwmon0", "sys/devices/system/cpu/cpu0/thermal_throttle"
    files = {f"{chip}/name": "soctherm_oc", f"{chip}/oc1_event_cnt": "2", f"{cpu}/core_throttle_count": "3"}
    assert read_environment(plant(tmp_path, files))["throttle_count"] == 5


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


def test_no_swap_is_a_zero_and_an_unknown_swap_is_none(tmp_path: Path) -> None:
    assert read_swap_mb(plant(tmp_path, {"proc/meminfo": "SwapTotal:       0 kB"})) == 0
    assert read_swap_mb(plant(tmp_path, {"proc/meminfo": "SwapTotal:  102396 kB"})) == 100
    assert read_swap_mb(plant(tmp_path, {"proc/meminfo": "MemTotal:  1024 kB"})) is None


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
