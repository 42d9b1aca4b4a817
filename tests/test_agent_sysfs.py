"""Thermal zones and RAPL, read from trees that real boards have shown, and from trees that are broken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.sensors import tree
from device_agent.sensors.rapl import (
    MAX_PACKAGE_W,
    Package,
    find_longest_interval_s,
    find_packages,
    list_zones,
    read_counters,
    sum_joules,
)
from device_agent.sensors.thermal import read_temperature
from device_agent.sensors.thermal_zones import (
    Trip,
    is_constant,
    pick_processor_zones,
    read_zones,
)
from device_agent.sensors.tree import parse_core_list, parse_number
from tests.board_trees import ENTRIES, make_unreadable, plant, plant_entry

THERMAL = [entry for entry in ENTRIES if "thermal" in entry["command"]]
POWERCAP = [entry for entry in ENTRIES if "powercap" in entry["command"]]
ZONE = "sys/class/thermal/thermal_zone{}/{}"
RAPL = "sys/class/powercap/{}/{}"


def name(entry: dict[str, Any]) -> str:
    return str(entry["id"])


def plant_zone(root: Path, number: int, kind: str, temp: str = "40000") -> str:
    return plant(root, {ZONE.format(number, "type"): kind + "\n", ZONE.format(number, "temp"): temp + "\n"})


def plant_package(root: Path, zone: str, called: str, energy: str, limit: str | None = "262143328850") -> str:
    files = {"name": called + "\n", "energy_uj": energy + "\n"}
    files |= {} if limit is None else {"max_energy_range_uj": limit + "\n"}
    return plant(root, {RAPL.format(zone, file): text for file, text in files.items()})


@pytest.mark.parametrize("entry", THERMAL, ids=name)
def test_thermal_zones_of_a_recording_are_what_its_reader_found(
    tmp_path: Path, entry: dict[str, Any]
) -> None:
    expect, root = entry["expect"], plant_entry(tmp_path, entry)
    zones = read_zones(root)
    if "types" in expect:
        assert [zone.name for zone in zones] == expect["types"]
        plant(tmp_path, {ZONE.format(number, "temp"): "30000" for number in range(len(zones))})
        assert [zone.temperature_c for zone in read_zones(root)] == [30.0] * len(zones)
    if "temps_c" in expect:
        assert {zone.name: zone.temperature_c for zone in zones} == expect["temps_c"]
        constants = [name for name in expect["temps_c"] if is_constant(name)]
        assert constants == ["PMIC-Die"]
        assert read_temperature(root) is None
    if "cpu_zone" in expect:
        assert pick_processor_zones(expect["types"]) == [expect["cpu_zone"]]


@pytest.mark.parametrize("entry", POWERCAP, ids=name)
def test_powercap_of_a_recording_is_what_its_reader_found(tmp_path: Path, entry: dict[str, Any]) -> None:
    expect, root = entry["expect"], plant_entry(tmp_path, entry)
    packages = find_packages(root)
    if "zones" in expect:
        assert list_zones(root) == expect["zones"]
        summed = expect.get("energy_zones_to_sum", [])
        assert [Path(package.path).parent.name for package in packages] == summed
    if "name" in expect:
        assert list(list_zones(root).values()) == [expect["name"]]
        assert [package.wraps_at_uj for package in packages] == [expect["max_energy_range_uj"]]
    if "energy_uj" in expect:
        assert read_counters(root, packages) is None


@pytest.mark.parametrize(
    ("zones", "degrees"),
    [
        ({"cpu-thermal": 45000}, 45.0),  # Raspberry Pi
        ({"soc-thermal": 41000, "bigcore0-thermal": 47000, "gpu-thermal": 60000}, 47.0),  # RK3588
        ({"BCPU-therm": 31000, "MCPU-therm": 32500, "GPU-therm": 40000, "PMIC-Die": 100000}, 32.5),  # TX2
        ({"CPU-therm": 40000, "SOC0-therm": 41000, "tj-therm": 44000, "Tboard_tegra": 60000}, 44.0),  # Orin
        ({"acpitz": 90000, "TCPU": 50000, "x86_pkg_temp": 48000, "iwlwifi_1": 70000}, 48.0),  # ThinkPad
        ({"iwlwifi_1": 70000, "thermal-fan-est": 80000, "battery": 33000}, None),
        ({"gpu-thermal": -256000, "acpitz": 27800}, 27.8),
        ({"cpu_thermal": 45}, None),  # whole degrees of a vendor's kernel: 0.045 °C would be a wrong number
        ({"cpu-thermal": 0}, None),  # a sensor that is dead, or slipped
    ],
)
def test_the_temperature_is_that_of_the_processor(
    tmp_path: Path, zones: dict[str, int], degrees: float | None
) -> None:
    for number, (kind, temp) in enumerate(zones.items()):
        plant_zone(tmp_path, number, kind, str(temp))
    assert read_temperature(str(tmp_path)) == degrees


def test_zones_come_in_the_order_of_their_numbers_and_may_share_a_name(tmp_path: Path) -> None:
    for number in (10, 2, 0):
        plant_zone(tmp_path, number, "acpitz", f"{30 + number}000")
    zones = read_zones(str(tmp_path))
    assert [(zone.name, zone.temperature_c) for zone in zones] == [
        ("acpitz", 30.0),
        ("acpitz", 32.0),
        ("acpitz", 40.0),
    ]


def test_zones_that_only_the_device_folder_shows_are_found_once(tmp_path: Path) -> None:
    plant_zone(tmp_path, 0, "cpu-thermal", "40000")
    virtual = "sys/devices/virtual/thermal/thermal_zone{}/{}"
    for number, kind in enumerate(("cpu-thermal", "gpu-thermal")):
        plant(tmp_path, {virtual.format(number, "type"): kind, virtual.format(number, "temp"): "50000"})
    found = [(zone.name, zone.temperature_c) for zone in read_zones(str(tmp_path))]
    assert found == [("cpu-thermal", 40.0), ("gpu-thermal", 50.0)]


def test_trip_points_that_are_set_come_in_their_order(tmp_path: Path) -> None:
    plant_zone(tmp_path, 0, "cpu-thermal")
    trips = {0: ("passive", "80000"), 1: ("hot", "0"), 2: ("active", "-274000"), 10: ("critical", "110000")}
    for number, (kind, temp) in trips.items():
        file = ZONE.format(0, f"trip_point_{number}_")
        plant(tmp_path, {file + "type": kind + "\n", file + "temp": temp + "\n", file + "hyst": "1000\n"})
    (zone,) = read_zones(str(tmp_path))
    assert zone.trips == (Trip("passive", 80.0), Trip("critical", 110.0))


class Sleeping:
    """A sensor that says `try again` so many times; its file is a pipe that nobody has written to."""

    def __init__(self, path: Path, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
        path.unlink()
        os.mkfifo(path)
        self._path, self._left = str(path), times
        self.reads = 0
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        monkeypatch.setattr(tree, "open", self._open, raising=False)

    def _open(self, path: str, mode: str) -> Any:
        if path == self._path:
            self.reads += 1
            if self.reads > self._left:
                os.write(self._pipe, b"41500\n")
        return open(path, mode, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))

    def close(self) -> None:
        os.close(self._pipe)


@pytest.mark.parametrize(("times", "degrees"), [(0, 41.5), (1, 41.5), (2, 41.5), (3, None), (300, None)])
def test_a_sensor_that_says_try_again_is_asked_three_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, degrees: float | None
) -> None:
    root = plant_zone(tmp_path, 0, "gpu-thermal")
    plant_zone(tmp_path, 1, "cpu-thermal", "38500")
    sensor = Sleeping(tmp_path / ZONE.format(0, "temp"), times, monkeypatch)
    try:
        assert [zone.temperature_c for zone in read_zones(root)] == [degrees, 38.5]
        assert sensor.reads == min(times + 1, tree.PATIENT_READS)
        sensor.reads = 0
        assert read_temperature(root) == 38.5
        assert sensor.reads == 0  # it is not the processor's, so nobody waits for it
    finally:
        sensor.close()


def test_tdie_counts_where_tctl_is_above_it(tmp_path: Path) -> None:
    chip = "sys/class/hwmon/hwmon1/"
    told = {"name": "k10temp", "temp1_label": "Tctl", "temp1_input": "71000"}
    root = plant(tmp_path, {chip + file: text + "\n" for file, text in told.items()})
    assert read_temperature(root) == 71.0
    plant(tmp_path, {chip + "temp2_label": "Tdie\n", chip + "temp2_input": "51000\n"})
    assert read_temperature(root) == 51.0


def test_packages_are_summed_and_neither_their_parts_nor_psys_nor_memory(tmp_path: Path) -> None:
    called = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
        "dtpm:0": "package-0",
    }
    for number, (zone, what) in enumerate(called.items()):
        plant_package(tmp_path, zone, what, str(1000 + number))
    plant(tmp_path, {RAPL.format("intel-rapl", "enabled"): "1\n"})
    packages = find_packages(str(tmp_path))
    assert read_counters(str(tmp_path), packages) == [1000, 1003]


def test_the_dies_of_a_package_are_summed(tmp_path: Path) -> None:
    plant_package(tmp_path, "intel-rapl:0", "package-0-die-0", "5")
    plant_package(tmp_path, "intel-rapl:1", "package-0-die-1", "6")
    assert read_counters(str(tmp_path), find_packages(str(tmp_path))) == [5, 6]


def test_the_other_road_to_a_package_counts_where_it_is_the_only_one(tmp_path: Path) -> None:
    root = plant_package(tmp_path, "intel-rapl-mmio:0", "package-0", "7")
    assert read_counters(root, find_packages(root)) == [7]


@pytest.mark.parametrize(
    "folder",
    [
        "sys/class/powercap/intel-rapl/intel-rapl:0",
        "sys/devices/virtual/powercap/intel-rapl/intel-rapl:0",
    ],
)
def test_a_package_below_its_control_type_is_found(tmp_path: Path, folder: str) -> None:
    files = {"name": "package-0\n", "energy_uj": "9\n", "max_energy_range_uj": "100\n"}
    files |= {"intel-rapl:0:0/name": "core\n", "intel-rapl:0:0/energy_uj": "3\n"}
    root = plant(tmp_path, {f"{folder}/{file}": text for file, text in files.items()})
    assert list_zones(root) == {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core"}
    assert find_packages(root) == [Package(f"{folder}/energy_uj", 100)]


def test_a_package_by_many_roads_counts_once(tmp_path: Path) -> None:
    """As in the real /sys: the class is a folder of links, one of them to the control type."""
    devices = "sys/devices/virtual/powercap/intel-rapl"
    files = {"name": "package-0\n", "energy_uj": "9\n", "max_energy_range_uj": "100\n"}
    root = plant(tmp_path, {f"{devices}/intel-rapl:0/{file}": text for file, text in files.items()})
    links = tmp_path / "sys/class/powercap"
    links.mkdir(parents=True)
    (links / "intel-rapl").symlink_to(tmp_path / devices)
    (links / "intel-rapl:0").symlink_to(tmp_path / devices / "intel-rapl:0")
    assert [package.path for package in find_packages(root)] == [RAPL.format("intel-rapl:0", "energy_uj")]


@pytest.mark.parametrize("energy", ["", "-1", "262143328851", "12 uJ", "1e6", "1_000", "９", "0x", "9" * 99])
def test_a_counter_that_says_what_it_cannot_is_no_energy(tmp_path: Path, energy: str) -> None:
    root = plant_package(tmp_path, "intel-rapl:0", "package-0", energy)
    assert read_counters(root, find_packages(root)) is None


def test_one_package_that_refuses_leaves_no_sum(tmp_path: Path) -> None:
    root = plant_package(tmp_path, "intel-rapl:0", "package-0", "1")
    plant_package(tmp_path, "intel-rapl:1", "package-1", "1")
    packages = find_packages(root)
    (tmp_path / packages[1].path).unlink()
    make_unreadable(tmp_path / packages[1].path)
    assert read_counters(root, packages) is None
    assert read_counters(root, []) is None


def test_a_wrap_is_seen_once_and_only_where_its_range_is_known() -> None:
    package = Package("energy_uj", 262143328850)
    assert sum_joules([package], [262143328850 - 2000000], [1000000]) == pytest.approx(3.0)
    assert sum_joules([package, package], [0, 5000000], [1000000, 5500000]) == pytest.approx(1.5)
    assert sum_joules([Package("energy_uj", 0)], [7], [6]) is None
    assert sum_joules([Package("energy_uj", 0)], [6], [1000006]) == pytest.approx(1.0)


def test_readings_must_be_close_enough_that_no_wrap_is_missed() -> None:
    xeon, laptop = Package("a", 65532610987), Package("b", 262143328850)
    longest = find_longest_interval_s([xeon, laptop])
    assert longest is not None
    assert longest * MAX_PACKAGE_W * 1e6 <= xeon.wraps_at_uj
    assert longest > 60
    assert find_longest_interval_s([xeon, Package("c", 0)]) is None
    assert find_longest_interval_s([]) is None


@given(st.integers(10**6, 10**12), st.data())
def test_any_energy_below_the_range_is_counted_exactly(limit: int, data: st.DataObject) -> None:
    start, spent = data.draw(st.integers(0, limit)), data.draw(st.integers(0, limit - 1))
    end = start + spent if start + spent <= limit else start + spent - limit
    assert sum_joules([Package("energy_uj", limit)], [start], [end]) == pytest.approx(spent / 1e6)


kernel_texts = st.text() | st.from_regex(r"\s?[+-]?(0x)?[0-9a-f_]{0,22}\s?\S?", fullmatch=True)


@given(kernel_texts)
def test_any_text_gives_the_number_that_it_is_or_none(text: str) -> None:
    found = parse_number(text)
    assert found is None or text.isascii()
    assert found is None or found == int(text, 0)


@given(kernel_texts)
def test_no_text_makes_a_temperature_that_no_board_has(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    root = tmp_path_factory.getbasetemp() / "zones"
    plant_zone(root, 0, text.replace("\0", ""), text)
    plant(root, {ZONE.format(0, "trip_point_0_temp"): text, ZONE.format(0, "trip_point_0_type"): text})
    for zone in read_zones(str(root)):
        assert zone.temperature_c is None or -40 < zone.temperature_c < 150
        assert all(-40 < trip.temperature_c < 150 for trip in zone.trips)


@given(st.text() | st.from_regex(r"[0-9]{1,3}([-, ][0-9]{1,3}){0,6}\S?", fullmatch=True))
def test_any_list_of_cores_is_sorted_and_bounded_or_empty(text: str) -> None:
    cores = parse_core_list(text)
    assert cores == sorted(set(cores))
    assert all(0 <= core < 100_000 for core in cores)


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("0-3", [0, 1, 2, 3]),
        ("0,3-5\n", [0, 3, 4, 5]),
        ("0 1 2", [0, 1, 2]),
        ("", []),
        (None, []),
        ("0-", []),
        ("0-3,x", []),
        ("3-1", []),
        ("0-3,9-2", []),
    ],
)
def test_lists_of_cores_are_read_as_the_kernel_writes_them(text: str | None, cores: list[int]) -> None:
    assert parse_core_list(text) == cores
