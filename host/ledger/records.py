"""What the ledger keeps, and how it is written into the columns of a row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from pydantic import Field, JsonValue, ValidationError
from pydantic_core import from_json

from device_agent.protocol import SINGLE_STREAM
from host.errors import UsageError
from host.ledger.packing import pack_samples
from host.ledger.statistics import STATISTICS_VERSION, Samples
from host.specs.profile import Limits
from host.specs.record import Name, Record

Status = Literal["running", "completed", "interrupted", "failed"]


class RunRecord(Record):
    """One sweep. `plan` is the plan's JSON, `devices` each device's JSON by its name; none holds a secret.

    `limits` are those of its profile, None where it has none. `measures_unfit` says that it measures
    variants too that are known to be less accurate than they allow. `again_of` is the run of which this one
    measured some tasks once more, to see whether what was found there holds.
    """

    id: str
    profile: str
    plan: dict[str, JsonValue] = Field(default_factory=dict)
    devices: dict[str, JsonValue] = Field(default_factory=dict)
    seed: int = 0
    limits: Limits | None = None
    measures_unfit: bool = False
    again_of: str | None = None
    status: Status = "running"
    started_at: datetime
    finished_at: datetime | None = None

    @property
    def task_order(self) -> dict[str, int]:
        """Where each task stands in the plan; results are told in this order, not in that of arrival."""
        return read_order(self.plan)


class RunLine(NamedTuple):
    """One run in a list of many, without its plan; `tasks` counts what it plans, the rest what came of it."""

    id: str
    profile: str
    devices: tuple[str, ...]
    status: str
    started_at: datetime
    finished_at: datetime | None
    tasks: int
    measured: int
    failed: int
    unfit: int


class Baseline(Record):
    """A run that a person gave a name, so that later ones are checked against it."""

    name: Name
    run: str
    saved_at: datetime


class Entry(NamedTuple):
    """One stored measurement in JSON's types, with the summary of its latency."""

    measurement: dict[str, Any]
    latency: dict[str, Any]


class Figures(NamedTuple):
    """What is selected and tabulated by, without the rest of a measurement: read far more quickly than it.

    `settings` and `flags` are JSON, times ISO 8601 in UTC.
    """

    run: str
    task: str
    status: str
    device: str
    is_emulated: bool
    model: str
    variant: str
    is_baseline: bool
    runtime: str
    provider: str
    precision: str
    threads: int | None
    batch: int
    scenario: str | None
    settings: str
    started_at: str
    p50_ms: float | None
    p99_ms: float | None
    accuracy_host: float | None
    accuracy_device: float | None
    file_bytes: int
    peak_mb: float | None
    energy_mj: float | None
    flags: str


def read_order(plan: Mapping[str, Any]) -> dict[str, int]:
    """Where each task stands in a plan's JSON."""
    tasks = plan.get("tasks")
    listed = tasks if isinstance(tasks, list) else []
    return {str(task["id"]): at for at, task in enumerate(listed) if isinstance(task, dict)}


def run_values(run: RunRecord) -> dict[str, Any]:
    return {
        "id": run.id,
        "status": run.status,
        "started_at": write_time(run.started_at),
        "finished_at": write_time(run.finished_at),
        "record": run.model_dump_json(exclude={"plan"}),
    }


def plan_values(run: RunRecord) -> dict[str, Any]:
    plan = json.dumps(run.plan, ensure_ascii=False, separators=(",", ":"))
    return {"run": run.id, "tasks": len(run.task_order), "plan": plan}


def read_run(row: Any) -> RunRecord:
    """A run from its row, and its plan from the column `plan`."""
    held = from_json(row.record)
    later = {"plan": from_json(row.plan), "status": row.status, "finished_at": row.finished_at}
    return RunRecord.model_validate(held | later)


def read_run_line(row: Any) -> RunLine:
    held = from_json(row.record)
    return RunLine(
        id=held["id"],
        profile=held["profile"],
        devices=tuple(held["devices"]),
        status=row.status,
        started_at=datetime.fromisoformat(held["started_at"]),
        finished_at=None if row.finished_at is None else datetime.fromisoformat(row.finished_at),
        tasks=row.tasks,
        measured=row.measured,
        failed=row.failed,
        unfit=row.unfit,
    )


def read_old_run(row: Any) -> RunRecord:
    """A run as the releases before schema 4 kept it: its plan stands in its record."""
    held = from_json(row.record)
    return RunRecord.model_validate(held | {"status": row.status, "finished_at": row.finished_at})


def make_baseline(name: str, run_id: str) -> Baseline:
    """A baseline from now on. Raises UsageError for a name that is none."""
    try:
        return Baseline(name=name, run=run_id, saved_at=datetime.now(UTC))
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"a baseline cannot be called {name!r}: {said}") from error


def baseline_values(baseline: Baseline) -> dict[str, Any]:
    return {
        "name": baseline.name,
        "run": baseline.run,
        "saved_at": write_time(baseline.saved_at),
        "record": baseline.model_dump_json(),
    }


def measurement_values(held: Mapping[str, Any], record: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `measurements`; `record` is the JSON text of what is `held`."""
    return {
        "run": held["run"],
        "task": held["task"],
        "device": held["device"],
        "variant_id": held["variant_id"],
        "status": held["status"],
        "record": record,
        "statistics": STATISTICS_VERSION,
        "summary": json.dumps(summary, separators=(",", ":")),
    }


def figure_values(
    held: Mapping[str, Any], summary: Mapping[str, Any], position: int | None
) -> dict[str, Any]:
    """A row of `figures` from a measurement's JSON, of whatever release, and its summary."""
    own = (
        "run task status device is_emulated model variant is_baseline runtime provider precision threads"
        " batch accuracy_host accuracy_device file_bytes"
    )
    return {name: held[name] for name in own.split()} | {
        "position": position,
        "scenario": held.get("scenario", SINGLE_STREAM),  # before there were others, a ledger did not tell it
        "settings": json.dumps(held.get("runtime_settings", {}), separators=(",", ":"), sort_keys=True),
        "started_at": write_time(datetime.fromisoformat(held["started_at"])),
        "statistics": STATISTICS_VERSION,
        **latency_figures(summary),
        "peak_mb": held["memory_mb"]["peak"],
        "energy_mj": held["power"].get("energy_mj"),
        "flags": json.dumps(held["flags"], separators=(",", ":"), ensure_ascii=False),
    }


def latency_figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What `figures` tells of a summary."""
    return {"p50_ms": summary.get("p50"), "p99_ms": summary.get("p99")}


def round_values(run: str, task: str, rounds: Sequence[Samples]) -> list[dict[str, Any]]:
    """The rows of `samples` of one measurement."""
    return [
        {"run": run, "task": task, "round": number, "count": len(held), "data": pack_samples(held)}
        for number, held in enumerate(rounds)
    ]


def write_time(at: datetime | None) -> str | None:
    """A time as text that sorts by time, whatever its zone was."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds")
