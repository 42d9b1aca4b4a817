"""The tables of the ledger.

History of SCHEMA, which `host/ledger/migrations` follows step by step:
1  the first.
2  measurements may have the status `unfit`, and tell `gzip_bytes` and `packed_bytes`; runs tell `limits`.
3  measurements tell more of the runtime, of power, and of the scenario in which they were made.
4  runs may be named as baselines; plans and figures have tables of their own, so that no record is read to
   find one; a run may measure again what another one has (`again_of`).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

SCHEMA = 4

metadata = MetaData()

facts = Table(
    "ledger",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", Integer, nullable=False),
)

versions = Table(  # Alembic's own; releases go by `ledger`, which the first ones wrote already
    "alembic_version",
    metadata,
    Column("version_num", String(32), primary_key=True),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("started_at", String(40), nullable=False),
    Column("finished_at", String(40)),
    Column("record", Text, nullable=False),
    Index("ix_runs_started_at", "started_at"),
    Index("runs_by_age", "started_at", "id"),
)

plans = Table(
    "plans",
    metadata,
    Column("run", String(80), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("tasks", Integer, nullable=False),
    Column("plan", Text, nullable=False),
)

measurements = Table(
    "measurements",
    metadata,
    Column("run", String(80), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("task", String(80), primary_key=True),
    Column("device", String(64), nullable=False),
    Column("variant_id", String(80), nullable=False),
    Column("status", String(16), nullable=False),
    Column("record", Text, nullable=False),
    Column("statistics", Integer, nullable=False),
    Column("summary", Text, nullable=False),
)

figures = Table(  # a narrow copy of what is selected, ordered and tabulated by: SQLite reads whole pages
    "figures",
    metadata,
    Column("run", String(80), primary_key=True),
    Column("task", String(80), primary_key=True),
    Column("position", Integer),  # in the plan of its run; null for what no plan names
    Column("status", String(16), nullable=False),
    Column("device", String(64), nullable=False),
    Column("is_emulated", Boolean, nullable=False),
    Column("model", Text, nullable=False),
    Column("variant", Text, nullable=False),
    Column("is_baseline", Boolean, nullable=False),
    Column("runtime", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("precision", Text, nullable=False),
    Column("threads", Integer),
    Column("batch", Integer, nullable=False),
    Column("scenario", Text),
    Column("settings", Text, nullable=False),  # JSON, as the runtime took them
    Column("started_at", String(40), nullable=False),
    Column("statistics", Integer, nullable=False),
    Column("p50_ms", Float),
    Column("p99_ms", Float),
    Column("accuracy_host", Float),
    Column("accuracy_device", Float),
    Column("file_bytes", BigInteger, nullable=False),
    Column("peak_mb", Float),
    Column("energy_mj", Float),
    Column("flags", Text, nullable=False),  # JSON
    ForeignKeyConstraint(["run", "task"], ["measurements.run", "measurements.task"], ondelete="CASCADE"),
    Index("figures_by_device", "device"),
    Index("figures_by_model", "model"),
    Index("figures_by_variant", "variant"),
    Index("figures_by_age", "started_at"),
    sqlite_with_rowid=False,
)

samples = Table(
    "samples",
    metadata,
    Column("run", String(80), primary_key=True),
    Column("task", String(80), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),  # host/ledger/packing.py
    ForeignKeyConstraint(["run", "task"], ["measurements.run", "measurements.task"], ondelete="CASCADE"),
)

baselines = Table(
    "baselines",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("run", String(80), ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("saved_at", String(40), nullable=False),
    Column("record", Text, nullable=False),
)
