"""A ledger with everything that a page can show: real and emulated boards, flags, failures, power."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from host.ledger.records import RunRecord
from host.ledger.store import Ledger
from host.specs.measurement import Measurement, Memory, Power
from host.specs.profile import Limits
from tests.made_results import START, make_failure, make_measurement, make_rounds, make_sustained, make_unfit

VARIANTS: tuple[tuple[str, float, float, dict[str, Any]], ...] = (
    ("dense", 8.0, 0.98, {}),
    ("channel-50", 4.0, 0.96, {"prune": {"granularity": "channel", "criterion": "l2", "sparsity": 0.5}}),
    ("int8", 3.0, 0.975, {"quantize": {"scheme": "static-int8"}}),
)
DEVICES = {"pi4": 2.0, "orin": 1.0, "desk": 0.5}
HOSTILE = (
    '"><img src=https://evil.example/x onerror=window.hacked=1>',
    "<script>window.hacked=1</script>",
    "</script><script>window.hacked=1</script>",
    "{{ 7 * 7 }} ' \" & &lt; \\u003c",
    "\u202eevil \u05e9\u05dc\u05d5\u05dd \U0001f680",
    "long " + "x" * 10_000,
)


def fill_ledger(url: str, names: Sequence[str] = (), run: str = "r1") -> None:
    """One run on two boards and an emulated one; `names` take the place of what its variants are called."""
    told = [*VARIANTS, *((name, 5.0, 0.9, {}) for name in names)]
    with Ledger.open(url) as ledger:
        variants = [{"id": f"id-{at}", "variant": told[at][3]} for at in range(len(told))]
        tasks = [f"{device}-{at}" for device in DEVICES for at in range(len(told))]
        plan = {"variants": variants, "tasks": [{"id": task} for task in (*tasks, "failing", "unfit")]}
        limits = Limits(min_accuracy=0.95)
        ledger.start_run(RunRecord(id=run, profile="p", plan=plan, limits=limits, started_at=START))
        for device, slowdown in DEVICES.items():
            for at, (name, p50_ms, accuracy, _) in enumerate(told):
                measurement = describe(run, device, at, name, accuracy)
                ledger.save(measurement, make_rounds(p50_ms * slowdown, rounds=5, count=200, seed=at))
        message = names[0] if names else "killed for memory"
        ledger.save(
            make_failure(
                "failing", message, run=run, variant="huge", variant_id="id-huge", memory_mb=Memory()
            ),
            [],
        )
        ledger.save(make_unfit("unfit", run=run, memory_mb=Memory()), [])
        ledger.finish_run(run, "completed", START + timedelta(minutes=5))


def make_power(load_w: float, points: int = 40) -> Power:
    """What a sensor tells of ten seconds at idle, ten under load that waver, and ten more at idle."""
    windows = [
        {
            "phase": phase,
            "start_s": 10.5 * at,
            "points": [(10 * (nth + 0.5) / points, watts + 0.1 * (nth % 2) - 0.05) for nth in range(points)],
        }
        for at, (phase, watts) in enumerate((("idle", 2.5), ("load", load_w), ("idle", 2.5)))
    ]
    energy_mj = 25.0 - load_w
    told = {"source": "ina VDD_IN", "rails": ("VDD_IN",), "idle_w": 2.5, "load_w": load_w}
    return Power.model_validate({**told, "energy_mj": energy_mj, "course": windows})


def describe(run: str, device: str, at: int, name: str, accuracy: float) -> Measurement:
    """A measurement; only orin has power, and pi4 a long loop as well as a flag on one row."""
    moment = START.timestamp() + 20 * at
    state = {"governor": "performance", "freq_mhz": [1500.0, 1500.0]}
    is_throttled = device == "pi4" and name == "int8"
    return make_measurement(
        f"{device}-{at}",
        run=run,
        device=device,
        board={"pi4": "Raspberry Pi 4 Model B", "orin": "Jetson Orin Nano"}.get(device, "x86-64"),
        is_emulated=device == "desk",
        variant=name,
        variant_id=f"id-{at}",
        is_baseline=at == 0,
        accuracy_host=accuracy,
        accuracy_device=accuracy,
        sparsity=0.5 if "channel" in name else 0.0,
        sparsity_target=0.5 if "channel" in name else None,
        precision="int8" if name == "int8" else "fp32",
        file_bytes=9_000_000 // (at + 1),
        packed_bytes=7_000_000 // (at + 1),
        power=make_power(5.0 + at) if device == "orin" else Power(),
        flags=("throttled",) if is_throttled else ("emulated",) if device == "desk" else (),
        sustained=make_sustained(100.0, 90.0, 80.0) if device == "pi4" and at == 0 else None,
        environment={
            "rest": {"temperature_c": 40.0, "idle_c": 39.0, "cooled_s": 1.5},
            "before": {**state, "time": moment, "temperature_c": 45.0},
            "during": {"samples": 9, "lowest_mhz": 1400.0, "temperature_c_max": 61.5, "throttle_bits": 0},
            "after": {**state, "time": moment + 90, "temperature_c": 55.0},
            "versions": {"agent": "1", "python": "3.11.2", "kernel": "6.6.31"},
        },
        started_at=START + timedelta(seconds=20 * at),
    )


def ledger_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'results' / 'boardbench.sqlite'}"
