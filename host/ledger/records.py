"""What the ledger keeps, and how it is written into the columns of a row."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, JsonValue
from pydantic_core import from_json

from host.ledger.statistics import STATISTICS_VERSION, LatencySummary, Samples
from host.specs.measurement import Measurement
from host.specs.profile import Limits
from host.specs.record import Record

Status = Literal["running", "completed", "interrupted", "failed"]


class RunRecord(Record):
    """One sweep. `plan` is the plan's JSON, `devices` each device's JSON by its name; none holds a secret.

    `limits` are those of its profile, None where it has none. `measures_unfit` says that it measures
    variants too that are known to be less accurate than they allow.
    """

    id: str
    profile: str
    plan: dict[str, JsonValue] = Field(default_factory=dict)
    devices: dict[str, JsonValue] = Field(default_factory=dict)
    seed: int = 0
    limits: Limits | None = None
    measures_unfit: bool = False
    status: Status = "running"
    started_at: datetime
    finished_at: datetime | None = None

    @property
    def task_order(self) -> dict[str, int]:
        """Where each task stands in the plan; results are told in this order, not in that of arrival."""
        tasks = self.plan.get("tasks")
        listed = tasks if isinstance(tasks, list) else []
        return {str(task["id"]): at for at, task in enumerate(listed) if isinstance(task, dict)}


class Entry(NamedTuple):
    """One stored measurement in JSON's types, with the summary of its latency."""

    measurement: dict[str, Any]
    latency: dict[str, Any]


def run_values(run: RunRecord) -> dict[str, Any]:
    return {
        "id": run.id,
        "status": run.status,
        "started_at": write_time(run.started_at),
        "finished_at": write_time(run.finished_at),
        "record": run.model_dump_json(),
    }


def read_run(row: Any) -> RunRecord:
    held = from_json(row.record)
    return RunRecord.model_validate(held | {"status": row.status, "finished_at": row.finished_at})


def measurement_values(measurement: Measurement, summary: LatencySummary) -> dict[str, Any]:
    return {
        "run": measurement.run,
        "task": measurement.task,
        "device": measurement.device,
        "variant_id": measurement.variant_id,
        "status": measurement.status,
        "record": measurement.model_dump_json(),
        "statistics": STATISTICS_VERSION,
        "summary": summary.model_dump_json(),
    }


def pack_round(measurement: Measurement, number: int, held: Samples) -> dict[str, Any]:
    packed = zlib.compress(np.ascontiguousarray(held, dtype="<i8").tobytes(), level=6)
    return {
        "run": measurement.run,
        "task": measurement.task,
        "round": number,
        "count": len(held),
        "data": packed,
    }


def unpack_round(count: int, data: bytes) -> Samples:
    """The samples of one round in ns. Raises ValueError where they are not what was packed."""
    try:
        values = np.frombuffer(zlib.decompress(data), dtype="<i8").astype(np.int64)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(values) != count:
        raise ValueError(f"{count} samples were packed, {len(values)} are there")
    return values


def write_time(at: datetime | None) -> str | None:
    """A time as text that sorts by time, whatever its zone was."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds")
