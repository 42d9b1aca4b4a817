"""What boards tell of themselves, as their agents would: each ready for measurements unless changed."""

from __future__ import annotations

from typing import Any

from host.fleet.conditions import Conditions, Seen
from host.fleet.probing import BoardFacts
from host.readiness.finding import Look
from host.specs.device import Device

FINGERPRINT = "SHA256:" + "A" * 43
NOW = 1_700_000_000.0


def cluster(cores: range, low: float, high: float, governor: str | None = "performance") -> dict[str, Any]:
    return {
        "cores": list(cores),
        "min_mhz": low,
        "max_mhz": high,
        "allowed_min_mhz": low,
        "allowed_max_mhz": high,
        "governor": governor,
    }


def facts(board: str, python: str, **told: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "agent_version": "0.1.0",
        "python": python,
        "implementation": "cp",
        "machine": "aarch64",
        "libc": {"name": "glibc", "version": "2.36"},
        "board": board,
        "temperature_c": 45.0,
        "free_bytes": 8 << 30,
        **told,
    }


PI3 = facts("Raspberry Pi 3 Model B Plus Rev 1.3", "3.9.2", clusters=[cluster(range(4), 600, 1400)])
PI4 = facts("Raspberry Pi 4 Model B Rev 1.4", "3.11.2", clusters=[cluster(range(4), 600, 1800)])
PI5 = facts(
    "Raspberry Pi 5 Model B Rev 1.0",
    "3.11.2",
    clusters=[cluster(range(4), 1500, 2400)],
    power_sources=[{"name": "pmic", "readable": True}],
    thermal_zones=[
        {
            "name": "cpu-thermal",
            "temperature_c": 45.0,
            "trips": [
                {"kind": "active", "temperature_c": 50.0},
                {"kind": "critical", "temperature_c": 110.0},
            ],
        }
    ],
)
NANO = facts(
    "NVIDIA Jetson Nano Developer Kit",
    "3.8.0",
    clusters=[cluster(range(4), 102, 1479)],
    l4t="32.7.1",
    jetpack="4.6.1",
    nvpmodel={"mode": "MAXN", "mode_id": 0},
    jetson_clocks={"pinned": True},
    power_sources=[{"name": "ina POM_5V_IN", "readable": True}],
    thermal_zones=[
        {
            "name": "CPU-therm",
            "temperature_c": 38.0,
            "trips": [{"kind": "passive", "temperature_c": 97.0}],
        }
    ],
)
ORIN = facts(
    "NVIDIA Jetson AGX Orin Developer Kit",
    "3.10.12",
    clusters=[cluster(range(4), 115, 2201), cluster(range(4, 8), 115, 2201)],
    l4t="36.4.4",
    jetpack="6.2.1",
    nvpmodel={"mode": "MAXN", "mode_id": 0},
    jetson_clocks={"pinned": True},
    power_sources=[{"name": "ina VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0", "readable": True}],
)
X86 = facts(
    "ASUS PRIME B550M-A",
    "3.12.3",
    machine="x86_64",
    clusters=[cluster(range(12), 2200, 4650)],
    power_sources=[{"name": "rapl", "readable": True}],
)

IDLE: dict[str, Any] = {
    "time": NOW,
    "memory_mb": 4000.0,
    "available_mb": 3500.0,
    "busy_cores": 0.03,
}
PI_IDLE = {**IDLE, "throttle_bits": 0}
JETSON_IDLE = {
    **IDLE,
    "throttle_bits": None,
    "overcurrent_events": 0,
    "fastest_mode": {"mode": "MAXN", "mode_id": 0, "asks_for_restart": False},
}
X86_IDLE = {**IDLE, "throttle_events": 0}


def look(told: dict[str, Any], now: dict[str, Any], *, ahead_s: float = 0.0, **device: Any) -> Look:
    """What is seen of a board called `b`."""
    named = {"name": "b", "host": "10.0.0.7", "fingerprint": FINGERPRINT, **device}
    seen = Seen(conditions=Conditions.model_validate(now), ahead_s=ahead_s, doubt_s=0.1)
    return Look(Device.model_validate(named), BoardFacts.model_validate(told), seen)
