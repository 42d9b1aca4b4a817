"""Rails of Jetson boards, read from folders planted from what boards have shown."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.sensors.ina import Rail, describe_rails, find_rails, find_total, read_rails, sum_rails

RECORDINGS = Path(__file__).parent / "recordings" / "ina_trees.jsonl"
ENTRIES = [json.loads(line) for line in RECORDINGS.read_text().splitlines()]
IIO = "sys/bus/i2c/drivers/ina3221x/{}/{}"
HWMON = "sys/class/hwmon/{}"
BOUND = "sys/bus/i2c/drivers/{}/{}/hwmon/{}"
AGX_XAVIER = ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V")
AGX_ORIN = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
THOR = ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")
IIO_FILES = {"rail_name_0": "POM_5V_IN\n", "in_power0_input": "2875\n"}
SUMS = (AGX_XAVIER, AGX_ORIN, THOR)
ALONE = ("POM_5V_IN", "VDD_IN", "VIN")


def plant(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def link(root: Path, name: str, target: str) -> None:
    """A relative link, as all those of /sys are."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_symlink():
        path.symlink_to(os.path.relpath(root / target, path.parent))


def link_devices(root: Path, paths: list[str]) -> None:
    """Both roads to a chip recorded below /sys/devices: its driver's, and that of its class."""
    for path in paths:
        found = re.match(r"/(sys/devices/\S+/(\d+-00\w\w))/hwmon/(hwmon\d+)/", path)
        if found:
            device, address, hwmon = found.groups()
            link(root, f"sys/bus/i2c/drivers/ina3221/{address}", device)
            link(root, HWMON.format(hwmon), f"{device}/hwmon/{hwmon}")


def read_survey(text: str) -> dict[str, str]:
    """The files that a survey printed as text; what it shows as empty or N/A is not there."""
    files: dict[str, str] = {}
    folder = ""
    for line in text.splitlines():
        if line.startswith("==="):
            folder = line.strip("= ")
        else:
            channel, label, voltage, current = re.findall(
                r"Channel (\d).*=(\S+) +\w+=(\S+) +\w+=(\S+)", line
            )[0]
            told = {"in{}_label": label, "in{}_input": voltage[:-2], "curr{}_input": current[:-2]}
            files |= {
                f"{folder}/{name.format(channel)}": value for name, value in told.items() if value[0] != "("
            }
    return files


def plant_entry(root: Path, entry: dict[str, Any]) -> str:
    output = entry["output"]
    files = read_survey(output) if isinstance(output, str) else output
    plant(root, files)
    link_devices(root, list(files))
    return str(root)


def plant_channel(root: Path, folder: str, label: str, mv: str, ma: str, channel: int = 1) -> str:
    told = {f"in{channel}_label": label, f"in{channel}_input": mv, f"curr{channel}_input": ma}
    return plant(
        root, {f"{folder}/name": "ina3221\n"} | {f"{folder}/{name}": text for name, text in told.items()}
    )


def plant_power(root: Path, folder: str, label: str, microwatts: str) -> str:
    told = {"name": "ina238\n", "label": label, "power1_input": microwatts}
    return plant(root, {f"{folder}/{name}": text for name, text in told.items()})


def read(root: str) -> dict[str, float | None]:
    return read_rails(root, find_rails(root))


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry["id"] for entry in ENTRIES])
def test_a_recording_gives_what_its_reader_found_in_it(tmp_path: Path, entry: dict[str, Any]) -> None:
    root = plant_entry(tmp_path, entry)
    rails = find_rails(root)
    if entry["expect"] is None:  # its values are doubted; its layout is not
        assert [rail.name for rail in rails] == [*AGX_ORIN, "VDDQ_VDD2_1V8AO"]
        return
    absent = dict.fromkeys(("mv", "ma", "mw"))
    expected = {name: absent | values for name, values in entry["expect"]["rails"].items()}
    found = describe_rails(root, rails)
    assert found == {name: pytest.approx(values) for name, values in expected.items()}
    assert len(rails) == len(found)
    assert read_rails(root, rails) == {name: values["mw"] for name, values in found.items()}
    total = find_total(rail.name for rail in rails)
    assert total is not None
    assert sum_rails(read_rails(root, rails), total) == pytest.approx(entry["expect"]["total_mw"])


def test_a_board_without_sensors_has_no_rails(tmp_path: Path) -> None:
    assert find_rails(str(tmp_path)) == []
    assert read_rails(str(tmp_path), []) == {}


def test_other_chips_are_no_rails_whatever_their_labels(tmp_path: Path) -> None:
    root = plant_channel(tmp_path, HWMON.format("hwmon0"), "VDD_IN", "5000", "100")
    plant(tmp_path, {HWMON.format("hwmon0/name"): "nct6775\n"})
    assert find_rails(root) == []


def test_a_chip_is_found_by_its_name_wherever_its_number_moved(tmp_path: Path) -> None:
    for boot, hwmon in enumerate(("hwmon1", "hwmon12")):
        root = plant_channel(tmp_path / str(boot), HWMON.format(hwmon), "VDD_IN\n", "5000\n", "1000\n")
        assert read(root) == {"VDD_IN": 5000.0}


def test_rails_keep_their_order_when_numbers_move(tmp_path: Path) -> None:
    for boot, numbers in enumerate((("hwmon3", "hwmon4"), ("hwmon5", "hwmon2"))):
        for address, hwmon in zip(("1-0040", "1-0041"), numbers, strict=True):
            folder = BOUND.format("ina3221", address, hwmon)
            root = plant_channel(tmp_path / str(boot), folder, f"AT_{address}", "1", "1")
            link(tmp_path / str(boot), HWMON.format(hwmon), folder)
        assert [rail.name for rail in find_rails(root)] == ["AT_1-0040", "AT_1-0041"]


def test_a_chip_on_two_roads_counts_once(tmp_path: Path) -> None:
    for folder in (HWMON.format("hwmon3"), BOUND.format("ina3221", "1-0040", "hwmon3")):
        root = plant_channel(tmp_path, folder, "VDD_IN", "5000", "1000")
    for folder in (HWMON.format("hwmon4"), BOUND.format("ina238", "2-0044", "hwmon4")):
        plant_power(tmp_path, folder, "VIN", "9000000")
    assert [rail.name for rail in find_rails(root)] == ["VDD_IN", "VIN"]
    assert read(root) == {"VDD_IN": 5000.0, "VIN": 9000.0}


def test_the_two_names_of_one_iio_device_count_once(tmp_path: Path) -> None:
    folder = IIO.format("6-0040", "iio:device0")
    root = plant(tmp_path, {f"{folder}/rail_name_0": "POM_5V_IN\n", f"{folder}/in_power0_input": "2875\n"})
    link(tmp_path, IIO.format("6-0040", "iio_device"), folder)
    assert [rail.name for rail in find_rails(root)] == ["POM_5V_IN"]
    assert read(root) == {"POM_5V_IN": 2875.0}


@pytest.mark.parametrize("device", ["iio:device0", "iio:device11", "iio_device", "iio-device0"])
def test_channels_of_iio_count_from_0_and_those_of_hwmon_from_1(tmp_path: Path, device: str) -> None:
    iio = IIO.format("1-0040", device)
    files = {f"{iio}/rail_name_{at}": f"IIO{at}" for at in range(4)}
    root = plant(tmp_path, files | {f"{iio}/in_power{at}_input": str(at) for at in range(4)})
    for at in range(8):
        plant_channel(tmp_path, HWMON.format("hwmon0"), f"HWMON{at}", "1000", str(at), channel=at)
    expected = {
        f"{kind}{at}": at for kind, first in (("IIO", 0), ("HWMON", 1)) for at in range(first, first + 3)
    }
    assert read(root) == expected


@pytest.mark.parametrize("label", ["NC\n", "nc", "\n", "", " \0"])
def test_what_is_not_connected_is_no_rail(tmp_path: Path, label: str) -> None:
    root = plant_channel(tmp_path, HWMON.format("hwmon3"), label, "0", "0")
    plant_power(tmp_path, HWMON.format("hwmon4"), label, "0")
    plant(tmp_path, {IIO.format("1-0040", "iio:device0/rail_name_0"): label})
    assert find_rails(root) == []


def test_the_ina238_tells_volts_and_amperes_too(tmp_path: Path) -> None:
    folder = HWMON.format("hwmon4")
    root = plant_power(tmp_path, folder, "VIN", "19555200")
    plant(
        tmp_path, {f"{folder}/in0_input": "3", f"{folder}/in1_input": "54434", f"{folder}/curr1_input": "360"}
    )
    assert describe_rails(root, find_rails(root)) == {"VIN": {"mv": 54434.0, "ma": 360.0, "mw": 19555.2}}


def test_a_zero_is_measured_and_negatives_are_kept(tmp_path: Path) -> None:
    root = plant_channel(tmp_path, HWMON.format("hwmon5"), "VDD_GPU", "19600\n", "-20\n")
    plant_channel(tmp_path, HWMON.format("hwmon5"), "VDD_CPU_SOC_MSS", "19600\n", "0\n", channel=2)
    plant_power(tmp_path, HWMON.format("hwmon4"), "VIN", "-1500\n")
    assert read(root) == {"VDD_GPU": -392.0, "VDD_CPU_SOC_MSS": 0.0, "VIN": -1.5}


def break_missing(path: Path) -> None:
    path.unlink()


def break_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def break_io(path: Path) -> None:
    """Opens well and answers EIO when read, as a sensor does that has lost its bus."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


@pytest.mark.parametrize("breaking", [break_missing, break_folder, break_io])
@pytest.mark.parametrize(
    ("rail", "path"),
    [
        ("VDD_IN", IIO.format("1-0040", "iio:device0/in_power0_input")),
        ("VDD_GPU", HWMON.format("hwmon5/in1_input")),
        ("VDD_GPU", HWMON.format("hwmon5/curr1_input")),
        ("VIN", HWMON.format("hwmon4/power1_input")),
    ],
)
def test_a_file_that_cannot_be_read_leaves_its_rail_without_a_value(
    tmp_path: Path, rail: str, path: str, breaking: Callable[[Path], None]
) -> None:
    root = plant_channel(tmp_path, HWMON.format("hwmon5"), "VDD_GPU", "12000", "500")
    plant_power(tmp_path, HWMON.format("hwmon4"), "VIN", "7000000")
    iio = IIO.format("1-0040", "iio:device0")
    plant(tmp_path, {f"{iio}/rail_name_0": "VDD_IN", f"{iio}/in_power0_input": "4321"})
    rails = find_rails(root)
    values: dict[str, float | None] = {"VDD_IN": 4321.0, "VDD_GPU": 6000.0, "VIN": 7000.0}
    assert read_rails(root, rails) == values
    breaking(tmp_path / path)
    assert read_rails(root, rails) == values | {rail: None}
    assert describe_rails(root, rails)[rail]["mw"] is None


def test_a_rail_with_half_a_product_still_tells_the_half(tmp_path: Path) -> None:
    root = plant_channel(tmp_path, HWMON.format("hwmon5"), "VDD_GPU", "12000", "")
    assert describe_rails(root, find_rails(root)) == {"VDD_GPU": {"mv": 12000.0, "ma": None, "mw": None}}


@pytest.mark.parametrize(
    "bus",
    [
        "sys/devices/platform/c240000.i2c/i2c-1",
        "sys/devices/platform/bus@0/c240000.i2c/i2c-1",
        "sys/devices/c240000.i2c/i2c-1",
        "sys/devices/50000000.host1x/546c0000.i2c/i2c-6",
    ],
)
def test_rails_are_found_where_only_the_devices_themselves_are_to_be_seen(tmp_path: Path, bus: str) -> None:
    plant_channel(tmp_path, f"{bus}/1-0041/hwmon/hwmon2", "VDD_SOC", "5000", "100")
    root = plant_channel(tmp_path, f"{bus}/1-0040/hwmon/hwmon3", "VDD_GPU", "12000", "500")
    plant(tmp_path, {f"{bus}/6-0040/iio:device0/{file}": text for file, text in IIO_FILES.items()})
    plant(tmp_path, {f"{bus}/1-0050/eeprom": "", f"{bus}/1-0048/hwmon/hwmon1/name": "tmp451"})
    assert read(root) == {"POM_5V_IN": 2875.0, "VDD_GPU": 6000.0, "VDD_SOC": 500.0}


def test_a_sensor_by_all_roads_counts_once(tmp_path: Path) -> None:
    device = "sys/devices/platform/c240000.i2c/i2c-1/1-0040"
    root = plant_channel(tmp_path, f"{device}/hwmon/hwmon3", "VDD_GPU", "12000", "500")
    link_devices(tmp_path, [f"/{device}/hwmon/hwmon3/name"])
    plant(
        tmp_path,
        {
            f"{device.replace('1-0040', '6-0041')}/iio:device0/{file}": text
            for file, text in IIO_FILES.items()
        },
    )
    link(tmp_path, "sys/bus/i2c/drivers/ina3221x/6-0041", device.replace("1-0040", "6-0041"))
    assert sorted(rail.name for rail in find_rails(root)) == ["POM_5V_IN", "VDD_GPU"]


GARBAGE = [
    "",
    "\n",
    "N/A",
    "12 mA",
    "1.5",
    "1e3",
    "--5",
    "5000\n5000",
    "\0",
    "é",
    "65535000",
    "4294967295",
    "9" * 999,
]


@pytest.mark.parametrize("text", GARBAGE)
def test_garbage_and_numbers_no_board_could_draw_are_no_values(tmp_path: Path, text: str) -> None:
    root = plant_channel(tmp_path, HWMON.format("hwmon5"), "VDD_GPU", "12000", text)
    iio = IIO.format("1-0040", "iio:device0")
    plant(tmp_path, {f"{iio}/rail_name_0": "VDD_IN", f"{iio}/in_power0_input": text})
    plant_power(tmp_path, HWMON.format("hwmon4"), "VIN", text + "000" * text.isdigit())
    assert read(root) == {"VDD_IN": None, "VDD_GPU": None, "VIN": None}


def test_a_product_that_no_board_could_draw_is_no_value(tmp_path: Path) -> None:
    assert read(plant_channel(tmp_path, HWMON.format("hwmon5"), "VDD_GPU", "32760", "65535")) == {
        "VDD_GPU": None
    }


@given(st.text() | st.from_regex(r"\s?[+-]?[0-9a-fx_]{0,9}\s?\S?", fullmatch=True))
def test_any_text_gives_a_number_that_is_in_it_or_none(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any" / "power"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode("utf-8", "replace"))
    rail = Rail("VIN", "any/none", "any/none", "any/power", 1)
    value = read_rails(str(path.parent.parent), [rail])["VIN"]
    assert value is None or value == int(text.strip("\0 \t\r\n"), 0)


def test_two_rails_of_one_name_are_listed_but_have_no_value_and_no_sum(tmp_path: Path) -> None:
    for number, rail in enumerate(("VDD_IN", "VDD_SOC", "VDD_IN", "VDD_IN")):
        root = plant_channel(tmp_path, HWMON.format(f"hwmon{number}"), rail, "5000", "1000")
    rails = find_rails(root)
    assert sorted(rail.name for rail in rails) == ["VDD_IN", "VDD_IN", "VDD_IN", "VDD_SOC"]
    assert read_rails(root, rails) == {"VDD_IN": None, "VDD_SOC": 5000.0}
    assert describe_rails(root, rails)["VDD_IN"] == {"mv": None, "ma": None, "mw": None}
    assert find_total(rail.name for rail in rails) is None


@pytest.mark.parametrize(
    ("names", "total"),
    [
        ("POM_5V_IN POM_5V_GPU POM_5V_CPU", ("POM_5V_IN",)),
        ("VDD_IN VDD_GPU VDD_CPU VDD_MUX VDD_5V_IO_SYS VDD_3V3_SYS", ("VDD_IN",)),
        ("VDD_SYS_GPU VDD_SYS_SOC VDD_4V0_WIFI VDD_IN VDD_SYS_CPU VDD_SYS_DDR VDD_MUX", ("VDD_IN",)),
        ("VDD_IN VDD_CPU_GPU_CV VDD_SOC", ("VDD_IN",)),
        ("SYS5V GPU CPU SOC CV VDDRQ", AGX_XAVIER),
        ("VDD_GPU_SOC VDD_CPU_CV VIN_SYS_5V0 VDDQ_VDD2_1V8AO", AGX_ORIN),
        ("VDD_GPU VDD_CPU_SOC_MSS VIN_SYS_5V0 VIN", ("VIN",)),
        ("VDD_GPU VDD_CPU_SOC_MSS VIN_SYS_5V0", THOR),
        ("VDD_GPU VDD_CPU_SOC_MSS", None),
        ("VDD_CPU_GPU_CV VDD_SOC", None),
        ("vdd_in", None),
        ("", None),
    ],
)
def test_the_total_of_each_board_is_that_of_its_rails(names: str, total: tuple[str, ...] | None) -> None:
    assert find_total(names.split()) == total


@pytest.mark.parametrize(("rails", "missing"), [(rails, one) for rails in SUMS for one in rails])
def test_a_sum_that_lacks_a_rail_is_no_total(rails: tuple[str, ...], missing: str) -> None:
    assert find_total(name for name in rails if name != missing) is None
    values: dict[str, float | None] = dict.fromkeys(rails, 1000.0)
    assert sum_rails(values, rails) == 1000.0 * len(rails)
    assert sum_rails(values | {missing: None}, rails) is None
    assert sum_rails({name: value for name, value in values.items() if name != missing}, rails) is None


@pytest.mark.parametrize("name", ALONE)
def test_an_input_named_twice_is_no_total(name: str) -> None:
    assert find_total([name]) == (name,)
    assert find_total([name, name]) is None


@given(st.lists(st.sampled_from([*ALONE, *AGX_XAVIER, *AGX_ORIN, *THOR, "VDD_SOC", "VDDQ_VDD2_1V8AO"])))
def test_a_total_is_always_whole_and_of_rails_that_are_there_once(names: list[str]) -> None:
    total = find_total(names)
    assert total is None or total in {(name,) for name in ALONE} | set(SUMS)
    assert all(names.count(name) == 1 for name in total or ())


def test_the_sum_of_nothing_is_no_zero() -> None:
    assert sum_rails({}, ()) is None
