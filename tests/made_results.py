"""Made-up measurements, typed and complete, for the tests of the ledger and of the report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host.ledger.records import Entry, RunRecord
from host.ledger.rows import Row, join_rows
from host.ledger.statistics import summarize_latency
from host.specs.measurement import Failure, Measurement, Memory, Power, Sustained

START = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
Rounds = list[NDArray[np.int64]]


def make_rounds(p50_ms: float = 5.0, rounds: int = 3, count: int = 64, seed: int = 0) -> Rounds:
    """Rounds of latencies that scatter by one percent around a median."""
    generator = np.random.default_rng(seed)
    spread = np.exp(0.01 * generator.standard_normal((rounds, count)))
    return [np.rint(1e6 * p50_ms * line).astype(np.int64) for line in spread]


def make_run(run_id: str = "r1", minute: int = 0, tasks: tuple[str, ...] = ()) -> RunRecord:
    plan: dict[str, Any] = {"tasks": [{"id": task} for task in tasks]}
    return RunRecord(id=run_id, profile="p", plan=plan, started_at=START + timedelta(minutes=minute))


def make_measurement(task: str = "t1", **changes: Any) -> Measurement:
    """A successful dense measurement on a real board, with some fields changed."""
    fields: dict[str, Any] = {
        "run": "r1",
        "task": task,
        "device": "pi4",
        "board": "Raspberry Pi 4 Model B",
        "is_emulated": False,
        "model": "net",
        "variant": "dense",
        "variant_id": "id-dense",
        "is_baseline": False,
        "model_sha256": "a" * 64,
        "runtime": "onnxruntime",
        "provider": "CPUExecutionProvider",
        "precision": "fp32",
        "threads": 1,
        "batch": 1,
        "sparsity": None,
        "sparsity_target": None,
        "params": 2_236_682,
        "params_nonzero": 2_236_682,
        "macs": 6_500_000,
        "file_bytes": 8_900_000,
        "accuracy_host": 0.98,
        "accuracy_device": 0.98,
        "memory_mb": Memory(baseline=40.0, loaded=60.0, peak=80.5),
        "power": Power(),
        "environment": {"before": {"governor": "performance"}},
        "status": "ok",
        "started_at": START,
    }
    return Measurement.model_validate(fields | changes)


def make_row(task: str = "t1", p50_ms: float = 5.0, **changes: Any) -> Row:
    """The row of one measurement on its own."""
    return make_rows((make_measurement(task, **changes), p50_ms))[0]


def make_rows(*told: tuple[Measurement, float | None]) -> list[Row]:
    """The rows of measurements with their p50 in ms, compared with each other; None: no samples."""
    return join_rows(
        Entry(
            measurement.as_json(),
            summarize_latency([] if p50_ms is None else make_rounds(p50_ms)).model_dump(mode="json"),
        )
        for measurement, p50_ms in told
    )


def make_failure(task: str, message: str, **changes: Any) -> Measurement:
    failed = {"status": "failed", "error": Failure(kind="memory", message=message), "accuracy_device": None}
    return make_measurement(task, **failed | changes)


def make_unfit(task: str, **changes: Any) -> Measurement:
    """A variant that was not accurate enough to be measured."""
    own = {"variant": "channel-70", "variant_id": "id-channel-70", "accuracy_host": 0.831}
    message = "83.1 % on the host is below min_accuracy 90 %"
    unfit = {"status": "unfit", "error": Failure(kind="unfit", message=message), "accuracy_device": None}
    return make_measurement(task, **own | unfit | changes)


def make_sweep(device: str = "pi4", slowdown: float = 1.0, **changes: Any) -> list[tuple[Measurement, float]]:
    """Three variants on one device, to be given to `make_rows`."""
    told = []
    for name, p50_ms, accuracy in (("dense", 5.0, 0.98), ("channel-50", 2.5, 0.97), ("int8", 2.0, 0.978)):
        own = {"variant": name, "variant_id": f"id-{name}", "is_baseline": name == "dense"}
        quality = {"accuracy_host": accuracy, "accuracy_device": accuracy}
        task = f"{device}-{name}"
        told.append((make_measurement(task, device=device, **own | quality | changes), p50_ms * slowdown))
    return told


PACED = {
    "rate_hz": 30.0,
    "deadline_ms": 33.3,
    "due": 900,
    "done": 880,
    "dropped": 20,
    "missed": 25,
    "miss_rate": 0.05,
    "wakeup_ms": 0.07,
    "throughput_ips": 29.3,
}


def make_sustained(
    *speeds: float, first_c: float | None = 45.0, first_mhz: float | None = 1500.0
) -> Sustained:
    """A sustained loop of so many minutes that becomes five degrees hotter with each."""
    minutes = [
        {
            "minute": at + 1,
            "seconds": 60.0,
            "inferences": int(60 * speed),
            "throughput_ips": speed,
            "p50_ms": 1000 / speed,
            "temperature_c": None if first_c is None else first_c + 5 * at,
            "freq_mhz": None if first_mhz is None else first_mhz * speed / speeds[0],
        }
        for at, speed in enumerate(speeds)
    ]
    return Sustained.model_validate(
        {
            "duration_s": 60.0 * len(speeds),
            "minutes": minutes,
            "first_ips": speeds[0],
            "last_ips": speeds[-1],
            "ratio": speeds[-1] / speeds[0],
            "throughput_ips": sum(speeds) / len(speeds),
        }
    )
