"""Plans leave the records of runs, figures stand beside those of measurements, runs are named as baselines.

The rows are made from the JSON of whatever release wrote it. What this step does stays as it is: it does
not use the code of the ledger, which later releases change.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "schema_4"
down_revision = "schema_3"

COPIED = (
    "run task status device is_emulated model variant is_baseline runtime provider precision threads batch"
    " accuracy_host accuracy_device file_bytes"
)

runs = sa.table("runs", sa.column("id"), sa.column("record"))
plans = sa.table("plans", sa.column("run"), sa.column("tasks"), sa.column("plan"))
measurements = sa.table(
    "measurements", *(sa.column(name) for name in ("run", "record", "statistics", "summary"))
)
LATER = ("position", "scenario", "settings", "started_at", "statistics", "p50_ms", "p99_ms", "peak_mb")
figures = sa.table("figures", *(sa.column(name) for name in (*COPIED.split(), *LATER, "energy_mj", "flags")))


def upgrade() -> None:
    for name in ("device", "variant", "status"):  # of the wide table; those of `figures` take their place
        op.drop_index(f"measurements_by_{name}", table_name="measurements")
    op.create_index("runs_by_age", "runs", ["started_at", "id"])
    _create_plans()
    _create_figures()
    _create_baselines()
    connection = op.get_bind()
    for run in list(connection.execute(sa.select(runs.c.id)).scalars()):
        order = _move_plan(connection, run)
        _copy_figures(connection, run, order)


def _create_plans() -> None:
    op.create_table(
        "plans",
        sa.Column("run", sa.String(80), sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("tasks", sa.Integer, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
    )


def _create_figures() -> None:
    op.create_table(
        "figures",
        sa.Column("run", sa.String(80), primary_key=True),
        sa.Column("task", sa.String(80), primary_key=True),
        sa.Column("position", sa.Integer),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("is_emulated", sa.Boolean, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("variant", sa.Text, nullable=False),
        sa.Column("is_baseline", sa.Boolean, nullable=False),
        sa.Column("runtime", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("precision", sa.Text, nullable=False),
        sa.Column("threads", sa.Integer),
        sa.Column("batch", sa.Integer, nullable=False),
        sa.Column("scenario", sa.Text),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("started_at", sa.String(40), nullable=False),
        sa.Column("statistics", sa.Integer, nullable=False),
        sa.Column("p50_ms", sa.Float),
        sa.Column("p99_ms", sa.Float),
        sa.Column("accuracy_host", sa.Float),
        sa.Column("accuracy_device", sa.Float),
        sa.Column("file_bytes", sa.BigInteger, nullable=False),
        sa.Column("peak_mb", sa.Float),
        sa.Column("energy_mj", sa.Float),
        sa.Column("flags", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["run", "task"], ["measurements.run", "measurements.task"], ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    for name, column in (("device", "device"), ("model", "model"), ("variant", "variant")):
        op.create_index(f"figures_by_{name}", "figures", [column])
    op.create_index("figures_by_age", "figures", ["started_at"])


def _create_baselines() -> None:
    op.create_table(
        "baselines",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("run", sa.String(80), sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("saved_at", sa.String(40), nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )


def _move_plan(connection: sa.Connection, run: str) -> dict[str, int]:
    """Take the plan out of a run's record; where each of its tasks stands in it."""
    text = connection.execute(sa.select(runs.c.record).where(runs.c.id == run)).scalar_one()
    record = json.loads(text)
    plan = record.pop("plan", {})
    listed = plan.get("tasks")
    order = {str(task["id"]): at for at, task in enumerate(listed)} if isinstance(listed, list) else {}
    connection.execute(sa.insert(plans).values(run=run, tasks=len(order), plan=_write(plan)))
    connection.execute(sa.update(runs).where(runs.c.id == run).values(record=_write(record)))
    return order


def _copy_figures(connection: sa.Connection, run: str, order: dict[str, int]) -> None:
    columns = (measurements.c.record, measurements.c.statistics, measurements.c.summary)
    found = connection.execute(sa.select(*columns).where(measurements.c.run == run)).all()
    rows = [
        _describe(json.loads(row.record), row.statistics, json.loads(row.summary), order) for row in found
    ]
    if rows:
        connection.execute(sa.insert(figures), rows)


def _describe(held: dict[str, Any], statistics: int, summary: dict[str, Any], order: dict[str, int]) -> Any:
    started = datetime.fromisoformat(held["started_at"]).astimezone(UTC)
    return {name: held[name] for name in COPIED.split()} | {
        "position": order.get(held["task"]),
        "scenario": held.get("scenario", "single-stream"),  # the only one there was
        "settings": _write(held.get("runtime_settings", {}), sort_keys=True),
        "started_at": started.isoformat(timespec="microseconds"),
        "statistics": statistics,
        "p50_ms": summary.get("p50"),
        "p99_ms": summary.get("p99"),
        "peak_mb": held["memory_mb"]["peak"],
        "energy_mj": held["power"].get("energy_mj"),
        "flags": _write(held["flags"]),
    }


def _write(value: Any, *, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=sort_keys)
