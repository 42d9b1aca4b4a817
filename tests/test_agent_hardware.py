"""Processor, chip and system of a board, from trees that look like the boards they were seen on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.sensors.arm_cores import name_core, parse_midr
from device_agent.sensors.chip import find_chip, name_chip, name_gpu, parse_chip
from device_agent.sensors.processor import (
    describe_clusters,
    find_offline_cores,
    parse_cpu_model,
    parse_parts,
)
from device_agent.sensors.system import (
    find_libc,
    name_board,
    name_machine,
    parse_os_release,
    read_kernel,
)
from tests.board_texts import ENTRIES
from tests.board_trees import plant, plant_cpus

DMI = "sys/class/dmi/id/"
COMPATIBLE = "proc/device-tree/compatible"


def describe_arm(parts: dict[int, str], implementer: str = "0x41") -> str:
    """/proc/cpuinfo of a 64-bit kernel."""
    lines = "processor\t: {}\nBogoMIPS\t: 48.00\nCPU implementer\t: {}\nCPU part\t: {}\nCPU revision\t: 0\n\n"
    return "".join(lines.format(core, implementer, part) for core, part in parts.items())


def pick(clusters: list[dict[str, Any]], *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(cluster[key] for key in keys) for cluster in clusters]


def test_a_raspberry_pi_is_one_cluster(tmp_path: Path) -> None:
    plant(tmp_path, {"proc/cpuinfo": describe_arm(dict.fromkeys(range(4), "0xd08"))})
    root = plant_cpus(
        tmp_path,
        cpufreq__related_cpus=dict.fromkeys(range(4), "0 1 2 3"),
        cpufreq__cpuinfo_min_freq=dict.fromkeys(range(4), "600000"),
        cpufreq__cpuinfo_max_freq=dict.fromkeys(range(4), "1800000"),
        cpufreq__scaling_cur_freq={0: "600000", 1: "600000", 2: "1800000", 3: "600000"},
        cpufreq__scaling_governor=dict.fromkeys(range(4), "ondemand"),
    )
    assert describe_clusters(root) == [
        {
            "cores": [0, 1, 2, 3],
            "core_type": "Cortex-A72",
            "capacity": None,
            "min_mhz": 600.0,
            "max_mhz": 1800.0,
            "allowed_min_mhz": None,
            "allowed_max_mhz": None,
            "current_mhz": 1800.0,
            "governor": "ondemand",
        }
    ]


def test_little_and_big_cores_are_clusters_of_their_own_clocks(tmp_path: Path) -> None:
    # RK3588: four small cores, and two times two big ones.
    kinds = dict.fromkeys(range(4), "0xd05") | dict.fromkeys(range(4, 8), "0xd0b")
    domains = dict.fromkeys(range(4), "0 1 2 3") | {4: "4 5", 5: "4 5", 6: "6 7", 7: "6 7"}
    cpuinfo = describe_arm(kinds)
    plant(tmp_path, {"proc/cpuinfo": cpuinfo, "sys/devices/system/cpu/online": "0-7\n"})
    root = plant_cpus(
        tmp_path,
        cpu_capacity=dict.fromkeys(range(4), "530") | dict.fromkeys(range(4, 8), "1024"),
        cpufreq__related_cpus=domains,
    )
    assert pick(describe_clusters(root), "cores", "core_type", "capacity") == [
        ([0, 1, 2, 3], "Cortex-A55", 530),
        ([4, 5], "Cortex-A76", 1024),
        ([6, 7], "Cortex-A76", 1024),
    ]
    assert parse_cpu_model(cpuinfo) == "Cortex-A55 + Cortex-A76"


def test_cores_that_are_switched_off_are_no_part_of_a_cluster(tmp_path: Path) -> None:
    # TX2 in a mode without its Denver cores: an offline core has no cpufreq and no line in cpuinfo.
    files = {"online": "0,3-5\n", "present": "0-5\n"}
    plant(tmp_path, {f"sys/devices/system/cpu/{name}": text for name, text in files.items()})
    plant(tmp_path, {"proc/cpuinfo": describe_arm({0: "0xd07", 3: "0xd07", 4: "0xd07", 5: "0xd07"})})
    root = plant_cpus(
        tmp_path, cpufreq__related_cpus={0: "0 3 4 5", 3: "0 3 4 5", 4: "0 3 4 5", 5: "0 3 4 5"}
    )
    assert pick(describe_clusters(root), "cores", "core_type") == [([0, 3, 4, 5], "Cortex-A57")]
    assert find_offline_cores(root) == [1, 2]


def test_alike_arm_cores_with_clocks_of_their_own_are_one_cluster(tmp_path: Path) -> None:
    """As the eighty of an Ampere Altra, whose firmware gives each a clock."""
    cores = range(8)
    plant(tmp_path, {"proc/cpuinfo": describe_arm(dict.fromkeys(cores, "0xd0c"))})
    root = plant_cpus(
        tmp_path,
        cpufreq__related_cpus={core: str(core) for core in cores},
        cpufreq__cpuinfo_max_freq=dict.fromkeys(cores, "3000000"),
    )
    assert pick(describe_clusters(root), "cores", "core_type") == [(list(cores), "Neoverse-N1")]


def test_the_kinds_of_cores_of_a_hybrid_processor_are_clusters(tmp_path: Path) -> None:
    cpuinfo = "".join(f"processor\t: {core}\nmodel name\t: 12th Gen  Intel i7\n\n" for core in range(4))
    files = {
        "proc/cpuinfo": cpuinfo,
        "sys/devices/cpu_core/cpus": "0-1\n",
        "sys/devices/cpu_atom/cpus": "2-3\n",
    }
    plant(tmp_path, files)
    root = plant_cpus(
        tmp_path,
        cpufreq__cpuinfo_max_freq={0: "4700000", 1: "4800000", 2: "3500000", 3: "3500000"},
        cpufreq__cpuinfo_min_freq=dict.fromkeys(range(4), "400000"),
    )
    found = pick(describe_clusters(root), "cores", "core_type", "min_mhz", "max_mhz")
    assert found == [([0, 1], "P-core", 400.0, 4800.0), ([2, 3], "E-core", 400.0, 3500.0)]


def test_the_sockets_of_a_server_are_clusters(tmp_path: Path) -> None:
    cpuinfo = "".join(f"processor\t: {core}\nmodel name\t: Xeon\n\n" for core in range(4))
    plant(tmp_path, {"proc/cpuinfo": cpuinfo})
    root = plant_cpus(tmp_path, topology__physical_package_id={0: "0", 1: "1", 2: "0", 3: "1"})
    assert pick(describe_clusters(root), "cores", "core_type") == [([0, 2], "Xeon"), ([1, 3], "Xeon")]


def test_the_register_of_a_core_tells_where_cpuinfo_does_not(tmp_path: Path) -> None:
    root = plant_cpus(
        tmp_path, regs__identification__midr_el1={0: "0x00000000410fd421", 1: "0x00000000410fd421"}
    )
    assert pick(describe_clusters(root), "cores", "core_type") == [([0, 1], "Cortex-A78AE")]


def test_a_board_that_tells_nothing_has_no_clusters(tmp_path: Path) -> None:
    assert describe_clusters(str(tmp_path)) == []
    assert find_offline_cores(str(tmp_path)) == []


def test_an_unknown_part_is_named_by_its_numbers() -> None:
    assert name_core(parse_midr(0x410FD8A0)) == "ARM 0x41:0xd8a"
    assert name_core(parse_midr(0x4E0F0040)) == "Carmel"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 7B13\n", "AMD EPYC 7B13"),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n", "Cortex-A72"),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xD08\n", "Cortex-A72"),
        (
            "model name\t: ARMv7 Processor rev 3 (v7l)\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n",
            "Cortex-A72",
        ),
        ("CPU implementer\t: 0x99\nCPU part\t: 0x1\n", None),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd0", None),
        ("", None),
    ],
)
def test_the_processor_is_named_by_text_or_part_number(cpuinfo: str, expected: str | None) -> None:
    assert parse_cpu_model(cpuinfo) == expected


def test_an_old_kernel_names_the_part_once_for_all_cores() -> None:
    cpuinfo = (
        "processor\t: 0\n\nprocessor\t: 1\n\nCPU implementer\t: 0x41\nCPU part\t: 0xd03\n\nHardware\t: x\n"
    )
    assert parse_parts(cpuinfo) == {0: (0x41, 0xD03), 1: (0x41, 0xD03)}


@given(st.text())
def test_any_cpuinfo_has_an_answer(text: str) -> None:
    parse_cpu_model(text)
    assert all(isinstance(core, int) for core in parse_parts(text))


@given(st.integers(0, 400))
def test_a_cpuinfo_that_is_cut_off_names_no_other_part(end: int) -> None:
    whole = describe_arm({0: "0xd05", 1: "0xd0b"})
    assert parse_parts(whole[:end]).items() <= parse_parts(whole).items()


@pytest.mark.parametrize(
    ("compatible", "chip", "name", "gpu"),
    [
        ("raspberrypi,4-model-b\0brcm,bcm2711\0", "bcm2711", "BCM2711", "VideoCore VI"),
        ("raspberrypi,5-model-b\0brcm,bcm2712\0", "bcm2712", "BCM2712", "VideoCore VII"),
        ("raspberrypi,3-model-b-plus\0brcm,bcm2837\0", "bcm2837", "BCM2837", "VideoCore IV"),
        ("nvidia,jetson-nano\0nvidia,tegra210\0", "tegra210", "Tegra210 (X1)", "Maxwell (GM20B)"),
        (
            "nvidia,p3737-0000+p3701-0000\0nvidia,tegra234\0nvidia,tegra23x\0",
            "tegra234",
            "Tegra234 (Orin)",
            "Ampere (GA10B)",
        ),
        ("xunlong,orangepi-5\0rockchip,rk3588s\0rockchip,rk3588\0", "rk3588", "RK3588", None),
        ("toradex,verdin-imx8mp\0fsl,imx8mp\0", "imx8mp", "IMX8MP", None),
        ("apple,j293\0apple,t8103\0apple,arm-platform\0", "t8103", "T8103", None),
        ("linux,dummy-virt\0", None, None, None),
        ("garbage", None, None, None),
    ],
)
def test_the_chip_is_the_last_of_the_compatible_names(
    tmp_path: Path, compatible: str, chip: str | None, name: str | None, gpu: str | None
) -> None:
    root = plant(tmp_path, {COMPATIBLE: compatible})
    assert find_chip(root) == chip
    assert name_chip(root, chip) == name
    assert name_gpu(root, chip) == gpu


@pytest.mark.parametrize("entry", [one for one in ENTRIES if "device-tree" in one["command"]], ids=str)
def test_the_device_tree_of_a_recording_names_board_and_chip(tmp_path: Path, entry: dict[str, Any]) -> None:
    file = entry["command"].rpartition("/")[2]
    root = plant(tmp_path, {f"sys/firmware/devicetree/base/{file}": entry["output"]})
    if "model" in entry["expect"]:
        assert name_board(root, None) == entry["expect"]["model"]
    else:
        assert find_chip(root) == entry["expect"]["soc"]


@given(st.text())
def test_any_list_of_names_has_a_chip_that_is_in_it_or_none(text: str) -> None:
    chip = parse_chip(text)
    assert chip is None or chip in text.lower()


def test_the_kernel_names_the_chip_where_no_device_tree_does(tmp_path: Path) -> None:
    soc0 = "sys/devices/soc0/"
    assert (
        name_chip(plant(tmp_path, {soc0 + "family": "Tegra\n", soc0 + "soc_id": "35\n"}), None) == "Tegra 35"
    )
    assert name_chip(plant(tmp_path, {soc0 + "soc_id": "i.MX8MQ\n"}), None) == "i.MX8MQ"
    assert name_chip(plant(tmp_path, {soc0 + "soc_id": "jep106:0426:0002\n"}), None) is None


def test_the_gpus_that_nvidias_driver_lists_are_counted(tmp_path: Path) -> None:
    for slot in ("0000:01:00.0", "0000:02:00.0"):
        text = "Model: \t\t NVIDIA H200\nIRQ:   \t\t 120\n"
        plant(tmp_path, {f"proc/driver/nvidia/gpus/{slot}/information": text})
    assert name_gpu(str(tmp_path), None) == "2 × NVIDIA H200"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\0"}, "Raspberry Pi 4 Model B Rev 1.5"),
        ({DMI + "sys_vendor": "LENOVO\n", DMI + "product_name": "20UH\n"}, "LENOVO 20UH"),
        (
            {
                DMI + "sys_vendor": "To Be Filled By O.E.M.\n",
                DMI + "product_name": "To Be Filled By O.E.M.\n",
                DMI + "board_vendor": "ASRock\n",
                DMI + "board_name": "B450M Pro4\n",
            },
            "ASRock B450M Pro4",
        ),
        ({DMI + "sys_vendor": "System manufacturer\n", DMI + "product_name": "PRIME X370\n"}, "PRIME X370"),
    ],
)
def test_a_board_is_named_by_its_device_tree_or_firmware(
    tmp_path: Path, files: dict[str, str], expected: str
) -> None:
    assert name_board(plant(tmp_path, files), None) == expected


@pytest.mark.parametrize("product", [None, "Default string\n", "\n", "System Product Name\n"])
def test_a_machine_without_a_name_is_named_by_its_processor(tmp_path: Path, product: str | None) -> None:
    root = plant(tmp_path, {} if product is None else {DMI + "product_name": product})
    assert name_board(root, "AMD EPYC").endswith("(AMD EPYC)")


def test_a_32_bit_system_on_a_64_bit_kernel_wants_32_bit_wheels() -> None:
    assert name_machine("aarch64", True) == "aarch64"
    assert name_machine("aarch64", False) == "armv7l"
    assert name_machine("armv7l", False) == "armv7l"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n', "Debian GNU/Linux 12 (bookworm)"),
        ("PRETTY_NAME=Buildroot\n", "Buildroot"),
        ("", None),
    ],
)
def test_the_system_is_named_by_os_release(text: str, expected: str | None) -> None:
    assert parse_os_release(text) == expected


def test_the_kernel_is_the_one_that_the_root_tells(tmp_path: Path) -> None:
    assert read_kernel(plant(tmp_path, {"proc/sys/kernel/osrelease": "5.15.148-tegra\n"})) == "5.15.148-tegra"
    assert read_kernel("/") == os.uname().release


LOADER = "#!/bin/sh\necho 'musl libc (aarch64)\nVersion 1.2.4' >&2\nexit 1\n"


def test_musl_is_known_by_what_its_loader_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Any:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "confstr", refuse)
    loader = tmp_path / "lib" / "ld-musl-aarch64.so.1"
    plant(tmp_path, {"lib/ld-musl-aarch64.so.1": LOADER})
    assert find_libc(str(tmp_path)) == {"name": "musl", "version": None}  # it may not be run
    loader.chmod(0o755)
    assert find_libc(str(tmp_path)) == {"name": "musl", "version": "1.2.4"}
    loader.unlink()
    assert find_libc(str(tmp_path)) == {"name": None, "version": None}
