"""The facts of a board as people read them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from host.report.board_facts import list_ranges, summarize_board

ORIN: dict[str, Any] = {
    "schema_version": 1,
    "agent_version": "0.1.0",
    "board": "NVIDIA Jetson Orin Nano Developer Kit",
    "soc": "Tegra234 (Orin)",
    "gpu": "Ampere (GA10B)",
    "cpu_model": "Cortex-A78AE",
    "cores": 6,
    "offline_cores": [6, 7],
    "clusters": [
        {
            "cores": [0, 1, 2, 3],
            "core_type": "Cortex-A78AE",
            "capacity": 1024,
            "min_mhz": 115.2,
            "max_mhz": 1510.4,
            "allowed_min_mhz": 729.6,
            "allowed_max_mhz": 1510.4,
            "current_mhz": 729.6,
            "governor": "schedutil",
        },
        {"cores": [4, 5], "core_type": "Cortex-A78AE"},
    ],
    "memory_mb": 7620,
    "swap_mb": 3810,
    "os": "Ubuntu 22.04.5 LTS",
    "kernel": "5.15.148-tegra",
    "libc": {"name": "glibc", "version": "2.35"},
    "machine": "aarch64",
    "l4t": "36.4.4",
    "jetpack": "6.2.1",
    "nvpmodel": {"mode": "25W", "mode_id": 1},
    "jetson_clocks": {"pinned": False, "gpu_mhz": 306.0, "gpu_max_mhz": 918.0, "emc_mhz": None},
    "temperature_c": 48.6,
    "thermal_zones": [
        {
            "name": "cpu-thermal",
            "temperature_c": 48.6,
            "trips": [
                {"kind": "passive", "temperature_c": 99.0},
                {"kind": "passive", "temperature_c": 95.0},
                {"kind": "critical", "temperature_c": 104.5},
            ],
        },
        {"name": "gpu-thermal", "temperature_c": None, "trips": []},
    ],
    "power_sources": [{"name": "ina VDD_IN", "readable": True, "note": "the module", "period_ms": 5}],
    "python": "3.10.12",
    "implementation": "cp",
    "runtimes": {"onnxruntime": {"version": "1.20", "providers": ["CPUExecutionProvider"], "max_opset": 21}},
    "free_bytes": 2**30,
    "is_root": False,
    "root_would_add": ["clocks: one", "memory: another"],
    "governor": "schedutil",
}


def test_the_facts_of_a_jetson_fit_into_short_lines() -> None:
    assert summarize_board(ORIN) == {
        "board": "NVIDIA Jetson Orin Nano Developer Kit",
        "chip": "Tegra234 (Orin) · Ampere (GA10B)",
        "processor": "Cortex-A78AE · 6 cores usable · 6-7 offline",
        "cores 0-3": "115–1,510 MHz · now allowed 730–1,510 · at 730 MHz · schedutil · capacity 1024",
        "cores 4-5": "-",
        "memory": "7,620 MiB · 3,810 MiB swap",
        "system": "Ubuntu 22.04.5 LTS · Linux 5.15.148-tegra · glibc 2.35 · aarch64",
        "release": "L4T 36.4.4 · JetPack 6.2.1",
        "power mode": "25W · mode 1 · clocks not held by jetson_clocks · GPU at 306 MHz · allowed 918 MHz",
        "temperature": "processor 48.6 °C · cpu-thermal 48.6 (passive 95, critical 104.5) · gpu-thermal -",
        "power ina VDD_IN": "can be read · the module · period_ms: 5",
        "python": "3.10.12 · cp",
        "onnxruntime": "1.20 · CPUExecutionProvider · opset up to 21",
        "free disk": "1,024 MiB",
        "agent": "0.1.0",
        "root would add 1": "clocks: one",
        "root would add 2": "memory: another",
    }


def test_a_board_that_tells_nothing_has_dashes_and_no_lines_of_a_jetson() -> None:
    told = summarize_board({"board": "Raspberry Pi 3"})
    assert told["board"] == "Raspberry Pi 3"
    assert told["power"] == "no source"
    assert {told[name] for name in ("chip", "processor", "memory", "temperature", "python")} == {"-"}
    assert "release" not in told
    assert "power mode" not in told


def test_no_swap_is_said_and_an_unknown_swap_is_not() -> None:
    assert summarize_board({"memory_mb": 1024, "swap_mb": 0})["memory"] == "1,024 MiB · no swap"
    assert summarize_board({"memory_mb": 1024})["memory"] == "1,024 MiB"


def test_a_processor_that_is_the_chip_is_named_once() -> None:
    told = summarize_board(
        {"soc": "Xeon", "cpu_model": "Xeon", "clusters": [{"cores": [0], "core_type": "Xeon"}]}
    )
    assert list(told.values()).count("Xeon") == 1
    assert "chip" not in told


def test_a_fact_that_no_line_tells_comes_last_as_it_is() -> None:
    assert list(summarize_board({**ORIN, "new": {"a": 1}}).items())[-1] == ("new", {"a": 1})


@given(st.lists(st.integers(0, 50)))
def test_ranges_name_just_the_numbers(numbers: list[int]) -> None:
    told = list_ranges(numbers)
    ends = [[int(end) for end in part.split("-")] for part in told.split(",")] if numbers else []
    assert sorted(set(numbers)) == [one for run in ends for one in range(run[0], run[-1] + 1)]
