"""What is particular to a Jetson, on folders and commands that look like one."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent import jetson, privileges
from device_agent.asking import ask_command
from device_agent.jetson import (
    describe_clocks,
    describe_mode,
    find_jetpack,
    find_mode_name,
    find_releases,
    is_jetson,
    parse_package_versions,
    parse_status,
)
from device_agent.privileges import list_root_only
from device_agent.sensors import nv_tegra_release
from tests.board_texts import ENTRIES
from tests.board_trees import make_unreadable, plant, plant_cpus

RELEASE = "# R{} (release), REVISION: {}, GCID: 1, BOARD: generic, EABI: aarch64, DATE: Mon Jun 16 2025\n"
STATUS = """Package: nvidia-jetpack
Status: install ok installed
Version: 6.2.1+b38

Package: nvidia-jetpack-dev
Status: install ok installed
Version: 6.1+b1

Package: nvidia-l4t-core
Status: install ok installed
Version: 36.4.7-20250918154033

Package: nvidia-removed
Status: deinstall ok config-files
Version: 1.0
"""
CONFIGURATION = """# comment
< PM_CONFIG DEFAULT=2 >
< POWER_MODEL ID=0 NAME=MODE_15W >
CPU_ONLINE CORE_0 1
 < POWER_MODEL ID=2 NAME=MAXN_SUPER >
< POWER_MODEL ID=20 NAME=OTHER >
"""


def plant_script(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    """From now on there is a command that runs the script, first on the path."""
    command = folder / "commands" / name
    command.parent.mkdir(exist_ok=True)
    command.write_text("#!/bin/sh\n" + script)
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")


def plant_printer(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    (folder / f"{name}.txt").write_text(text)
    plant_script(folder, monkeypatch, name, f"cat '{folder}/{name}.txt'\n")


def entries_of(word: str) -> list[Any]:
    return [pytest.param(one, id=one["id"]) for one in ENTRIES if word in one["command"]]


def test_a_jetson_is_known_by_its_chip_or_by_its_release(tmp_path: Path) -> None:
    assert is_jetson(str(tmp_path), "tegra234")
    assert not is_jetson(str(tmp_path), "bcm2712")
    assert not is_jetson(str(tmp_path), None)
    assert is_jetson(plant(tmp_path, {"etc/nv_tegra_release": RELEASE.format(36, "4.4")}), None)


@pytest.mark.parametrize("entry", entries_of("nv_tegra_release"))
def test_the_release_of_a_recording_is_found(tmp_path: Path, entry: dict[str, Any]) -> None:
    root = plant(tmp_path, {"etc/nv_tegra_release": entry["output"]})
    assert find_releases(root)["l4t"] == entry["expect"]["l4t"]


@pytest.mark.parametrize(
    ("l4t", "jetpack"),
    [
        ("32.5", "4.5"),
        ("32.5.0", "4.5"),
        ("32.6.1", "4.6"),
        ("35.4.1", "5.1.2"),
        ("36.3.0", "6.0"),
        ("36.4.4", "6.2.1"),
        ("38.2.0", "7.0"),
        ("36.4.7", None),
        ("99.1", None),
        (None, None),
    ],
)
def test_a_release_has_its_jetpack_or_none(l4t: str | None, jetpack: str | None) -> None:
    assert find_jetpack(l4t) == jetpack


def test_what_is_installed_counts_before_what_the_release_came_with(tmp_path: Path) -> None:
    root = plant(tmp_path, {"etc/nv_tegra_release": RELEASE.format(36, "4.3")})
    assert find_releases(root) == {"l4t": "36.4.3", "jetpack": "6.2"}
    plant(tmp_path, {"var/lib/dpkg/status": STATUS})
    assert find_releases(root) == {"l4t": "36.4.3", "jetpack": "6.2.1"}
    (tmp_path / "etc/nv_tegra_release").unlink()
    assert find_releases(root) == {"l4t": "36.4.7", "jetpack": "6.2.1"}


def test_packages_that_are_removed_are_not_installed() -> None:
    found = parse_package_versions(STATUS.splitlines())
    assert found.keys() == {"nvidia-jetpack", "nvidia-jetpack-dev", "nvidia-l4t-core"}


@given(st.lists(st.text() | st.sampled_from(STATUS.splitlines())))
def test_any_lines_have_packages_or_none(lines: list[str]) -> None:
    assert all(name.startswith("nvidia-") for name in parse_package_versions(lines))


@given(st.text())
def test_any_text_is_a_release_or_none(text: str) -> None:
    l4t = nv_tegra_release.parse(text)["l4t"]
    assert l4t is None or l4t.split(".")[0] in text
    find_jetpack(text)
    assert parse_status(text) is None or "pmode:" in text


@pytest.mark.parametrize("entry", entries_of("nvpmodel"))
def test_the_mode_is_what_nvpmodel_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any]
) -> None:
    plant_printer(tmp_path, monkeypatch, "nvpmodel", entry["output"])
    expect = entry["expect"]
    told = {"mode": expect["mode"], "mode_id": expect["mode_id"]}
    assert describe_mode(str(tmp_path)) == (
        told if any(value is not None for value in told.values()) else None
    )


def test_the_mode_is_in_files_where_nvpmodel_does_not_answer(tmp_path: Path) -> None:
    assert describe_mode(str(tmp_path)) is None
    root = plant(tmp_path, {"var/lib/nvpmodel/status": "pmode:0002 fmode:quiet\n"})
    assert describe_mode(root) == {"mode": None, "mode_id": 2}
    plant(tmp_path, {"etc/nvpmodel.conf": CONFIGURATION})
    assert describe_mode(root) == {"mode": "MAXN_SUPER", "mode_id": 2}


@pytest.mark.parametrize(
    ("mode_id", "name"), [(0, "MODE_15W"), (2, "MAXN_SUPER"), (20, "OTHER"), (1, None), (None, None)]
)
def test_a_mode_has_the_name_of_its_own_number(mode_id: int | None, name: str | None) -> None:
    assert find_mode_name(CONFIGURATION, mode_id) == name


@pytest.mark.parametrize("entry", entries_of("jetson_clocks"))
def test_clocks_are_held_where_jetson_clocks_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any]
) -> None:
    plant_printer(tmp_path, monkeypatch, "jetson_clocks", entry["output"])
    found = describe_clocks(str(tmp_path), [], is_root=True)
    assert found["pinned"] == entry["expect"].get("pinned", found["pinned"])
    emc = entry["expect"]["emc"]
    assert found["emc_mhz"] == (emc["cur_hz"] / 1e6 if emc else None)
    assert describe_clocks(str(tmp_path), [], is_root=False)["pinned"] is None


def plant_clocks(root: Path, low: str, high: str, gpu_low: str, gpu_high: str) -> str:
    plant_cpus(root, cpufreq__scaling_min_freq={0: low}, cpufreq__scaling_max_freq={0: high})
    told = {"min_freq": gpu_low, "max_freq": gpu_high, "cur_freq": gpu_low}
    return plant(root, {f"sys/class/devfreq/17000000.gpu/{name}": text for name, text in told.items()})


@pytest.mark.parametrize(
    ("low", "high", "gpu_low", "gpu_high", "pinned"),
    [
        ("729600", "2201600", "1300500000", "1300500000", False),
        ("2201600", "2201600", "306000000", "1300500000", False),
        ("2201600", "2201600", "1300500000", "1300500000", None),  # the memory's clock is hidden
    ],
)
def test_without_root_clocks_that_may_move_are_not_held(
    tmp_path: Path, low: str, high: str, gpu_low: str, gpu_high: str, pinned: bool | None
) -> None:
    root = plant_clocks(tmp_path, low, high, gpu_low, gpu_high)
    assert describe_clocks(root, [0], is_root=False) == {
        "pinned": pinned,
        "gpu_mhz": int(gpu_low) / 1e6,
        "gpu_max_mhz": 1300.5,
        "emc_mhz": None,
    }


def test_a_command_that_does_not_end_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_script(tmp_path, monkeypatch, "slow", 'echo said\nsleep 60 & echo $! > "$1"\nwait\n')
    child = tmp_path / "child"
    assert ask_command("slow", [str(child)], timeout_s=1.0) == ""
    number = int(child.read_text())
    deadline = time.monotonic() + 10
    while is_running(number) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(number)


def is_running(number: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[:1]
    except OSError:
        return False


def test_a_command_sees_neither_a_terminal_nor_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant_script(
        tmp_path, monkeypatch, "asks", 'read word; echo "[$word]"; (: < /dev/tty) || echo no terminal\n'
    )
    assert ask_command("asks", [], timeout_s=10) == "[]\nno terminal\n"


def test_a_command_that_is_not_there_or_cannot_start_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask_command("no-such-command-anywhere", [], timeout_s=1) == ""
    plant_script(tmp_path, monkeypatch, "broken", "")
    (tmp_path / "commands" / "broken").write_text("#!/nonexistent/interpreter\n")
    assert ask_command("broken", [], timeout_s=1) == ""


UNKNOWN = {"nvpmodel": None, "jetson_clocks": {"pinned": None, "emc_mhz": None}}


@pytest.fixture
def no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "is_root", lambda: False)


def test_root_needs_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "is_root", lambda: True)
    assert list_root_only(str(tmp_path), UNKNOWN) == []


@pytest.mark.usefixtures("no_root")
def test_what_root_would_add_is_what_the_board_has_and_hides(tmp_path: Path) -> None:
    root = plant(tmp_path, {"sys/class/powercap/intel-rapl:0/name": "package-0\n"})
    assert list_root_only(root, None) == ["power: energy_uj of RAPL may be read by root only"]
    plant(tmp_path, {"sys/class/powercap/intel-rapl:0/energy_uj": "1\n"})
    assert list_root_only(root, None) == []
    make_unreadable(tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_cur_freq")
    (told,) = list_root_only(root, None)
    assert "cpuinfo_cur_freq" in told


@pytest.mark.usefixtures("no_root")
def test_a_jetson_hides_its_held_clocks_and_its_memory(tmp_path: Path) -> None:
    told = " ".join(list_root_only(str(tmp_path), UNKNOWN))
    assert all(words in told for words in ("jetson_clocks --show", "EMC", "nvpmodel -q"))
    known = {"nvpmodel": {"mode_id": 0}, "jetson_clocks": {"pinned": False, "emc_mhz": None}}
    (told,) = list_root_only(str(tmp_path), known)
    assert "EMC" in told


@pytest.mark.usefixtures("no_root")
def test_a_raspberry_pi_names_the_group_that_may_ask_its_firmware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = plant(tmp_path, {"dev/vcio": ""})
    assert list_root_only(root, None) == []
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (told,) = list_root_only(root, None)
    assert "group `video`" in told


def test_a_whole_jetson_tells_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from device_agent import probe

    for name, text in {
        "nvpmodel": "NV Power Mode: MAXN\n0\n",
        "jetson_clocks": next(one["output"] for one in ENTRIES if one["id"] == "ot-jc-03"),
    }.items():
        plant_printer(tmp_path, monkeypatch, name, text)
    monkeypatch.setattr(probe, "is_root", lambda: True)
    monkeypatch.setattr(privileges, "is_root", lambda: True)
    plant(tmp_path, {"etc/nv_tegra_release": RELEASE.format(36, "4.7"), "var/lib/dpkg/status": STATUS})
    root = plant(tmp_path, {"proc/device-tree/compatible": "nvidia,p3737-0000\0nvidia,tegra234\0"})
    facts = probe.describe_privileges(root, [])
    assert json.loads(json.dumps(facts)) == {
        "l4t": "36.4.7",
        "jetpack": "6.2.1",
        "nvpmodel": {"mode": "MAXN", "mode_id": 0},
        "jetson_clocks": {"pinned": True, "gpu_mhz": None, "gpu_max_mhz": None, "emc_mhz": 3199.0},
        "is_root": True,
        "root_would_add": [],
    }
    assert jetson.is_jetson(root, "tegra234")
