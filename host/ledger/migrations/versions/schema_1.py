"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "schema_1"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "ledger",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.Integer, nullable=False),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.String(80), primary_key=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("started_at", sa.String(40), nullable=False),
        sa.Column("finished_at", sa.String(40)),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_index("ix_runs_started_at", "runs", ["started_at"])
    _create_measurements()
    op.create_table(
        "samples",
        sa.Column("run", sa.String(80), primary_key=True),
        sa.Column("task", sa.String(80), primary_key=True),
        sa.Column("round", sa.Integer, primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["run", "task"], ["measurements.run", "measurements.task"], ondelete="CASCADE"
        ),
    )


def _create_measurements() -> None:
    op.create_table(
        "measurements",
        sa.Column("run", sa.String(80), sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("task", sa.String(80), primary_key=True),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("variant_id", sa.String(80), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("statistics", sa.Integer, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
    )
    for name, column in (("device", "device"), ("variant", "variant_id"), ("status", "status")):
        op.create_index(f"measurements_by_{name}", "measurements", [column])
