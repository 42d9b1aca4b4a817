"""What disturbs a board at this moment, on folders that look like one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent import conditions
from device_agent.conditions import describe_conditions
from device_agent.lock import acquire_lock
from device_agent.sensors.processes import (
    DESKTOP,
    Process,
    find_busiest,
    find_installing,
    pick_names,
    read_processes,
)
from device_agent.sensors.supply import read_overcurrent_events, read_voltage_alarm
from device_agent.sensors.swap import parse_swaps
from device_agent.tuning.step import Place
from device_agent.work_folder import WorkFolder
from tests.board_trees import plant
from tests.planted_commands import plant_command

# pid (comm) state ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt utime stime …
STAT = "{} ({}) S 1 1 1 0 -1 4194560 10 0 0 0 {} {} 0 0 20 0 1 0 100 0 0\n"

SWAPS = """Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority
/dev/zram0                              partition\t507532\t\t1024\t\t5
/var/swap                               file\t\t102396\t\t81920\t\t-2
"""


def plant_process(root: Path, pid: int, name: str, command: str = "", ticks: int = 0) -> None:
    plant(root, {f"proc/{pid}/stat": STAT.format(pid, name, ticks, 0), f"proc/{pid}/cmdline": command})


def test_swaps_are_told_apart() -> None:
    assert parse_swaps(SWAPS) == [
        {"name": "/dev/zram0", "size_mb": 496, "used_mb": 1.0, "is_zram": True},
        {"name": "/var/swap", "size_mb": 100, "used_mb": 80.0, "is_zram": False},
    ]
    assert parse_swaps(SWAPS.splitlines()[0]) == []


@given(st.text() | st.lists(st.sampled_from(SWAPS.splitlines())).map("\n".join))
def test_any_text_has_swaps_or_none(text: str) -> None:
    assert all(one["size_mb"] >= 0 for one in parse_swaps(text))


def test_a_name_may_hold_brackets_and_blanks(tmp_path: Path) -> None:
    plant_process(tmp_path, 7, "a (b) c", ticks=42)
    plant(tmp_path, {"proc/8/stat": "garbage", "proc/self/stat": STAT.format(9, "x", 0, 0)})
    assert read_processes(str(tmp_path)) == {7: Process("a (b) c", 42)}


def test_this_very_process_is_found() -> None:
    assert os.getpid() in read_processes("/")


def test_a_desktop_and_a_package_manager_are_named(tmp_path: Path) -> None:
    plant_process(tmp_path, 10, "Xorg")
    plant_process(tmp_path, 11, "apt-get", "apt-get\0upgrade\0")
    plant_process(tmp_path, 12, "bash")
    found = read_processes(str(tmp_path))
    assert pick_names(found, DESKTOP) == ["Xorg"]
    assert find_installing(str(tmp_path), found) == ["apt-get"]


def test_the_process_that_waits_for_a_shutdown_upgrades_nothing(tmp_path: Path) -> None:
    waiting = (
        "/usr/bin/python3\0/usr/share/unattended-upgrades/unattended-upgrade-shutdown\0--wait-for-signal\0"
    )
    plant_process(tmp_path, 10, "unattended-upgr", waiting)
    assert find_installing(str(tmp_path), read_processes(str(tmp_path))) == []
    plant_process(tmp_path, 11, "unattended-upgr", "/usr/bin/python3\0/usr/bin/unattended-upgrade\0")
    assert find_installing(str(tmp_path), read_processes(str(tmp_path))) == ["unattended-upgr"]


def test_the_busiest_processes_come_first_and_new_ones_not_at_all() -> None:
    before = {1: Process("a", 0), 2: Process("b", 50), 3: Process("c", 5), 4: Process("d", 0)}
    after = {
        1: Process("a", 10),
        2: Process("b", 100),
        3: Process("c", 5),
        4: Process("e", 9),
        5: Process("f", 9),
    }
    assert find_busiest(before, after, 100.0, 2) == [{"name": "b", "cores": 0.5}, {"name": "a", "cores": 0.1}]


def test_the_alarm_of_a_raspberry_pi_and_the_events_of_an_orin(tmp_path: Path) -> None:
    assert (read_voltage_alarm(str(tmp_path)), read_overcurrent_events(str(tmp_path))) == (None, None)
    hwmon = "sys/class/hwmon"
    plant(
        tmp_path,
        {
            f"{hwmon}/hwmon0/name": "rpi_volt\n",
            f"{hwmon}/hwmon0/in0_lcrit_alarm": "1\n",
            f"{hwmon}/hwmon1/name": "soctherm_oc\n",
            f"{hwmon}/hwmon1/oc1_event_cnt": "2\n",
            f"{hwmon}/hwmon1/oc3_event_cnt": "1\n",
            f"{hwmon}/hwmon1/oc1_throt_en": "1\n",
        },
    )
    assert (read_voltage_alarm(str(tmp_path)), read_overcurrent_events(str(tmp_path))) == (True, 3)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(conditions, "WINDOW_S", 0.05)
    return Place(WorkFolder(str(tmp_path / "work")), str(tmp_path / "root"))


def test_a_board_that_tells_nothing_has_none_of_it(place: Place) -> None:
    told = describe_conditions(place)
    unknown = {key for key, value in told.items() if value is None}
    assert unknown >= {"throttle_events", "voltage_alarm", "busy_cores", "available_mb", "fix", "measuring"}
    assert (told["swaps"], told["desktop"], told["busiest"], told["settled"]) == ([], [], [], [])
    assert not Path(place.folder.root).exists()  # asking leaves nothing behind


def test_the_firmwares_own_answer_comes_before_what_the_kernel_remembers(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(Path(place.root), {"sys/devices/platform/soc/soc:firmware/get_throttled": "0\n"})
    assert describe_conditions(place)["throttle_bits"] == 0
    plant_command(tmp_path, monkeypatch, "vcgencmd", "throttled=0x50005\n")
    assert describe_conditions(place)["throttle_bits"] == 0x50005
    plant_command(tmp_path / "silent", monkeypatch, "vcgencmd", "VCHI initialization failed\n")
    assert describe_conditions(place)["throttle_bits"] == 0


def test_events_of_an_orin_are_told_once(place: Place) -> None:
    chip = "sys/class/hwmon/hwmon1"
    plant(Path(place.root), {f"{chip}/name": "soctherm_oc\n", f"{chip}/oc1_event_cnt": "2\n"})
    told = describe_conditions(place)
    assert (told["overcurrent_events"], told["throttle_events"]) == (2, None)


def test_timers_that_upgrade_are_told(place: Place) -> None:
    wants = "etc/systemd/system/timers.target.wants"
    plant(Path(place.root), {f"{wants}/apt-daily.timer": "", f"{wants}/fstrim.timer": ""})
    assert describe_conditions(place)["upgrade_timers"] == ["apt-daily.timer"]


def test_who_measures_is_told(place: Place) -> None:
    lock = acquire_lock(place.folder, "r1", "ann@laptop")
    try:
        assert str(describe_conditions(place)["measuring"]).startswith("ann@laptop since 20")
    finally:
        os.close(lock)


def test_a_busy_core_of_this_machine_is_seen() -> None:
    folder = WorkFolder("/nonexistent")
    told = describe_conditions(Place(folder, "/"))
    assert told["busy_cores"] >= 0
    assert told["available_mb"] > 0
